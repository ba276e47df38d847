"""A fake engine that takes its time and can be closed, for tests of what waits, stops and exchanges it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from engine.config import EngineConfig, SamplingParams
from engine.errors import BadRequest
from engine.model.adapters.shelf import Adapter
from engine.results import Scores, SpanSearch, Token
from pipelines.ui.holder import EngineHolder
from tests.pipelines.fake_engine import FakeEngine

LONG_REPLY = " ".join(["word"] * 400)


class PacedEngine(FakeEngine):
    """`pace`: seconds each step takes. `steps` counts tokens, scorings and searches; a closed engine refuses all."""

    def __init__(self, reply: Callable[[str], str] = lambda prompt: LONG_REPLY, pace: float = 0.0, **info: Any) -> None:
        super().__init__(reply=reply, fit=lambda prompt, choice: -float(len(choice)), **info)
        self.pace = pace
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def _step(self) -> None:
        time.sleep(self.pace)
        if self.closed:
            raise BadRequest("The engine was closed: load it again.")

    def stream(
        self,
        prompt: str | Sequence[int],
        params: SamplingParams = SamplingParams(),  # noqa: B008
        *,
        adapter: Adapter = None,
    ) -> Iterator[Token]:
        for token in super().stream(prompt, params, adapter=adapter):
            self._step()
            yield token

    def score(self, prompts: Any, choices: Sequence[str | Sequence[int]], *, adapter: Adapter = None) -> list[Scores]:
        self._step()
        self.steps += 1
        return super().score(prompts, choices, adapter=adapter)

    def spans(self, prompt: Any, allowed: Sequence[int], **options: Any) -> SpanSearch:
        self._step()
        self.steps += 1
        return super().spans(prompt, allowed, **options)


def holding(engine: Any) -> EngineHolder:
    """A holder whose engine is ready."""
    holder = EngineHolder(lambda config, on_progress: engine)
    list(holder.reload(EngineConfig()))
    return holder


class Stepping(Protocol):
    """What counts the steps of an engine."""

    @property
    def steps(self) -> int: ...


def at_rest(engine: Stepping, seconds: float = 0.5) -> bool:
    """Whether no step is made for `seconds`, within a few tries."""
    for _ in range(10):
        before = engine.steps
        time.sleep(seconds)
        if engine.steps == before:
            return True
    return False

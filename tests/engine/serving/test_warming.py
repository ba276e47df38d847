"""An engine that answers in plain torch while another process compiles: begun, changed over, failed, closed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import engine.kernels.compilation
from engine import Engine, EngineConfig, SamplingParams, shared_engine
from engine.results import COMPILING
from engine.serving.scheduler import Closed
from tests.engine.conftest import Models
from tests.engine.reference import GREEDY, PROMPTS, expected_tokens, opened, tokens_of


class Pretended:
    """Stands for the process that compiles: it ends when `done` is set; what is compiled lies in the cache already."""

    def __init__(self, types: Any) -> None:
        self.done = threading.Event()
        self.fails = ""
        self.closed = False

    def wait(self) -> None:
        assert self.done.wait(20)

    def check(self) -> None:
        if self.fails:
            raise RuntimeError(self.fails)

    def stop(self) -> None:
        self.done.set()

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Pretended]:
    """Every compilation begun: nothing counts as compiled."""
    all_of_them: list[Pretended] = []

    def begin(types: Any) -> Pretended:
        all_of_them.append(Pretended(types))
        return all_of_them[-1]

    monkeypatch.setattr(engine.kernels.compilation, "is_kept", lambda types: False)
    monkeypatch.setattr(engine.kernels.compilation, "Compilation", begin)
    return all_of_them


def config(models: Models, **options: Any) -> EngineConfig:
    return EngineConfig(str(models("llama")), precision="fp32", threads=1, **options)


@contextmanager
def unwaiting(models: Models) -> Iterator[Engine]:
    with Engine(config(models), wait=False) as loaded:
        yield loaded


def test_torch_answers_until_the_operators_are_compiled_and_that_is_said(
    models: Models, begun: list[Pretended]
) -> None:
    expected = [expected_tokens(models("llama"), prompt, 20) for prompt in PROMPTS[:3]]
    with unwaiting(models) as loaded:
        (compilation,) = begun
        assert loaded.info.compiling and COMPILING in loaded.info.notes
        assert tokens_of(loaded, PROMPTS[:3]) == expected
        assert loaded._backend._compiled is None  # type: ignore[attr-defined]  # plain torch, which nothing else tells
        kept = loaded.prompt_tokens_reused
        assert tokens_of(loaded, PROMPTS[2:3]) == expected[2:] and loaded.prompt_tokens_reused > kept
        compilation.done.set()
        loaded._warming.wait()
        assert loaded._backend._compiled is not None  # type: ignore[attr-defined]
        assert not loaded.info.compiling and not loaded.info.notes and compilation.closed
        kept = loaded.prompt_tokens_reused
        assert tokens_of(loaded, PROMPTS[:3]) == expected
        assert loaded.prompt_tokens_reused == kept, "what torch has read is read again"


def test_a_text_begun_in_torch_goes_on_in_compiled_code(models: Models, begun: list[Pretended]) -> None:
    prompt = PROMPTS[2]
    with unwaiting(models) as loaded:
        stream = loaded.stream(prompt, SamplingParams(max_tokens=200, min_tokens=200))
        tokens = [next(stream).id for _ in range(3)]
        begun[0].done.set()
        tokens += [token.id for token in stream]
        loaded._warming.wait()
        assert loaded._prefill.tree is not None and loaded._prefill.tree.tokens == 0, "a mixed text is not kept"
    with opened(models("llama"), kernels=False) as plain:
        assert tokens == list(tokens_of(plain, [prompt], SamplingParams(max_tokens=200, min_tokens=200))[0])


def test_where_compiling_fails_torch_goes_on_and_the_note_says_why(models: Models, begun: list[Pretended]) -> None:
    with unwaiting(models) as loaded:
        begun[0].fails = "the process that compiles them ended with 1: no room"
        begun[0].done.set()
        loaded._warming.wait()
        (note,) = loaded.info.notes
        assert "plain torch, slower" in note and "no room" in note and not loaded.info.compiling
        assert tokens_of(loaded, PROMPTS[:1]) == [expected_tokens(models("llama"), PROMPTS[0], 20)]


def test_closing_ends_the_compilation(models: Models, begun: list[Pretended], caplog: pytest.LogCaptureFixture) -> None:
    threads = threading.active_count()
    with unwaiting(models) as loaded:
        stream = loaded.stream(PROMPTS[0], SamplingParams(max_tokens=400, min_tokens=400))
        next(stream)
    assert begun[0].closed and threading.active_count() == threads
    with pytest.raises(Closed):
        list(stream)
    assert "plain torch" not in caplog.text


def test_loading_given_up_while_another_process_compiles_ends_it(models: Models, begun: list[Pretended]) -> None:
    def give_up(message: str, share: float | None) -> None:
        if message == "Ready":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Engine(config(models), give_up, wait=False)
    assert begun[0].closed


def test_who_waits_does_so_on_an_engine_that_another_did_not_wait_for(models: Models, begun: list[Pretended]) -> None:
    with shared_engine(config(models, max_batch=3), wait=False) as first:
        assert first.info.compiling
        threading.Timer(0.2, begun[0].done.set).start()
        with shared_engine(config(models, max_batch=3)) as second:
            assert not second.info.compiling and not first.info.compiling
            assert tokens_of(second, PROMPTS[:1], GREEDY) == tokens_of(first, PROMPTS[:1], GREEDY)
    assert len(begun) == 1


def test_nothing_is_begun_where_the_operators_are_compiled_or_not_wanted(
    models: Models, begun: list[Pretended], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Engine(config(models, kernels=False), wait=False) as loaded:
        assert not loaded.info.compiling
    with Engine(config(models), wait=True) as loaded:
        assert not loaded.info.compiling
    monkeypatch.setattr(engine.kernels.compilation, "is_kept", lambda types: True)
    with unwaiting(models) as loaded:
        assert not loaded.info.compiling and not loaded.info.notes
    assert not begun


def test_where_no_process_can_be_started_loading_waits(
    models: Models, begun: list[Pretended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(types: Any) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(engine.kernels.compilation, "Compilation", refuse)
    with unwaiting(models) as loaded:
        assert not loaded.info.compiling and not loaded.info.notes

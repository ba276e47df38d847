"""The one engine an app serves with: loaded in the background, exchanged while it runs. Knows no screen."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from engine.config import EngineConfig
from engine.errors import BadRequest, UserError
from pipelines import TASKS, load

if TYPE_CHECKING:
    from engine.engine import Engine
    from engine.results import EngineInfo

log = logging.getLogger(__name__)

OnProgress = Callable[[str, float | None], None]
OpenEngine = Callable[[EngineConfig, OnProgress], Any]


@dataclass(frozen=True)
class Status:
    """Where the engine stands, in words for a screen.

    Attributes
    ----------
    phase : "loading" (none serves yet), "ready" (one serves), "failed" (none could be loaded).
    message : what is being done; while a new engine loads beside the one that serves, it is about the new one.
    share : of the loading done, 0 to 1; None where it is unknown.
    busy : whether an engine is being loaded now.
    error : why the last load failed, one sentence; "" when it did not.
    info, config : of the engine that serves.
    """

    phase: Literal["loading", "ready", "failed"]
    message: str
    share: float | None = None
    busy: bool = False
    error: str = ""
    info: EngineInfo | None = None
    config: EngineConfig | None = None


def open_engine(config: EngineConfig, on_progress: OnProgress) -> Engine:
    """A lease of a loaded engine, which answers in plain PyTorch where its operators are not compiled yet: nobody shall
    wait for that. torch is imported here, so a page can be up before it is."""
    from engine.engine import shared_engine

    return shared_engine(config, on_progress, wait=False)


class EngineHolder:
    """Holds the engine that serves, and one pipeline a task on it.

    Parameters
    ----------
    open_engine : makes an engine from a config; tests give a fake.
    """

    def __init__(self, open_engine: OpenEngine = open_engine) -> None:
        self._open = open_engine
        self._changed = threading.Condition()
        self._status = Status("loading", "Starting")
        self._engine: Any = None
        self._pipelines: dict[str, Any] = {}
        self._closed = False

    @property
    def engine(self) -> Any:
        """The engine that serves, or None."""
        return self._engine

    @property
    def status(self) -> Status:
        """Where it stands now, what the engine says of itself included."""
        with self._changed:
            engine = self._engine
            return self._status if engine is None else replace(self._status, info=engine.info)

    def wait(self, seconds: float) -> Status:
        """The status after its next change, or after `seconds`."""
        with self._changed:
            self._changed.wait(seconds)
            return self.status

    def begin(self, config: EngineConfig) -> None:
        """Load an engine on a thread of its own, where it is another than serves. BadRequest if one is being loaded."""
        with self._changed:
            if self._status.busy:
                raise BadRequest("An engine is being loaded already: wait until it is ready.")
            if self._engine is not None and config == self._status.config:
                self._set(message="Ready", share=1.0, error="")
                return
            self._set(message=f"Loading {config.model}", share=None, busy=True, error="")
        threading.Thread(target=self._load, args=(config,), name="brisk-load", daemon=True).start()

    def reload(self, config: EngineConfig) -> Iterator[Status]:
        """Exchange the engine; every status on the way, the last one settled. A load once begun goes on unwatched."""
        self.begin(config)
        while (status := self.status).busy:
            yield status
            self.wait(0.5)
        yield status

    def pipeline(self, task: str) -> Any:
        """The pipeline of a task on the engine that serves. BadRequest where its model cannot do the task."""
        with self._changed:
            if self._engine is None:
                raise BadRequest("No engine is loaded: load one in the sidebar.")
            if task not in self._pipelines:
                self._pipelines[task] = load(TASKS[task].pipeline)(self._engine)
            return self._pipelines[task]

    def close(self) -> None:
        """Free the engine; one that is still being loaded is freed as soon as it is there."""
        with self._changed:
            self._closed = True
            engine, self._engine, self._pipelines = self._engine, None, {}
        if engine is not None:
            engine.close()

    def _load(self, config: EngineConfig) -> None:
        try:
            engine = self._open(config, lambda message, share: self._set(message=message, share=share))
        except UserError as error:
            self._fail(str(error))
        except MemoryError:
            self._fail(f"There is not enough memory for {config.model} in {config.precision}: choose a smaller one.")
        except Exception as error:
            log.exception("loading %s failed", config.model)
            self._fail(f"{config.model} could not be loaded ({type(error).__name__}): the log says more.")
        else:
            self._serve(engine, config)

    def _serve(self, engine: Any, config: EngineConfig) -> None:
        pipelines = {}
        for task in TASKS.values():  # now, so that nobody's first click waits for it
            with suppress(Exception):  # whoever asks for this one hears why
                pipelines[task.name] = load(task.pipeline)(engine)
        with self._changed:
            if self._closed:
                old = engine
            else:
                old, self._engine, self._pipelines = self._engine, engine, pipelines
            self._set(phase="ready", message="Ready", share=1.0, busy=False, error="", info=engine.info, config=config)
        if old is not None:
            old.close()

    def _fail(self, sentence: str) -> None:
        serving = self._engine is not None
        phase: Literal["ready", "failed"] = "ready" if serving else "failed"
        self._set(phase=phase, message="Ready" if serving else sentence, share=None, busy=False, error=sentence)

    def _set(
        self,
        *,
        message: str,
        share: float | None,
        phase: Literal["loading", "ready", "failed"] | None = None,
        busy: bool | None = None,
        error: str | None = None,
        info: EngineInfo | None = None,
        config: EngineConfig | None = None,
    ) -> None:
        with self._changed:  # an RLock underneath: callers may hold it
            old = self._status
            self._status = replace(
                old,
                message=message,
                share=share,
                phase=phase or ("loading" if busy and self._engine is None else old.phase),
                busy=old.busy if busy is None else busy,
                error=old.error if error is None else error,
                info=info or old.info,
                config=config or old.config,
            )
            self._changed.notify_all()

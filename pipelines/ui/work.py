"""One request at work: on a thread of its own, so that whoever waits sees time pass and can stop it at any moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from engine.errors import BadModel, BadRequest, UserError
from pipelines.ui.holder import EngineHolder

T = TypeVar("T")

BEAT_S = 0.25  # the longest a waiting screen goes without a sign of life
FRAME_S = 0.04  # the shortest time between two updates: 25 a second look smooth

_thread = threading.local()


class Stopped(BaseException):
    """Raised inside a pipeline whose request nobody wants any more. No error: it must pass every `except Exception`."""


def check_wanted() -> None:
    """Raises `Stopped` on a worker thread whose request was given up; give it to `EngineHolder`."""
    if (stopped := getattr(_thread, "stopped", None)) is not None and stopped.is_set():
        raise Stopped


@dataclass(frozen=True)
class Step(Generic[T]):
    """A sign of life. `value` is the newest result, None where nothing is new; `stage` says what is waited for."""

    value: T | None
    stage: str
    seconds: float  # since the request began to run


class Newest:
    """Lets only the newest run of each key (a visitor's tab) go on: a new one stops the one before it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, threading.Event] = {}

    @contextmanager
    def run(self, key: Hashable) -> Iterator[threading.Event]:
        """The event that is set once another run of the key begins."""
        stopped = threading.Event()
        with self._lock:
            before, self._running[key] = self._running.get(key), stopped
        if before is not None:
            before.set()
        try:
            yield stopped
        finally:
            with self._lock:
                if self._running.get(key) is stopped:
                    del self._running[key]


class _Worker(Generic[T]):
    """Runs `start(pipeline)` and keeps its newest value."""

    def __init__(self, start: Callable[[Any], Iterable[T]], pipeline: Any) -> None:
        self.stopped = threading.Event()
        self.done = False
        self.error: BaseException | None = None
        self._fresh: list[T] = []
        self._changed = threading.Condition()
        self._start, self._pipeline = start, pipeline
        threading.Thread(target=self._run, name="brisk-request", daemon=True).start()

    def newest(self, seconds: float) -> T | None:
        """The newest value not yet taken; waits at most `seconds` for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._fresh or self.done, seconds)
            value = self._fresh[-1] if self._fresh else None
            self._fresh.clear()
            return value

    def _run(self) -> None:
        _thread.stopped = self.stopped
        try:
            values: Iterable[T] = self._start(self._pipeline)
            try:
                for value in values:
                    with self._changed:
                        self._fresh[:] = [value]
                        self._changed.notify()
                    if self.stopped.is_set():
                        break
            finally:
                _thread.stopped = None  # a pipeline that tidies up may still ask the engine
                if isinstance(values, Generator):
                    values.close()
        except Stopped:
            pass
        except BaseException as error:
            self.error = error
        finally:
            with self._changed:
                self.done = True
                self._changed.notify()


def follow(
    holder: EngineHolder, task: str, start: Callable[[Any], Iterable[T]], stopped: threading.Event | None = None
) -> Iterator[Step[T]]:
    """Runs `start(pipeline of the task)` and yields what it gives, at most 25 times a second, at least 4 times.

    Waits for the engine while it loads. Closing this generator, or setting `stopped` (it then ends early), stops the
    work: a stream of the engine within one step, other calls before their next use of the engine.

    Raises
    ------
    BadModel : no engine could be loaded.
    BadRequest : the pipeline refused the request, or the engine was exchanged meanwhile.
    """
    stopped = stopped or threading.Event()
    began = time.monotonic()
    while (engine := holder.engine) is None:
        status = holder.status
        if status.phase == "failed":
            raise BadModel(f"No engine is loaded: {status.error}")
        share = "" if status.share is None else f" {status.share:.0%}"
        yield Step(None, f"Waiting for the model: {status.message}{share}", time.monotonic() - began)
        holder.wait(BEAT_S)
        if stopped.is_set():
            return
    began = time.monotonic()
    worker = _Worker(start, holder.pipeline(task))
    try:
        while not stopped.is_set():
            done = worker.done  # read before the value: nothing comes after it
            value = worker.newest(BEAT_S)
            if value is not None or not done:
                shown = time.monotonic()
                yield Step(value, "Reading", shown - began)
                if not worker.done:
                    time.sleep(max(0.0, FRAME_S - (time.monotonic() - shown)))
            if done:
                break
    finally:
        worker.stopped.set()
    if stopped.is_set():
        return
    if isinstance(worker.error, UserError) and holder.engine is not engine:
        raise BadRequest("The engine was exchanged while this request ran: run it again.") from worker.error
    if worker.error is not None:
        raise worker.error

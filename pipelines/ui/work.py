"""One request at work: on a thread of its own, so that whoever waits sees time pass and can stop it at any moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from engine.errors import BadModel, BadRequest, UserError
from engine.serving.cancellation import Cancellation, Cancelled
from pipelines.ui.holder import EngineHolder

T = TypeVar("T")

BEAT_S = 0.25  # the longest a waiting screen goes without a sign of life
FRAME_S = 0.04  # the shortest time between two updates: 25 a second look smooth
# All requests together: an update costs this process and the page that draws it time of a core, which decoding could
# use where both share cores (`python -m tests.browser.streams`).
UPDATES_PER_S = 50


@dataclass(frozen=True)
class Step(Generic[T]):
    """A sign of life.

    Attributes
    ----------
    value : the newest result; None where nothing is new.
    stage : what is waited for, in words.
    seconds : since the request began to wait, or to run.
    """

    value: T | None
    stage: str
    seconds: float


class Newest:
    """Lets only the newest run of each key (a visitor's tab) go on: a new one stops the one before it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, Cancellation] = {}

    @contextmanager
    def run(self, key: Hashable) -> Iterator[Cancellation]:
        """What is cancelled once another run of the key begins."""
        run = Cancellation()
        with self._lock:
            before, self._running[key] = self._running.get(key), run
        if before is not None:
            before.cancel()
        try:
            yield run
        finally:
            with self._lock:
                if self._running.get(key) is run:
                    del self._running[key]


class _Worker(Generic[T]):
    """Runs `start(pipeline)` until it ends or `cancellation` is cancelled, and keeps its newest value."""

    running: ClassVar[set[_Worker[Any]]] = set()

    def __init__(self, start: Callable[[Any], Iterable[T]], pipeline: Any, cancellation: Cancellation) -> None:
        self.done = False
        self.error: BaseException | None = None
        self._fresh: list[T] = []
        self._changed = threading.Condition()
        self._start, self._pipeline, self._cancellation = start, pipeline, cancellation
        self.running.add(self)
        threading.Thread(target=self._run, name="brisk-request", daemon=True).start()

    def newest(self, seconds: float) -> T | None:
        """The newest value not yet taken; waits at most `seconds` for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._fresh or self.done, seconds)
            value = self._fresh[-1] if self._fresh else None
            self._fresh.clear()
            return value

    def _run(self) -> None:
        values: Iterable[T] = ()
        try:
            with self._cancellation.scope():
                values = self._start(self._pipeline)
                for value in values:
                    with self._changed:
                        self._fresh[:] = [value]
                        self._changed.notify()
                    if self._cancellation.cancelled:
                        break
            if isinstance(values, Generator):
                values.close()  # out of the scope: a pipeline that tidies up may still ask the engine
        except Cancelled:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.running.discard(self)
            with self._changed:
                self.done = True
                self._changed.notify()


def follow(
    holder: EngineHolder, task: str, start: Callable[[Any], Iterable[T]], run: Cancellation | None = None
) -> Iterator[Step[T]]:
    """Runs `start(pipeline of the task)` and yields what it gives, at most 25 times a second (all requests together
    UPDATES_PER_S), at least 4 times.

    Waits for the engine while it loads. Closing this generator, or cancelling `run` (it then ends early), stops the
    work within one step of the engine.

    Parameters
    ----------
    holder : has the engine, or will have it.
    task : name of a task in `pipelines.TASKS`.
    start : called with the task's pipeline on a thread of its own; gives the values to show.
    run : what the work is a part of; None where nothing but closing stops it.

    Raises
    ------
    BadModel : no engine could be loaded.
    BadRequest : the pipeline refused the request, or the engine was exchanged meanwhile.
    """
    run = run or Cancellation()
    work = Cancellation(run)  # ends with this generator, however it is left
    began = time.monotonic()
    while (engine := holder.engine) is None:
        status = holder.status
        if status.phase == "failed":
            raise BadModel(f"No engine is loaded: {status.error}")
        share = "" if status.share is None else f" {status.share:.0%}"
        yield Step(None, f"Waiting for the model: {status.message}{share}", time.monotonic() - began)
        holder.wait(BEAT_S)
        if run.cancelled:
            return
    began = time.monotonic()
    worker = _Worker(start, holder.pipeline(task), work)
    try:
        while not run.cancelled:
            done = worker.done  # read before the value: nothing comes after it
            value = worker.newest(BEAT_S)
            if value is not None or not done:
                shown = time.monotonic()
                yield Step(value, "Reading", shown - began)
                if not worker.done:
                    frame_s = max(FRAME_S, len(worker.running) / UPDATES_PER_S)
                    time.sleep(max(0.0, frame_s - (time.monotonic() - shown)))
            if done:
                break
    finally:
        work.cancel()
    if run.cancelled:
        return
    if isinstance(worker.error, UserError) and holder.engine is not engine:
        raise BadRequest("The engine was exchanged while this request ran: run it again.") from worker.error
    if worker.error is not None:
        raise worker.error

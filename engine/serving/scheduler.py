"""Continuous batching: one thread owns the model and repeats schedule, take a turn, decode, finish.

Requests join and leave between steps. Prompts are run in chunks, and prompts and jobs take turns by the chunk, so
that streams beside them keep moving and none waits for another's end. Work that is not generation (scoring, search,
features) comes as a job: a generator that yields between its steps, run by the same thread.
"""

from __future__ import annotations

import atexit
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

from engine.backends.base import Backend
from engine.decoding.speculation import Speculation
from engine.errors import UserError
from engine.results import Completion
from engine.serving.batch import DecodeBatch
from engine.serving.cancellation import Cancellation, Cancelled, current
from engine.serving.prefill import PREFILL_CHUNK, Prefiller
from engine.serving.request import Request

__all__ = ["PREFILL_CHUNK", "Closed", "Job", "Scheduler"]

T = TypeVar("T")
Job = Generator[None, None, T]

# Tokens that running requests may come to hold in all: memory of slots is taken as it is written, 46 KB a token for
# SmolLM2-135M in fp32, so this is 750 MB. One that needs more runs alone.
TOKENS_IN_FLIGHT = 16_384

# Prompts of one call whose lengths are in the same bucket run together, those that begin alike side by side.
BUCKET = 64


class Closed(UserError):
    """The engine was closed while a request waited or ran."""

    def __init__(self) -> None:
        super().__init__("The engine was closed: load it again.")


class Scheduler:
    """Runs a backend for many callers.

    Parameters
    ----------
    backend : the model; called from the scheduler's thread only.
    batch : requests that may decode together.
    cached : False runs every request's whole text for each token (the KV cache switched off).
    on_start : called first on the scheduler's thread; thread counts are set per thread.
    prefill : runs prompts, and knows what of them is known already; by default nothing is.
    speculation : whether to guess tokens; needs the cache.
    """

    def __init__(
        self,
        backend: Backend,
        batch: int,
        cached: bool,
        on_start: Callable[[], None],
        prefill: Prefiller | None = None,
        speculation: bool = False,
    ) -> None:
        self._steps = 0
        self._backend = backend
        self._cached = cached
        self._on_start = on_start
        self._prefill = prefill or Prefiller(backend, None)
        self._decoding = DecodeBatch(backend, Speculation() if speculation else None)
        self._slots = list(range(batch - 1, -1, -1))
        self._waiting: deque[deque[Request]] = deque()  # a queue a call: the calls take turns
        self._running: list[Request] = []
        self._jobs: deque[tuple[Job[Any], Future[Any], Cancellation]] = deque()
        self._clock = 0  # turns given so far
        self._jobs_served = 0
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="brisk-engine", daemon=True)
        self._thread.start()
        atexit.register(self.close)  # a thread still in compiled code when Python ends would abort the process

    @property
    def steps(self) -> int:
        """Forward calls so far, a step of a job counted as one."""
        return self._steps + self._decoding.calls

    def submit(self, *requests: Request) -> None:
        """Let the requests of one call join as slots become free; several calls take turns.

        Within a call the longest go first, so that the last to run are short and slots do not stand empty behind one
        long text; requests of alike lengths run together, and those that begin alike reuse one prefill.
        """
        for request in requests:
            request.cancellation.check()
        ordered = deque(sorted(requests, key=lambda r: (-(r.reach // BUCKET), r.ids))) if requests else None
        with self._wake:
            if self._closed:
                raise Closed
            now = time.perf_counter()
            for request in requests:
                request.accepted = now
            if ordered:
                self._waiting.append(ordered)
            self._wake.notify()

    def complete(self, requests: list[Request], call: Cancellation) -> list[Completion]:
        """Submit the requests of one call and wait for all of them, in their order.

        Parameters
        ----------
        requests : parts of the call.
        call : is cancelled where one of them fails, or the caller is interrupted.
        """
        try:
            self.submit(*requests)
            for request in requests:
                for _ in request.stream():
                    pass
        except BaseException:
            call.cancel()
            raise
        return [request.completion() for request in requests]

    def run(self, job: Job[T]) -> T:
        """Run a job to its end between decode steps and return its result; callers wait their turn.

        Raises what the job raises, `Closed`, or `Cancelled` where the caller's scope is cancelled.
        """
        cancellation = Cancellation(current())
        cancellation.check()
        future: Future[T] = Future()
        with self._wake:
            if self._closed:
                raise Closed
            self._jobs.append((job, future, cancellation))
            self._wake.notify()
        try:
            return future.result()
        except BaseException:
            cancellation.cancel()  # an interrupted caller: the job is dropped before its next step
            raise

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` as a job of one step."""

        def job() -> Job[T]:
            return work()
            yield

        return self.run(job())

    def close(self) -> None:
        """Stop the thread after the step it is in; whoever still waits is told."""
        atexit.unregister(self.close)
        with self._wake:
            self._closed = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    # ---- the scheduler's thread

    def _loop(self) -> None:
        try:
            self._on_start()
            while True:
                with self._wake:
                    self._wake.wait_for(lambda: self._closed or self._waiting or self._running or self._jobs)
                    if self._closed:
                        break
                    self._schedule()
                self._turn()
                self._decode()
                self._finish()
        finally:  # whatever ends this thread, nobody may wait for it for ever
            with self._wake:
                self._closed = True
            for request in itertools.chain(self._running, *self._waiting):
                request.fail(Closed())
            for _, future, _ in self._jobs:
                _settle(future, None, Closed())

    def _schedule(self) -> None:
        """Drop what was cancelled; admit the next of each call in turn while there is a slot and room in flight.

        Who does not fit is waited for and not passed by: a long text must not starve among short ones.
        """
        for call in self._waiting:
            while call and call[0].cancellation.cancelled:
                call.popleft().fail(Cancelled())
        self._waiting = deque(filter(None, self._waiting))
        for dropped in [work for work in self._jobs if work[2].cancelled]:
            self._jobs.remove(dropped)
            job, future, _ = dropped
            job.close()
            _settle(future, None, Cancelled())
        in_flight = sum(request.reach for request in self._running)
        while self._waiting:
            call = self._waiting[0]
            request = call[0]
            if not self._slots or (self._running and in_flight + request.reach > TOKENS_IN_FLIGHT):
                return
            request.slot = self._slots.pop()
            request.served = self._clock
            in_flight += request.reach
            self._running.append(request)
            call.popleft()
            if call:
                self._waiting.rotate(-1)
            else:
                self._waiting.popleft()

    def _turn(self) -> None:
        """One chunk of a prompt, or one step of the oldest job: whoever has waited longest for a turn."""
        texts = [r for r in self._running if not self._cached or _unread(r)]
        first = min(texts, key=lambda r: r.served, default=None)
        self._clock += 1
        if self._jobs and (first is None or self._jobs_served <= first.served):
            self._jobs_served = self._clock
            self._advance_job()
        elif first is not None:
            first.served = self._clock
            self._read(first)

    def _read(self, request: Request) -> None:
        """Run a chunk of a prompt; without a cache, the whole text."""
        self._steps += 1
        try:
            if self._cached:
                logits = self._prefill.chunk(request)
            else:
                began = time.perf_counter()
                self._backend.adapt(request.slot, request.adapter, request.begins)
                logits = self._backend.extend(request.slot, 0, request.ids)
                if not request.tokens:
                    request.prefill_s = time.perf_counter() - began
            if logits is not None:
                request.advance(logits)
            if self._cached:
                self._prefill.keep(request)  # after the caller has its token
        except Exception as error:
            request.fail(error)

    def _decode(self) -> None:
        """One step for every request whose text is cached but for its last token."""
        batch = [r for r in self._running if not _unread(r) and not r.finish_reason]
        if self._cached and batch:
            self._decoding.step(batch)

    def _finish(self) -> None:
        """Free the slots of those that ended or were cancelled; their text is kept for the next turn of a chat."""
        for request in [r for r in self._running if r.finish_reason or r.cancellation.cancelled]:
            if not request.finish_reason:
                request.fail(Cancelled())
            self._running.remove(request)
            self._slots.append(request.slot)
            request.guesser.forget()
            if self._cached:
                if request.finish_reason != "error":
                    self._prefill.keep(request)
                self._prefill.leave(request)

    def _advance_job(self) -> None:
        """One step of the oldest job."""
        job, future, _ = self._jobs[0]
        try:
            self._steps += 1
            next(job)
        except StopIteration as end:
            self._jobs.popleft()
            _settle(future, end.value, None)
        except Exception as error:
            self._jobs.popleft()
            _settle(future, None, error)


def _unread(request: Request) -> bool:
    """Whether there is prompt to run: what is generated is cached by decoding."""
    return not request.tokens


def _settle(future: Future[T], value: T, error: BaseException | None) -> None:
    if future.set_running_or_notify_cancel():  # False: the caller is gone
        future.set_exception(error) if error else future.set_result(value)

"""Continuous batching: one thread owns the model and repeats schedule, run, sample, finish.

Requests join and leave between steps. A long prompt is run in chunks so that streams beside it keep moving, and
each prompt alone, so that its numbers never depend on its neighbours. Work that is not generation (scoring, search,
features) comes as a job: a generator that yields between its steps, run by the same thread in turn with decoding.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

import numpy as np

from engine.backends.base import Backend
from engine.errors import UserError
from engine.sequence import Sequence

T = TypeVar("T")
Job = Generator[None, None, T]

# Prompt tokens run in one step. About 0.7 s of work on two AVX2 cores: what a stream beside it waits at most.
PREFILL_CHUNK = 512


class Closed(UserError):
    """The engine was closed while a request waited or ran."""

    def __init__(self) -> None:
        super().__init__("The engine was closed: load it again.")


class Scheduler:
    """Runs a backend for many callers.

    Parameters
    ----------
    backend : the model; called from the scheduler's thread only.
    batch : sequences that may decode together.
    cached : False runs every sequence's whole text for each token (the KV cache switched off).
    on_start : called first on the scheduler's thread; thread counts are set per thread.
    """

    def __init__(self, backend: Backend, batch: int, cached: bool, on_start: Callable[[], None]) -> None:
        self.steps = 0  # forward calls so far
        self._backend = backend
        self._cached = cached
        self._on_start = on_start
        self._slots = list(range(batch - 1, -1, -1))
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._jobs: deque[tuple[Job[Any], Future[Any]]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="brisk-engine", daemon=True)
        self._thread.start()

    def submit(self, sequence: Sequence) -> None:
        """Let a sequence join as soon as a slot is free, in order of arrival."""
        with self._wake:
            if self._closed:
                raise Closed
            sequence.accepted = time.perf_counter()
            self._waiting.append(sequence)
            self._wake.notify()

    def run(self, job: Job[T]) -> T:
        """Run a job to its end between decode steps and return its result; callers wait their turn."""
        future: Future[T] = Future()
        with self._wake:
            if self._closed:
                raise Closed
            self._jobs.append((job, future))
            self._wake.notify()
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupted caller: the job is dropped before its next step
            raise

    def cancel(self, sequence: Sequence) -> None:
        """Stop a sequence before its next step."""
        with self._wake:
            sequence.cancelled = True
            self._wake.notify()

    def close(self) -> None:
        """Stop the thread after the step it is in; whoever still waits is told."""
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
                self._prefill()
                self._decode()
                self._finish()
                self._advance_job()
        finally:  # whatever ends this thread, nobody may wait for it for ever
            with self._wake:
                self._closed = True
            for sequence in itertools.chain(self._running, self._waiting):
                sequence.fail(Closed())
            for _, future in self._jobs:
                _settle(future, None, Closed())

    def _schedule(self) -> None:
        """Admit in order of arrival while slots are free; drop those cancelled before they began."""
        while self._waiting and (self._slots or self._waiting[0].cancelled):
            sequence = self._waiting.popleft()
            if sequence.cancelled:
                sequence.finish_reason = "cancelled"
                continue
            sequence.slot = self._slots.pop()
            self._running.append(sequence)

    def _prefill(self) -> None:
        """Run one chunk of the first sequence that still has prompt to run (all of it where nothing is cached)."""
        todo = next((s for s in self._running if s.computed < len(s.ids) - 1 or not s.tokens), None)
        if not self._cached:
            todo = next((s for s in self._running if not s.cancelled), None)
        if todo is None or todo.cancelled:
            return
        start = todo.computed if self._cached else 0
        chunk = todo.ids[start : start + PREFILL_CHUNK] if self._cached else todo.ids
        last = start + len(chunk) == len(todo.ids)
        began = time.perf_counter()
        try:
            self.steps += 1
            logits = self._backend.extend(todo.slot, start, chunk, logits=last)
            todo.computed = start + len(chunk)
            if not todo.tokens:
                todo.prefill_s += time.perf_counter() - began
            if logits is not None:
                todo.advance(logits)
        except Exception as error:
            todo.fail(error)
        if not self._cached:  # in turn, so that streams without a cache share the machine too
            self._running.remove(todo)
            self._running.append(todo)

    def _decode(self) -> None:
        """One step for every sequence whose text is cached but for its last token."""
        if not self._cached:
            return
        batch = [
            s for s in self._running
            if s.tokens and s.computed == len(s.ids) - 1 and not s.cancelled and not s.finish_reason
        ]  # fmt: skip
        if not batch:
            return
        tokens = np.array([s.ids[-1] for s in batch])
        positions = np.array([s.computed for s in batch])
        slots = np.array([s.slot for s in batch])
        try:
            self.steps += 1
            logits = self._backend.decode(tokens, positions, slots)
        except Exception as error:
            for sequence in batch:
                sequence.fail(error)
            return
        for row, sequence in enumerate(batch):
            sequence.computed += 1
            try:
                sequence.advance(logits[row])
            except Exception as error:
                sequence.fail(error)

    def _finish(self) -> None:
        """Free the slots of those that ended or were cancelled."""
        for sequence in [s for s in self._running if s.finish_reason or s.cancelled]:
            sequence.finish_reason = sequence.finish_reason or "cancelled"
            self._running.remove(sequence)
            self._slots.append(sequence.slot)

    def _advance_job(self) -> None:
        """One step of the oldest job."""
        if not self._jobs:
            return
        job, future = self._jobs[0]
        if future.cancelled():
            job.close()
            self._jobs.popleft()
            return
        try:
            self.steps += 1
            next(job)
        except StopIteration as end:
            self._jobs.popleft()
            _settle(future, end.value, None)
        except Exception as error:
            self._jobs.popleft()
            _settle(future, None, error)


def _settle(future: Future[T], value: T, error: Exception | None) -> None:
    if future.set_running_or_notify_cancel():  # False: the caller is gone
        future.set_exception(error) if error else future.set_result(value)

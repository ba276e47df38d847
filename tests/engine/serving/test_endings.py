"""How requests and jobs end on a scheduler: cancelled, failed, closed, and nobody is left waiting."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future

import numpy as np
import pytest

from engine.cache.prefix import PrefixTree
from engine.serving.cancellation import Cancellation, Cancelled
from engine.serving.prefill import PREFILL_CHUNK, Text
from engine.serving.scheduler import Closed, Scheduler
from engine.text.tokenizer import Tokenizer
from tests.engine.fake_backend import FakeBackend, RememberingBackend
from tests.engine.serving.conftest import Start
from tests.engine.serving.requests import expected, ids, request, settled


def test_a_cancelled_request_costs_at_most_one_more_step(start: Start, tokenizer: Tokenizer) -> None:
    scheduler = start(FakeBackend())
    one = request(tokenizer, [4], 4000)
    scheduler.submit(one)
    one.events.get(timeout=10)
    before = scheduler.steps
    one.cancellation.cancel()
    other = request(tokenizer, [9], 2)  # its two steps can only run after the cancelled one has left
    scheduler.submit(other)
    assert ids(other) == expected(9, 2)
    assert scheduler.steps - before <= 1 + 3
    with pytest.raises(Cancelled):
        ids(one)
    assert one.finish_reason == "cancelled"


def test_cancelled_while_waiting_never_runs(start: Start, tokenizer: Tokenizer) -> None:
    gate = threading.Event()
    backend = FakeBackend(gate=gate)
    scheduler = start(backend, batch=1)
    first, second, third = (request(tokenizer, [4 + i], 3) for i in range(3))
    for one in (first, second, third):
        scheduler.submit(one)
    second.cancellation.cancel()
    gate.set()
    assert ids(first) == expected(4, 3)
    assert ids(third) == expected(6, 3)
    assert second.tokens == []


def fails_alone(scheduler: Scheduler, tokenizer: Tokenizer, prompt: list[int], sentence: str) -> None:
    """The request of `prompt` ends with an error that says so, and one beside it as if it were alone."""
    good, bad = request(tokenizer, [4], 5), request(tokenizer, prompt, 5)
    scheduler.submit(bad)
    scheduler.submit(good)
    with pytest.raises((RuntimeError, ValueError), match=sentence):
        ids(bad)
    assert bad.finish_reason == "error"
    assert ids(good) == expected(4, 5)


def test_a_failing_prompt_fails_alone(start: Start, tokenizer: Tokenizer) -> None:
    scheduler = start(FakeBackend(poison=49))
    fails_alone(scheduler, tokenizer, [4, 49], "poisoned")


def test_not_a_number_fails_that_request_with_a_sentence(start: Start, tokenizer: Tokenizer) -> None:
    class Broken(FakeBackend):
        def after(self, token: int) -> np.ndarray:
            logits = super().after(token)
            if token == 30:
                logits[2] = np.nan
            return logits

    fails_alone(start(Broken()), tokenizer, [30], "not finite")


def test_a_failing_job_tells_its_caller_only(start: Start) -> None:
    scheduler = start(FakeBackend())

    def bad() -> Generator[None, None, None]:
        yield
        raise KeyError("no")

    def good() -> Generator[None, None, int]:
        yield
        return 3

    with pytest.raises(KeyError):
        scheduler.run(bad())
    assert scheduler.run(good()) == 3


def test_who_waits_for_what_was_cancelled_is_told(start: Start, tokenizer: Tokenizer) -> None:
    gate = threading.Event()
    backend = FakeBackend(gate=gate)
    scheduler = start(backend, batch=1)
    wanted = Cancellation()
    told: list[str] = []

    def ask(name: str, work: Callable[[], object]) -> threading.Thread:
        def waits() -> None:
            with wanted.scope():
                try:
                    work()
                except Cancelled:
                    told.append(name)

        thread = threading.Thread(target=waits)
        thread.start()
        return thread

    def asking(token: int) -> Callable[[], object]:
        def work() -> None:
            scheduler.submit(one := request(tokenizer, [token], 4000))
            list(one.stream())

        return work

    def job() -> Generator[None, None, None]:
        while True:
            yield

    def waiting(work: Callable[[], object], seen: Callable[[], int], name: str) -> threading.Thread:
        before = seen()
        thread = ask(name, work)
        while seen() == before:
            thread.join(0.01)
        return thread

    other = request(tokenizer, [9], 20)
    scheduler.submit(other)
    while not scheduler._running:  # it has the only slot; no public name shows who waits
        time.sleep(0.01)
    threads = [
        waiting(asking(5), lambda: len(scheduler._waiting), "waits for a slot"),
        waiting(asking(6), lambda: len(scheduler._waiting), "waits behind it"),
        waiting(lambda: scheduler.run(job()), lambda: len(scheduler._jobs), "a job at work"),
        waiting(lambda: scheduler.run(job()), lambda: len(scheduler._jobs), "a job behind it"),
    ]
    wanted.cancel()
    gate.set()
    for thread in threads:
        thread.join(10)
    assert sorted(told) == ["a job at work", "a job behind it", "waits behind it", "waits for a slot"]
    assert ids(other) == expected(9, 20)  # it was nobody's to cancel
    with wanted.scope():
        for late in (lambda: scheduler.submit(request(tokenizer, [4], 2)), lambda: scheduler.run(settled())):
            with pytest.raises(Cancelled):
                late()
    scheduler.run(settled())


def test_what_failed_or_broke_down_is_not_kept(start: Start, tokenizer: Tokenizer) -> None:
    class Broken(RememberingBackend):
        def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
            logits = super().decode(tokens, positions, slots)
            return np.where(positions[:, None] >= 33, np.nan, logits)

    tree = PrefixTree(10**6)
    scheduler = start(Broken(384), tree=tree)
    scheduler.submit(bad := request(tokenizer, [7] * 30, 12))
    with pytest.raises(ValueError, match="not finite"):
        ids(bad)
    scheduler.run(settled())
    assert tree.tokens == 30  # the prompt, whose numbers were good
    assert all(node.holders == 0 for node in tree.nodes())


def test_a_job_that_is_dropped_lets_go_of_what_it_held(start: Start) -> None:
    tree = PrefixTree(10**6)
    backend = RememberingBackend()
    scheduler = start(backend, tree=tree)
    prefill = scheduler._prefill

    def job() -> Generator[None, None, None]:
        text = Text([5] * (2 * PREFILL_CHUNK), 4)
        try:
            prefill.chunk(text)
            prefill.keep(text)
            yield
            raise KeyError
        finally:
            prefill.leave(text)

    with pytest.raises(KeyError):
        scheduler.run(job())
    assert tree.tokens == PREFILL_CHUNK
    assert all(node.holders == 0 for node in tree.nodes())


def test_closing_tells_everybody_who_waits(start: Start, tokenizer: Tokenizer) -> None:
    gate = threading.Event()
    scheduler = start(FakeBackend(gate=gate), batch=1)
    running, waiting = request(tokenizer, [4], 4000), request(tokenizer, [5], 4)
    scheduler.submit(running)
    scheduler.submit(waiting)
    closer = threading.Thread(target=scheduler.close)
    closer.start()
    gate.set()
    closer.join(10)
    assert not closer.is_alive()
    for one in (running, waiting):
        with pytest.raises(Closed, match="load it again"):
            ids(one)
    with pytest.raises(Closed):
        scheduler.submit(request(tokenizer, [4], 2))


def test_an_interrupted_callers_job_is_dropped_before_its_next_step(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = start(FakeBackend())
    begun, gate, steps = threading.Event(), threading.Event(), []

    def job() -> Generator[None, None, None]:
        while True:
            steps.append(1)
            begun.set()
            assert gate.wait(10)
            yield

    class Interrupted(Future):
        def result(self, timeout: float | None = None) -> object:
            assert begun.wait(10)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("engine.serving.scheduler.Future", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            scheduler.run(job())
    gate.set()

    def after() -> Generator[None, None, str]:
        return "ran"
        yield

    assert scheduler.run(after()) == "ran"
    assert len(steps) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_a_thread_that_died(tokenizer: Tokenizer) -> None:
    gate = threading.Event()

    def die() -> None:
        assert gate.wait(10)
        raise OSError("no threads to be had")

    scheduler = Scheduler(FakeBackend(), 2, True, die)
    one = request(tokenizer, [4], 2)
    scheduler.submit(one)
    gate.set()
    with pytest.raises(Closed):
        ids(one)
    with pytest.raises(Closed):
        scheduler.submit(request(tokenizer, [4], 2))
    scheduler.close()


@pytest.mark.slow
def test_the_thread_has_ended_when_python_does() -> None:
    """One that is still in compiled code then would abort the process."""
    code = """
import atexit, threading
atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))  # runs last
from engine.serving.scheduler import Scheduler
from tests.engine.fake_backend import FakeBackend
Scheduler(FakeBackend(), 2, True, lambda: None)
print([thread.name for thread in threading.enumerate()])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["['MainThread', 'brisk-engine']", "['MainThread']"], done.stderr

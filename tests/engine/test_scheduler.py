"""The scheduler on fake backends: who joins, who leaves, and that nobody is left waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from engine.config import SamplingParams
from engine.prefill import PREFILL_CHUNK
from engine.results import Token
from engine.scheduler import Closed, Scheduler
from engine.sequence import Sequence
from engine.tokenizer import Tokenizer
from tests.engine.fake_backend import FakeBackend, RememberingBackend

Start = Callable[..., Scheduler]


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    return Tokenizer.from_folder(tiny_llama)


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Scheduler] = []

    def begin(backend: FakeBackend, batch: int = 4, cached: bool = True) -> Scheduler:
        started.append(Scheduler(backend, batch, cached, lambda: None))
        return started[-1]

    yield begin
    for scheduler in started:
        scheduler.close()


def sequence(tokenizer: Tokenizer, prompt: list[int], most: int) -> Sequence:
    return Sequence(prompt, SamplingParams(max_tokens=most, min_tokens=most), tokenizer, 4096)


def ids(done: Sequence) -> list[int]:
    """Wait for a sequence's end and give its tokens; raises what ended it."""
    found = []
    while (event := done.events.get(timeout=10)) is not None:
        if isinstance(event, BaseException):
            raise event
        assert isinstance(event, Token)
        found.append(event.id)
    return found


def expected(last: int, most: int, vocabulary: int = 50) -> list[int]:
    found = []
    for _ in range(most):
        last = 3 + 7 * last % (vocabulary - 3)
        found.append(last)
    return found


@pytest.mark.parametrize("cached", [True, False])
def test_more_requests_than_slots_all_get_their_own_tokens(start: Start, tokenizer: Tokenizer, cached: bool) -> None:
    backend = FakeBackend()
    scheduler = start(backend, batch=3, cached=cached)
    asked = [sequence(tokenizer, [5, 3 + i], 4 + i) for i in range(9)]
    for one in asked:
        scheduler.submit(one)
    for i, one in enumerate(asked):
        assert ids(one) == expected(3 + i, 4 + i)
    assert max(backend.batches, default=0) <= 3
    assert bool(backend.batches) == cached  # without a cache every token runs the whole text


def test_a_long_prompt_runs_in_chunks_and_others_move_between(start: Start, tokenizer: Tokenizer) -> None:
    gate = threading.Event()
    backend = FakeBackend(gate=gate)
    scheduler = start(backend)
    short, long = sequence(tokenizer, [4], 6), sequence(tokenizer, [6] * (3 * PREFILL_CHUNK + 10), 2)
    scheduler.submit(short)
    scheduler.submit(long)
    gate.set()
    assert ids(short) == expected(4, 6)
    assert ids(long) == expected(6, 2)
    assert [n for _, _, n in backend.chunks if n > 1] == [PREFILL_CHUNK] * 3 + [10]
    assert short.tokens[2].timing is not None
    # The short one had decode steps of its own while the long one was still being read.
    assert backend.batches[:2] == [1, 1]


def test_a_cancelled_sequence_costs_at_most_one_more_step(start: Start, tokenizer: Tokenizer) -> None:
    scheduler = start(FakeBackend())
    one = sequence(tokenizer, [4], 4000)
    scheduler.submit(one)
    one.events.get(timeout=10)
    scheduler.cancel(one)
    before = scheduler.steps
    other = sequence(tokenizer, [9], 2)  # its two steps can only run after the cancelled one has left
    scheduler.submit(other)
    assert ids(other) == expected(9, 2)
    assert scheduler.steps - before <= 1 + 3


def test_cancelled_while_waiting_never_runs(start: Start, tokenizer: Tokenizer) -> None:
    gate = threading.Event()
    backend = FakeBackend(gate=gate)
    scheduler = start(backend, batch=1)
    first, second, third = (sequence(tokenizer, [4 + i], 3) for i in range(3))
    for one in (first, second, third):
        scheduler.submit(one)
    scheduler.cancel(second)
    gate.set()
    assert ids(first) == expected(4, 3)
    assert ids(third) == expected(6, 3)
    assert second.tokens == []


def test_a_failing_prompt_fails_alone(start: Start, tokenizer: Tokenizer) -> None:
    scheduler = start(FakeBackend(poison=49))
    good, bad = sequence(tokenizer, [4], 5), sequence(tokenizer, [4, 49], 5)
    scheduler.submit(bad)
    scheduler.submit(good)
    with pytest.raises(RuntimeError, match="poisoned"):
        ids(bad)
    assert ids(good) == expected(4, 5)


def test_not_a_number_fails_that_request_with_a_sentence(start: Start, tokenizer: Tokenizer) -> None:
    class Broken(FakeBackend):
        def after(self, token: int) -> np.ndarray:
            logits = super().after(token)
            if token == 30:
                logits[2] = np.nan
            return logits

    scheduler = start(Broken())
    good, bad = sequence(tokenizer, [4], 5), sequence(tokenizer, [30], 5)
    scheduler.submit(good)
    scheduler.submit(bad)
    with pytest.raises(ValueError, match="not finite"):
        ids(bad)
    assert ids(good) == expected(4, 5)


def test_jobs_and_streams_take_turns(start: Start, tokenizer: Tokenizer) -> None:
    backend = FakeBackend()
    scheduler = start(backend)
    seen: list[int] = []

    def job() -> Generator[None, None, str]:
        for _ in range(5):
            seen.append(len(backend.batches))
            yield
        return "done"

    one = sequence(tokenizer, [4], 400)
    scheduler.submit(one)
    assert scheduler.run(job()) == "done"
    assert len(set(seen)) > 1  # decode steps ran between the job's
    assert ids(one) == expected(4, 400)


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


def test_closing_tells_everybody_who_waits(start: Start, tokenizer: Tokenizer) -> None:
    gate = threading.Event()
    scheduler = start(FakeBackend(gate=gate), batch=1)
    running, waiting = sequence(tokenizer, [4], 4000), sequence(tokenizer, [5], 4)
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
        scheduler.submit(sequence(tokenizer, [4], 2))


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
        patch.setattr("engine.scheduler.Future", Interrupted)
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
    one = sequence(tokenizer, [4], 2)
    scheduler.submit(one)
    gate.set()
    with pytest.raises(Closed):
        ids(one)
    with pytest.raises(Closed):
        scheduler.submit(sequence(tokenizer, [4], 2))
    scheduler.close()


@pytest.mark.parametrize("cached", [True, False])
def test_nothing_of_a_neighbour_reaches_a_sequence(start: Start, tokenizer: Tokenizer, cached: bool) -> None:
    """The fake's numbers depend on the whole text in the slot: a mixed-up slot or place would change the tokens."""
    scheduler = start(RememberingBackend(), batch=3, cached=cached)
    prompts = [[5 + i] * (1 + 3 * i) for i in range(8)]
    alone = []
    for prompt in prompts:
        scheduler.submit(one := sequence(tokenizer, prompt, 12))
        alone.append(ids(one))
    together = [sequence(tokenizer, prompt, 12) for prompt in prompts]
    for one in together:
        scheduler.submit(one)
    assert [ids(one) for one in together] == alone
    assert len({tuple(found) for found in alone}) == len(alone)

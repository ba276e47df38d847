"""The scheduler on fake backends: who joins, who leaves, and that nobody is left waiting."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from engine.cache.prefix import PrefixTree
from engine.config import SamplingParams
from engine.results import Token
from engine.serving.cancellation import Cancellation, Cancelled
from engine.serving.prefill import PREFILL_CHUNK, Prefiller, Text
from engine.serving.request import Request
from engine.serving.scheduler import BUCKET, TOKENS_IN_FLIGHT, Closed, Scheduler
from engine.text.tokenizer import Tokenizer
from tests.engine.fake_backend import FakeBackend, RememberingBackend

Start = Callable[..., Scheduler]


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    return Tokenizer.from_folder(tiny_llama)


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Scheduler] = []

    def begin(
        backend: FakeBackend, batch: int = 4, cached: bool = True, tree: PrefixTree | None = None, guess: bool = False
    ) -> Scheduler:
        started.append(Scheduler(backend, batch, cached, lambda: None, Prefiller(backend, tree), guess))
        return started[-1]

    yield begin
    for scheduler in started:
        scheduler.close()


def request(tokenizer: Tokenizer, prompt: list[int], most: int) -> Request:
    return Request(prompt, SamplingParams(max_tokens=most, min_tokens=most), tokenizer, 4096)


def ids(done: Request) -> list[int]:
    """Wait for a request's end and give its tokens; raises what ended it."""
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
    asked = [request(tokenizer, [5, 3 + i], 4 + i) for i in range(9)]
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
    short, long = request(tokenizer, [4], 6), request(tokenizer, [6] * (3 * PREFILL_CHUNK + 10), 2)
    scheduler.submit(short)
    scheduler.submit(long)
    gate.set()
    assert ids(short) == expected(4, 6)
    assert ids(long) == expected(6, 2)
    assert [n for _, _, n in backend.chunks if n > 1] == [PREFILL_CHUNK] * 3 + [10]
    assert short.tokens[2].timing is not None
    # The short one had decode steps of its own while the long one was still being read.
    assert backend.batches[:2] == [1, 1]


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


def test_jobs_and_streams_take_turns(start: Start, tokenizer: Tokenizer) -> None:
    backend = FakeBackend()
    scheduler = start(backend)
    seen: list[int] = []

    def job() -> Generator[None, None, str]:
        for _ in range(5):
            seen.append(len(backend.batches))
            yield
        return "done"

    one = request(tokenizer, [4], 400)
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


def test_prompts_and_jobs_take_turns_by_the_chunk(start: Start, tokenizer: Tokenizer) -> None:
    """Two long prompts and a long job at once: each goes on as often as the others, and a stream beside them more."""
    gate = threading.Event()
    backend = FakeBackend(gate=gate)
    scheduler = start(backend)
    stream = request(tokenizer, [4], 40)
    first, second = (request(tokenizer, [token] * (6 * PREFILL_CHUNK), 2) for token in (5, 6))
    turns: list[int] = []
    decoded_at: list[int] = []
    decode = backend.decode

    def watched(tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        decoded_at.append(sum(count == PREFILL_CHUNK for _, _, count in backend.chunks))
        return decode(tokens, positions, slots)

    backend.decode = watched  # type: ignore[method-assign]

    def job() -> Generator[None, None, None]:
        for _ in range(6):
            turns.append(len(backend.chunks))
            yield

    for one in (stream, first, second):
        scheduler.submit(one)
    waiting = threading.Thread(target=scheduler.run, args=(job(),))
    waiting.start()
    while not scheduler._jobs:
        waiting.join(0.01)
    gate.set()
    for one in (stream, first, second):
        ids(one)
    waiting.join(10)
    slots = [slot for slot, _, count in backend.chunks if count == PREFILL_CHUNK]
    assert len(slots) == 12
    assert all(slots.count(slot) == 6 for slot in set(slots))
    assert all(a != b for a, b in itertools.pairwise(slots))  # never twice in a row while the other waits
    assert max(b - a for a, b in itertools.pairwise(turns)) <= 3  # a job waits for each of the others once
    assert decoded_at[0] == 0
    assert max(b - a for a, b in itertools.pairwise(decoded_at)) <= 1  # the stream moved on with every chunk


def test_calls_take_turns_so_that_one_of_many_prompts_starves_nobody(start: Start, tokenizer: Tokenizer) -> None:
    gate = threading.Event()
    backend = FakeBackend(gate=gate)
    scheduler = start(backend, batch=1)
    scheduler.submit(request(tokenizer, [9], 1))  # holds the only slot until the gate opens
    many = [request(tokenizer, [10 + i], 1) for i in range(20)]
    few = [request(tokenizer, [40 + i], 1) for i in range(2)]
    scheduler.submit(*many)
    scheduler.submit(*few)
    order: list[int] = []
    extend = backend.extend

    def watched(slot: int, first: int, tokens: list[int], logits: bool = True) -> np.ndarray | None:
        order.append(tokens[0])
        return extend(slot, first, tokens, logits)

    backend.extend = watched  # type: ignore[assignment]
    gate.set()
    for one in (*many, *few):
        ids(one)
    order = [token for token in order if token != 9]
    assert sorted(order) == sorted(one.ids[0] for one in (*many, *few))
    assert max(order.index(40), order.index(41)) <= 4


def test_prompts_of_one_call_run_by_length_and_those_that_begin_alike_together(
    start: Start, tokenizer: Tokenizer
) -> None:
    gate = threading.Event()
    backend = RememberingBackend(vocabulary=384, gate=gate)
    scheduler = start(backend, batch=2)
    prompts = [[7] * 10, [5] * 3 * BUCKET, [8] * 9 + [1], [5] * (3 * BUCKET + 4), [7] * 11, [9] * BUCKET]
    call = [request(tokenizer, prompt, 2) for prompt in prompts]
    scheduler.submit(*call)
    gate.set()
    for one in call:
        ids(one)
    # Longest bucket first; within a bucket in the order of their tokens.
    assert [count for _, start_, count in backend.chunks if start_ == 0] == [192, 196, 64, 10, 11, 10]
    assert [one.prompt_tokens for one in call] == [len(prompt) for prompt in prompts]


def test_what_runs_together_is_bounded_in_tokens_and_a_long_one_is_not_passed_by(
    start: Start, tokenizer: Tokenizer
) -> None:
    gate = threading.Event()
    scheduler = start(FakeBackend(gate=gate), batch=8)
    long = TOKENS_IN_FLIGHT // 3

    def asked(token: int, most: int) -> Request:
        return Request([token], SamplingParams(max_tokens=most, min_tokens=most), tokenizer, 10**6)

    reaching = [asked(5, long), asked(6, long), asked(7, long), asked(8, 3), asked(9, 2 * TOKENS_IN_FLIGHT)]
    for one in reaching:
        scheduler.submit(one)
    gate.set()
    together: list[int] = []

    def look() -> Generator[None, None, None]:
        for _ in range(40):
            together.append(sum(one.reach for one in scheduler._running))
            assert len(scheduler._running) < 2 or together[-1] <= TOKENS_IN_FLIGHT
            assert reaching[2] in scheduler._running or reaching[3] not in scheduler._running
            yield

    scheduler.run(look())
    assert max(together) > TOKENS_IN_FLIGHT // 2
    reaching[0].cancellation.cancel()
    assert len(ids(reaching[3])) == 3  # room again: the third came in, and the short one behind it
    for one in reaching[1:3]:
        one.cancellation.cancel()
    assert reaching[4].events.get(timeout=10) is not None  # more than the bound: alone
    reaching[4].cancellation.cancel()


@pytest.mark.parametrize("guess", [False, True])
def test_reuse_and_guesses_change_no_token_however_many_ask_at_once(
    start: Start, tokenizer: Tokenizer, guess: bool
) -> None:
    shared = [5 + i % 20 for i in range(60)]
    prompts = [[*shared[: 10 * (i % 7)], *([6 + i % 3, 9] * (1 + i % 5))] for i in range(24)]

    def params(i: int) -> SamplingParams:
        return SamplingParams(max_tokens=15, min_tokens=15, temperature=i % 2, seed=i, repetition_penalty=1 + i % 3 / 9)

    plain = start(RememberingBackend(384), batch=3)
    expected = []
    for i, prompt in enumerate(prompts):
        plain.submit(one := Request(prompt, params(i), tokenizer, 4096))
        expected.append(ids(one))
    tree = PrefixTree(150 * 8)  # too small for all: some are thrown away
    backend = RememberingBackend(384)
    scheduler = start(backend, batch=3, tree=tree, guess=guess)
    for _ in ("cold", "warm"):
        found: dict[int, list[int]] = {}

        def ask(i: int, found: dict[int, list[int]] = found) -> None:
            one = Request(prompts[i], params(i), tokenizer, 4096)
            scheduler.submit(one)
            found[i] = ids(one)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [found[i] for i in range(len(prompts))] == expected
    assert scheduler._prefill.reused > 100
    assert tree.nbytes <= tree.limit


def test_a_text_that_has_ended_keeps_no_index(start: Start, tokenizer: Tokenizer) -> None:
    def table(text: tuple[int, ...]) -> np.ndarray:
        return np.eye(384, dtype=np.float32)[15 - text[-1]]  # 7, 8, 7, 8, ...

    scheduler = start(RememberingBackend(384, table), guess=True)
    scheduler.submit(one := request(tokenizer, [7, 8] * 30, 30))
    guesser = one.guesser
    ids(one)
    scheduler.run(settled())
    assert guesser.tested > 0
    assert guesser.lookup.draft([1, 7, 8, 7], 1) == ([8], 1)  # it knows this text only


def test_the_next_turn_of_a_chat_reuses_prompt_and_answer(start: Start, tokenizer: Tokenizer) -> None:
    tree = PrefixTree(10**6)
    scheduler = start(RememberingBackend(384), tree=tree)
    scheduler.submit(first := request(tokenizer, [7] * 30, 12))
    answer = ids(first)
    turn = [*[7] * 30, *answer, 8, 9]
    scheduler.submit(second := request(tokenizer, turn, 3))
    ids(second)
    assert second.reused == 30 + 11  # all but the last token, which was never run
    timing = second.tokens[0].timing
    assert timing is not None
    assert (timing.prompt_tokens, timing.reused_tokens) == (44, 41)
    scheduler.run(settled())
    assert all(node.holders == 0 for node in tree.nodes())


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


def settled() -> Generator[None, None, None]:
    """A job that ends when what ended before it has left its slot."""
    yield


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


@pytest.mark.parametrize("cached", [True, False])
def test_nothing_of_a_neighbour_reaches_a_request(start: Start, tokenizer: Tokenizer, cached: bool) -> None:
    """The fake's numbers depend on the whole text in the slot: a mixed-up slot or place would change the tokens."""
    scheduler = start(RememberingBackend(), batch=3, cached=cached)
    prompts = [[5 + i] * (1 + 3 * i) for i in range(8)]
    alone = []
    for prompt in prompts:
        scheduler.submit(one := request(tokenizer, prompt, 12))
        alone.append(ids(one))
    together = [request(tokenizer, prompt, 12) for prompt in prompts]
    for one in together:
        scheduler.submit(one)
    assert [ids(one) for one in together] == alone
    assert len({tuple(found) for found in alone}) == len(alone)


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

"""The scheduler on fake backends: who joins, who takes turns, and what is shared."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator

import numpy as np
import pytest

from engine.cache.prefix import PrefixTree
from engine.config import SamplingParams
from engine.serving.prefill import PREFILL_CHUNK
from engine.serving.request import Request
from engine.serving.scheduler import BUCKET, TOKENS_IN_FLIGHT
from engine.text.tokenizer import Tokenizer
from tests.engine.fake_backend import FakeBackend, RememberingBackend
from tests.engine.serving.conftest import Start
from tests.engine.serving.requests import expected, ids, request, settled


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

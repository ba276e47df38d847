"""Speculation and failures in a decode step, on fakes whose guesses are never, always or sometimes right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.backends.base import MAX_ROWS
from engine.config import SamplingParams
from engine.decoding.speculation import Guesser, Speculation, StepCosts
from engine.serving.batch import DecodeBatch
from engine.serving.prefill import Prefiller
from engine.serving.request import Request
from engine.text.tokenizer import Tokenizer
from tests.engine.fake_backend import RememberingBackend

VOCABULARY = 384
Guess = Callable[[list[int], int], list[int]]


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    return Tokenizer.from_folder(tiny_llama)


class Guessing(Speculation):
    """Guesses that are made by `guess(ids, most)`, whatever they cost."""

    def __init__(self, guess: Guess) -> None:
        super().__init__()
        self.guess = guess

    def plan(self, texts: Sequence[tuple[Guesser, Sequence[int], int]]) -> list[list[int]]:
        left = MAX_ROWS - len(texts)
        drafts = []
        for _, ids, most in texts:
            drafts.append(self.guess(list(ids), min(most, left))[: max(0, min(most, left))])
            left -= len(drafts[-1])
        for (guesser, _, _), draft in zip(texts, drafts, strict=True):
            guesser._matched = 1 if draft else 0
        return drafts


def run(
    tokenizer: Tokenizer, backend: RememberingBackend, speculation: Speculation | None, prompts: list[list[int]],
    params: list[SamplingParams], window: int = 4096,
) -> tuple[list[Request], DecodeBatch]:  # fmt: skip
    """Each prompt to its end, all decoding together."""
    batch, prefill = DecodeBatch(backend, speculation), Prefiller(backend, None)
    running = []
    for slot, (prompt, wanted) in enumerate(zip(prompts, params, strict=True)):
        one = Request(prompt, wanted, tokenizer, window)
        one.slot = slot
        logits = prefill.chunk(one)
        assert logits is not None
        one.advance(logits)
        running.append(one)
    while left := [one for one in running if not one.finish_reason]:
        batch.step(left)
    return running, batch


def told(done: Request) -> Any:
    """All a caller sees but the clock."""
    assert done.tokens
    completion = done.completion()
    return completion.text, completion.token_ids, completion.logprobs, completion.top_logprobs, done.finish_reason


PROMPTS = [[5, 6, 7, 5, 6], [9] * 3, [10, 11, 12, 13]]
WANTED: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"temperature": 1.0, "seed": 7},
    "filtered": {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "seed": 1},
    "penalty": {"repetition_penalty": 1.7},
    "numbers": {"logprobs": 3, "temperature": 0.5, "seed": 2},
    "least": {"min_tokens": 25, "temperature": 2.0, "seed": 3},
    "one": {"max_tokens": 1},
    "two": {"max_tokens": 2},
}


def said_alone(tokenizer: Tokenizer, params: SamplingParams) -> list[list[int]]:
    done, _ = run(tokenizer, RememberingBackend(VOCABULARY), None, PROMPTS, [params] * 3)
    return [one.ids for one in done]


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("right", ["never", "always", "sometimes"])
def test_guesses_change_nothing_but_the_number_of_steps(tokenizer: Tokenizer, wanted: str, right: str) -> None:
    params = SamplingParams(**{"max_tokens": 30, **WANTED[wanted]})
    texts = said_alone(tokenizer, params)

    def guess(ids: list[int], most: int) -> list[int]:
        text = next(text for text in texts if text[: len(ids)] == ids)
        draft = text[len(ids) : len(ids) + most]
        if right == "never":
            return [(token + 1) % VOCABULARY for token in draft]
        if right == "sometimes":
            return [token if (len(ids) + i) % 3 else (token + 1) % VOCABULARY for i, token in enumerate(draft)]
        return draft

    plain, steps = run(tokenizer, RememberingBackend(VOCABULARY), None, PROMPTS, [params] * 3)
    backend = RememberingBackend(VOCABULARY)
    found, guessed = run(tokenizer, backend, Guessing(guess), PROMPTS, [params] * 3)
    assert [told(one) for one in found] == [told(one) for one in plain]
    made = sum(one.guessed for one in found)
    assert made == sum(one.guesser.right for one in found)
    if params.max_tokens <= 2:  # the one after the first is the last: nothing to guess before it
        assert (made, guessed.calls) == (0, steps.calls)
    elif right == "never":
        assert (made, guessed.calls) == (0, steps.calls)
        assert max(backend.rows_run) > 3
    else:
        assert made > 0
        assert guessed.calls < steps.calls
    for one in found:
        timing = one.tokens[-1].timing
        assert timing is not None
        assert timing.guessed_tokens == one.guessed
        assert backend.held[one.slot][: one.computed] == one.ids[: one.computed]


def test_a_stop_string_and_the_end_of_a_text_cut_a_right_guess_short(tokenizer: Tokenizer) -> None:
    wanted = [*tokenizer.encode("abcdefgh"), 2, *tokenizer.encode("never said")]

    def table(text: tuple[int, ...]) -> np.ndarray:
        logits = np.zeros(VOCABULARY, np.float32)
        logits[wanted[min(len(text) - 3, len(wanted) - 1)]] = 9
        return logits

    def guess(ids: list[int], most: int) -> list[int]:
        return wanted[len(ids) - 3 :][:most]

    for stop, text, reason in (((), "abcdefgh", "stop"), (("ef",), "abcd", "stop_string")):
        params = SamplingParams(max_tokens=40, stop=stop)
        plain, _ = run(tokenizer, RememberingBackend(VOCABULARY, table), None, [[5, 5, 5]], [params])
        found, batch = run(tokenizer, RememberingBackend(VOCABULARY, table), Guessing(guess), [[5, 5, 5]], [params])
        assert told(found[0]) == told(plain[0])
        assert (found[0].completion().text, found[0].finish_reason) == (text, reason)
        assert batch.calls == 1
        events = [found[0].events.get(timeout=1) for _ in range(len(found[0].tokens) + 1)]
        assert events == [*found[0].tokens, None]


def test_the_window_bounds_guesses_too(tokenizer: Tokenizer) -> None:
    class Windowed(RememberingBackend):
        def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
            assert positions.max() < 20
            return super().decode(tokens, positions, slots)

    params = SamplingParams(max_tokens=100, min_tokens=100)
    (done,), _ = run(
        tokenizer, Windowed(VOCABULARY), Guessing(lambda ids, most: [7] * most), [[5] * 12], [params], window=20
    )
    assert (len(done.tokens), done.finish_reason) == (8, "length")


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_backend_says_how_many_rows_a_slot_may_have(tokenizer: Tokenizer, most: int) -> None:
    params = SamplingParams(max_tokens=20, min_tokens=20)
    backend = RememberingBackend(VOCABULARY, most=most)
    found, _ = run(tokenizer, backend, Guessing(lambda ids, wanted: [7] * wanted), PROMPTS[:2], [params] * 2)
    assert max(backend.rows_run) == 2 * most  # the fake itself refuses more
    plain, _ = run(tokenizer, RememberingBackend(VOCABULARY), None, PROMPTS[:2], [params] * 2)
    assert [one.ids for one in found] == [one.ids for one in plain]


def test_prompt_lookup_finds_what_repeats_and_leaves_the_rest_alone(tokenizer: Tokenizer) -> None:
    """The real thing, with costs as on a machine where a row more costs a fifth of a step."""
    costs = StepCosts()
    for rows in range(1, MAX_ROWS + 1):
        costs.note(rows, 1 + 0.2 * (rows - 1))
    costs.note = lambda rows, seconds: None  # type: ignore[method-assign]
    cycle = list(range(20, 30))

    def repeats(text: tuple[int, ...]) -> np.ndarray:
        logits = np.zeros(VOCABULARY, np.float32)
        logits[cycle[len(text) % 10]] = 9
        return logits

    params = SamplingParams(max_tokens=200, min_tokens=200)
    for table, fewest, most in ((repeats, 0, 60), (None, 150, 199)):
        speculation = Speculation()
        speculation.costs = costs
        plain, _ = run(tokenizer, RememberingBackend(VOCABULARY, table), None, [[5, 6]], [params])
        (done,), batch = run(tokenizer, RememberingBackend(VOCABULARY, table), speculation, [[5, 6]], [params])
        assert done.ids == plain[0].ids
        assert fewest < batch.calls <= most
        if table is None:  # random text: a few guesses, given up
            assert done.guesser.tested < 20


def test_what_a_backend_finds_on_the_way_is_not_looked_for_again(tokenizer: Tokenizer) -> None:
    """And where it says that a request's numbers broke down, that request ends, and no other."""

    class Finding(RememberingBackend):
        found: np.ndarray | None = None
        broken = -1

        def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
            logits = super().decode(tokens, positions, slots)
            self.found = np.where(slots == self.broken, -1, logits.argmax(1))
            return np.zeros_like(logits)  # whoever looked here would find token 0

        def likeliest(self) -> np.ndarray | None:
            return self.found

    params = SamplingParams(max_tokens=12, min_tokens=12)
    plain, _ = run(tokenizer, RememberingBackend(VOCABULARY), None, PROMPTS, [params] * 3)
    for speculation in (None, Guessing(lambda ids, most: [7] * min(most, 2))):
        found, _ = run(tokenizer, Finding(VOCABULARY), speculation, PROMPTS, [params] * 3)
        assert [one.ids for one in found] == [one.ids for one in plain]
        backend = Finding(VOCABULARY)
        backend.broken = 1
        found, _ = run(tokenizer, backend, speculation, PROMPTS, [params] * 3)
        assert [one.finish_reason == "error" for one in found] == [False, True, False]
        assert [found[i].ids for i in (0, 2)] == [plain[i].ids for i in (0, 2)]


def test_what_fails_in_a_batch_is_found_by_trying_each_alone(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    params = SamplingParams(max_tokens=12, min_tokens=12)
    plain, _ = run(tokenizer, RememberingBackend(VOCABULARY), None, PROMPTS, [params] * 3)

    class Picky(RememberingBackend):
        def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
            if 1 in slots and len(self.batches) >= 3:
                raise RuntimeError("slot 1 is broken")
            return super().decode(tokens, positions, slots)

    for speculation in (None, Guessing(lambda ids, most: [7] * min(most, 2))):
        caplog.clear()
        found, batch = run(tokenizer, Picky(VOCABULARY), speculation, PROMPTS, [params] * 3)
        assert [one.finish_reason == "error" for one in found] == [False, True, False]
        assert [found[i].ids for i in (0, 2)] == [plain[i].ids for i in (0, 2)]
        assert found[1].ids == plain[1].ids[: len(found[1].ids)]
        assert caplog.text.count("each is tried alone") == 1  # and then the others go on together
        assert batch.calls < 3 * 12


def test_guesses_that_break_a_step_break_no_text(tokenizer: Tokenizer) -> None:
    class Narrow(RememberingBackend):
        def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
            if len(tokens) > 1:
                raise MemoryError
            return super().decode(tokens, positions, slots)

    params = SamplingParams(max_tokens=6, min_tokens=6)
    plain, _ = run(tokenizer, RememberingBackend(VOCABULARY), None, PROMPTS[:1], [params])
    found, _ = run(tokenizer, Narrow(VOCABULARY), Guessing(lambda ids, most: [7] * most), PROMPTS[:1], [params])
    assert told(found[0]) == told(plain[0])


def test_more_requests_than_rows_decode_in_several_calls_by_length(tokenizer: Tokenizer) -> None:
    params = SamplingParams(max_tokens=3, min_tokens=3)
    prompts = [[5 + i % 7] * (1 + 7 * i % 23) for i in range(MAX_ROWS + 5)]
    backend = RememberingBackend(VOCABULARY)
    lengths: list[list[int]] = []
    decode = backend.decode

    def watched(tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        lengths.append(positions.tolist())
        return decode(tokens, positions, slots)

    backend.decode = watched  # type: ignore[method-assign]
    found, _ = run(tokenizer, backend, None, prompts, [params] * len(prompts))
    assert [len(calls) for calls in lengths] == [MAX_ROWS, 5] * 2
    assert max(lengths[0]) <= min(lengths[1])
    for prompt, one in zip(prompts, found, strict=True):
        alone, _ = run(tokenizer, RememberingBackend(VOCABULARY), None, [prompt], [params])
        assert one.ids == alone[0].ids

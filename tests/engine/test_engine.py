"""The engine on tiny models: every lossless switch gives the same tokens; a bad request is one sentence."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import BadRequest, Engine, SamplingParams
from engine.decoding.speculation import Lookup, StepCosts
from engine.kernels import tiers
from tests.engine.conftest import Models
from tests.engine.reference import GREEDY, PROMPTS, expected_tokens, opened, random_tokens, tokens_of
from tests.tiny import FAMILIES

# ---- the same tokens


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("switches", [{}, {"kv_cache": False}, {"kernels": True}], ids=["plain", "no-cache", "kernels"])
def test_greedy_tokens_equal_transformers_generate(models: Models, family: str, switches: dict[str, Any]) -> None:
    folder = models(family)
    with opened(folder, **switches) as engine:
        assert not {*engine.info.notes} - {tiers.note()}  # the kernels did not fall back
        found = tokens_of(engine, PROMPTS[:4])
    assert found == [expected_tokens(folder, prompt, 20) for prompt in PROMPTS[:4]]
    assert len(set(itertools.chain(*found))) > 10


@pytest.mark.parametrize("precision", ["fp32", "int8", "half"])
def test_eight_threads_get_what_each_gets_alone(models: Models, precision: str) -> None:
    wanted = [SamplingParams(max_tokens=24, temperature=i % 2 * 1.0, seed=i, logprobs=0) for i in range(8)]
    # Without reuse: a prompt that is run from its middle has other roundings than one run whole.
    options: dict[str, Any] = {"precision": precision, "kernels": True, "max_batch": 5, "prefix_cache_mb": 0}
    with opened(models("llama"), speculation=False, **options) as engine:
        alone = [engine.generate(prompt, params)[0] for prompt, params in zip(PROMPTS, wanted, strict=True)]
        ready = threading.Barrier(8)

        def ask(i: int) -> Any:
            ready.wait(10)
            if i % 2:
                return "".join(token.text for token in engine.stream(PROMPTS[i], wanted[i]))
            engine.score(PROMPTS[i], [[7], [8, 9]])
            return engine.generate(PROMPTS[i], wanted[i])[0]

        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(ask, range(8)))
        for i, (one, other) in enumerate(zip(alone, together, strict=True)):
            if i % 2:
                assert other == one.text
            else:
                assert (other.token_ids, other.logprobs) == (one.token_ids, one.logprobs)  # to the last bit


def test_tasks_on_one_text_share_its_prefill(models: Models) -> None:
    """Generation, scoring and search on one text: its tokens are run once, whoever asks."""
    (text,) = random_tokens(200)
    asks: list[Callable[[Engine], Any]] = [
        lambda e: e.generate([[*text, 5, 6]], GREEDY)[0].timing,
        lambda e: e.score([[*text, 7]], [[8], [9, 10]])[0].timing,
        lambda e: e.spans([*text, 8, 9], text[:20], max_tokens=3).timing,
        lambda e: [token.timing for token in e.stream([*text, 5, 6, 7], GREEDY)][-1],
    ]
    with opened(models("llama")) as engine, opened(models("llama"), prefix_cache_mb=0) as plain:
        reused = [ask(engine).reused_tokens for ask in asks]
        assert reused == [0, 200, 200, 202]
        assert engine.prompt_tokens_computed == 202 + 1 + 2 + 1
        assert engine.prompt_tokens_reused == sum(reused)
        assert [ask(plain).reused_tokens for ask in asks] == [0] * 4
        assert plain.prompt_tokens_computed == 202 + 201 + 202 + 203
        for prompt in ([*text, 5, 6], [*text, 7], [*text[:100], 9]):
            assert tokens_of(engine, [prompt]) == tokens_of(plain, [prompt])
            warm, cold = (e.score([prompt], [[8], [9, 10], [9, 11, 12]])[0].logprobs for e in (engine, plain))
            assert warm == pytest.approx(cold, abs=1e-4)
    with opened(models("llama"), kv_cache=False) as uncached:
        assert [ask(uncached).reused_tokens for ask in asks] == [0] * 4


@pytest.mark.parametrize("kernels", [True, False])
def test_guesses_change_no_text_and_save_steps(models: Models, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts from one who knows the text, every fourth token of it wrong: random weights repeat nothing themselves."""
    sampled: list[dict[str, Any]] = [{"temperature": i % 2 / 2, "repetition_penalty": 1 + i % 3 / 20} for i in range(6)]
    wanted = [SamplingParams(max_tokens=60, min_tokens=60, seed=i, logprobs=1, **sampled[i]) for i in range(6)]
    options: dict[str, Any] = {"kernels": kernels, "prefix_cache_mb": 0, "max_batch": 4}
    with opened(models("llama"), speculation=False, **options) as plain:
        expected = [plain.generate([prompt], params)[0] for prompt, params in zip(PROMPTS, wanted, strict=False)]
        steps = plain.steps
    texts = [[*prompt, *done.token_ids] for prompt, done in zip(PROMPTS, expected, strict=False)]

    def draft(self: Lookup, ids: Sequence[int], most: int) -> tuple[list[int], int]:
        text = next(text for text in texts if text[: len(ids)] == ids)
        guess = text[len(ids) : len(ids) + most]
        return [token if (len(ids) + i) % 4 else (token + 1) % 384 for i, token in enumerate(guess)], 3

    monkeypatch.setattr(Lookup, "draft", draft)
    monkeypatch.setattr(StepCosts, "note", lambda self, rows, seconds: None)  # what a row costs here must not matter
    with opened(models("llama"), **options) as engine:
        found = [engine.generate([prompt], params)[0] for prompt, params in zip(PROMPTS, wanted, strict=False)]
        guessed = sum(done.timing.guessed_tokens for done in found)
        assert guessed > 60
        assert engine.steps == steps - guessed
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(lambda i: engine.generate([PROMPTS[i]], wanted[i])[0], range(6)))
    for done in (found, together):
        assert [one.token_ids for one in done] == [one.token_ids for one in expected]
        assert [one.text for one in done] == [one.text for one in expected]
        for one, other in zip(done, expected, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)


def test_more_prompts_than_places_come_back_in_order(engine: Engine) -> None:
    assert tokens_of(engine, PROMPTS * 3) == [tokens_of(engine, [prompt])[0] for prompt in PROMPTS] * 3


def test_a_stream_is_the_completion_bit_by_bit(models: Models) -> None:
    params = SamplingParams(max_tokens=30, temperature=1.2, seed=3, logprobs=2)
    with opened(models("llama"), speculation=False) as engine:  # steps of several rows round otherwise
        whole = engine.generate("The film was", params)[0]
        tokens = list(engine.stream("The film was", params))
    assert "".join(token.text for token in tokens) == whole.text
    assert tuple(token.id for token in tokens) == whole.token_ids
    assert tuple(token.top for token in tokens) == whole.top_logprobs
    timings = [token.timing for token in tokens if token.timing]
    assert [timing.new_tokens for timing in timings] == list(range(1, len(tokens) + 1))
    assert [timing.finish_reason for timing in timings[:-1]] == [None] * (len(tokens) - 1)
    assert timings[-1].finish_reason in ("length", "stop")
    assert whole.seed == 3


def test_a_text_prompt_is_its_tokens(engine: Engine) -> None:
    text = "The film was great"
    assert tokens_of(engine, text) == tokens_of(engine, engine.tokenizer.encode(text))
    assert tokens_of(engine, [text, PROMPTS[1]]) == [*tokens_of(engine, text), *tokens_of(engine, [PROMPTS[1]])]
    assert tokens_of(engine, np.array(PROMPTS[1])) == tokens_of(engine, [PROMPTS[1]])
    assert engine.generate([]) == []


def test_int8_is_near_fp32(models: Models) -> None:
    with opened(models("llama")) as full, opened(models("llama"), precision="int8") as small:
        text = PROMPTS[2]
        exact, stored = (engine.logprobs([text])[0].logprobs for engine in (full, small))
        assert 0 < np.abs(exact - stored).mean() < 0.2
        assert small.info.weight_bytes < 0.4 * full.info.weight_bytes


# ---- bad requests


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda e: e.generate(""), "The prompt is empty: give some text."),
        (lambda e: e.generate(["a", ""]), "The prompt is empty"),
        (lambda e: e.stream(""), "The prompt is empty"),
        (lambda e: e.generate([[5, 384]]), "A token id of the prompt is outside 0 to 383."),
        (lambda e: e.generate([[-1]]), "outside 0 to 383"),
        (lambda e: e.generate("a\0b"), "NUL character"),
        (lambda e: e.generate("a\ud800b"), "lone surrogate"),
        (
            lambda e: e.generate([[5] * 500], SamplingParams(max_tokens=13)),
            "The text has 500 tokens and 13 more are asked for, but the window is 512: shorten the text",
        ),
        (lambda e: e.stream([5], SamplingParams(max_tokens=512)), "1 tokens and 512 more"),
        (lambda e: e.generate("a" * 1_000_000), "but the window is 512"),
        (lambda e: e.score("a", []), "no choices to score"),
        (lambda e: e.score("a", ["b", ""]), "The choice is empty"),
        (lambda e: e.score("a", [[999]]), "A token id of the choice is outside"),
        (lambda e: e.score([[5] * 510], [[1], [1, 2, 3]]), "510 tokens and 3 more"),
        (lambda e: e.spans("a", []), "no text to take an answer from"),
        (lambda e: e.spans("a", [999]), "A token id of the context is outside"),
        (lambda e: e.spans("a", [5], top_k=0), "top_k is 0"),
        (lambda e: e.spans("a", [5], max_tokens=0), "max_tokens 0"),
        (lambda e: e.spans("a", [5], end=""), "The end is empty"),
        (lambda e: e.spans([5] * 500, [5], max_tokens=32), "500 tokens and 32 more"),
        (lambda e: e.embed("a", layer=3), "Layer 3 does not exist: give 0 to 2, or -1"),
        (lambda e: e.embed("a", layer=-2), "Layer -2"),
        (lambda e: e.embed("a", pooling="max"), "Pooling 'max' is unknown: choose mean or last"),
        (lambda e: e.embed(""), "The prompt is empty"),
        (lambda e: e.logprobs([[5] * 513]), "513 tokens, but the window is 512"),
        (lambda e: e.classify(["a"]), "is a causal model: this call needs classification"),
        (lambda e: e.answer("a", "b"), "this call needs question-answering"),
    ],
)
def test_a_bad_request_is_one_sentence_and_runs_nothing(
    engine: Engine, call: Callable[[Engine], object], sentence: str
) -> None:
    before = engine.steps
    with pytest.raises(BadRequest) as caught:
        call(engine)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert engine.steps == before


def test_a_text_that_just_fits_runs_to_the_end_of_the_window(engine: Engine) -> None:
    done = engine.generate([[5] * 500], SamplingParams(max_tokens=12, min_tokens=12))[0]
    assert len(done.token_ids) == 12
    assert engine.logprobs([[5] * 512])[0].logprobs.shape == (511,)


# ---- the real model


@pytest.mark.model
def test_the_default_model_says_what_transformers_says(default_model_folder: Path) -> None:
    prompts = ["The film begins with", "The capital of France is", "Once upon a time, in a small village"]
    with opened(default_model_folder, kernels=True, threads=0) as engine:
        found = tokens_of(engine, prompts, SamplingParams(max_tokens=24))
        ids = [engine.tokenizer.encode(prompt) for prompt in prompts]
    assert found == [expected_tokens(default_model_folder, prompt, 24) for prompt in ids]

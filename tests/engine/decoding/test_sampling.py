"""The sampler against Transformers' own logits processors, and its random draws against their probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from engine.config import SamplingParams
from engine.decoding.sampling import NonFiniteLogits, Sampler, heated, keep, log_softmax

NONE_SEEN = np.array([], np.int64)


def random_logits(seed: int, size: int = 200) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(size) * 3).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "given",
    [
        {"top_k": 1}, {"top_k": 17}, {"top_k": 500}, {"top_p": 0.3}, {"top_p": 0.95}, {"min_p": 0.1},
        {"top_k": 40, "top_p": 0.8, "min_p": 0.05},
    ],
)  # fmt: skip
def test_the_filters_keep_what_transformers_keeps(given: dict[str, Any], seed: int) -> None:
    params = SamplingParams(temperature=0.7, **given)
    logits = random_logits(seed)
    scores = TemperatureLogitsWarper(0.7)(None, torch.from_numpy(logits)[None])
    if params.top_k:
        scores = TopKLogitsWarper(params.top_k)(None, scores)
    if params.top_p < 1:
        scores = TopPLogitsWarper(params.top_p)(None, scores)
    if params.min_p:
        scores = MinPLogitsWarper(params.min_p)(None, scores)
    expected = scores[0].softmax(-1).numpy()
    ids, probabilities = keep(heated(logits, 0.7), params)
    assert set(ids.tolist()) == set(np.flatnonzero(expected).tolist())
    np.testing.assert_allclose(probabilities, expected[ids], rtol=1e-4)
    assert (np.diff(probabilities) <= 0).all()


def test_the_repetition_penalty_is_that_of_transformers() -> None:
    logits = random_logits(1)
    seen = np.array([3, 50, 120])
    scores = RepetitionPenaltyLogitsProcessor(1.7)(torch.from_numpy(seen)[None], torch.from_numpy(logits.copy())[None])
    best = int(scores[0].argmax())
    kept = logits.copy()
    assert Sampler(SamplingParams(repetition_penalty=1.7), {2})(logits, seen, 0).id == best
    assert np.array_equal(logits, kept)  # the backend's buffer is not ours to change
    favourite = int(logits.argmax())
    assert Sampler(SamplingParams(repetition_penalty=9.0), {2})(logits, np.array([favourite]), 0).id != favourite


def test_draws_follow_the_probabilities() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampler = Sampler(SamplingParams(temperature=1.0, seed=1), set())
    counts = np.bincount([sampler(logits, NONE_SEEN, 0).id for _ in range(20_000)], minlength=4)
    np.testing.assert_allclose(counts / 20_000, [0.5, 0.3, 0.15, 0.05], atol=0.012)


def test_a_seed_repeats_itself_and_is_told() -> None:
    params = SamplingParams(temperature=1.0)
    first = Sampler(params, set())
    again = Sampler(SamplingParams(temperature=1.0, seed=first.seed), set())
    draws = [[s(random_logits(i), NONE_SEEN, 0).id for i in range(50)] for s in (first, again)]
    assert draws[0] == draws[1]
    other = Sampler(SamplingParams(temperature=1.0, seed=first.seed + 1), set())
    assert [other(random_logits(i), NONE_SEEN, 0).id for i in range(50)] != draws[0]


def test_no_end_before_min_tokens() -> None:
    logits = random_logits(2)
    end = int(logits.argmax())
    sampler = Sampler(SamplingParams(min_tokens=3), {end})
    assert sampler(logits, NONE_SEEN, 2).id != end
    assert sampler(logits, NONE_SEEN, 3).id == end


def test_logprobs_are_the_models_own() -> None:
    logits = random_logits(3)
    choice = Sampler(SamplingParams(temperature=0.5, top_k=3, seed=0, logprobs=4), {2})(logits, NONE_SEEN, 0)
    expected = torch.from_numpy(logits).log_softmax(-1)
    assert choice.logprob == pytest.approx(float(expected[choice.id]), abs=1e-5)
    values, ids = expected.topk(4)
    assert [token for token, _ in choice.top] == ids.tolist()
    assert [value for _, value in choice.top] == pytest.approx(values.tolist(), abs=1e-5)
    np.testing.assert_allclose(log_softmax(logits), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_broken_numbers_are_never_drawn_from(broken: float) -> None:
    logits = random_logits(4)
    logits[9] = broken
    with pytest.raises(NonFiniteLogits):
        Sampler(SamplingParams(), {2})(logits, NONE_SEEN, 0)


def test_a_temperature_near_zero_is_greedy() -> None:
    logits = random_logits(5)
    assert Sampler(SamplingParams(temperature=1e-30, seed=0), {2})(logits, NONE_SEEN, 0).id == int(logits.argmax())

"""The sampler against Transformers' logits processors, and the draw against the probabilities it claims."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import (
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from engine.config import SamplingParams
from engine.decoding.sampling import NonFiniteLogits, Sampler, keep
from engine.results import log_softmax

NONE_SEEN = np.zeros(0, np.int64)
SEEDS = range(8)


def random_logits(seed: int, size: int = 200) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=size) * 3).astype(np.float32)


def by_transformers(logits: np.ndarray, params: SamplingParams) -> np.ndarray:
    """Probabilities [V] after Transformers' filters, in the order `generate` applies them."""
    scores, ids = torch.from_numpy(logits)[None].clone(), torch.LongTensor([[0]])
    if params.top_k:
        scores = TopKLogitsWarper(params.top_k)(ids, scores)
    if params.top_p < 1:
        scores = TopPLogitsWarper(params.top_p)(ids, scores)
    if params.min_p:
        scores = MinPLogitsWarper(params.min_p)(ids, scores)
    return scores.softmax(-1)[0].numpy()


@pytest.mark.parametrize("size", [200, 5000])  # few enough to be sorted whole, and more
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(top_k=1),
        SamplingParams(top_k=7),
        SamplingParams(top_k=5000),
        SamplingParams(top_p=0.9),
        SamplingParams(top_p=0.05),
        SamplingParams(min_p=0.1),
        SamplingParams(min_p=1.0),
        SamplingParams(top_k=40, top_p=0.8, min_p=0.02),
    ],
    ids=["all", "k1", "k7", "k5000", "p.9", "p.05", "m.1", "m1", "all-three"],
)
def test_filters_keep_what_transformers_keeps(params: SamplingParams, seed: int, size: int) -> None:
    logits = random_logits(seed, size)
    ids, probabilities = keep(logits, params)
    expected = by_transformers(logits, params)
    assert set(ids) == set(np.flatnonzero(expected))
    np.testing.assert_allclose(probabilities, expected[ids], rtol=2e-5)
    assert (np.diff(probabilities) <= 0).all()  # most likely first
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_equal_logits_at_the_border_of_top_k_all_stay() -> None:
    ids, _ = keep(np.array([1, 3, 2, 2, 0], np.float32), SamplingParams(top_k=2))
    assert sorted(ids) == [1, 2, 3]


@pytest.mark.parametrize("penalty", [0.5, 1.3, 10.0])
def test_repetition_penalty_equals_transformers(penalty: float) -> None:
    """Greedy, so the token chosen is the largest of the penalised logits."""
    seen = np.array([2, 5, 11, 40, 41])
    sampler = Sampler(SamplingParams(repetition_penalty=penalty), ())
    changed = 0
    for seed in range(60):
        logits = random_logits(seed, size=60)
        logits[seen] += 3 if penalty > 1 else -1  # so that the penalty decides
        processor = RepetitionPenaltyLogitsProcessor(penalty)
        expected = processor(torch.from_numpy(seen)[None], torch.from_numpy(logits)[None].clone())[0].argmax().item()
        assert sampler(logits, seen, 0).id == expected
        changed += expected != logits.argmax()
    assert changed > 5


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_no_ngram_comes_twice_as_with_transformers(n: int) -> None:
    """Greedy on the same few favourites, so that runs would come back at once."""
    rng = np.random.default_rng(n)
    sampler = Sampler(SamplingParams(no_repeat_ngram_size=n), ())
    processor = NoRepeatNGramLogitsProcessor(n)
    made: list[int] = []
    changed = 0
    for step in range(48):
        logits = rng.normal(size=50).astype(np.float32)
        logits[:3] += np.array([9, 8, 7], np.float32)
        before = logits.copy()
        allowed = processor(torch.tensor([made], dtype=torch.long), torch.from_numpy(logits)[None].clone())[0]
        made.append(sampler(logits, NONE_SEEN, step).id)
        assert made[-1] == allowed.argmax().item()
        np.testing.assert_array_equal(logits, before)
        changed += made[-1] != logits.argmax()
    runs = [tuple(made[i : i + n]) for i in range(len(made) - n + 1)]
    assert len(set(runs)) == len(runs) and changed > 5


def test_where_every_token_would_repeat_none_is_banned() -> None:
    sampler = Sampler(SamplingParams(no_repeat_ngram_size=1), ())
    chosen = [sampler(np.array([1, 0], np.float32), NONE_SEEN, step).id for step in range(4)]
    assert chosen == [0, 1, 0, 0]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("filters", [{}, {"top_k": 4}, {"top_p": 0.9}])
def test_draws_are_as_frequent_as_their_probabilities(temperature: float, filters: dict[str, float]) -> None:
    params = SamplingParams(temperature=temperature, seed=1, **filters)  # type: ignore[arg-type]
    logits = random_logits(3, size=12) / 6
    warmed = TemperatureLogitsWarper(temperature)(torch.zeros(1, 1), torch.from_numpy(logits)[None])[0].numpy()
    expected = by_transformers(warmed, params)
    sampler, draws = Sampler(params, ()), 6000
    counts = np.bincount([sampler(logits, NONE_SEEN, 0).id for _ in range(draws)], minlength=12)
    assert not counts[expected == 0].any()
    likely = expected * draws >= 5  # where the chi-squared approximation holds
    assert likely.sum() > 1
    shares = expected[likely].astype(np.float64)
    assert chisquare(counts[likely], shares / shares.sum() * counts[likely].sum()).pvalue > 1e-4


def test_temperature_zero_is_the_largest_logit() -> None:
    for seed in SEEDS:
        logits = random_logits(seed)
        assert Sampler(SamplingParams(), ())(logits, NONE_SEEN, 0).id == logits.argmax()


@pytest.mark.parametrize("temperature", [1e-4, 1e-30, 1e-45, 1e-300])
def test_however_cold_it_stays_the_largest_logit(temperature: float) -> None:
    for seed in SEEDS:
        logits = random_logits(seed)
        assert Sampler(SamplingParams(temperature=temperature), ())(logits, NONE_SEEN, 0).id == logits.argmax()


def test_huge_finite_logits_do_not_overflow() -> None:
    logits = np.array([-3e38, 3e38, 0], np.float32)
    assert Sampler(SamplingParams(temperature=0.1), ())(logits, NONE_SEEN, 0).id == 1


def test_a_seed_gives_the_same_draws_and_another_gives_others() -> None:
    def draws(seed: int | None) -> list[int]:
        sampler = Sampler(SamplingParams(temperature=1, seed=seed), ())
        return [sampler(random_logits(i), NONE_SEEN, 0).id for i in range(20)]

    assert draws(7) == draws(7)
    assert draws(7) != draws(8)


def test_a_seed_that_was_drawn_is_told_and_repeats() -> None:
    first = Sampler(SamplingParams(temperature=1), ())
    again = Sampler(SamplingParams(temperature=1, seed=first.seed), ())
    for i in range(20):
        assert first(random_logits(i), NONE_SEEN, 0).id == again(random_logits(i), NONE_SEEN, 0).id


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_no_end_of_text_before_min_tokens(temperature: float) -> None:
    logits = np.array([50, 0, 49, 1], np.float32)
    sampler = Sampler(SamplingParams(min_tokens=2, temperature=temperature, top_k=1), (0, 2))
    assert [sampler(logits, NONE_SEEN, made).id for made in range(4)] == [3, 3, 0, 0]
    assert logits.tolist() == [50, 0, 49, 1]  # the caller's array is left alone


def test_an_end_of_text_beyond_the_models_vocabulary_is_no_matter() -> None:
    sampler = Sampler(SamplingParams(min_tokens=1), (1, 900))
    assert sampler(np.array([0, 5, 1], np.float32), NONE_SEEN, 0).id == 2


@given(st.lists(st.floats(-80, 80, width=32), min_size=2, max_size=50), st.integers(0, 100))
def test_logprobs_are_the_models_own(values: list[float], count: int) -> None:
    """Before penalty, temperature and filters."""
    logits = np.array(values, np.float32)
    params = SamplingParams(logprobs=count, repetition_penalty=1.5, temperature=0.5, top_k=2, seed=0)
    choice = Sampler(params, ())(logits, np.array([0]), 0)
    expected = torch.from_numpy(logits).double().log_softmax(-1).numpy()
    assert choice.logprob == pytest.approx(expected[choice.id], abs=2e-5)
    assert len(choice.top) == min(count, len(values))
    assert [p for _, p in choice.top] == pytest.approx(sorted(expected, reverse=True)[:count], abs=2e-5)
    assert all(p == pytest.approx(expected[i], abs=2e-5) for i, p in choice.top)


def test_without_logprobs_none_are_told() -> None:
    choice = Sampler(SamplingParams(), ())(random_logits(0), NONE_SEEN, 0)
    assert (choice.logprob, choice.top) == (None, ())


def test_log_softmax_equals_torch_on_every_row() -> None:
    rows = np.stack([random_logits(seed) * 20 for seed in SEEDS])
    np.testing.assert_allclose(log_softmax(rows), torch.from_numpy(rows).log_softmax(-1), atol=2e-5, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_numbers_that_are_not_finite_are_never_drawn_from(bad: float, temperature: float) -> None:
    logits = random_logits(0)
    logits[17] = bad
    with pytest.raises(NonFiniteLogits, match="not finite: try precision fp32"):
        Sampler(SamplingParams(temperature=temperature), ())(logits, NONE_SEEN, 0)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.01, 1.0, 5.0]),
    st.floats(0.01, 0.999),
    st.sampled_from([0.0, 0.01, 0.5]),
)
def test_what_is_left_is_what_sorting_everything_leaves(seed: int, spread: float, top_p: float, min_p: float) -> None:
    """Flat and steep distributions, with ties: the slow twin sorts the whole vocabulary."""
    logits = np.round(np.random.default_rng(seed).normal(size=3000) * spread, 2).astype(np.float32)
    ids, probabilities = keep(logits, SamplingParams(top_p=top_p, min_p=min_p))
    order = np.argsort(-logits, kind="stable")
    expected = np.exp((logits[order] - logits.max()).astype(np.float64))
    expected /= expected.sum()
    count = int((expected.cumsum() - expected < top_p).sum())
    if min_p:
        count = min(count, int((expected >= min_p * expected[0]).sum()))
    assert abs(len(ids) - count) <= 1  # a sum that ends at top_p may round either way
    same = min(len(ids), count)
    assert np.array_equal(ids[:same], order[:same])
    assert probabilities[:same] == pytest.approx(expected[:same] / expected[: len(ids)].sum(), rel=1e-4)

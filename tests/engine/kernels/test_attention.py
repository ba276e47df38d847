"""Attention over keys and values as they are stored, piece by piece against numpy."""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
import pytest
import torch

from engine.cache.static import StaticCache
from engine.kernels import attention, keep
from engine.kernels.model import Cache
from engine.kernels.sizes import LANES
from engine.kernels.three_heads import AHEAD

SIZES = (8, 16, 24, 64, 80, 128)
KV = ("fp32", "half", "int8")
CONTEXT = 250  # more than twice as many positions as are asked for ahead
RANGES = (
    (0, 1),
    (0, 3),
    (0, 4),
    (0, 50),
    (7, 50),
    (13, 14),
    (0, AHEAD),
    (3, AHEAD + 4),
    (0, 2 * AHEAD),
    (7, CONTEXT),
    (20, 20),
)


# Wrappers, so that what they call is compiled once on a machine and not in every run.


@nb.njit(cache=True)
def _write(kept, scales, position, row):
    keep.write(kept, scales, position, row)


@nb.njit(cache=True)
def _dots(q, r, keys, scales, first, last, scores, n):
    attention.dots(q, r, keys, scales, first, last, scores, n)


@nb.njit(cache=True)
def _weigh(scores, n, values, scales, first, last, out, r):
    attention.weigh(scores, n, values, scales, first, last, out, r)


@nb.njit(cache=True)
def _three(q, keys, values, first, last, scores, out):
    """Heads 1 to 3 together."""
    attention.dots_of_three(q, 1, keys.stored, keys.scales, first, last, scores, 1, values.stored, first)
    attention.weigh_three(scores, 1, values.stored, values.scales, first, last, out, 1, keys.stored, first)


@nb.njit(cache=True)
def _soften(scores, n, first, last):
    return attention.soften(scores, n, first, last)


@nb.njit(cache=True)
def _attend(q, kept, first, last, scores, parts):
    attention.attend(q, kept, first, last, scores, parts, kept.keys, first)


@nb.njit(cache=True)
def _combine(parts, b, size, h):
    attention.combine(parts, b, size, h)


class Kept(NamedTuple):
    """One slot's and group's keys (or values) as stored, their scales, and their numbers f64 [C, E]."""

    stored: np.ndarray
    scales: np.ndarray
    numbers: np.ndarray


def kept(precision: str, size: int, seed: int) -> Kept:
    rows = torch.randn(1, CONTEXT, size, generator=torch.Generator().manual_seed(seed))
    cache = StaticCache(1, 1, 1, CONTEXT, size, precision=precision)
    cache.store(0, 0, 0, rows, rows)
    keys = cache.keys[0, 0, 0]
    bits = keys.view(torch.uint16) if keys.dtype == torch.float16 else keys
    numbers = cache.load(0, 0, CONTEXT)[0][0].double().numpy()
    return Kept(bits.numpy(), cache.key_scales[0, 0, 0].numpy(), numbers)


def queries(heads: int, size: int) -> np.ndarray:
    return (np.random.default_rng(3).standard_normal((heads, size)) / np.sqrt(size)).astype(np.float32)


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("precision", KV)
def test_dots_equal_numpy(precision: str, size: int) -> None:
    keys, q = kept(precision, size, 1), queries(2, size)
    for first, last in RANGES:
        scores = np.full((3, CONTEXT), np.nan, np.float32)
        _dots(q, 1, keys.stored, keys.scales, first, last, scores, 2)
        np.testing.assert_allclose(scores[2, first:last], keys.numbers[first:last] @ q[1], atol=1e-5)
        assert np.isnan(scores[:2]).all()
        assert np.isnan(scores[2, :first]).all()
        assert np.isnan(scores[2, last:]).all()


def test_soften_is_the_exponential_from_the_maximum_on_and_its_sum() -> None:
    given = (np.random.default_rng(0).standard_normal((2, CONTEXT)) * 10).astype(np.float32)
    for first, last in RANGES[:-1]:
        scores = given.copy()
        top, sum_ = _soften(scores, 1, first, last)
        expected = np.exp(given[1, first:last].astype(np.float64) - given[1, first:last].max())
        assert top == given[1, first:last].max()
        np.testing.assert_allclose(scores[1, first:last], expected, rtol=1e-5, atol=1e-30)
        assert sum_ == pytest.approx(expected.sum(), rel=1e-5)
        assert np.array_equal(scores[0], given[0])
        assert np.array_equal(scores[1, last:], given[1, last:])
    assert _soften(given.copy(), 0, 20, 20) == (attention.LOWEST, 0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("precision", KV)
def test_weigh_equals_numpy(precision: str, size: int) -> None:
    values = kept(precision, size, 2)
    weights = np.random.default_rng(4).random((2, CONTEXT)).astype(np.float32)
    for first, last in RANGES:
        out = np.full((3, size + 2), np.nan, np.float32)
        _weigh(weights.copy(), 1, values.stored, values.scales, first, last, out, 2)
        expected = weights[1, first:last] @ values.numbers[first:last]
        np.testing.assert_allclose(out[2, :size], expected, atol=1e-4)
        assert np.isnan(out[:2]).all()
        assert np.isnan(out[2, size:]).all()


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("precision", KV)
def test_three_heads_together_give_the_bits_of_each_alone(precision: str, size: int) -> None:
    """Where registers hold 8 numbers, a score's lanes are 8, not 16, and it is near: which tile takes a head depends on
    the model alone, so that its bits still depend on nothing else."""
    keys, values, q = kept(precision, size, 1), kept(precision, size, 2), queries(4, size)
    for first, last in RANGES:
        alone, together = np.zeros((2, 4, CONTEXT), np.float32)
        out, out_together = np.zeros((2, 4, size + 2), np.float32)
        for r in range(1, 4):
            _dots(q, r, keys.stored, keys.scales, first, last, alone, r)
            _weigh(alone, r, values.stored, values.scales, first, last, out, r)
        _three(q, keys, values, first, last, together, out_together)
        if LANES == 16:
            assert np.array_equal(alone, together)
            assert np.array_equal(out, out_together)
        np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(out_together, out, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("precision", KV)
@pytest.mark.parametrize("heads", [1, 3, 4])
def test_attention_by_shares_is_softmax_attention(precision: str, size: int, heads: int) -> None:
    """One thread's share, or those of three, one of them of no position at all: joined they are the softmax."""
    keys, values, q = kept(precision, size, 1), kept(precision, size, 2), queries(heads, size)
    q *= 20  # some positions matter much more than others
    expected = softmax(q.astype(np.float64) @ keys.numbers.T) @ values.numbers
    for shares in ((0, CONTEXT), (0, 17, 40, CONTEXT), (0, 0, 1, CONTEXT)):
        threads = len(shares) - 1
        parts = np.full((threads, 2, heads, size + 2), np.nan, np.float32)
        for t in range(threads):
            scores = np.full((heads, CONTEXT), np.nan, np.float32)
            both = Cache(keys.stored, values.stored, keys.scales, values.scales)
            _attend(q, both, shares[t], shares[t + 1], scores, parts[t, 1])
        h = np.full(heads * size + 3, 7, np.float32)
        _combine(parts, 1, size, h)
        np.testing.assert_allclose(h[:-3].reshape(heads, size), expected, atol=2e-5)
        assert (h[-3:] == 7).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("precision", KV)
def test_write_stores_the_bits_that_the_cache_would(precision: str, size: int) -> None:
    rows = torch.randn(1, 40, size, generator=torch.Generator().manual_seed(7)) * 3
    rows[0, 1] = 0
    rows[0, 2] *= 1e-12
    rows[0, 3] *= 1e-30
    rows[0, 4, :4] = torch.tensor([127.0, 0.5, 1.5, -2.5])  # ties, once the scale is 1
    rows[0, 4, 4:] = 0
    slow, fast = (StaticCache(1, 1, 1, 41, size, precision=precision) for _ in range(2))
    slow.store(0, 0, 1, rows, rows)
    for position, row in enumerate(rows[0].numpy(), 1):
        stored = fast.keys[0, 0, 0]
        bits = stored.view(torch.uint16) if stored.dtype == torch.float16 else stored
        _write(bits.numpy(), fast.key_scales[0, 0, 0].numpy(), position, row)
    assert torch.equal(slow.keys, fast.keys)
    assert torch.equal(slow.key_scales, fast.key_scales)
    assert (fast.keys[0, 0, 0, 0] == 0).all()


@pytest.mark.parametrize("precision", KV)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("at", [0, 3, 15])
def test_what_is_not_finite_is_not_written_as_if_it_were(precision: str, bad: float, at: int) -> None:
    row = queries(1, 16)[0]
    row[at] = bad
    cache = StaticCache(1, 1, 1, 2, 16, precision=precision)
    stored = cache.keys[0, 0, 0]
    bits = stored.view(torch.uint16) if stored.dtype == torch.float16 else stored
    _write(bits.numpy(), cache.key_scales[0, 0, 0].numpy(), 1, row)
    assert not cache.load(0, 0, 2)[0][0, 1].isfinite().all()

"""Each vector operation against numpy, on numbers where only one answer is right."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest

from engine.kernels import vectors as v


@nb.njit(cache=True)
def _load(array, row, column, out):
    v.store(out, 1, 3, v.load(array, row, column))


@nb.njit(cache=True)
def _fma(x, out):
    v.store(out, 0, 0, v.fma(v.load(x, 0, 0), v.load(x, 1, 0), v.load(x, 2, 0)))


@nb.njit(cache=True)
def _totals(x, out):
    out[0, 0] = v.total(v.load(x, 0, 0))
    v.store_four_totals(out, 0, 1, v.load(x, 0, 0), v.load(x, 1, 0), v.load(x, 2, 0), v.load(x, 3, 0))
    out[0, 5] = v.total(v.zeros())
    out[0, 6] = v.total(v.splat(x[0, 0]))


@nb.njit(cache=True)
def _dots(a, b, scales, factor, out, sums):
    pair = v.dot(v.int_zeros(), v.load_shorts(a, 0, 0), v.load_shorts(b, 0, 0))
    again = v.dot(pair, v.load_shorts(a, 0, 0), v.load_shorts(b, 0, 0))
    sums[0] = v.int_total(pair)
    sums[1] = v.int_total(again)
    v.store(out, 0, 0, v.as_floats(pair))
    v.store_four_scaled(out, 1, 2, pair, again, v.int_zeros(), pair, scales, factor)


@nb.njit(cache=True)
def _nibbles(array, ones, out):
    """Position k of each vector of 32 shorts shows as lane k // 2 of a dot with 1 at k alone."""
    words = v.load_words(array, 1, 0)
    for k in range(32):
        one = v.load_shorts(ones, k, 0)
        out[0, k] = v.int_total(v.dot(v.int_zeros(), v.load_nibbles(array, 1, 16), one))
        out[1, k] = v.int_total(v.dot(v.int_zeros(), v.nibble_0(words), one))
        out[2, k] = v.int_total(v.dot(v.int_zeros(), v.nibble_1(words), one))
        out[3, k] = v.int_total(v.dot(v.int_zeros(), v.nibble_2(words), one))
        out[4, k] = v.int_total(v.dot(v.int_zeros(), v.nibble_3(words), one))


@nb.njit(cache=True)
def _fourfold(halves, out):
    v.store(out, 0, 0, v.load_fourfold(halves, 1, 2))


@nb.njit(cache=True)
def _rounded(x, out):
    v.store_rounded(out, 1, 4, v.load(x, 0, 0))


@nb.njit(cache=True)
def _prefetch(array):
    v.prefetch(array, 0)
    v.prefetch(array, 1 << 40)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("stored", [np.float32, np.float16, np.int8])
def test_sixteen_are_loaded_as_floats_and_no_others_written(stored: type) -> None:
    array: np.ndarray = (random(3, 40) * 50).astype(stored)
    out = np.full((3, 24), 7, np.float32)
    _load(array.view(np.uint16) if stored is np.float16 else array, 2, 5, out)
    expected = np.full((3, 24), 7, np.float32)
    expected[1, 3:19] = array[2, 5:21]
    assert np.array_equal(out, expected)


def test_fma_rounds_once() -> None:
    x = np.zeros((3, 16), np.float32)
    x[0] = x[1] = 1 + 2.0**-12
    x[2] = -(1 + 2.0**-11)
    out = np.zeros((1, 16), np.float32)
    _fma(x, out)
    assert (out == np.float32(2.0**-24)).all()  # rounded twice it is 0


def test_totals_count_every_lane_once() -> None:
    x = (2.0 ** np.arange(16)[None] * np.array([[1], [3], [5], [7]])).astype(np.float32)  # exact in any order
    out = np.zeros((1, 8), np.float32)
    _totals(x, out)
    assert out[0].tolist() == [65535, 65535, 3 * 65535, 5 * 65535, 7 * 65535, 0, 16, 0]


@pytest.mark.parametrize("stored", [np.int8, np.int16])
def test_dots_of_shorts_are_exact(stored: type) -> None:
    generator, info = np.random.default_rng(1), np.iinfo(stored)
    a: np.ndarray = generator.integers(info.min, info.max + 1, (1, 32)).astype(stored)
    b = generator.integers(-4000, 4001, (1, 32)).astype(np.int16)
    a[0, :2], b[0, :2] = info.min, -4000
    out, sums = np.full((2, 16), 7, np.float32), np.zeros(2, np.int64)
    scales, factor = random(16), np.float32(0.3)
    _dots(a, b, scales, factor, out, sums)
    products = a[0].astype(np.int64) * b[0].astype(np.int64)
    assert np.array_equal(out[0], products.reshape(16, 2).sum(-1).astype(np.float32))
    assert sums.tolist() == [products.sum(), 2 * products.sum()]
    expected = np.full(16, 7, np.float32)
    expected[2:6] = np.array([1, 2, 0, 1], np.float32) * np.float32(products.sum()) * scales[2:6] * factor
    assert np.array_equal(out[1], expected)


def test_nibbles_come_in_the_order_they_are_multiplied_in() -> None:
    array = np.random.default_rng(2).integers(0, 256, (2, 64)).astype(np.uint8)
    found = np.zeros((5, 32), np.int64)
    _nibbles(array, np.eye(32, dtype=np.int16), found)
    assert np.array_equal(found[0], np.concatenate([array[1, 16:32] & 15, array[1, 16:32] >> 4]))
    words = array[1].view("<u2")
    for i in range(4):
        assert np.array_equal(found[1 + i], words >> 4 * i & 15)


def test_four_halves_each_four_times() -> None:
    halves = random(2, 8).astype(np.float16)
    out = np.zeros((1, 16), np.float32)
    _fourfold(halves.view(np.uint16), out)
    assert np.array_equal(out[0], halves[1, 2:6].astype(np.float32).repeat(4))


def test_rounding_to_shorts_sends_ties_to_the_even_number() -> None:
    x = np.array(
        [[0.5, 1.5, 2.5, -0.5, -1.5, 0.49, 0.51, -0.51, 32767, -32767, 3, -3, 99.5, 100.5, 0, 1e-30]], np.float32
    )
    out = np.full((2, 24), 7, np.int16)
    _rounded(x, out)
    assert out[1, 4:20].tolist() == [0, 2, 2, 0, -2, 0, 1, -1, 32767, -32767, 3, -3, 100, 100, 0, 0]
    assert (out[0] == 7).all()
    assert (out[1, :4] == 7).all()
    assert (out[1, 20:] == 7).all()


def test_reading_ahead_may_go_beyond_the_end() -> None:
    array = random(2, 16)
    kept = array.copy()
    _prefetch(array)
    assert np.array_equal(array, kept)

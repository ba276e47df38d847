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
    out[0, 1] = v.total(v.zeros())
    out[0, 2] = v.total(v.splat(x[0, 0]))


@nb.njit(cache=True)
def _arithmetic(x, out):
    a, b = v.get(x[0], 3), v.get(x[1], 3)
    for row, value in enumerate((v.plus(a, b), v.less(a, b), v.times(a, b), v.over(a, b), v.greater(a, b), v.exp(a))):
        v.put(out[row], 2, value)
    out[6, 0] = v.greatest(a)


@nb.njit(cache=True)
def _halves(x, out):
    v.put(out, 1, v.get(x, 0))


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
    x = 2.0 ** np.arange(16, dtype=np.float32)[None]  # exact in any order
    out = np.zeros((1, 4), np.float32)
    _totals(x, out)
    assert out[0].tolist() == [65535, 0, 16, 0]


def test_arithmetic_is_numpys() -> None:
    x = random(2, 24) * 20
    out = np.full((7, 20), 7, np.float32)
    _arithmetic(x, out)
    a, b = x[:, 3:19]
    for row, expected in enumerate((a + b, a - b, a * b, a / b, np.maximum(a, b))):
        assert np.array_equal(out[row, 2:18], expected)
    np.testing.assert_allclose(out[5, 2:18], np.exp(a.astype(np.float64)), rtol=3e-7)
    assert out[6, 0] == a.max()
    assert (out[:, :2] == 7)[:6].all()
    assert (out[:6, 18:] == 7).all()


def test_exp_keeps_nan_and_clamps_the_rest() -> None:
    x = np.zeros((2, 24), np.float32)
    x[0, 3:9] = (np.nan, np.inf, -np.inf, 200, -200, 0)
    out = np.zeros((7, 20), np.float32)
    _arithmetic(x, out)
    found = out[5, 2:8]
    assert np.isnan(found[0])
    assert found[1] == found[3] == pytest.approx(np.exp(np.float32(88)), rel=1e-6)
    assert found[2] == found[4] == pytest.approx(np.exp(np.float32(-87)), rel=1e-6)
    assert found[5] == 1


def test_halves_are_rounded_to_the_nearest() -> None:
    x = random(1, 16)[0] * 100
    out = np.zeros(20, np.uint16)
    _halves(x, out)
    assert np.array_equal(out[1:17].view(np.float16), x.astype(np.float16))
    assert not out[17:].any()
    assert out[0] == 0


def test_reading_ahead_may_go_beyond_the_end() -> None:
    array = random(2, 16)
    kept = array.copy()
    _prefetch(array)
    assert np.array_equal(array, kept)

"""Single numbers in compiled code."""

from __future__ import annotations

import numba as nb
import numpy as np

from engine.kernels import scalars


@nb.njit
def _widen_all(bits, out):
    for i in range(bits.shape[0]):
        out[i] = scalars.widen(bits[i])


@nb.njit
def _exp_all(x, out):
    for i in range(x.shape[0]):
        out[i] = scalars.exp(x[i])


def test_every_half_is_widened_exactly() -> None:
    bits = np.arange(65536, dtype=np.uint32).astype(np.uint16)
    out = np.empty(65536, np.float32)
    _widen_all(bits, out)
    expected = bits.view(np.float16).astype(np.float32)
    finite = np.isfinite(expected)
    assert np.array_equal(out[finite], expected[finite])


def test_int8_is_widened_by_value() -> None:
    values = np.arange(-128, 128).astype(np.int8)
    out = np.empty(256, np.float32)
    _widen_all(values, out)
    assert np.array_equal(out, values.astype(np.float32))


def test_exp_is_good_to_seven_digits_and_clamped() -> None:
    x = np.linspace(-87, 88, 200_001).astype(np.float32)
    out = np.empty_like(x)
    _exp_all(x, out)
    expected = np.exp(x.astype(np.float64))
    assert (np.abs(out - expected) / expected).max() < 3e-7
    far = np.array([-1e30, -200, 500], np.float32)
    out = np.empty_like(far)
    _exp_all(far, out)
    assert np.isfinite(out).all()
    assert out[0] < 1e-37

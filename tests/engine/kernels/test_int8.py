"""Rounded activations, and int8 products held to whole-number arithmetic in numpy, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.kernels.products import Stored, activations, in_int8, limit, plain, product, rounded, stored

WIDTHS = (576, 1536, 4096, 8960)


def slow_product(m: Stored, x: np.ndarray) -> np.ndarray:
    """Whole numbers summed in int64, then the two multiplications in float32."""
    rows, columns = m.numbers.shape
    whole = rounded(x, columns)
    weight = np.rint(m.numbers / m.scale[:rows, None]).astype(np.int64)
    sums = plain(whole, -(-columns // 4) * 4)[:, :columns] @ weight.T
    assert np.abs(sums).max(initial=0) < 2**31
    return sums.astype(np.float32) * m.scale[:rows] * whole.scales[:, None]


@pytest.mark.parametrize("columns", [1, 15, 16, 33, 100, *WIDTHS])
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e30])
def test_activations_come_back_to_half_a_step(columns: int, size: float) -> None:
    x = activations(3, columns) * np.float32(size)
    whole = rounded(x, columns)
    q = plain(whole, whole.q.shape[1])
    found = q[:, :columns].astype(np.float64) * whole.scales[:, None]
    assert (np.abs(found - x[:, :columns]) <= 0.505 * whole.scales[:, None]).all()
    assert (np.abs(q[:, :columns]).max(-1) == limit(columns)).all()  # the whole range is used
    filled = -(-columns // 16) * 16
    assert (q[:, columns:filled] == 0).all()  # what fills the last vector counts for nothing
    assert (whole.q[:, filled:] == 12345).all()  # and nothing beyond is touched
    groups = [q[:, first : min(first + 32, filled)].sum(-1) for first in range(0, columns, 32)]
    assert np.array_equal(whole.sums[:, 0], q[:, :columns].sum(-1))
    assert np.array_equal(whole.sums[:, 1 : 1 + len(groups)], np.stack(groups, -1))
    assert (whole.sums[:, 1 + len(groups) :] == 12345).all()


@pytest.mark.parametrize("columns", [5, 100])
def test_ties_go_to_the_even_number(columns: int) -> None:
    top = limit(columns)  # a scale of 1: activations are their own whole numbers
    x = np.zeros((1, 112), np.float32)
    x[0, :5] = (0.5, 1.5, -2.5, -0.5, top)
    x[0, columns - 1] = top
    whole = rounded(x, columns)
    assert whole.scales[0] == 1
    assert plain(whole, 16)[0, :4].tolist() == [0, 2, -2, 0]


@pytest.mark.parametrize("way", ["int8", "int4"])
def test_zeros_stay_zeros(way: str) -> None:
    m = stored(way, 5, 160)
    assert (product(m, np.zeros((6, 160), np.float32)) == 0).all()


@pytest.mark.parametrize("way", ["int8", "int4"])
def test_numbers_too_small_to_be_divided_by_are_as_good_as_zero(way: str) -> None:
    m = stored(way, 5, 160)
    x = activations(3, 160) * np.float32(1e-39)
    assert (np.abs(product(m, x)) < 1e-35).all()


@pytest.mark.parametrize("way", ["int8", "int4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("columns", [96, 160])
@pytest.mark.parametrize("at", [0, 5, 37, -1, slice(None)])
def test_what_is_not_finite_stays_so_and_harms_no_other_token(
    way: str, bad: float, columns: int, at: int | slice
) -> None:
    m = stored(way, 5, columns)
    x = activations(6, columns)[:, :columns].copy()
    expected = product(m, x)
    x[2, at] = bad
    found = product(m, x)
    assert not np.isfinite(found[2]).any()
    others = [0, 1, 3, 4, 5]
    assert np.array_equal(found[others], expected[others])


@pytest.mark.parametrize("columns", [1, 31, 32, 33, 100, 160, 576])
@pytest.mark.parametrize("rows", [1, 3, 4, 7, 70])
def test_int8_products_are_exact(rows: int, columns: int) -> None:
    m = stored("int8", rows, columns)
    for tokens in (*range(1, 10), 17, 70):
        x = activations(tokens, columns)
        assert np.array_equal(product(m, x), slow_product(m, x)), tokens


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sum_does_not_overflow(columns: int, sign: int) -> None:
    """All weights 127 and all activations at their limit, whatever tile computes them."""
    rows = 7
    m = in_int8(np.full((rows, columns), 127 * sign, np.int8), np.ones(rows, np.float32))
    for tokens in (1, 5):
        x = np.full((tokens, columns), limit(columns), np.float32)
        found = product(m, x)
        assert (found == np.float32(127 * sign * limit(columns) * columns)).all()
        assert np.array_equal(found, slow_product(m, x))


def test_what_is_lost_against_fp32_is_the_rounding_of_activations() -> None:
    m, x = stored("int8", 50, 576), activations(9, 576, beyond=0)[:, :576].copy()
    exact = x.astype(np.float64) @ m.numbers.T
    step = np.abs(x).max(-1, keepdims=True) / limit(576)
    error = np.abs(product(m, x) - exact)
    assert (error <= 0.5 * step * np.abs(m.numbers).sum(-1) + 1e-4).all()
    assert error.max() < 1e-3 * np.abs(exact).max()

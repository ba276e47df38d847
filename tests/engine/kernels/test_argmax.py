"""The largest number and its place, against numpy."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest

from engine.kernels import argmax


@nb.njit(cache=True)
def _argmax(y, first, last):
    return argmax.argmax(y, first, last)


RANGES = ((0, 1), (0, 16), (16, 47), (0, 511), (0, 512), (32, 1700), (512, 1030), (1696, 1700))


@pytest.mark.parametrize(("first", "last"), RANGES)
def test_the_first_of_the_largest_is_found(first: int, last: int) -> None:
    rng = np.random.default_rng(last)
    for y in (rng.standard_normal(1700), rng.integers(-3, 3, 1700), np.full(1700, -7), -np.arange(1700)):
        part = y.astype(np.float32)
        assert _argmax(part, first, last) == (part[first:last].max(), first + part[first:last].argmax())


def test_a_tie_with_a_later_block_and_what_lies_outside_change_nothing() -> None:
    y = np.zeros(1700, np.float32)
    y[[40, 600, 1699]] = 3
    y[[0, 1698]] = np.inf
    assert _argmax(y, 16, 1690) == (3, 40)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [16, 31, 700, 1689])
def test_what_is_not_finite_is_told(bad: float, at: int) -> None:
    y = np.random.default_rng(0).standard_normal(1700).astype(np.float32)
    y[at] = bad
    assert _argmax(y, 16, 1690) == (np.inf, -1)
    assert _argmax(y, 704, 1680) == (y[704:1680].max(), 704 + y[704:1680].argmax())


def test_of_no_numbers_there_is_no_largest() -> None:
    assert _argmax(np.zeros(32, np.float32), 16, 16) == (-np.inf, 16)

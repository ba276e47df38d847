"""Tiles of sums in registers against numpy."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest

from engine.kernels import register_tiles as tiles


@nb.njit(cache=True)
def _outer(a, b, out, totals, fours):
    """Two rows of a by four of b: the tile's vectors, its sums, and its sums by fours."""
    found = tiles.multiply_add(tiles.load_rows(a, 1, 2, 2), tiles.load_rows(b, 1, 3, 4), tiles.no_sums(8))
    found = tiles.multiply_add(tiles.load_rows(a, 1, 18, 2), tiles.load_rows(b, 1, 19, 4), found)
    tiles.store_sums(out, 1, 1, found, 4)
    tiles.store_totals(totals, 1, 2, found, 4)
    tiles.store_four_totals(fours, 1, 2, found)


@nb.njit(cache=True)
def _weighted(weights, values, out):
    """Row 1 of the values in two vectors, times three weights of a column."""
    found = tiles.multiply_add(
        tiles.splat_rows(weights, 1, 2, 3), tiles.load_columns(values, 1, 5, 2), tiles.no_sums(6)
    )
    tiles.store_sums(out, 1, 3, found, 2)


def whole(*shape: int) -> np.ndarray:
    """Small whole numbers, whose products and sums are exact in any order."""
    return np.random.default_rng(len(shape) + shape[0]).integers(-9, 10, shape).astype(np.float32)


@pytest.mark.parametrize("stored", [np.float32, np.float16, np.int8])
def test_every_row_meets_every_other_and_nothing_else_is_written(stored: type) -> None:
    a, b = whole(3, 40), whole(6, 40)
    out, totals, fours = np.full((4, 70), 7, np.float32), np.full((6, 5), 7, np.float32), np.full((4, 8), 7, np.float32)
    narrow: np.ndarray = b.astype(stored)
    _outer(a, narrow.view(np.uint16) if stored is np.float16 else narrow, out, totals, fours)
    products = a[1:3, None, 2:34] * b[None, 1:5, 3:35]
    expected = np.full_like(out, 7)
    expected[1:3, 1:65] = products.reshape(2, 4, 2, 16).sum(2).reshape(2, 64)
    assert np.array_equal(out, expected)
    expected = np.full_like(totals, 7)
    expected[1:5, 2:4] = products.sum(-1).T
    assert np.array_equal(totals, expected)
    expected = np.full_like(fours, 7)
    expected[1:3, 2:6] = products.sum(-1)
    assert np.array_equal(fours, expected)


def test_vectors_of_a_row_are_weighted_by_a_column() -> None:
    weights, values = whole(5, 4), whole(2, 40)
    out = np.full((5, 40), 7, np.float32)
    _weighted(weights, values, out)
    expected = np.full_like(out, 7)
    expected[1:4, 3:35] = weights[1:4, 2, None] * values[1, 5:37]
    assert np.array_equal(out, expected)

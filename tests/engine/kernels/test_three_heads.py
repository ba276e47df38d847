"""Tiles of three heads against numpy, on small whole numbers, whose sums are exact in any order."""

from __future__ import annotations

import numba as nb
import numpy as np
import pytest

from engine.kernels import register_tiles as tiles
from engine.kernels.sizes import LANES
from engine.kernels.three_heads import load_sums, query_sums, weighted_sums
from tests.engine.kernels.test_register_tiles import whole


@nb.njit(cache=True)
def _scores(q, keys, scores):
    tiles.store_four_totals(scores, 1, 2, query_sums(q, 1, keys, 3, keys, 3))


@nb.njit(cache=True)
def _weighted(scores, values, first, last, out):
    begun = load_sums(out, 0, 0)
    tiles.store_sums(out, 0, 0, weighted_sums(scores, 1, values, first, last, 0, begun, values, first), 4)


@pytest.mark.parametrize("stored", [np.float32, np.float16, np.int8])
def test_three_heads_meet_what_is_stored(stored: type) -> None:
    q, kept, weights = whole(5, 64), whole(9, 64), whole(5, 12)
    narrow: np.ndarray = kept.astype(stored)
    narrow = narrow.view(np.uint16) if stored is np.float16 else narrow
    scores = np.full((5, 8), 7, np.float32)
    _scores(q, narrow, scores)
    expected = np.full_like(scores, 7)
    expected[1:4, 2:6] = q[1:4] @ kept[3:7].T
    assert np.array_equal(scores, expected)
    for first, last in ((2, 9), (4, 5), (3, 3)):
        out = np.full((3, 64), 7, np.float32)
        _weighted(weights, narrow, first, last, out)
        assert np.array_equal(out[:, : 4 * LANES], 7 + weights[1:4, first:last] @ kept[first:last, : 4 * LANES])
        assert (out[:, 4 * LANES :] == 7).all()

"""Products of many tokens, panel by panel: whole numbers are those of `linear` bit for bit, floats near exact ones."""

from __future__ import annotations

import numpy as np
import pytest

from engine.kernels.sizes import PACKED
from tests.engine.kernels.products import WAYS, activations, product, stored

INTEGER = [("int8", False), ("int8", True), ("int4", False), ("int4", True)]
SHAPES = [(16, 32), (5, 64), (48, 96), (100, 160), (32, 576)]
TOKENS = [1, 2, 3, PACKED - 1, PACKED, PACKED + 1, 3 * PACKED + 2]


@pytest.mark.parametrize(("way", "by_groups"), INTEGER)
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_whole_numbers_are_those_of_the_plain_product(way: str, by_groups: bool, rows: int, columns: int) -> None:
    m = stored(way, rows, columns)
    for tokens in TOKENS:
        x = activations(tokens, columns)
        expected = product(m, x, by_groups=by_groups)
        assert np.array_equal(product(m, x, by_groups=by_groups, many=True), expected), tokens


@pytest.mark.parametrize("columns", [1, 3, 15, 33, 100])
def test_int8_takes_any_number_of_columns(columns: int) -> None:
    m, x = stored("int8", 20, columns), activations(PACKED + 1, columns)
    assert np.array_equal(product(m, x, many=True), product(m, x))


@pytest.mark.parametrize("way", ["fp32", "half"])
@pytest.mark.parametrize(("rows", "columns"), [*SHAPES, (7, 1), (33, 15), (20, 100)])
def test_floats_are_near_exact_ones(way: str, rows: int, columns: int) -> None:
    m = stored(way, rows, columns)
    for tokens in TOKENS:
        x = activations(tokens, columns)
        exact = x[:, :columns].astype(np.float64) @ m.numbers.T
        bound = 1e-6 * (np.abs(x[:, :columns].astype(np.float64)) @ np.abs(m.numbers).T + 1e-30)
        assert (np.abs(product(m, x, many=True) - exact) <= bound).all(), tokens


@pytest.mark.parametrize("way", WAYS)
def test_a_token_alone_and_among_others_has_the_same_bits(way: str) -> None:
    m, x = stored(way, 40, 160), activations(2 * PACKED + 3, 160)
    together = product(m, x, many=True)
    for n in range(len(x)):
        assert np.array_equal(product(m, x[n : n + 1], many=True)[0], together[n]), n


@pytest.mark.parametrize("way", WAYS)
def test_a_part_of_the_rows_and_a_bias(way: str) -> None:
    m, x = stored(way, 64, 96), activations(PACKED, 96)
    bias = np.arange(64, dtype=np.float32)
    found, whole = product(m, x, bias, first=16, last=48, many=True), product(m, x, many=True)
    assert np.array_equal(found[:, 16:48], whole[:, 16:48] + bias[16:48])
    assert np.isnan(found[:, :16]).all() and np.isnan(found[:, 48:]).all()


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_finite_stays_so(way: str) -> None:
    m, x = stored(way, 16, 64), activations(PACKED, 64)
    x[2, 5] = np.nan
    found = product(m, x, many=True)
    assert np.isnan(found[2]).all() and np.isfinite(np.delete(found, 2, 0)).all()

"""Matrix products of every way weights are stored: fp32 and half against numpy, and the same bits in any batch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.kernels.products import WAYS, activations, product, stored

TOKENS = (*range(1, 10), 17, 70)


@pytest.mark.parametrize("way", ["fp32", "half"])
@pytest.mark.parametrize("columns", [1, 15, 16, 31, 64, 100, 576])
@pytest.mark.parametrize("rows", [1, 2, 7, 70])
def test_float_products_equal_numpy(way: str, rows: int, columns: int) -> None:
    m = stored(way, rows, columns)
    for tokens in TOKENS:
        x = activations(tokens, columns)
        inside = x[:, :columns].astype(np.float64)
        bound = 2e-6 * (np.abs(inside) @ np.abs(m.numbers).T)
        assert (np.abs(product(m, x) - inside @ m.numbers.T) <= bound + 1e-30).all(), tokens


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("columns", [64, 160, 576])
def test_a_token_gets_the_same_bits_in_any_batch(way: str, columns: int) -> None:
    m, x = stored(way, 71, columns), activations(70, columns)
    whole = product(m, x)
    assert np.isfinite(whole).all()
    for tokens in TOKENS:
        assert np.array_equal(product(m, x[:tokens].copy()), whole[:tokens]), tokens
    for n in range(70):
        assert np.array_equal(product(m, x[n : n + 1].copy())[0], whole[n]), n


@pytest.mark.parametrize("way", ["fp32", "half", "int8"])
def test_so_does_one_where_columns_do_not_divide(way: str) -> None:
    m, x = stored(way, 71, 77), activations(17, 77)
    whole = product(m, x)
    for tokens in TOKENS[:-1]:
        assert np.array_equal(product(m, x[:tokens].copy()), whole[:tokens]), tokens


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tokens", [1, 3, 8, 17])
def test_rows_by_shares_are_the_same_bits_and_no_others_are_written(way: str, tokens: int) -> None:
    m, x = stored(way, 71, 160), activations(tokens, 160)
    whole = product(m, x)
    for first, last in ((0, 71), (0, 32), (32, 71), (64, 71), (16, 64), (48, 64), (16, 16)):
        part = product(m, x, first=first, last=last)
        assert np.array_equal(part[:, first:last], whole[:, first:last]), (first, last)
        assert np.isnan(part[:, :first]).all(), (first, last)
        assert np.isnan(part[:, last:]).all(), (first, last)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tokens", [1, 6])
def test_a_bias_is_added_once(way: str, tokens: int) -> None:
    m, x = stored(way, 40, 160), activations(tokens, 160)
    bias = np.arange(40, dtype=np.float32)
    assert np.array_equal(product(m, x, bias), product(m, x) + bias)
    part = product(m, x, bias, first=16, last=32)
    assert np.array_equal(part[:, 16:32], product(m, x)[:, 16:32] + bias[16:32])

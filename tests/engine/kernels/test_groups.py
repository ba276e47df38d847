"""Products of activations rounded to 8 bits by groups of 32 columns, held to numpy and to themselves."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.kernels.products import activations, product, rounded_by_groups, stored

TOKENS = (*range(1, 14), 17, 70)


def groups_of(x: np.ndarray, columns: int) -> list[np.ndarray]:
    return [x[:, first : min(first + 32, columns)] for first in range(0, columns, 32)]


@pytest.mark.parametrize("weights", [np.int8, np.uint8])
@pytest.mark.parametrize("columns", [1, 16, 31, 33, 48, 100, 576])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_each_group_has_its_own_scale_and_uses_its_whole_range(columns: int, size: float, weights: type) -> None:
    x = activations(3, columns) * np.float32(size)
    x[:, : min(columns, 32)] *= 100  # which leaves the groups beside it as they are
    whole = rounded_by_groups(x, columns, np.dtype(weights))
    filled = -(-columns // 16) * 16
    for g, (given, q) in enumerate(zip(groups_of(x, columns), groups_of(whole.q, columns), strict=True)):
        scale = whole.scales[:, g, None].astype(np.float64)
        assert (np.abs(q * scale - given) <= 0.505 * scale).all()
        assert (np.abs(q.astype(np.int64)).max(-1) == 127).all()
        assert np.array_equal(whole.sums[:, 1 + g], q.sum(-1, dtype=np.int64))
    assert (whole.q[:, columns:filled] == 0).all()
    assert (whole.q[:, filled:] == 99).all()
    assert (whole.sums[:, 0] == 12345).all()


@pytest.mark.parametrize("way", ["int8", "int4"])
@pytest.mark.parametrize("columns", [32, 64, 96, 160, 576])
@pytest.mark.parametrize("rows", [1, 16, 17, 70])
def test_products_are_those_of_the_rounded_numbers(way: str, rows: int, columns: int) -> None:
    m = stored(way, rows, columns)
    for tokens in TOKENS:
        x = activations(tokens, columns)
        whole = rounded_by_groups(x, columns, m.weight.dtype)
        meant = whole.q[:, :columns].astype(np.float64) * whole.scales.astype(np.float64).repeat(32, -1)[:, :columns]
        bound = 3e-6 * (np.abs(meant) @ (np.abs(m.numbers) + 5).T)  # a group's scale and minimum cancel
        assert (np.abs(product(m, x, by_groups=True) - meant @ m.numbers.T) <= bound).all(), tokens


@pytest.mark.parametrize("columns", [1, 31, 33, 100])
def test_so_they_are_where_columns_do_not_divide(columns: int) -> None:
    m = stored("int8", 33, columns)
    x = activations(5, columns)
    whole = rounded_by_groups(x, columns, m.weight.dtype)
    meant = whole.q[:, :columns].astype(np.float64) * whole.scales.astype(np.float64).repeat(32, -1)[:, :columns]
    np.testing.assert_allclose(product(m, x, by_groups=True), meant @ m.numbers.T, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", ["int8", "int4"])
def test_a_token_gets_the_same_bits_in_any_batch(way: str) -> None:
    m, x = stored(way, 71, 160), activations(70, 160)
    whole = product(m, x, by_groups=True)
    for tokens in TOKENS:
        assert np.array_equal(product(m, x[:tokens].copy(), by_groups=True), whole[:tokens]), tokens
    for n in range(70):
        assert np.array_equal(product(m, x[n : n + 1].copy(), by_groups=True)[0], whole[n]), n


@pytest.mark.parametrize("way", ["int8", "int4"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 17, 95, -1])
def test_what_is_not_finite_stays_so_and_harms_no_other_token(way: str, bad: float, at: int) -> None:
    m, x = stored(way, 20, 96), activations(6, 96)[:, :96].copy()
    expected = product(m, x, by_groups=True)
    x[2, at] = bad
    found = product(m, x, by_groups=True)
    assert not np.isfinite(found[2]).any()
    others = [0, 1, 3, 4, 5]
    assert np.array_equal(found[others], expected[others])


@pytest.mark.parametrize("way", ["int8", "int4"])
def test_an_outlier_spoils_its_own_group_alone(way: str) -> None:
    """What one scale a token does not give: see `tests/engine/test_traps.py`, trap 1."""
    m, x = stored(way, 50, 576), activations(4, 576)
    x[:, 7] = 300
    exact = x[:, :576].astype(np.float64) @ m.numbers.T
    by_groups = np.abs(product(m, x, by_groups=True) - exact).mean()
    scale = np.abs(x[:, :576]).max(-1, keepdims=True) / 127
    by_token = np.abs(np.rint(x[:, :576] / scale) * scale @ m.numbers.T - exact).mean()
    assert by_groups < by_token / 3

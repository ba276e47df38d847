"""Int4 products against the numbers that `widen_groups` gives, in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engine.kernels.products import activations, limit, product, stored

COLUMNS = (32, 64, 96, 128, 160, 224, 256, 576)


@pytest.mark.parametrize("columns", COLUMNS)
def test_every_nibble_meets_its_own_activation(columns: int) -> None:
    """One column at a time: an order of nibbles or activations that differs gives another column's weights."""
    m = stored("int4", 7, columns)
    found = product(m, np.eye(columns, dtype=np.float32))
    np.testing.assert_allclose(found.T, m.numbers, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("rows", [1, 3, 4, 7, 70])
def test_int4_products_of_whole_numbers_equal_numpy(rows: int, columns: int) -> None:
    """Activations that need no rounding: what is left is the rounding of float32 sums."""
    m = stored("int4", rows, columns)
    for tokens in (*range(1, 10), 17, 70):
        x = np.rint(activations(tokens, columns, beyond=7) * 1000)
        x[:, 0] = limit(columns)
        inside = x[:, :columns].astype(np.float64)
        bound = 2e-6 * (np.abs(inside) @ (np.abs(m.numbers) + 5).T)  # a group's scale and minimum cancel
        assert (np.abs(product(m, x) - inside @ m.numbers.T) <= bound).all(), tokens


@pytest.mark.parametrize("columns", COLUMNS)
def test_what_is_lost_against_fp32_is_the_rounding_of_activations(columns: int) -> None:
    m, x = stored("int4", 50, columns), activations(9, columns)
    inside = x[:, :columns].astype(np.float64)
    step = np.abs(inside).max(-1, keepdims=True) / limit(columns)
    error = np.abs(product(m, x) - inside @ m.numbers.T)
    assert (error <= 0.5 * step * np.abs(m.numbers).sum(-1) + 1e-4).all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("columns", [576, 4096, 8960])
def test_the_largest_sums_keep_their_value(columns: int, sign: int) -> None:
    m = stored("int4", 5, columns)
    m = m._replace(weight=np.full_like(m.weight, 255), scale=np.full_like(m.scale, np.float16(1).view(np.uint16)),
                   minimum=np.full_like(m.minimum, np.float16(-3).view(np.uint16)))  # fmt: skip
    x = np.full((5, columns), sign * limit(columns), np.float32)
    np.testing.assert_allclose(product(m, x), sign * 12.0 * limit(columns) * columns, rtol=1e-5)

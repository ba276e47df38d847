"""Sums of packed panels at the ends of their range: what is added up in 16 bits must fit, whatever is multiplied."""

from __future__ import annotations

import numpy as np
import pytest

from engine.kernels.panel_sums import MULTIPLIES_PAIRS
from engine.kernels.rounding import fewest_bits
from engine.kernels.sizes import PACKED, VNNI
from tests.engine.kernels.products import activations, product, stored


@pytest.mark.parametrize("by_groups", [True, False])
@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_nibbles_and_activations_do_not_overflow(many: bool, by_groups: bool, sign: int) -> None:
    rows, columns = 16, 96
    m = stored("int4", rows, columns)
    one = np.float16(1).view(np.uint16)
    m = m._replace(
        weight=np.full_like(m.weight, 255),
        scale=np.full_like(m.scale, one),
        minimum=np.zeros_like(m.minimum),
    )
    x = activations(PACKED + 1, columns)
    x[:, :columns] = sign
    assert np.allclose(product(m, x, by_groups=by_groups, many=many), sign * 15.0 * columns, rtol=1e-5)


@pytest.mark.parametrize("many", [True, False])
def test_low_and_high_bytes_at_their_ends_are_exact(many: bool) -> None:
    """Whole numbers over the whole range of 16 bits, low bytes of -128 and 127 among them."""
    columns = 64
    m = stored("int4", 16, columns)
    x = activations(PACKED, columns)
    ends = [32639, -32639, 32512, -32512, 127, -128, 128, -129, 384, -384, 0, 1, -1, 255, -255, 256]
    x[:, :columns] = np.tile(np.array(ends, np.float32), columns // len(ends))
    exact = x[:, :columns].astype(np.float64) @ m.numbers.T
    bound = 1e-5 * (np.abs(x[:, :columns].astype(np.float64)) @ np.abs(m.numbers).T)
    assert (np.abs(product(m, x, many=many) - exact) <= bound).all()


def test_prompts_round_to_bytes_where_these_are_multiplied() -> None:
    """By all weights with VNNI, by nibbles on AVX2; elsewhere not."""
    assert fewest_bits(np.dtype(np.int8)) == (8 if VNNI else 16)
    assert fewest_bits(np.dtype(np.uint8)) == (8 if VNNI or MULTIPLIES_PAIRS else 16)

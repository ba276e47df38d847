"""Products of int4 weights (groups of 32 with a scale and a minimum) with activations rounded to whole numbers.

A nibble is an unsigned byte once its neighbour is masked away, which is what the products of bytes take. A group's 32
products are summed as whole numbers, then scaled and added in float32, group after group: a token's bits do not depend
on its batch. Shapes as in `kernels.linear`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from engine.kernels import integer_dots, panel_sums
from engine.kernels.panels import product, tile_of_groups
from engine.kernels.sizes import AHEAD, TOKENS, near
from engine.kernels.vectors import prefetch, prefetch_next


@cache
def int4_tile(panels: int, tokens: int) -> Any:
    """The product of so many panels with so many tokens: value = nibble * scale + minimum (GGUF's Q4_1)."""
    dot = integer_dots.nibble_dots(panels)
    fetch = prefetch if near(tokens) else prefetch_next

    def dots(found, m, a, panel, n, group, columns):
        for v in range(4):
            at = 256 * group + 64 * v
            for p in range(panels):
                fetch(m.weight, (panel + p) * m.weight.shape[1] + at + AHEAD)
            found = dot(found, m.weight, panel, at, a.q, n, 8 * group + v)
        return found

    return tile_of_groups("int4", dots, 0, panels, tokens)


@cache
def int4_tile_of_bytes(panels: int, tokens: int) -> Any:
    """`int4_tile` for activations whose low and high bytes are split, where products of bytes are added up in 16 bits:
    a group's eight pairs stay below 8 * 2 * 15 * 128."""
    assert panels == 1, "a tile of one panel"
    both = 2 * tokens
    fetch = prefetch if near(tokens) else prefetch_next

    def dots(found, m, a, panel, n, group, columns):
        shorts = panel_sums.no_shorts(both)
        for v in range(4):
            at = 256 * group + 64 * v
            fetch(m.weight, panel * m.weight.shape[1] + at + AHEAD)
            shorts = panel_sums.split_dots(shorts, m.weight, panel, at, a.q, n, 8 * group + v)
        return panel_sums.joined(shorts)

    return tile_of_groups("int4 bytes", dots, 0, panels, tokens)


SIZES = ((1, TOKENS), (1, TOKENS // 2), (1, 1))
int4_product = product(int4_tile, SIZES, block=1)
int4_product_of_bytes = product(int4_tile_of_bytes, SIZES, block=1)

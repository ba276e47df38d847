"""Products of int8 weights with activations rounded to whole numbers: of up to 15 bits with a scale for each token, or
of 8 bits with one for each group of 32 columns.

By token, int32 sums can not overflow and are exact, whatever the order, the batch or the width of the vectors. By
groups, a group's sum is, and the groups are added in float32, one after the other. Shapes as in `kernels.linear`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from engine.kernels import integer_dots, integer_sums, panel_sums
from engine.kernels.inner import distinct, inner
from engine.kernels.panels import product, tile_of_groups
from engine.kernels.sizes import AHEAD, GROUPED, PACKED, TOKENS, VNNI, near
from engine.kernels.vectors import prefetch, prefetch_next


@cache
def int8_tile(panels: int, tokens: int) -> Any:
    """The product of so many panels with so many tokens, exact."""
    count = panels * tokens
    dot, store = integer_dots.dots(panels), integer_sums.stores(panels)
    fetch = prefetch if near(tokens) else prefetch_next

    @inner(forceinline=True)
    @distinct(f"{panels}x{tokens}")
    def tile(m, a, y, panel, n, columns):
        found = integer_sums.no_sums(count)
        for quad in range((columns + 3) // 4):
            for p in range(panels):
                fetch(m.weight, (panel + p) * m.weight.shape[1] + 64 * quad + AHEAD)
            found = dot(found, m.weight, panel, a.q, n, quad)
        store(y, n, panel, found, m.scale, a.sums, a.scales)

    return tile


@cache
def int8_tile_of_shorts(panels: int, tokens: int) -> Any:
    """`int8_tile` where shorts are multiplied by pairs, and no bytes by fours. A few tokens keep the sums of 16 rows in
    registers, more those of eight and then of the next eight."""
    assert panels == 1, "a tile of one panel"

    def whole(m, a, at, n, steps):
        return panel_sums.stored_sums(panel_sums.no_pairs(tokens), m.weight, at, a.q, n, 0, steps)

    def halves(m, a, at, n, steps):
        first = panel_sums.stored_sums(panel_sums.no_ints(tokens), m.weight, at, a.q, n, 0, steps)
        return first + panel_sums.stored_sums(panel_sums.no_ints(tokens), m.weight, at + 32, a.q, n, 0, steps)

    sums = inner(forceinline=True)(distinct(f"{tokens}")(halves if tokens > PACKED // 2 else whole))

    @inner(forceinline=True)
    @distinct(f"{tokens}")
    def tile(m, a, y, panel, n, columns):
        found = panel_sums.added(sums(m, a, panel * m.weight.shape[1], n, (columns + 3) // 4))
        panel_sums.store_exact(y, n, panel, found, m.scale, a.scales)

    return tile


@cache
def int8_group_tile(panels: int, tokens: int) -> Any:
    """`int8_tile` for activations that have a scale for each group of 32 columns."""
    dot = integer_dots.dots(panels)

    def dots(found, m, a, panel, n, group, columns):
        for quad in range(8 * group, min(8 * group + 8, (columns + 3) // 4)):
            found = dot(found, m.weight, panel, a.q, n, quad)
        return found

    return tile_of_groups("int8", dots, -128, panels, tokens)


if panel_sums.MULTIPLIES_PAIRS and not VNNI:
    int8_product = product(int8_tile_of_shorts, ((1, PACKED), (1, PACKED // 3), (1, 1)), block=2)
else:
    int8_product = product(int8_tile, ((1, TOKENS), (1, TOKENS // 2), (1, 1)), block=2)
int8_group_product = product(int8_group_tile, ((2, GROUPED), (2, 1), (2, 1)), block=2)

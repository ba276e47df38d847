"""Products of int8 weights with activations rounded to whole numbers: of up to 15 bits with a scale for each token, or
of 8 bits with one for each group of 32 columns.

By token, int32 sums can not overflow and are exact, whatever the order, the batch or the width of the vectors. By
groups, a group's sum is, and the groups are added in float32, one after the other. Shapes as in `kernels.linear`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from engine.kernels import integer_dots, integer_sums
from engine.kernels.inner import distinct, inner
from engine.kernels.sizes import AHEAD, BLOCK, GROUPED, TOKENS
from engine.kernels.vectors import prefetch


@cache  # a size that two uses share is compiled once: on narrow processors they do
def _tile(panels: int, tokens: int) -> Any:
    """The product of so many panels with so many tokens, all sums in registers."""
    count = panels * tokens
    dot, store = integer_dots.dots(panels), integer_sums.stores(panels)

    @inner()
    @distinct(f"{panels}x{tokens}")
    def tile(w, scale, q, qs, sums, y, panel, n, steps):
        found = integer_sums.no_sums(count)
        for quad in range(steps):
            for p in range(panels):
                prefetch(w, (panel + p) * w.shape[1] + 64 * quad + AHEAD)
            found = dot(found, w, panel, q, n, quad)
        store(y, n, panel, found, scale, sums, qs)

    return tile


_many, _some, _two, _one = _tile(1, TOKENS), _tile(1, TOKENS // 2), _tile(2, 1), _tile(1, 1)


@inner()
def int8_product(w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns):
    steps = (columns + 3) // 4
    begin, end = first // 16, (last + 15) // 16
    many = tokens // TOKENS * TOKENS
    some = tokens // (TOKENS // 2) * (TOKENS // 2)
    block = BLOCK // 16 if tokens > 16 else 2
    for start in range(begin, end, block):
        stop = min(start + block, end)
        for n in range(0, many, TOKENS):
            for panel in range(start, stop):
                _many(w, scale, q, qs, sums, y, panel, n, steps)
        for n in range(many, some, TOKENS // 2):
            for panel in range(start, stop):
                _some(w, scale, q, qs, sums, y, panel, n, steps)
        pairs = start + (stop - start) // 2 * 2
        for n in range(some, tokens):
            for panel in range(start, pairs, 2):
                _two(w, scale, q, qs, sums, y, panel, n, steps)
            for panel in range(pairs, stop):
                _one(w, scale, q, qs, sums, y, panel, n, steps)


@cache  # a size that two uses share is compiled once: on narrow processors they do
def _group_tile(panels: int, tokens: int) -> Any:
    """`_tile` for activations that have a scale for each group of 32."""
    count = panels * tokens
    dot, add_group, store = integer_dots.dots(panels), integer_sums.scaled(panels), integer_sums.total_stores(panels)

    @inner()
    @distinct(f"{panels}x{tokens}")
    def tile(w, scale, q, qs, sums, y, panel, n, steps):
        totals = integer_sums.no_totals(count)
        for g in range((steps + 7) // 8):
            found = integer_sums.group_sums(count, panels, q, sums, n, g, -128)
            for quad in range(8 * g, min(8 * g + 8, steps)):
                found = dot(found, w, panel, q, n, quad)
            totals = add_group(totals, found, scale, scale, panel, g, sums, qs, n)
        store(y, n, panel, totals, scale, qs)

    return tile


_groups_many, _groups_many_narrow = _group_tile(2, GROUPED), _group_tile(1, GROUPED)
_groups_two, _groups_one = _group_tile(2, 1), _group_tile(1, 1)


@inner()
def int8_group_product(w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns):
    """`int8_product` for activations with a scale for each group of 32 columns."""
    steps = (columns + 3) // 4
    begin, end = first // 16, (last + 15) // 16
    many = tokens // GROUPED * GROUPED
    block = BLOCK // 16
    for start in range(begin, end, block):
        stop = min(start + block, end)
        pairs = start + (stop - start) // 2 * 2
        for n in range(0, many, GROUPED):
            for panel in range(start, pairs, 2):
                _groups_many(w, scale, q, qs, sums, y, panel, n, steps)
            for panel in range(pairs, stop):
                _groups_many_narrow(w, scale, q, qs, sums, y, panel, n, steps)
        for n in range(many, tokens):
            for panel in range(start, pairs, 2):
                _groups_two(w, scale, q, qs, sums, y, panel, n, steps)
            for panel in range(pairs, stop):
                _groups_one(w, scale, q, qs, sums, y, panel, n, steps)

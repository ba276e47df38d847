"""Products of int4 weights (groups of 32 with a scale and a minimum) with activations rounded to whole numbers.

A nibble is an unsigned byte once its neighbour is masked away, which is what the products of bytes take. A group's 32
products are summed as whole numbers, then scaled and added in float32, group after group: a token's bits do not depend
on its batch. Shapes as in `kernels.linear`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from engine.kernels import integer_dots, integer_sums
from engine.kernels.inner import distinct, inner
from engine.kernels.sizes import AHEAD, BLOCK, TOKENS
from engine.kernels.vectors import prefetch


@cache  # a size that two uses share is compiled once: on narrow processors they do
def _tile(panels: int, tokens: int) -> Any:
    """The product of so many panels with so many tokens, all sums in registers."""
    count = panels * tokens
    dot, add_group, store = (
        integer_dots.nibble_dots(panels),
        integer_sums.scaled(panels),
        integer_sums.total_stores(panels),
    )

    @inner()
    @distinct(f"{panels}x{tokens}")
    def tile(w, scale, minimum, q, qs, sums, y, panel, n, groups):
        totals = integer_sums.no_totals(count)
        for g in range(groups):
            found = integer_sums.group_sums(count, panels, q, sums, n, g, 0)
            for v in range(4):
                for p in range(panels):
                    prefetch(w, (panel + p) * w.shape[1] + 256 * g + 64 * v + AHEAD)
                found = dot(found, w, panel, 256 * g + 64 * v, q, n, 8 * g + v)
            totals = add_group(totals, found, scale, minimum, panel, g, sums, qs, n)
        store(y, n, panel, totals, scale, qs)

    return tile


_many, _some, _one = _tile(1, TOKENS), _tile(1, TOKENS // 2), _tile(1, 1)


@inner()
def int4_product(w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns):
    """Groups of 32 columns: value = nibble * scale + minimum (GGUF's Q4_1)."""
    groups = columns // 32
    begin, end = first // 16, (last + 15) // 16
    many = tokens // TOKENS * TOKENS
    some = tokens // (TOKENS // 2) * (TOKENS // 2)
    block = BLOCK // 16 if tokens > 16 else 1
    for start in range(begin, end, block):
        stop = min(start + block, end)
        for n in range(0, many, TOKENS):
            for panel in range(start, stop):
                _many(w, scale, minimum, q, qs, sums, y, panel, n, groups)
        for n in range(many, some, TOKENS // 2):
            for panel in range(start, stop):
                _some(w, scale, minimum, q, qs, sums, y, panel, n, groups)
        for n in range(some, tokens):
            for panel in range(start, stop):
                _one(w, scale, minimum, q, qs, sums, y, panel, n, groups)

"""Products of a matrix in panels of 16 rows: which tiles take which panels and tokens.

A tile multiplies some panels with some tokens and keeps all sums in registers (`integer_sums`). A product walks in
blocks of panels that stay in the nearest caches while all tokens pass, in strips: first of as many tokens as a tile can
take, then of fewer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from engine.kernels import integer_sums
from engine.kernels.inner import distinct, inner
from engine.kernels.register_tiles import no_sums
from engine.kernels.sizes import BLOCK

# Makes the tile of so many panels and tokens, a compiled function (m, a, y, panel, n, columns).
Make = Callable[[int, int], Any]


@cache  # a size that two strips share is compiled once: on narrow processors they do
def strip(make: Make, panels: int, tokens: int) -> Any:
    """A compiled function (m, a, y, start, stop, begin, end, columns) that multiplies panels `start` to `stop` with
    tokens from `begin` on, and returns the first token before `end` that was not taken.

    Parameters
    ----------
    make : the tiles.
    panels, tokens : the size of a tile; one panel is taken where so many are not left, tokens are left.
    """
    wide, narrow = make(panels, tokens), make(1, tokens)

    @inner(forceinline=True)
    @distinct(f"{make.__name__}.{panels}x{tokens}")
    def run(m, a, y, start, stop, begin, end, columns):
        full = begin + (end - begin) // tokens * tokens
        many = start + (stop - start) // panels * panels
        for n in range(begin, full, tokens):
            for panel in range(start, many, panels):
                wide(m, a, y, panel, n, columns)
            for panel in range(many, stop):
                narrow(m, a, y, panel, n, columns)
        return full

    return run


def product(make: Make, sizes: tuple[tuple[int, int], ...], block: int) -> Any:
    """A product as `linear.linear` calls it.

    Parameters
    ----------
    make : the tiles.
    sizes : three strips' panels and tokens, in the order in which they take tokens; the last of one token.
    block : panels whose weights stay in caches, for up to 16 tokens; for more it is `sizes.BLOCK` rows.
    """
    many, some, one = (strip(make, *size) for size in sizes)

    @inner()
    @distinct(make.__name__)
    def run(m, a, y, first, last, tokens, columns):
        begin, end = first // 16, (last + 15) // 16
        if tokens == 1:  # nothing is read twice
            one(m, a, y, begin, end, 0, 1, columns)
            return
        step = BLOCK // 16 if tokens > 16 else block
        for start in range(begin, end, step):
            stop = min(start + step, end)
            n = many(m, a, y, start, stop, 0, tokens, columns)
            n = some(m, a, y, start, stop, n, tokens, columns)
            one(m, a, y, start, stop, n, tokens, columns)

    return run


def tile_of_groups(name: str, dots: Callable, offset: int, panels: int, tokens: int) -> Any:
    """A tile whose sums are taken by groups of 32 columns: whole numbers, scaled and added up in float32.

    Parameters
    ----------
    name : what tells it from other tiles.
    dots : a function (sums, m, a, panel, n, group, columns) that adds a group's products; it is compiled here.
    offset : what weights are counted from.
    panels, tokens : the size of the tile.
    """
    count = panels * tokens
    add_dots = inner(forceinline=True)(distinct(f"{name}.{panels}x{tokens}")(dots))
    add_group, store = integer_sums.scaled(panels), integer_sums.total_stores(panels)

    @inner(forceinline=True)
    @distinct(f"{name}.{panels}x{tokens}")
    def tile(m, a, y, panel, n, columns):
        totals = no_sums(count)
        for group in range((columns + 31) // 32):
            found = integer_sums.group_sums(count, panels, a.q, a.sums, n, group, offset)
            found = add_dots(found, m, a, panel, n, group, columns)
            totals = add_group(totals, found, m.scale, m.minimum, panel, group, a.sums, a.scales, n)
        store(y, n, panel, totals, m.scale, a.scales)

    return tile

"""Products of many tokens, panel by panel: 16 rows' weights are laid out once (`kernels.packing`), then a tile of
tokens after the other meets them with all its sums in registers.

Whole numbers go this way where the processor multiplies shorts by pairs but no bytes by fours: twice the products of a
float's an instruction. Their sums are those of `kernels.linear`, bit for bit. Floats go this way everywhere; a token's
sum takes one column after the other, whoever else is there. Shapes as in `kernels.linear`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import types
from numba.extending import overload

from engine.kernels import integer_sums, packing, panel_sums
from engine.kernels.inner import distinct, inner
from engine.kernels.linear import add_bias, linear
from engine.kernels.llvm import ints
from engine.kernels.model import part
from engine.kernels.register_tiles import no_sums, nothing, store_sums
from engine.kernels.scalars import widen
from engine.kernels.sizes import PACKED, VNNI

_no_ints = nothing(ints)


@inner()
def _pack_int8(m, panel, columns, room):
    for quad in range((columns + 3) // 4):
        packing.pack_quad(m.weight, panel, quad, room)


@inner()
def _pack_int4(m, panel, columns, room):
    for group in range((columns + 31) // 32):
        for v in range(4):
            packing.pack_nibbles(m.weight, panel, 256 * group + 64 * v, 8 * group + v, room)


@inner()
def _split_int4(m, panel, columns, room):
    for group in range((columns + 31) // 32):
        for v in range(4):
            packing.split_nibbles(m.weight, panel, 256 * group + 64 * v, 8 * group + v, room)


@inner()
def _pack_floats(m, panel, columns, room):
    full = columns // 16 * 16
    for column in range(0, full, 16):
        packing.pack_columns(m.weight, 16 * panel, column, room, 16 * column)
    for column in range(full, columns):
        for i in range(16):
            room[16 * column + i] = widen(m.weight[min(16 * panel + i, m.weight.shape[0] - 1), column])


@cache
def _exact_tile(tokens: int) -> Any:
    """Whole numbers with a scale for each token: one exact sum of all columns."""

    @inner(forceinline=True)
    @distinct(f"{tokens}")
    def exact(m, a, room, y, panel, n, columns):
        found = panel_sums.short_sums(_no_ints(tokens), room, 0, a.q, n, 0, (columns + 3) // 4 * 2)
        panel_sums.store_exact(y, n, panel, found, m.scale, a.scales)

    return exact


@cache
def _group_tile(tokens: int) -> Any:
    """Whole numbers whose weights or activations have scales for groups of 32 columns: exact sums of each, added up in
    float32."""
    add_group, store = integer_sums.scaled(1), integer_sums.total_stores(1)

    @inner(forceinline=True)
    @distinct(f"{tokens}")
    def grouped(m, a, room, y, panel, n, columns):
        totals = no_sums(tokens)
        quads = (columns + 3) // 4
        for group in range((columns + 31) // 32):
            steps = 2 * min(8, quads - 8 * group)
            found = panel_sums.short_sums(_no_ints(tokens), room, 512 * group, a.q, n, 32 * group, steps)
            totals = add_group(totals, found, m.scale, m.minimum, panel, group, a.sums, a.scales, n)
        store(y, n, panel, totals, m.scale, a.scales)

    return grouped


@cache
def _byte_tile(tokens: int) -> Any:
    """Nibbles with activations of 8 bits, whose scales are both those of groups of 32 columns: eight products with 15
    are added up in 16 bits (at most 8 * 2 * 15 * 127 = 30,480 a lane), then groups in float32."""
    add_group, store = integer_sums.scaled(1), integer_sums.total_stores(1)

    @inner(forceinline=True)
    @distinct(f"{tokens}")
    def nibbles(m, a, room, y, panel, n, columns):
        totals = no_sums(tokens)
        for group in range((columns + 31) // 32):
            found = panel_sums.byte_sums(panel_sums.no_shorts(tokens), room, 256 * group, a.q, n, 32 * group, 8)
            totals = add_group(totals, panel_sums.fold(found), m.scale, m.minimum, panel, group, a.sums, a.scales, n)
        store(y, n, panel, totals, m.scale, a.scales)

    return nibbles


@cache
def _float_tile(tokens: int) -> Any:
    @inner(forceinline=True)
    @distinct(f"{tokens}")
    def floats(m, a, room, y, panel, n, columns):
        sums = panel_sums.float_sums(no_sums(tokens), room, 0, a.x, n, 0, columns)
        store_sums(y, n, 16 * panel, sums, 1)

    return floats


@cache
def _product(name: str, pack: Any, make: Any) -> Any:
    """A product as `many` calls it."""
    most, few, one = make(PACKED), make(PACKED // 3), make(1)

    @inner()
    @distinct(name)
    def packed(m, a, room, y, first, last, tokens, columns):
        for panel in range(first // 16, (last + 15) // 16):
            pack(m, panel, columns, room)
            n = 0
            while n + PACKED <= tokens:
                most(m, a, room, y, panel, n, columns)
                n += PACKED
            if tokens >= PACKED and n < tokens:  # some once more, the same: quicker than smaller tiles
                most(m, a, room, y, panel, tokens - PACKED, columns)
                n = tokens
            while n + PACKED // 3 <= tokens:
                few(m, a, room, y, panel, n, columns)
                n += PACKED // 3
            while n < tokens:
                one(m, a, room, y, panel, n, columns)
                n += 1

    return packed


def many(m, a, room, y, first, last, tokens, columns):
    """`linear.linear` for many tokens.

    Parameters
    ----------
    m, a, y, first, last, tokens, columns : as `linear.linear` takes them.
    room : i16 or f32 [16 K], this thread's own; not read or written where bytes are multiplied.
    """
    raise TypeError("compiled code only")


@overload(many, jit_options={"_nrt": False})
def _many(m, a, room, y, first, last, tokens, columns):
    stored = part(m, "weight").dtype
    whole = stored in (types.int8, types.uint8)
    if whole and (VNNI or not panel_sums.MULTIPLIES_PAIRS):
        return lambda m, a, room, y, first, last, tokens, columns: linear(m, a, y, first, last, tokens, columns)
    if not whole:
        product = _product("floats", _pack_floats, _float_tile)
    elif stored == types.uint8 and part(a, "q").dtype == types.int8:
        product = _product("int4 bytes", _split_int4, _byte_tile)
    elif stored == types.uint8:
        product = _product("int4", _pack_int4, _group_tile)
    elif part(a, "scales").ndim == 2:
        product = _product("int8 groups", _pack_int8, _group_tile)
    else:
        product = _product("int8", _pack_int8, _exact_tile)

    def run(m, a, room, y, first, last, tokens, columns):
        product(m, a, room, y, first, last, tokens, columns)
        add_bias(m, y, first, last, tokens)

    return run

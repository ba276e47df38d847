"""Tiles of three heads that share keys and values: twelve sums, each a register of `LANES` floats.

Four positions' keys meet three queries, or four vectors of a position's values meet three weights: what is stored is
read and widened once for the three. Both loops ask for what will be read later, for the processor's own read-ahead ends
with a page, and a page of 4 KB is 32 positions.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels import llvm
from engine.kernels.llvm import FLOAT, I8, I64, WIDTH, eights, floats
from engine.kernels.sizes import LANES
from engine.kernels.vectors import ask, read, readable

AHEAD = 96  # positions between what is read and what is asked for
HEADS, FOUR = 3, 4

_lanes = floats if LANES == WIDTH else eights
_SUMS = types.UniTuple(_lanes, HEADS * FOUR)
_FLOAT_BYTES = 4
_BYTES = I8.as_pointer()
# Queries that stay in registers while keys pass. Of sixteen, twelve sums leave too few for three and what they meet:
# the compiler would write sums to memory. So the last is read again with every key.
_QUERIES = HEADS if LANES == WIDTH else HEADS - 1


def _zeros() -> list[Any]:
    return [llvm.constant(_lanes.llvm, 0)] * len(_SUMS)


def _place(context: Any, builder: ir.IRBuilder, kind: Any, value: Any, row: Any, column: Any) -> tuple[Any, Any]:
    """The address of array[row, column], and the bytes from a row to the next."""
    place = llvm.address(context, builder, kind, value, [row, column])
    width = cgutils.unpack_tuple(builder, context.make_array(kind)(context, builder, value).shape)[1]
    distance = builder.mul(width, I64(kind.dtype.bitwidth // 8))
    return builder.bitcast(place, _BYTES), llvm.held(builder, distance)


def _after(builder: ir.IRBuilder, place: Any, distance: Any, times: int) -> Any:
    return builder.gep(place, [builder.mul(distance, I64(times))]) if times else place


def _ask(builder: ir.IRBuilder, place: Any, stored: Any) -> None:
    """Ask for as many bytes as a tile's step reads of what is `stored`."""
    for line in range(0, FOUR * LANES * stored.bitwidth // 8, 64):
        ask(builder, builder.gep(place, [I64(line)]), near=False)


def _multiply_add(builder: ir.IRBuilder, sums: list[Any], j: int, heads: list[Any], one: Any) -> None:
    """sums[4 i + j] += heads[i] * one."""
    for i, head in enumerate(heads):
        at = FOUR * i + j
        sums[at] = llvm.call(builder, f"llvm.fma.v{LANES}f32", _lanes.llvm, [head, one, sums[at]])


@intrinsic
def query_sums(typing, q, r, keys, p, later, at):
    """Twelve vectors, the (4 i + j)-th of which adds up to q[r + i] . keys[p + j].

    Parameters
    ----------
    q : f32 [R, E], E a multiple of `LANES`.
    r : the first of three heads, i64.
    keys : as the cache stores them, [C, E].
    p : the first of four positions, i64.
    later, at : four rows, stored as the keys are, and the first of them, i64: they are asked for.
    """

    def codegen(context, builder, signature, args):
        queries, row = _place(context, builder, q, args[0], args[1], I64(0))
        kept, position = _place(context, builder, keys, args[2], args[3], I64(0))
        # Four positions are one piece of memory, so as many steps as there are of a row ask for all of it.
        asked, _ = _place(context, builder, later, args[4], args[5], I64(0))
        steps = builder.udiv(row, I64(_FLOAT_BYTES * LANES))

        def step(values: list[Any]) -> list[Any]:
            *sums, query, key, asked = values
            _ask(builder, asked, keys.dtype)

            def load(i: int, place: Any) -> Any:
                return llvm.read(builder, _after(builder, place, row, i), _lanes.llvm, _FLOAT_BYTES)

            left = [load(i, query) for i in range(_QUERIES)]
            for j in range(FOUR):
                one = read(builder, keys.dtype, _after(builder, key, position, j), LANES)
                again = [load(i, llvm.held(builder, query)) for i in range(_QUERIES, HEADS)]
                _multiply_add(builder, sums, j, [*left, *again], one)
            ends = ((query, _FLOAT_BYTES), (key, keys.dtype.bitwidth // 8), (asked, FOUR * keys.dtype.bitwidth // 8))
            return [*sums, *(llvm.held(builder, builder.gep(place, [I64(LANES * size)])) for place, size in ends)]

        found = llvm.loop(builder, steps, [*_zeros(), queries, kept, asked], step)
        return context.make_tuple(builder, _SUMS, found[: len(_SUMS)])

    known = q.dtype == types.float32 and readable(keys) and keys.dtype == later.dtype
    return (_SUMS(q, types.int64, keys, types.int64, later, types.int64), codegen) if known else None


@intrinsic
def load_sums(typing, out, row, column):
    """Twelve vectors, the (4 i + j)-th of which is out[row + i, column + `LANES` * j : ...].

    Parameters
    ----------
    out : f32 of two axes.
    row, column : where the first begins, i64.
    """

    def codegen(context, builder, signature, args):
        begun, row = _place(context, builder, out, *args)
        places = [
            (_after(builder, begun, row, i), I64(LANES * j * _FLOAT_BYTES)) for i in range(HEADS) for j in range(FOUR)
        ]
        found = [llvm.read(builder, builder.gep(place, [at]), _lanes.llvm, _FLOAT_BYTES) for place, at in places]
        return context.make_tuple(builder, _SUMS, found)

    return (_SUMS(out, types.int64, types.int64), codegen) if out.dtype == types.float32 else None


@intrinsic
def weighted_sums(typing, scores, n, values, first, last, column, begun, later, at):
    """Twelve vectors, the (4 i + j)-th of which is the sum of scores[n + i, p] * values[p, column + `LANES` * j : ...]
    over first <= p < last, `LANES` columns each, added to what was begun.

    Parameters
    ----------
    scores : f32 [R, C or more].
    n : the first of three heads, i64.
    values : as the cache stores them, [C, E].
    first, last, column : i64; `column` and 4 `LANES` on are in a row.
    begun : the sums of what came before, as `load_sums` gives them.
    later, at : rows, stored as the values are, and the first of them, i64: as many as are read are asked for.
    """

    def codegen(context, builder, signature, args):
        weights, row = _place(context, builder, scores, args[0], args[1], args[3])
        kept, position = _place(context, builder, values, args[2], args[3], args[5])
        asked, _ = _place(context, builder, later, args[7], args[8], args[5])
        size = values.dtype.bitwidth // 8

        def step(given: list[Any]) -> list[Any]:
            *sums, weight, value, wanted = given
            _ask(builder, wanted, values.dtype)
            places = [_after(builder, weight, row, i) for i in range(HEADS)]
            left = [llvm.splat(builder, llvm.read(builder, place, FLOAT, _FLOAT_BYTES), LANES) for place in places]
            for j in range(FOUR):
                one = read(builder, values.dtype, builder.gep(value, [I64(LANES * j * size)]), LANES)
                _multiply_add(builder, sums, j, left, one)
            ends = (
                builder.gep(weight, [I64(_FLOAT_BYTES)]),
                *(builder.gep(end, [position]) for end in (value, wanted)),
            )
            return [*sums, *(llvm.held(builder, end) for end in ends)]

        count = builder.sub(args[4], args[3])
        found = llvm.loop(builder, count, [*cgutils.unpack_tuple(builder, args[6]), weights, kept, asked], step)
        return context.make_tuple(builder, _SUMS, found[: len(_SUMS)])

    known = scores.dtype == types.float32 and readable(values) and values.dtype == later.dtype and begun == _SUMS
    given = (scores, types.int64, values, *[types.int64] * 3, begun, later, types.int64)
    return (_SUMS(*given), codegen) if known else None

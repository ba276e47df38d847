"""Tiles of sums kept in registers: tuples of vectors of sixteen floats, how they begin, grow and are stored.

A tile of I rows by J columns is a tuple of I * J vectors, one row after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels import llvm
from engine.kernels.llvm import I64, floats
from engine.kernels.vectors import read, readable


def nothing(one: llvm.Vector) -> Any:
    """`nothing(kind)(count)`, compiled: a tuple of `count` vectors of that kind, all 0."""

    @intrinsic(prefer_literal=True)
    def zeros(typing, count):
        if not isinstance(count, types.IntegerLiteral):
            return None
        kind = types.UniTuple(one, count.literal_value)

        def codegen(context, builder, signature, args):
            return context.make_tuple(builder, kind, [llvm.constant(one.llvm, 0)] * len(kind))

        return kind(count), codegen

    return zeros


no_sums = nothing(floats)


def _loads(doc: str, rows: int, columns: int) -> Any:
    """A `load` of several vectors, each so many rows and columns after the one before."""

    @intrinsic(prefer_literal=True)
    def load_several(typing, array, row, column, count):
        if not readable(array) or not isinstance(count, types.IntegerLiteral):
            return None
        kind = types.UniTuple(floats, count.literal_value)

        def codegen(context, builder, signature, args):
            found = []
            for i in range(len(kind)):
                place = [builder.add(args[1], I64(rows * i)), builder.add(args[2], I64(columns * i))]
                address = llvm.address(context, builder, array, args[0], place)
                found.append(read(builder, array.dtype, address))
            return context.make_tuple(builder, kind, found)

        return kind(array, types.int64, types.int64, count), codegen

    load_several.__doc__ = doc
    return load_several


load_rows = _loads("`load` of `count` rows: array[row + i, column : column + 16].", 1, 0)
load_columns = _loads("`load` of `count` vectors of a row: array[row, column + 16 * i : column + 16 * i + 16].", 0, 16)


@intrinsic(prefer_literal=True)
def splat_rows(typing, array, row, column, count):
    """A tuple of vectors, each sixteen times array[row + i, column], float32, for i < count.

    Parameters
    ----------
    array : f32 of two axes.
    row, column : of the first, i64.
    count : how many, a literal.
    """
    if not isinstance(count, types.IntegerLiteral):
        return None
    kind = types.UniTuple(floats, count.literal_value)

    def codegen(context, builder, signature, args):
        places = [[builder.add(args[1], I64(i)), args[2]] for i in range(len(kind))]
        values = [builder.load(llvm.address(context, builder, array, args[0], place)) for place in places]
        return context.make_tuple(builder, kind, [llvm.splat(builder, value) for value in values])

    return kind(array, types.int64, types.int64, count), codegen


@intrinsic
def multiply_add(typing, a, b, sums):
    """sums[i * len(b) + j] + a[i] * b[j], rounded once, of tuples of vectors of floats.

    Parameters
    ----------
    a, b : tuples of vectors.
    sums : a tile of len(a) rows by len(b) columns.
    """

    def codegen(context, builder, signature, args):
        left, right, so_far = (cgutils.unpack_tuple(builder, arg) for arg in args)
        found = list(so_far)
        kind = so_far[0].type
        for j, y in enumerate(right):  # in this order few of them are held at a time
            for i, x in enumerate(left):
                at = i * len(right) + j
                found[at] = llvm.call(builder, f"llvm.fma.v{kind.count}f32", kind, [x, y, found[at]])
        return context.make_tuple(builder, signature.return_type, found)

    return sums(a, b, sums), codegen


def _four_totals(builder: ir.IRBuilder, vectors: Any) -> Any:
    """The sums of four vectors as one vector of 4, by transposing inside 128-bit lanes: 13 instructions for 16."""
    width = vectors[0].type.count

    def unpack(a: Any, b: Any, unit: int, high: int) -> Any:
        picked = []
        for lane in range(0, width, 4):
            first = [lane + 2 * high, lane + 2 * high + 1]
            if unit == 1:
                picked += [first[0], width + first[0], first[1], width + first[1]]
            else:
                picked += [*first, width + first[0], width + first[1]]
        return llvm.shuffle(builder, a, b, picked)

    def join(a: Any, b: Any, unit: int) -> Any:
        return builder.fadd(unpack(a, b, unit, 0), unpack(a, b, unit, 1))

    a, b, c, d = vectors
    found = join(join(a, b, 1), join(c, d, 1), 2)
    while found.type.count > 4:
        found = llvm.halved(builder, found, builder.fadd)
    return found


@intrinsic
def store_four_totals(typing, array, row, column, sums):
    """array[row + i, column + j] = the sum of the vector sums[4 * i + j], float32, for j < 4.

    Parameters
    ----------
    array : f32 of two axes, written.
    row, column : where the totals begin, i64.
    sums : a tile of four columns.
    """

    def codegen(context, builder, signature, args):
        vectors = cgutils.unpack_tuple(builder, args[3])
        for i in range(0, len(vectors), 4):
            place = [builder.add(args[1], I64(i // 4)), args[2]]
            totals = _four_totals(builder, vectors[i : i + 4])
            llvm.write(builder, llvm.address(context, builder, array, args[0], place), totals, 4)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, sums), codegen


def _stores(doc: str, value: Callable[[Any, Any], Any], place: Callable[[int, int, int], tuple[int, int]]) -> Any:
    """A function (array, row, column, sums, count) that writes `value` of every vector of a tile of `count` columns,
    i-th row and j-th column, `place(i, j, width)` rows and columns after where the tile begins. The array is f32 of two
    axes."""

    @intrinsic(prefer_literal=True)
    def store(typing, array, row, column, sums, count):
        if not isinstance(count, types.IntegerLiteral):
            return None

        def codegen(context, builder, signature, args):
            for at, vector in enumerate(cgutils.unpack_tuple(builder, args[3])):
                i, j = divmod(at, count.literal_value)
                offsets = place(i, j, vector.type.count)
                indices = [builder.add(first, I64(offset)) for first, offset in zip(args[1:3], offsets, strict=True)]
                address = llvm.address(context, builder, array, args[0], indices)
                llvm.write(builder, address, value(builder, vector), 4)
            return context.get_dummy_value()

        return types.void(array, types.int64, types.int64, sums, count), codegen

    store.__doc__ = doc
    return store


store_sums = _stores(
    "array[row + i, column + width * j : ...] = the j-th of `count` vectors of the tile's i-th row.",
    lambda builder, vector: vector,
    lambda i, j, width: (i, width * j),
)
store_totals = _stores(
    "array[row + j, column + i] = the sum of the j-th of `count` vectors of the tile's i-th row.",
    lambda builder, vector: llvm.total(builder, vector, builder.fadd),
    lambda i, j, width: (j, i),
)

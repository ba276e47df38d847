"""Activations rounded to whole numbers, in the order in which `kernels.integer_dots` multiplies them."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from engine.kernels import llvm
from engine.kernels.inner import inner
from engine.kernels.llvm import F16, I8, I16, I32, I32S, WIDTH, floats, ints
from engine.kernels.model import part
from engine.kernels.panel_sums import MULTIPLIES_PAIRS
from engine.kernels.scalars import bits_of, float_of_bits
from engine.kernels.sizes import VNNI
from engine.kernels.vectors import int_total, load

_B16 = ir.VectorType(I8, 16)

INFINITY = np.int32(np.float32(np.inf).view(np.int32))  # bits that only infinity and NaN reach
SMALLEST = np.int32(np.float32(1e-34).view(np.int32))
# The largest activation: its high byte, once its low byte is taken as signed, must fit a signed byte.
LARGEST = 127 * 256 + 127


def holder(weights: np.dtype, bits: int, packed: bool) -> type:
    """What holds activations for products with such weights: np.int8, bytes as they come; np.int16, shorts as they
    come; np.uint16, fours of low bytes, then the same four's high ones, all signed.

    Bytes where the processor multiplies them: by all weights with VNNI, else by nibbles.

    Parameters
    ----------
    weights : of int8, or uint8 for int4.
    bits : 8, or 16 for up to 16.
    packed : whether `packed.many` reads them, else `linear.linear`.
    """
    nibbles = weights == np.uint8 and MULTIPLIES_PAIRS
    if bits == 8:
        return np.int8 if VNNI or nibbles else np.int16
    return np.uint16 if VNNI or (nibbles and not packed) else np.int16


def fewest_bits(weights: np.dtype) -> int:
    """To how many bits prompts round activations for speed: 8 where a product of bytes is the quicker, else 16.

    Parameters
    ----------
    weights : as `holder` takes it.
    """
    return 8 if holder(weights, 8, packed=True) is np.int8 else 16


@intrinsic
def store_whole(typing, q, row, column, value, factor, count):
    """Round sixteen numbers to whole ones, ties to even, store them, and return them.

    Parameters
    ----------
    q : of two axes, written; of a type that `holder` names, which says in what order it has them.
    row, column : where, i64.
    value : sixteen floats.
    factor : float32 that they are multiplied by first.
    count : how many count, i64: from the `count`-th on there are zeros.
    """

    def codegen(context, builder, signature, args):
        array, row_value, column_value, values, scale, limit = args
        lanes = ir.Constant(I32S, list(range(WIDTH)))
        inside = builder.icmp_signed("<", lanes, llvm.splat(builder, builder.trunc(limit, I32)))
        kept = builder.select(inside, builder.fmul(values, llvm.splat(builder, scale)), llvm.constant(F16, 0.0))
        whole = builder.fptosi(llvm.call(builder, "llvm.rint.v16f32", F16, [kept]), I32S)
        place = llvm.address(context, builder, q, array, [row_value, column_value])
        if q.dtype == types.int8:
            llvm.write(builder, place, builder.trunc(whole, _B16), 1)
        elif q.dtype == types.uint16:
            low = builder.trunc(whole, _B16)  # the lowest byte, read as signed
            rest = builder.sub(whole, builder.sext(low, I32S))
            high = builder.trunc(builder.ashr(rest, llvm.constant(I32S, 8)), _B16)
            order = [part + 4 * quad + i for quad in range(4) for part in (0, WIDTH) for i in range(4)]
            llvm.write(builder, place, llvm.shuffle(builder, low, high, order), 2)
        else:
            llvm.write(builder, place, builder.trunc(whole, ir.VectorType(I16, WIDTH)), 2)
        return whole

    signature = ints(q, types.int64, types.int64, floats, types.float32, types.int64)
    known = q.dtype in (types.int16, types.uint16, types.int8) and q.layout == "C" and q.ndim == 2
    return (signature, codegen) if known else None


@intrinsic
def add(typing, a, b):
    """The sums of two vectors of ints.

    Parameters
    ----------
    a, b : sixteen ints each.
    """
    return ints(ints, ints), lambda context, builder, signature, args: builder.add(*args)


@intrinsic
def largest(typing, array, row, column, count):
    """The greatest magnitude of array[row, column : column + 16], float32, as its bits: ordered as magnitudes are, with
    infinity above all numbers and NaN above infinity. Those from the `count`-th on are passed over.

    Parameters
    ----------
    array : f32 of two axes.
    row, column : where, i64.
    count : how many count, i64.
    """

    def codegen(context, builder, signature, args):
        place = llvm.address(context, builder, array, args[0], args[1:3])
        bits = builder.and_(llvm.read(builder, place, I32S, 4), llvm.constant(I32S, 0x7FFFFFFF))
        lanes = ir.Constant(I32S, list(range(WIDTH)))
        inside = builder.icmp_signed("<", lanes, llvm.splat(builder, builder.trunc(args[3], I32)))
        kept = builder.select(inside, bits, llvm.constant(I32S, 0))

        def greater(a: Any, b: Any) -> Any:
            return builder.select(builder.icmp_signed(">", a, b), a, b)

        return llvm.total(builder, kept, greater)

    return types.int32(array, types.int64, types.int64, types.int64), codegen


@inner(fastmath=True)
def _largest_bits(x, n, columns):
    # Magnitudes are compared by their bits, because a maximum of floats passes over NaN.
    top = np.int32(0)
    for j in range(columns):
        top = max(top, bits_of(x[n, j]) & np.int32(0x7FFFFFFF))
    return top


@inner()
def _scale(top, limit):
    """The scale that makes the magnitude of bits `top` a whole number of `limit`, and its inverse.

    Where all are smaller than `SMALLEST` the inverse would be infinite: they count as zeros. A number that is not
    finite must stay one, and not become some integer: its scale is NaN.
    """
    if SMALLEST < top < INFINITY:
        largest = float_of_bits(top)
        return largest / limit, limit / largest
    return np.float32(0) if top < INFINITY else np.float32(np.nan), np.float32(0)


def quantize(x, r, columns, a, n):
    """`quantize_by_groups` where the scales of `a` have an axis for groups, else `quantize_by_token`.

    Parameters
    ----------
    x, r, columns, a, n : as those take them.
    """
    raise TypeError("compiled code only")


@overload(quantize, jit_options={"_nrt": False})
def _quantize(x, r, columns, a, n):
    how = quantize_by_groups if part(a, "scales").ndim == 2 else quantize_by_token
    return lambda x, r, columns, a, n: how(x, r, columns, a, n)


@inner(forceinline=True)
def _round_group(x, r, g, columns, inverse, a, n):
    """Round columns 32 g to 32 g + 31 into a.q[n]; their sum, kept in a.sums too."""
    j = 32 * g
    found = store_whole(a.q, n, j, load(x, r, j), inverse, columns - j)
    if j + 16 < columns:
        found = add(found, store_whole(a.q, n, j + 16, load(x, r, j + 16), inverse, columns - j - 16))
    sum_ = int_total(found)
    a.sums[n, 1 + g] = sum_
    return sum_


@inner()
def quantize_by_token(x, r, columns, a, n):
    """Round x[r, :columns] to whole numbers with x = q * scale, in the order the products read them.

    Parameters
    ----------
    x : f32 [.., columns rounded up to 16 or more].
    r : the row that is read.
    columns : K, how many of it count.
    a : `Activations`, whose q, scales and sums of token n are written: scales[n], sums[n, 0] the sum of all and
        sums[n, 1 + g] that of columns 32 g to 32 g + 31. q is wide enough for K rounded up to 16.
    n : the token.
    """
    # |q| * 127 * columns must fit an int32.
    limit = np.float32(min(LARGEST, 2147483647 // (127 * columns)))
    a.scales[n], inverse = _scale(_largest_bits(x, r, columns), limit)
    whole, full = np.int32(0), columns // 32
    for g in range(full):  # nothing is left out of these, as the compiler sees
        whole += _round_group(x, r, g, 32 * g + 32, inverse, a, n)
    if 32 * full < columns:
        whole += _round_group(x, r, full, columns, inverse, a, n)
    a.sums[n, 0] = whole


@inner(forceinline=True)
def _scale_and_round(x, r, g, columns, a, n):
    """Round columns 32 g to 32 g + 31 into a.q[n] with a scale of their own."""
    j = 32 * g
    top = largest(x, r, j, columns - j)
    if j + 16 < columns:
        top = max(top, largest(x, r, j + 16, columns - j - 16))
    a.scales[n, g], inverse = _scale(top, np.float32(127))
    _round_group(x, r, g, columns, inverse, a, n)


@inner()
def quantize_by_groups(x, r, columns, a, n):
    """Round x[r, :columns] to whole numbers -127 to 127 with a scale for each group of 32 columns.

    Parameters
    ----------
    x, r, columns, n : as `quantize_by_token` has them.
    a : `Activations` whose q is of `holder` and whose scales[n, g] are those of columns 32 g to 32 g + 31; else as
        there, but that sums[n, 0] stays what it is.
    """
    full = columns // 32
    for g in range(full):
        _scale_and_round(x, r, g, 32 * g + 32, a, n)
    if 32 * full < columns:
        _scale_and_round(x, r, full, columns, a, n)

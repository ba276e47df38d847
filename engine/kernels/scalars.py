"""Single numbers in compiled code: weights widened and narrowed, the bits of a float, and an `exp` that vectorises.

What Numba has no word for are LLVM instructions reached through `numba.extending.intrinsic`; no compiler is needed at
run time.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload


@intrinsic
def _half_to_float(typing, bits):
    """Read the 16 bits of an IEEE half as a float32 (vcvtph2ps where the processor has F16C)."""

    def codegen(context, builder, signature, args):
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), codegen


def bytes_of(array):
    """Bytes of one element, known to the compiler, as `array.itemsize` is not."""
    raise TypeError("bytes_of is compiled code only")


@overload(bytes_of)
def _bytes_of(array):
    size = array.dtype.bitwidth // 8
    return lambda array: size


def widen(value):
    """A stored weight as float32: int8 and float32 by value, uint16 as the bits of a half."""
    raise TypeError("widen is compiled code only")


@overload(widen)
def _widen(value):
    if value == types.uint16:
        return lambda value: _half_to_float(value)
    return lambda value: np.float32(value)


@intrinsic
def _float_to_half(typing, value):
    """The 16 bits of the IEEE half nearest to a float32 (ties to even)."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), codegen


def narrow(value, array):
    """A float32 as `array` stores it: float32, or uint16 as the bits of a half."""
    raise TypeError("narrow is compiled code only")


@overload(narrow)
def _narrow(value, array):
    if array.dtype == types.uint16:
        return lambda value, array: _float_to_half(value)
    return lambda value, array: value


@intrinsic
def float_of_bits(typing, bits):
    """Read 32 bits as a float32."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def bits_of(typing, value):
    """The 32 bits of a float32, as an int32: ordered as magnitudes are once the sign is gone, with infinity above all
    numbers and NaN above infinity."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@nb.njit(fastmath=True)
def exp(x):
    """e**x in float32, relative error below 3e-7 for -87 <= x <= 88 (clamped outside): exp2 by its exponent bits
    and a minimax polynomial (Cephes, expf.c). libm's expf is a call the loop vectoriser cannot see through."""
    x = min(max(x, np.float32(-87.0)), np.float32(88.0))
    n = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    return (p * r * r + r + np.float32(1.0)) * float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))

"""Sixteen floats as a value in compiled code: what the loop vectoriser does not find by itself, said outright."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels import llvm
from engine.kernels.llvm import F16, HALF, I8, I16, I32, I32S, floats, ints


@intrinsic
def zeros(typing):
    """Sixteen floats of 0."""
    return floats(), lambda context, builder, signature, args: llvm.constant(F16, 0.0)


@intrinsic
def splat(typing, value):
    """Sixteen times a float32."""
    return floats(types.float32), lambda context, builder, signature, args: llvm.splat(builder, args[0])


def readable(array: Any) -> bool:
    """Whether `load` takes an array of this Numba type."""
    stored = array.dtype in (types.float32, types.uint16, types.int8)
    return stored and array.layout == "C" and array.ndim == 2


def read(builder: ir.IRBuilder, stored: Any, address: Any, count: int = llvm.WIDTH) -> Any:
    """The code that reads floats stored as `stored` at an address.

    Parameters
    ----------
    builder : where the code goes.
    stored : the array's Numba dtype.
    address : of the first element.
    count : how many.
    """
    kind = ir.VectorType(llvm.FLOAT, count)
    if stored == types.float32:
        return llvm.read(builder, address, kind, 4)
    if stored == types.uint16:
        return builder.fpext(llvm.read(builder, address, ir.VectorType(HALF, count), 2), kind)
    bytes_ = llvm.read(builder, address, ir.VectorType(I8, count), 1)
    return builder.sitofp(builder.sext(bytes_, ir.VectorType(I32, count)), kind)


@intrinsic
def load(typing, array, row, column):
    """array[row, column : column + 16] as floats: float32 as it is, int8 by value, uint16 as the bits of halves.

    Parameters
    ----------
    array : of two axes, C-contiguous.
    row, column : where, i64.
    """

    def codegen(context, builder, signature, args):
        return read(builder, array.dtype, llvm.address(context, builder, array, args[0], args[1:]))

    return (floats(array, types.int64, types.int64), codegen) if readable(array) else None


@intrinsic
def store(typing, array, row, column, value):
    """array[row, column : column + 16] = value, float32.

    Parameters
    ----------
    array : f32 of two axes, written.
    row, column : where, i64.
    value : sixteen floats.
    """

    def codegen(context, builder, signature, args):
        llvm.write(builder, llvm.address(context, builder, array, args[0], args[1:3]), args[3], 4)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, floats), codegen


@intrinsic
def get(typing, array, at):
    """array[at : at + 16] as floats: float32 as it is, uint16 as the bits of halves.

    Parameters
    ----------
    array : of one axis, C-contiguous.
    at : where, i64.
    """

    def codegen(context, builder, signature, args):
        return read(builder, array.dtype, llvm.address(context, builder, array, args[0], args[1:]))

    known = array.dtype in (types.float32, types.uint16) and array.layout == "C" and array.ndim == 1
    return (floats(array, types.int64), codegen) if known else None


@intrinsic
def put(typing, array, at, value):
    """array[at : at + 16] = value, as float32, or uint16 with the bits of halves (ties to even).

    Parameters
    ----------
    array : of one axis, C-contiguous, written.
    at : where, i64.
    value : sixteen floats.
    """

    def codegen(context, builder, signature, args):
        value_ = args[2]
        if array.dtype == types.uint16:
            halves = builder.fptrunc(value_, ir.VectorType(HALF, 16))
            value_ = builder.bitcast(halves, ir.VectorType(I16, 16))
        place = llvm.address(context, builder, array, args[0], args[1:2])
        llvm.write(builder, place, value_, array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    known = array.dtype in (types.float32, types.uint16) and array.layout == "C" and array.ndim == 1
    return (types.void(array, types.int64, floats), codegen) if known else None


def _binary(operation: str, doc: str) -> Any:
    @intrinsic
    def binary(typing, a, b):
        return floats(floats, floats), lambda context, builder, signature, args: getattr(builder, operation)(*args)

    binary.__doc__ = doc
    return binary


plus = _binary("fadd", "a + b")
less = _binary("fsub", "a - b")
times = _binary("fmul", "a * b")
over = _binary("fdiv", "a / b")


@intrinsic
def greater(typing, a, b):
    """The greater of each pair; b where one is NaN.

    Parameters
    ----------
    a, b : sixteen floats each.
    """

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return floats(floats, floats), codegen


@intrinsic
def greatest(typing, vector):
    """The greatest of sixteen floats."""

    def codegen(context, builder, signature, args):
        def greater_of(a: Any, b: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        return llvm.total(builder, args[0], greater_of)

    return types.float32(floats), codegen


@intrinsic
def exp(typing, vector):
    """e**x of sixteen floats, as `scalars.exp` computes it; NaN stays NaN."""

    def codegen(context, builder, signature, args):
        def number(value: float) -> Any:
            return llvm.constant(F16, value)

        def multiply_add(a: Any, b: Any, c: Any) -> Any:
            return llvm.call(builder, "llvm.fma.v16f32", F16, [a, b, c])

        x = args[0]
        for sign, bound in (("<", -87.0), (">", 88.0)):
            x = builder.select(builder.fcmp_ordered(sign, x, number(bound)), number(bound), x)
        shifted = multiply_add(x, number(1.44269504), number(0.5))
        n = llvm.call(builder, "llvm.floor.v16f32", F16, [shifted])
        r = multiply_add(n, number(-0.693359375), x)
        r = multiply_add(n, number(2.12194440e-4), r)
        p = number(1.9875691500e-4)
        for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
            p = multiply_add(p, r, number(coefficient))
        p = builder.fadd(multiply_add(builder.fmul(p, r), r, r), number(1.0))
        exponent = builder.add(builder.fptosi(n, I32S), llvm.constant(I32S, 127))
        power = builder.bitcast(builder.shl(exponent, llvm.constant(I32S, 23)), F16)
        return builder.fmul(p, power)

    return floats(floats), codegen


@intrinsic
def fma(typing, a, b, c):
    """a * b + c, rounded once.

    Parameters
    ----------
    a, b, c : sixteen floats each.
    """

    def codegen(context, builder, signature, args):
        return llvm.call(builder, "llvm.fma.v16f32", F16, list(args))

    return floats(floats, floats, floats), codegen


def _total(kind: llvm.Vector, number: Any, operation: str, doc: str) -> Any:
    @intrinsic
    def total_of(typing, vector):
        def codegen(context, builder, signature, args):
            return llvm.total(builder, args[0], getattr(builder, operation))

        return number(kind), codegen

    total_of.__doc__ = doc
    return total_of


total = _total(floats, types.float32, "fadd", "The sum of sixteen floats, always in the same order.")
int_total = _total(ints, types.int32, "add", "The sum of sixteen ints.")


def ask(builder: ir.IRBuilder, place: Any, near: bool) -> None:
    """Ask for the cache line of an address; there may be nothing.

    Parameters
    ----------
    builder : where the code goes.
    place : a pointer to bytes.
    near : whether it is to come to the nearest cache, else to the next, which has room for more lines under way.
    """
    kind = ir.FunctionType(ir.VoidType(), [place.type, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [place, I32(0), I32(3 if near else 2), I32(1)])


def _asks(near: bool, doc: str) -> Any:
    @intrinsic
    def prefetch(typing, array, offset):
        def codegen(context, builder, signature, args):
            struct = context.make_array(array)(context, builder, args[0])
            ask(builder, builder.bitcast(builder.gep(struct.data, [args[1]]), I8.as_pointer()), near)
            return context.get_dummy_value()

        return types.void(array, types.int64), codegen

    prefetch.__doc__ = doc
    return prefetch


_DOC = """Ask for the cache line of an array's element `offset`, counted flat, to come to the {} cache; it may lie
    beyond the end.

    Parameters
    ----------
    array : of any type.
    offset : i64.
    """
prefetch, prefetch_next = _asks(True, _DOC.format("nearest")), _asks(False, _DOC.format("second"))

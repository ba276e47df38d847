"""Vectors as values in compiled code: what the loop vectoriser does not find by itself, said outright.

Three types: 16 floats, 32 shorts, 16 ints. They are LLVM vectors, so the same code becomes one AVX-512 register, two of
AVX2 or four of NEON; nothing here names a processor. `dot` is written so that LLVM recognises it as vpdpwssd (AVX-512
VNNI) or vpmaddwd (AVX2).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

_FLOAT, _HALF, _I8, _I16, _I32 = ir.FloatType(), ir.HalfType(), ir.IntType(8), ir.IntType(16), ir.IntType(32)
_F16 = ir.VectorType(_FLOAT, 16)
_S32 = ir.VectorType(_I16, 32)
_I16S = ir.VectorType(_I32, 16)

FLOATS = 16  # floats in a vector
SHORTS = 32  # shorts in a vector


class _Vector(types.Type):
    """A vector as Numba sees it: opaque, passed by value."""

    def __init__(self, name: str, llvm: ir.VectorType) -> None:
        super().__init__(name=name)
        self.llvm = llvm


class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: _Vector) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


register_model(_Vector)(_VectorModel)
floats = _Vector("f32x16", _F16)
shorts = _Vector("i16x32", _S32)
ints = _Vector("i32x16", _I16S)


def _constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def _mask(indices: Any) -> ir.Constant:
    indices = list(indices)
    return ir.Constant(ir.VectorType(_I32, len(indices)), indices)


def _splat(builder: ir.IRBuilder, scalar: Any, kind: ir.VectorType) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, undefined, _mask([0] * kind.count))


def _address(context: Any, builder: ir.IRBuilder, kind: Any, array: Any, indices: Any) -> Any:
    """Of an element of a C-contiguous array."""
    struct = context.make_array(kind)(context, builder, array)
    shape = cgutils.unpack_tuple(builder, struct.shape)
    offset = indices[0]
    for axis in range(1, len(indices)):
        offset = builder.add(builder.mul(offset, shape[axis]), indices[axis])
    return builder.gep(struct.data, [offset])


def _read(builder: ir.IRBuilder, address: Any, kind: ir.VectorType, align: int) -> Any:
    return builder.load(builder.bitcast(address, kind.as_pointer()), align=align)


@intrinsic
def zeros(typing):
    """Sixteen floats of 0."""
    return floats(), lambda context, builder, signature, args: _constant(_F16, 0.0)


@intrinsic
def int_zeros(typing):
    """Sixteen ints of 0."""
    return ints(), lambda context, builder, signature, args: _constant(_I16S, 0)


@intrinsic
def splat(typing, value):
    """Sixteen times a float32."""
    return floats(types.float32), lambda context, builder, signature, args: _splat(builder, args[0], _F16)


@intrinsic
def load(typing, array, row, column):
    """array[row, column : column + 16] as floats: float32 as it is, int8 by value, uint16 as the bits of halves."""
    stored = array.dtype

    def codegen(context, builder, signature, args):
        address = _address(context, builder, array, args[0], args[1:])
        if stored == types.float32:
            return _read(builder, address, _F16, 4)
        if stored == types.uint16:
            return builder.fpext(_read(builder, address, ir.VectorType(_HALF, 16), 2), _F16)
        return builder.sitofp(builder.sext(_read(builder, address, ir.VectorType(_I8, 16), 1), _I16S), _F16)

    known = stored in (types.float32, types.uint16, types.int8) and array.layout == "C" and array.ndim == 2
    return (floats(array, types.int64, types.int64), codegen) if known else None


@intrinsic
def store(typing, array, row, column, value):
    """array[row, column : column + 16] = value, float32."""

    def codegen(context, builder, signature, args):
        address = _address(context, builder, array, args[0], args[1:3])
        builder.store(args[3], builder.bitcast(address, _F16.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, floats), codegen


@intrinsic
def fma(typing, a, b, c):
    """a * b + c, rounded once."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(_F16, [_F16] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.v16f32"), args)

    return floats(floats, floats, floats), codegen


def _halves(builder: ir.IRBuilder, vector: Any, add: Any) -> Any:
    """The sum of a vector's lower and upper half."""
    half = vector.type.count // 2
    undefined = ir.Constant(vector.type, ir.Undefined)
    low = builder.shuffle_vector(vector, undefined, _mask(range(half)))
    return add(low, builder.shuffle_vector(vector, undefined, _mask(range(half, 2 * half))))


@intrinsic
def total(typing, vector):
    """The sum of sixteen floats, always in the same order."""

    def codegen(context, builder, signature, args):
        vector = args[0]
        while vector.type.count > 1:
            vector = _halves(builder, vector, builder.fadd)
        return builder.extract_element(vector, ir.Constant(_I32, 0))

    return types.float32(floats), codegen


def _four_totals(builder: ir.IRBuilder, vectors: Any, add: Any) -> Any:
    """The sums of four vectors of 16 as one vector of 4, by transposing inside 128-bit lanes: 13 instructions."""

    def unpack(a: Any, b: Any, unit: int, high: int) -> Any:
        picked = []
        for lane in range(0, 16, 4):
            first = [lane + 2 * high, lane + 2 * high + 1]
            if unit == 1:
                picked += [first[0], 16 + first[0], first[1], 16 + first[1]]
            else:
                picked += [*first, 16 + first[0], 16 + first[1]]
        return builder.shuffle_vector(a, b, _mask(picked))

    def join(a: Any, b: Any, unit: int) -> Any:
        return add(unpack(a, b, unit, 0), unpack(a, b, unit, 1))

    a, b, c, d = vectors
    return _halves(builder, _halves(builder, join(join(a, b, 1), join(c, d, 1), 2), add), add)


_F4 = ir.VectorType(_FLOAT, 4)


@intrinsic
def store_four_totals(typing, array, row, column, a, b, c, d):
    """array[row, column : column + 4] = the sums of four vectors of floats."""

    def codegen(context, builder, signature, args):
        address = _address(context, builder, array, args[0], args[1:3])
        sums = _four_totals(builder, args[3:], builder.fadd)
        builder.store(sums, builder.bitcast(address, _F4.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, floats, floats, floats, floats), codegen


@intrinsic
def load_shorts(typing, array, row, column):
    """array[row, column : column + 32] as shorts, from int16 or int8."""
    stored = array.dtype

    def codegen(context, builder, signature, args):
        address = _address(context, builder, array, args[0], args[1:])
        if stored == types.int16:
            return _read(builder, address, _S32, 2)
        return builder.sext(_read(builder, address, ir.VectorType(_I8, 32), 1), _S32)

    known = stored in (types.int16, types.int8) and array.layout == "C" and array.ndim == 2
    return (shorts(array, types.int64, types.int64), codegen) if known else None


@intrinsic
def load_nibbles(typing, array, row, column):
    """The 32 nibbles 0 to 15 of bytes array[row, column : column + 16]: the low ones first, then the high ones."""

    def codegen(context, builder, signature, args):
        raw = _read(builder, _address(context, builder, array, args[0], args[1:]), ir.VectorType(_I8, 16), 1)
        low = builder.and_(raw, _constant(raw.type, 15))
        high = builder.lshr(raw, _constant(raw.type, 4))
        return builder.zext(builder.shuffle_vector(low, high, _mask(range(32))), _S32)

    known = array.dtype == types.uint8 and array.layout == "C" and array.ndim == 2
    return (shorts(array, types.int64, types.int64), codegen) if known else None


@intrinsic
def load_words(typing, array, row, column):
    """The 64 bytes array[row, column : column + 64] as 32 shorts, four nibbles each."""

    def codegen(context, builder, signature, args):
        return _read(builder, _address(context, builder, array, args[0], args[1:]), _S32, 1)

    known = array.dtype == types.uint8 and array.layout == "C" and array.ndim == 2
    return (shorts(array, types.int64, types.int64), codegen) if known else None


def _nibble(shift: int) -> Any:
    """Bits shift to shift + 3 of each short: 0 to 15 already as wide as they are multiplied."""

    @intrinsic
    def nibble(typing, words):
        def codegen(context, builder, signature, args):
            return builder.and_(builder.lshr(args[0], _constant(_S32, shift)), _constant(_S32, 15))

        return shorts(shorts), codegen

    return nibble


nibble_0, nibble_1, nibble_2, nibble_3 = (_nibble(shift) for shift in (0, 4, 8, 12))


@intrinsic
def load_fourfold(typing, array, row, column):
    """Halves array[row, column : column + 4] as floats, each four times."""

    def codegen(context, builder, signature, args):
        halves = _read(builder, _address(context, builder, array, args[0], args[1:]), ir.VectorType(_HALF, 4), 2)
        four = builder.fpext(halves, _F4)
        return builder.shuffle_vector(four, ir.Constant(_F4, ir.Undefined), _mask(i // 4 for i in range(16)))

    known = array.dtype == types.uint16 and array.layout == "C" and array.ndim == 2
    return (floats(array, types.int64, types.int64), codegen) if known else None


@intrinsic
def dot(typing, sums, a, b):
    """sums[i] + a[2i] * b[2i] + a[2i + 1] * b[2i + 1], in ints."""

    def codegen(context, builder, signature, args):
        wide = ir.VectorType(_I32, 32)
        sums, a, b = args
        products = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
        undefined = ir.Constant(wide, ir.Undefined)
        even = builder.shuffle_vector(products, undefined, _mask(range(0, 32, 2)))
        odd = builder.shuffle_vector(products, undefined, _mask(range(1, 32, 2)))
        return builder.add(sums, builder.add(even, odd))

    return ints(ints, shorts, shorts), codegen


@intrinsic
def as_floats(typing, vector):
    """Sixteen ints as floats."""
    return floats(ints), lambda context, builder, signature, args: builder.sitofp(args[0], _F16)


@intrinsic
def int_total(typing, vector):
    """The sum of sixteen ints."""

    def codegen(context, builder, signature, args):
        vector = args[0]
        while vector.type.count > 1:
            vector = _halves(builder, vector, builder.add)
        return builder.extract_element(vector, ir.Constant(_I32, 0))

    return types.int32(ints), codegen


@intrinsic
def store_four_scaled(typing, array, row, column, a, b, c, d, scales, factor):
    """array[row, column : column + 4] = float(sums of four vectors of ints) * scales[column : ...] * factor."""

    def codegen(context, builder, signature, args):
        array_value, row_value, column_value, *vectors, scale_value, factor_value = args
        sums = builder.sitofp(_four_totals(builder, vectors, builder.add), _F4)
        scale = _read(builder, _address(context, builder, scales, scale_value, [column_value]), _F4, 4)
        scaled = builder.fmul(builder.fmul(sums, scale), _splat(builder, factor_value, _F4))
        address = _address(context, builder, array, array_value, [row_value, column_value])
        builder.store(scaled, builder.bitcast(address, _F4.as_pointer()), align=4)
        return context.get_dummy_value()

    signature = types.void(array, types.int64, types.int64, ints, ints, ints, ints, scales, types.float32)
    return signature, codegen


@intrinsic
def store_rounded(typing, array, row, column, value):
    """int16 array[row, column : column + 16] = value, rounded to the nearest whole number, ties to even."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(_F16, [_F16])
        rint = cgutils.get_or_insert_function(builder.module, kind, "llvm.rint.v16f32")
        whole = builder.fptosi(builder.call(rint, [args[3]]), _I16S)
        narrow = builder.trunc(whole, ir.VectorType(_I16, 16))
        address = _address(context, builder, array, args[0], args[1:3])
        builder.store(narrow, builder.bitcast(address, narrow.type.as_pointer()), align=2)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64, floats), codegen


@intrinsic
def prefetch(typing, array, offset):
    """Ask for the cache line of an array's element `offset`, counted flat; it may lie beyond the end."""

    def codegen(context, builder, signature, args):
        struct = context.make_array(array)(context, builder, args[0])
        pointer = _I8.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        address = builder.bitcast(builder.gep(struct.data, [args[1]]), pointer)
        builder.call(function, [address, _I32(0), _I32(3), _I32(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen

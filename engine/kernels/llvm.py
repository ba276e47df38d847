"""Vectors as LLVM has them, and the few instructions every operator on them is built of.

The types are LLVM vectors, so the same code becomes one AVX-512 register, two of AVX2 or four of NEON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import cgutils, config
from numba.extending import models, register_model

FLOAT, HALF, I8, I16, I32, I64 = ir.FloatType(), ir.HalfType(), *(ir.IntType(bits) for bits in (8, 16, 32, 64))
F16 = ir.VectorType(FLOAT, 16)
I32S = ir.VectorType(I32, 16)
PAIRS = ir.VectorType(I32, 32)
SHORTS = ir.VectorType(I16, 32)

WIDTH = 16  # numbers in a vector


class Vector(types.Type):
    """A vector as Numba sees it: opaque, passed by value."""

    def __init__(self, name: str, llvm: ir.VectorType) -> None:
        super().__init__(name=name)
        self.llvm = llvm


class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, fe_type.llvm)


register_model(Vector)(_VectorModel)
floats = Vector("f32x16", F16)
eights = Vector("f32x8", ir.VectorType(FLOAT, 8))
ints = Vector("i32x16", I32S)
pairs = Vector("i32x32", PAIRS)
shorts = Vector("i16x32", SHORTS)


def has(feature: str) -> bool:
    """Whether Numba compiles for a processor with this feature (as LLVM spells it): this one's, or what
    NUMBA_CPU_FEATURES names."""
    if config.CPU_FEATURES is not None:
        return f"+{feature}" in config.CPU_FEATURES.split(",")
    return bool(get_host_cpu_features().get(feature))


def constant(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * kind.count)


def shuffle(builder: ir.IRBuilder, a: Any, b: Any, indices: Iterable[int]) -> Any:
    """Elements by their place in a followed by b (None: of a alone).

    Parameters
    ----------
    builder : where the code goes.
    a, b : vectors of one type.
    indices : one for each element of the result.
    """
    indices = list(indices)
    mask = ir.Constant(ir.VectorType(I32, len(indices)), indices)
    return builder.shuffle_vector(a, ir.Constant(a.type, ir.Undefined) if b is None else b, mask)


def splat(builder: ir.IRBuilder, scalar: Any, count: int = WIDTH) -> Any:
    """A vector of `count` times a scalar.

    Parameters
    ----------
    builder : where the code goes.
    scalar : a value of any type that vectors have.
    count : how many, 16 unless said.
    """
    kind = ir.VectorType(scalar.type, count)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(I32, 0))
    return shuffle(builder, one, None, [0] * count)


def address(context: Any, builder: ir.IRBuilder, kind: Any, array: Any, indices: Any) -> Any:
    """The address of an element of a C-contiguous array.

    Parameters
    ----------
    context, builder : Numba's context, and where the code goes.
    kind, array : the array's Numba type and its value.
    indices : i64 values, one an axis.
    """
    struct = context.make_array(kind)(context, builder, array)
    shape = cgutils.unpack_tuple(builder, struct.shape)
    offset = indices[0]
    for axis in range(1, len(indices)):
        offset = builder.add(builder.mul(offset, shape[axis]), indices[axis])
    return builder.gep(struct.data, [offset])


def read(builder: ir.IRBuilder, place: Any, kind: Any, align: int) -> Any:
    """The value of a type that begins at an address.

    Parameters
    ----------
    builder : where the code goes.
    place : the address, of whatever type.
    kind : the LLVM type that is read.
    align : bytes that the address is known to be a multiple of.
    """
    return builder.load(builder.bitcast(place, kind.as_pointer()), align=align)


def write(builder: ir.IRBuilder, place: Any, value: Any, align: int) -> None:
    """Store a value from an address on.

    Parameters
    ----------
    builder : where the code goes.
    place : the address, of whatever type.
    value : what is stored.
    align : bytes that the address is known to be a multiple of.
    """
    builder.store(value, builder.bitcast(place, value.type.as_pointer()), align=align)


def call(builder: ir.IRBuilder, name: str, result: Any, args: list[Any]) -> Any:
    """One of LLVM's own functions.

    Parameters
    ----------
    builder : where the code goes.
    name : as LLVM spells it.
    result : its LLVM type.
    args : values.
    """
    kind = ir.FunctionType(result, [arg.type for arg in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def held(builder: ir.IRBuilder, value: Any) -> Any:
    """A value whose origin the compiler does not see, so that it stays in a register of its own and is counted up.

    Parameters
    ----------
    builder : where the code goes.
    value : a pointer or a whole number.
    """
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=False)


def loop(builder: ir.IRBuilder, steps: Any, begun: Sequence[Any], step: Callable[[list[Any]], list[Any]]) -> list[Any]:
    """Values that go through a step again and again, none of them through memory.

    Parameters
    ----------
    builder : where the code goes; it goes on behind the loop.
    steps : how many, i64; none where it is 0 or less.
    begun : the values before.
    step : gives the values after one step, of the same types.
    """
    before = builder.block
    inside, done = (builder.append_basic_block(name) for name in ("steps", "done"))
    builder.cbranch(builder.icmp_signed(">", steps, I64(0)), inside, done)
    builder.position_at_end(inside)
    passing = [builder.phi(value.type) for value in (*begun, steps)]
    *given, left = passing
    found = step(given)
    after = [*found, builder.sub(left, I64(1))]
    for value, start, end in zip(passing, (*begun, steps), after, strict=True):
        value.add_incoming(start, before)
        value.add_incoming(end, inside)
    builder.cbranch(builder.icmp_signed("==", after[-1], I64(0)), done, inside)
    builder.position_at_end(done)
    ends = [builder.phi(value.type) for value in begun]
    for value, start, end in zip(ends, begun, found, strict=True):
        value.add_incoming(start, before)
        value.add_incoming(end, inside)
    return ends


def halved(builder: ir.IRBuilder, vector: Any, add: Any) -> Any:
    """The sum of a vector's lower and upper half.

    Parameters
    ----------
    builder : where the code goes.
    vector : of an even number of elements.
    add : how two values are added: builder.add, builder.fadd, or what gives the greater.
    """
    half = vector.type.count // 2
    return add(shuffle(builder, vector, None, range(half)), shuffle(builder, vector, None, range(half, 2 * half)))


def total(builder: ir.IRBuilder, vector: Any, add: Any) -> Any:
    """The sum of a vector's elements, always in the same order.

    Parameters
    ----------
    builder : where the code goes.
    vector : of a power of two of elements.
    add : how two values are added, as `halved` takes it.
    """
    while vector.type.count > 1:
        vector = halved(builder, vector, add)
    return builder.extract_element(vector, ir.Constant(I32, 0))

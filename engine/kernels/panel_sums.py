"""Sums of a packed panel of 16 rows with tokens, all of them in registers while the columns pass.

At a step 64 bytes of weights (`kernels.packing`) meet four bytes of every token's activations: one float, two shorts or
four bytes. A sum is a token's: a vector of 16 lanes of 32 bits, a row a lane; for bytes it is one of 32 lanes of 16.
Int8 weights as they are stored meet eight bytes, four shorts; a row has two lanes then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels import llvm
from engine.kernels.llvm import F16, I8, I32, I32S, I64, SHORTS, WIDTH, has, ints, pairs, shorts
from engine.kernels.register_tiles import nothing
from engine.kernels.sizes import AHEAD, near
from engine.kernels.vectors import ask

_B64 = ir.VectorType(I8, 64)

# Multiplications whose products are added by pairs, of shorts and of unsigned by signed bytes: instructions' names and
# how many bits they take, 0 where there are none.
_PAIRS, _BYTES, _BITS = (
    ("llvm.x86.avx512.pmaddw.d.512", "llvm.x86.avx512.pmaddubs.w.512", 512)
    if has("avx512bw")
    else ("llvm.x86.avx2.pmadd.wd", "llvm.x86.avx2.pmadd.ub.sw", 256)
    if has("avx2")
    else ("", "", 0)
)
MULTIPLIES_PAIRS = _BITS > 0

no_shorts, no_ints, no_pairs = nothing(shorts), nothing(ints), nothing(pairs)


def _by_pairs(builder: ir.IRBuilder, name: str, a: Any, b: Any, result: ir.VectorType) -> Any:
    """a[2i] * b[2i] + a[2i + 1] * b[2i + 1] of 64 bytes each, by the instruction of that name."""
    parts = 512 // _BITS
    found = []
    for part in range(parts):
        halves = []
        for v in (a, b):
            count = v.type.count // parts
            halves.append(llvm.shuffle(builder, v, None, range(count * part, count * (part + 1))))
        found.append(llvm.call(builder, name, ir.VectorType(result.element, result.count // parts), halves))
    return found[0] if parts == 1 else llvm.shuffle(builder, found[0], found[1], range(result.count))


def _walk(multiply_add: Callable, doc: str, lane: int = 4, given: ir.IntType = I32, ahead: int = 0) -> Any:
    """A function (sums, weights, at, x, n, column, steps) that adds to each sum, a token each, products of weights with
    as many bytes of activations as `given` has, `steps` times: from element `at` of the weights, counted flat, and from
    x[n + t, column] on. A step takes `lane` bytes of weights for each of a sum's lanes and goes on by 64. What is read
    `ahead` bytes later is asked for, unless that is 0.

    All sums stay in registers. Tokens are addressed by threes from a pointer each and the distance between rows.
    """

    @intrinsic
    def walk(typing, sums, room, at, x, n, column, steps):
        def codegen(context, builder, signature, args):
            begun = cgutils.unpack_tuple(builder, args[0])
            bytes_ = I8.as_pointer()
            taken = lane * begun[0].type.count
            place = [I64(0)] * (room.ndim - 1) + [args[2]]
            weights = builder.bitcast(llvm.address(context, builder, room, args[1], place), bytes_)
            first = [
                builder.bitcast(
                    llvm.address(context, builder, x, args[3], [builder.add(args[4], I64(t)), args[5]]), bytes_
                )
                for t in range(0, len(begun), 3)
            ]
            width = cgutils.unpack_tuple(builder, context.make_array(x)(context, builder, args[3]).shape)[1]
            distance = llvm.held(builder, builder.mul(width, I64(x.dtype.bitwidth // 8)))

            def step(values: list[Any]) -> list[Any]:
                panel, *places = values[len(begun) :]
                if ahead:
                    ask(builder, builder.gep(panel, [I64(ahead)]), near(len(begun)))
                row = llvm.read(builder, panel, ir.VectorType(I8, taken), taken)
                found = []
                for t, sum_ in enumerate(values[: len(begun)]):
                    place = places[t // 3]
                    place = builder.gep(place, [builder.mul(distance, I64(t % 3))]) if t % 3 else place
                    one = llvm.splat(builder, llvm.read(builder, place, given, 1), 512 // given.width)
                    found.append(multiply_add(builder, one, row, sum_))
                size = I64(given.width // 8)
                nexts = [builder.gep(panel, [I64(64)]), *(builder.gep(place, [size]) for place in places)]
                return [*found, *(llvm.held(builder, place) for place in nexts)]

            found = llvm.loop(builder, args[6], [*begun, weights, *first], step)
            return context.make_tuple(builder, signature.return_type, found[: len(begun)])

        return sums(sums, room, types.int64, x, types.int64, types.int64, types.int64), codegen

    walk.__doc__ = doc
    return walk


def _add_bytes(builder: ir.IRBuilder, four: Any, weights: Any, sum_: Any) -> Any:
    return builder.add(sum_, _by_pairs(builder, _BYTES, weights, builder.bitcast(four, _B64), SHORTS))


def _add_pairs(builder: ir.IRBuilder, two: Any, weights: Any, sum_: Any) -> Any:
    a, b = (builder.bitcast(value, SHORTS) for value in (two, weights))
    return builder.add(sum_, _by_pairs(builder, _PAIRS, a, b, I32S))


def _add_widened(builder: ir.IRBuilder, four: Any, weights: Any, sum_: Any) -> Any:
    found = []
    for first in range(0, sum_.type.count, WIDTH):
        wide = builder.sext(llvm.shuffle(builder, weights, None, range(2 * first, 2 * first + 32)), SHORTS)
        part = llvm.shuffle(builder, sum_, None, range(first, first + WIDTH))
        found.append(_add_pairs(builder, four, wide, part))
    return found[0] if len(found) == 1 else llvm.shuffle(builder, found[0], found[1], range(32))


def _add_product(builder: ir.IRBuilder, one: Any, weights: Any, sum_: Any) -> Any:
    given = [builder.bitcast(value, F16) for value in (one, weights)]
    return llvm.call(builder, "llvm.fma.v16f32", F16, [*given, sum_])


byte_sums = _walk(_add_bytes, "Sums of shorts and the products of four columns of bytes a step: unsigned weights.", 2)
short_sums = _walk(_add_pairs, "Sums of ints and the products of two columns of shorts a step (`pack_quad`).")
stored_sums = _walk(
    _add_widened, "Sums of ints and the products of four columns of int8 weights a step: 16 rows, or 8.", 2, I64, AHEAD
)
float_sums = _walk(_add_product, "Sums of floats and the products of a column of floats a step (`pack_columns`).")


@intrinsic
def split_dots(typing, sums, w, panel, at, q, n, quad):
    """sums and the products of 64 bytes of int4 weights, the low nibbles those of `quad`, the high of `quad` + 4.

    Parameters
    ----------
    sums : a tuple of vectors of 32 shorts: two a token, of the low bytes of activations and of the high ones.
    w : u8 [panels, bytes]; the 64 begin at w[panel, at].
    panel, at : i64.
    q : u16 [N, K or wider], fours of low bytes and fours of high ones.
    n, quad : the first token, and which four columns, i64.
    """

    def codegen(context, builder, signature, args):
        found = list(cgutils.unpack_tuple(builder, args[0]))
        stored = llvm.read(builder, llvm.address(context, builder, w, args[1], args[2:4]), _B64, 1)
        shifted = builder.lshr(builder.bitcast(stored, SHORTS), llvm.constant(SHORTS, 4))
        for half, bytes_ in enumerate((stored, builder.bitcast(shifted, _B64))):
            nibbles = builder.and_(bytes_, llvm.constant(_B64, 15))
            column = builder.mul(builder.add(args[6], I64(4 * half)), I64(4))
            for t in range(len(found) // 2):
                place = llvm.address(context, builder, q, args[4], [builder.add(args[5], I64(t)), column])
                place = builder.bitcast(place, I32.as_pointer())
                for part in (0, 1):
                    four = llvm.splat(builder, llvm.read(builder, builder.gep(place, [I64(part)]), I32, 2))
                    found[2 * t + part] = _add_bytes(builder, four, nibbles, found[2 * t + part])
        return context.make_tuple(builder, signature.return_type, found)

    return sums(sums, w, types.int64, types.int64, q, types.int64, types.int64), codegen


@intrinsic
def joined(typing, sums):
    """Sums of low and of high bytes, as `split_dots` leaves them, as sums of ints: the low and 256 times the high.

    Parameters
    ----------
    sums : a tuple of vectors of 32 shorts.
    """
    kind = types.UniTuple(ints, len(sums) // 2)

    def codegen(context, builder, signature, args):
        given = cgutils.unpack_tuple(builder, args[0])
        low, high = ([_folded(builder, sum_) for sum_ in given[part::2]] for part in (0, 1))
        eight = llvm.constant(I32S, 8)
        found = [builder.add(a, builder.shl(b, eight)) for a, b in zip(low, high, strict=True)]
        return context.make_tuple(builder, kind, found)

    return kind(sums), codegen


def _folded(builder: ir.IRBuilder, sum_: Any) -> Any:
    return _by_pairs(builder, _PAIRS, sum_, llvm.constant(SHORTS, 1), I32S)


@intrinsic
def added(typing, sums):
    """Sums of ints, two lanes a row, as one lane each.

    Parameters
    ----------
    sums : a tuple of vectors of 32 ints; or of 16, those of eight rows and then those of the next eight.
    """
    halves = sums.dtype == ints
    kind = types.UniTuple(ints, len(sums) // (1 + halves))

    def codegen(context, builder, signature, args):
        given = cgutils.unpack_tuple(builder, args[0])
        found = []
        for t in range(len(kind)):
            rest = given[len(kind) + t] if halves else None
            even, odd = (llvm.shuffle(builder, given[t], rest, range(lane, 32, 2)) for lane in (0, 1))
            found.append(builder.add(even, odd))
        return context.make_tuple(builder, kind, found)

    return kind(sums), codegen


@intrinsic
def fold(typing, sums):
    """Sums of shorts, two lanes a row, as sums of ints.

    Parameters
    ----------
    sums : a tuple of vectors of 32 shorts.
    """
    kind = types.UniTuple(ints, len(sums))

    def codegen(context, builder, signature, args):
        found = [_folded(builder, sum_) for sum_ in cgutils.unpack_tuple(builder, args[0])]
        return context.make_tuple(builder, kind, found)

    return kind(sums), codegen


@intrinsic
def store_exact(typing, y, n, panel, sums, scale, qs):
    """y[n, 16 * panel : ...] = sums times the rows' scales and a token's, a token a row.

    Parameters
    ----------
    y : f32 of two axes, written.
    n, panel : the first token, and which 16 rows, i64.
    sums : a tuple of vectors of sixteen ints, one a token.
    scale : f32 [R].
    qs : f32 [N].
    """

    def codegen(context, builder, signature, args):
        row = builder.mul(args[2], I64(WIDTH))
        scales = llvm.read(builder, llvm.address(context, builder, scale, args[4], [row]), F16, 4)
        for t, sum_ in enumerate(cgutils.unpack_tuple(builder, args[3])):
            token = builder.add(args[1], I64(t))
            factor = llvm.splat(builder, builder.load(llvm.address(context, builder, qs, args[5], [token])))
            value = builder.fmul(builder.fmul(builder.sitofp(sum_, F16), scales), factor)
            llvm.write(builder, llvm.address(context, builder, y, args[0], [token, row]), value, 4)
        return context.get_dummy_value()

    return types.void(y, types.int64, types.int64, sums, scale, qs), codegen

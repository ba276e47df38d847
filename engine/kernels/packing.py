"""Panels of 16 rows laid out for products with many tokens: weights are widened once, to what vectors multiply.

Shorts come by pairs of columns: 32 of them hold two columns of 16 rows, row after row, so that a multiplication of
pairs (vpmaddwd) leaves a row's sum in a lane of its own. Floats come by columns: 16 rows of one, then of the next.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels import llvm
from engine.kernels.llvm import F16, I8, I16, I32, I64, WIDTH, has
from engine.kernels.vectors import read, readable

_B64 = ir.VectorType(I8, 64)
_S32, _S64 = ir.VectorType(I16, 32), ir.VectorType(I16, 64)

# Shorts multiplied and added by pairs in one instruction: its name and how many it takes, "" where there is none.
_PAIRS, _SHORTS = (
    ("llvm.x86.avx512.pmaddw.d.512", 32)
    if has("avx512bw")
    else ("llvm.x86.avx2.pmadd.wd", 16)
    if has("avx2")
    else ("", 0)
)
MULTIPLIES_PAIRS = _SHORTS > 0


def _write_quad(builder: ir.IRBuilder, place: Any, bytes_: Any) -> None:
    """Four columns of 16 rows, signed bytes by rows, as shorts of two pairs of columns."""
    wide = builder.sext(bytes_, _S64)
    for pair in (0, 1):
        picked = [4 * row + 2 * pair + i for row in range(WIDTH) for i in (0, 1)]
        llvm.write(builder, builder.gep(place, [I64(32 * pair)]), llvm.shuffle(builder, wide, None, picked), 64)


@intrinsic
def pack_quad(typing, w, panel, quad, room):
    """Widen four columns of a panel of int8 weights.

    Parameters
    ----------
    w : i8 [panels, K / 4 * 64], as `engine.model.quantize` lays panels out.
    panel, quad : which, i64.
    room : i16 of one axis, on a cache line: [64 quad : 64 quad + 64] is written.
    """

    def codegen(context, builder, signature, args):
        place = llvm.address(context, builder, w, args[0], [args[1], builder.mul(args[2], I64(64))])
        target = llvm.address(context, builder, room, args[3], [builder.mul(args[2], I64(64))])
        _write_quad(builder, target, llvm.read(builder, place, _B64, 1))
        return context.get_dummy_value()

    return types.void(w, types.int64, types.int64, room), codegen


@intrinsic
def pack_nibbles(typing, w, panel, at, quad, room):
    """Widen eight columns of a panel of int4 weights: `quad` of the low nibbles of 64 bytes, `quad` + 4 of the high.

    Parameters
    ----------
    w : u8 [panels, K / 8 * 64], as `engine.model.quantize` lays panels out.
    panel, at : where the 64 bytes begin, i64.
    quad : of the low nibbles, i64.
    room : as `pack_quad` takes it.
    """

    def codegen(context, builder, signature, args):
        stored = llvm.read(builder, llvm.address(context, builder, w, args[0], args[1:3]), _B64, 1)
        target = llvm.address(context, builder, room, args[4], [builder.mul(args[3], I64(64))])
        shifted = builder.lshr(builder.bitcast(stored, _S32), llvm.constant(_S32, 4))
        for half, nibbles in enumerate((stored, builder.bitcast(shifted, _B64))):
            low = builder.and_(nibbles, llvm.constant(_B64, 15))
            _write_quad(builder, builder.gep(target, [I64(4 * 64 * half)]), low)
        return context.get_dummy_value()

    return types.void(w, types.int64, types.int64, types.int64, room), codegen


@intrinsic
def pack_columns(typing, w, row, column, room, at):
    """Turn 16 rows by 16 columns of weights into columns of 16 rows, float32. Rows beyond the last are the last again.

    Parameters
    ----------
    w : [R, K] in f32, or u16 with the bits of halves.
    row, column : the first of each, i64.
    room : f32 of one axis, on a cache line, written.
    at : where in it, i64.
    """
    if not readable(w):
        return None

    def codegen(context, builder, signature, args):
        rows = cgutils.unpack_tuple(builder, context.make_array(w)(context, builder, args[0]).shape)[0]
        last = builder.sub(rows, I64(1))
        lines = []
        for i in range(WIDTH):
            line = builder.add(args[1], I64(i))
            line = builder.select(builder.icmp_signed("<", line, last), line, last)
            lines.append(read(builder, w.dtype, llvm.address(context, builder, w, args[0], [line, args[2]])))
        # Element j of line i goes to element i of line j: one bit of the two at a time.
        for bit in (1, 2, 4, 8):
            for i in (i for i in range(WIDTH) if not i & bit):
                low, high = lines[i], lines[i | bit]
                lines[i] = llvm.shuffle(builder, low, high, [WIDTH + (j ^ bit) if j & bit else j for j in range(WIDTH)])
                lines[i | bit] = llvm.shuffle(
                    builder, low, high, [WIDTH + j if j & bit else j ^ bit for j in range(WIDTH)]
                )
        for i, line in enumerate(lines):
            place = llvm.address(context, builder, room, args[3], [builder.add(args[4], I64(WIDTH * i))])
            llvm.write(builder, place, line, 64)
        return context.get_dummy_value()

    return types.void(w, types.int64, types.int64, room, types.int64), codegen


@intrinsic
def short_dots(typing, sums, room, quad, q, n):
    """sums and the products of four packed columns of 16 rows with the tokens from n on.

    Parameters
    ----------
    sums : a tuple of vectors of sixteen ints, one a token.
    room : i16, as `pack_quad` leaves it.
    quad : which four columns, i64.
    q : i16 [N, K or wider], as they come.
    n : the first token, i64.
    """

    def codegen(context, builder, signature, args):
        found = list(cgutils.unpack_tuple(builder, args[0]))
        for pair in (0, 1):
            at = builder.add(builder.mul(args[2], I64(64)), I64(32 * pair))
            weights = llvm.read(builder, llvm.address(context, builder, room, args[1], [at]), _S32, 64)
            column = builder.add(builder.mul(args[2], I64(4)), I64(2 * pair))
            for t in range(len(found)):
                place = llvm.address(context, builder, q, args[3], [builder.add(args[4], I64(t)), column])
                two = builder.bitcast(llvm.splat(builder, llvm.read(builder, place, I32, 2)), _S32)
                found[t] = builder.add(found[t], _multiply_pairs(builder, two, weights))
        return context.make_tuple(builder, signature.return_type, found)

    return sums(sums, room, types.int64, q, types.int64), codegen


def _multiply_pairs(builder: ir.IRBuilder, a: Any, b: Any) -> Any:
    """a[2i] * b[2i] + a[2i + 1] * b[2i + 1], 16 ints of 32 shorts each."""
    kind = ir.VectorType(I32, _SHORTS // 2)
    found = []
    for first in range(0, 32, _SHORTS):
        parts = [v if _SHORTS == 32 else llvm.shuffle(builder, v, None, range(first, first + _SHORTS)) for v in (a, b)]
        found.append(llvm.call(builder, _PAIRS, kind, parts))
    return found[0] if len(found) == 1 else llvm.shuffle(builder, found[0], found[1], range(WIDTH))


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


@intrinsic
def float_dots(typing, sums, room, at, x, n, column):
    """sums and room[at : at + 16] times x[n + t, column], a token t a sum, each rounded once.

    Parameters
    ----------
    sums : a tuple of vectors of sixteen floats.
    room : f32 of one axis, as `pack_columns` leaves it.
    at : where the column of 16 rows begins in it, a multiple of 16.
    x : f32 [N, K or wider].
    n, column : the first token, and which of its numbers, i64.
    """

    def codegen(context, builder, signature, args):
        found = list(cgutils.unpack_tuple(builder, args[0]))
        weights = llvm.read(builder, llvm.address(context, builder, room, args[1], [args[2]]), F16, 64)
        for t, sum_ in enumerate(found):
            place = llvm.address(context, builder, x, args[3], [builder.add(args[4], I64(t)), args[5]])
            value = llvm.splat(builder, builder.load(place))
            found[t] = llvm.call(builder, "llvm.fma.v16f32", F16, [value, weights, sum_])
        return context.make_tuple(builder, signature.return_type, found)

    return sums(sums, room, types.int64, x, types.int64, types.int64), codegen

"""Panels of 16 rows laid out for products with many tokens: weights are widened once, to what vectors multiply.

Each 64 bytes are what `kernels.panel_sums` multiplies at a step: 16 rows of one column of floats, of two of shorts, or
of four of bytes, row after row, so that a row's sum has a lane of its own.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels import llvm
from engine.kernels.llvm import I8, I16, I64, WIDTH
from engine.kernels.vectors import read, readable

_B64 = ir.VectorType(I8, 64)
_S32, _S64 = ir.VectorType(I16, 32), ir.VectorType(I16, 64)


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


def _pack_nibbles(write: Any, doc: str) -> Any:
    """A function (w, panel, at, quad, room) that leaves eight columns of a panel of int4 weights in room: `quad` of the
    low nibbles of 64 bytes, `quad` + 4 of the high.

    w is u8 [panels, K / 8 * 64], as `engine.model.quantize` lays panels out, the 64 bytes begin at w[panel, at], and
    room is of one axis, on a cache line. `write` lays out 64 bytes, four columns of 16 rows, in so many elements.
    """
    elements, lay = write

    @intrinsic
    def pack(typing, w, panel, at, quad, room):
        def codegen(context, builder, signature, args):
            stored = llvm.read(builder, llvm.address(context, builder, w, args[0], args[1:3]), _B64, 1)
            shifted = builder.lshr(builder.bitcast(stored, _S32), llvm.constant(_S32, 4))
            for half, nibbles in enumerate((stored, builder.bitcast(shifted, _B64))):
                at_quad = builder.mul(builder.add(args[3], I64(4 * half)), I64(elements))
                place = llvm.address(context, builder, room, args[4], [at_quad])
                lay(builder, place, builder.and_(nibbles, llvm.constant(_B64, 15)))
            return context.get_dummy_value()

        return types.void(w, types.int64, types.int64, types.int64, room), codegen

    pack.__doc__ = doc
    return pack


def _write_bytes(builder: ir.IRBuilder, place: Any, bytes_: Any) -> None:
    llvm.write(builder, place, bytes_, 64)


pack_nibbles = _pack_nibbles((64, _write_quad), "To shorts: room is i16, [64 quad : 64 quad + 64] is written.")
split_nibbles = _pack_nibbles((32, _write_bytes), "To bytes: room is i16, [32 quad : 32 quad + 32] is written.")


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

"""Dot products of whole numbers by fours: int8 and int4 weights in panels (`engine.model.quantize`) with activations
of up to 16 bits.

A vector of 64 bytes holds four columns of 16 rows. Where the processor multiplies bytes (VNNI: vpdpbusd, four products
of an unsigned and a signed byte into an int32), an activation is split into its low and its high byte, both signed, and
each vector of weights meets both: sums of the low ones in 16 lanes, of the high ones in 16 others, 256 times the second
added to the first at the end. Elsewhere bytes are widened to shorts and two products are summed at a time (vpmaddwd on
AVX2), every row in two lanes. Either way an accumulator is 32 ints, and the sums are exact: int32 arithmetic wraps, and
only the final sum must fit.

Activations of 8 bits with a scale for each group of 32 columns (as llama.cpp's Q8_0 has them) are single bytes there:
half the products, and one accumulator of 16 ints.

Weights are taken as unsigned bytes, so int8 counts from -128, and 128 times the sum of activations is taken off.
How the sums begin, are scaled and are stored is in `kernels.integer_sums`. A tile is `panels` panels of 16 rows with as
many tokens as it has accumulators for, panel by panel.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels import llvm
from engine.kernels.llvm import I8, I16, I32, I32S, I64, WIDTH
from engine.kernels.sizes import VNNI

_B64 = ir.VectorType(I8, 64)
_S32, _S64 = ir.VectorType(I16, 32), ir.VectorType(I16, 64)


def _dot(builder: ir.IRBuilder, sums: Any, weights: Any, place: Any) -> Any:
    """sums (32 ints, 16 where activations are bytes) and the products of weights (64 unsigned bytes) with the four
    activations at `place`."""
    if sums.type == I32S:
        four = llvm.read(builder, place, I32, 1)
        return _multiply_bytes(builder, sums, weights, builder.bitcast(llvm.splat(builder, four), _B64))
    if not VNNI:
        four = llvm.read(builder, place, I64, 2)
        activations = builder.bitcast(llvm.splat(builder, four), _S64)
        wide = builder.zext(weights, _S64)
        found = []
        for half in (range(32), range(32, 64)):
            kind = ir.VectorType(I32, 32)
            a, b = (builder.sext(llvm.shuffle(builder, v, None, half), kind) for v in (wide, activations))
            products = builder.mul(a, b)
            even, odd = (llvm.shuffle(builder, products, None, range(first, 32, 2)) for first in (0, 1))
            found.append(builder.add(even, odd))
        return builder.add(sums, llvm.shuffle(builder, found[0], found[1], range(32)))
    parts = []
    bytes_ = builder.bitcast(place, I8.as_pointer())
    for part in (0, 1):  # low bytes, high bytes
        four = llvm.read(builder, builder.gep(bytes_, [I64(4 * part)]), I32, 2)
        activations = builder.bitcast(llvm.splat(builder, four), _B64)
        so_far = llvm.shuffle(builder, sums, None, range(WIDTH * part, WIDTH * part + WIDTH))
        parts.append(_multiply_bytes(builder, so_far, weights, activations))
    return llvm.shuffle(builder, parts[0], parts[1], range(32))


def _multiply_bytes(builder: ir.IRBuilder, sums: Any, unsigned: Any, signed: Any) -> Any:
    """sums[i] (16 ints) and four products of bytes each."""
    if not VNNI:  # the slow twin of `panel_sums.byte_sums`
        products = builder.mul(builder.zext(unsigned, _S64), builder.sext(signed, _S64))
        for i in range(4):
            part = llvm.shuffle(builder, products, None, range(i, 64, 4))
            sums = builder.add(sums, builder.sext(part, I32S))
        return sums
    lanes = VNNI // 32
    found = []
    for first in range(0, WIDTH, lanes):
        part = llvm.shuffle(builder, sums, None, range(first, first + lanes))
        a, b = (llvm.shuffle(builder, v, None, range(4 * first, 4 * (first + lanes))) for v in (unsigned, signed))
        found.append(llvm.call(builder, f"llvm.x86.avx512.vpdpbusd.{VNNI}", part.type, [part, a, b]))
    return found[0] if len(found) == 1 else llvm.shuffle(builder, found[0], found[1], range(WIDTH))


def dots(panels: int) -> Any:
    """The products of one vector of int8 weights a panel."""

    @intrinsic
    def dot(typing, sums, w, panel, q, n, quad):
        """sums and four columns of w for the tokens from n on; w int8 [panels, bytes], q as `store_whole` leaves it."""

        def codegen(context, builder, signature, args):
            given, w_value, panel_value, q_value, n_value, quad_value = args
            so_far = cgutils.unpack_tuple(builder, given)
            tokens = len(so_far) // panels
            at = builder.mul(quad_value, I64(64))
            weights = []
            for p in range(panels):
                place = llvm.address(context, builder, w, w_value, [builder.add(panel_value, I64(p)), at])
                stored = llvm.read(builder, place, _B64, 1)
                weights.append(builder.xor(stored, llvm.constant(_B64, -128)))  # counted from -128
            column = builder.mul(quad_value, I64(4))
            found: list[Any] = [None] * len(so_far)
            for t in range(tokens):
                place = llvm.address(context, builder, q, q_value, [builder.add(n_value, I64(t)), column])
                for p in range(panels):
                    found[p * tokens + t] = _dot(builder, so_far[p * tokens + t], weights[p], place)
            return context.make_tuple(builder, signature.return_type, found)

        return sums(sums, w, types.int64, q, types.int64, types.int64), codegen

    return dot


def nibble_dots(panels: int) -> Any:
    """The products of one vector of int4 weights a panel: eight columns."""

    @intrinsic
    def dot(typing, sums, w, panel, at, q, n, quad):
        """sums and the columns of 64 bytes of w from `at` on: the low nibbles are those of `quad`, the high ones of
        `quad` + 4."""

        def codegen(context, builder, signature, args):
            given, w_value, panel_value, at_value, q_value, n_value, quad_value = args
            found = list(cgutils.unpack_tuple(builder, given))
            tokens = len(found) // panels
            halves: list[list[Any]] = [[], []]
            for p in range(panels):
                place = llvm.address(context, builder, w, w_value, [builder.add(panel_value, I64(p)), at_value])
                stored = llvm.read(builder, place, _B64, 1)
                halves[0].append(builder.and_(stored, llvm.constant(_B64, 15)))
                # By shorts, for no processor shifts bytes.
                shifted = builder.lshr(builder.bitcast(stored, _S32), llvm.constant(_S32, 4))
                halves[1].append(builder.and_(builder.bitcast(shifted, _B64), llvm.constant(_B64, 15)))
            for half, weights in enumerate(halves):
                column = builder.mul(builder.add(quad_value, I64(4 * half)), I64(4))
                for t in range(tokens):
                    place = llvm.address(context, builder, q, q_value, [builder.add(n_value, I64(t)), column])
                    for p in range(panels):
                        found[p * tokens + t] = _dot(builder, found[p * tokens + t], weights[p], place)
            return context.make_tuple(builder, signature.return_type, found)

        return sums(sums, w, types.int64, types.int64, q, types.int64, types.int64), codegen

    return dot

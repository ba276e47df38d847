"""Whole numbers multiplied by fours: int8 and int4 weights in panels (`engine.model.quantize`), activations of up to
16 bits.

A vector of 64 bytes holds four columns of 16 rows. Where the processor multiplies bytes (VNNI: vpdpbusd, four products
of an unsigned and a signed byte into an int32), an activation is split into its low and its high byte, both signed, and
each vector of weights meets both: sums of the low ones in 16 lanes, of the high ones in 16 others, 256 times the second
added to the first at the end. Elsewhere bytes are widened to shorts and two products are summed at a time (vpmaddwd on
AVX2), every row in two lanes. Either way an accumulator is 32 ints, and the sums are exact: int32 arithmetic wraps, and
only the final sum must fit.

Activations of 8 bits with a scale for each group of 32 columns (as llama.cpp's Q8_0 has them) are single bytes there:
half the products, and one accumulator of 16 ints.

Weights are taken as unsigned bytes, so int8 counts from -128, and 128 times the sum of activations is taken off.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels import llvm
from engine.kernels.llvm import F16, HALF, I8, I16, I32, I32S, I64, WIDTH, floats, ints, pairs

_B64 = ir.VectorType(I8, 64)
_S32, _S64 = ir.VectorType(I16, 32), ir.VectorType(I16, 64)

# vpdpbusd of 512 bits, of 256 bits, or none.
BYTES = 512 if llvm.has("avx512vnni") else 256 if llvm.has("avxvnni") else 0
# Tokens whose sums a tile keeps in registers: there are 32 of 512 bits, or 16 of 256. Even.
TOKENS = 8 if llvm.has("avx512f") else 2
GROUPED = 6 if llvm.has("avx512f") else 1  # of two panels, whose sums by groups of columns take as many again


# A tile: `panels` panels of 16 rows with as many tokens as its accumulators allow, panel by panel.


def _dot(builder: ir.IRBuilder, sums: Any, weights: Any, place: Any) -> Any:
    """sums (32 ints, 16 where activations are bytes) and the products of weights (64 unsigned bytes) with the four
    activations at `place`."""
    if sums.type == I32S:
        four = llvm.read(builder, place, I32, 1)
        return _multiply_bytes(builder, sums, weights, builder.bitcast(llvm.splat(builder, four), _B64))
    if not BYTES:
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
    lanes = BYTES // 32
    found = []
    for first in range(0, WIDTH, lanes):
        part = llvm.shuffle(builder, sums, None, range(first, first + lanes))
        a, b = (llvm.shuffle(builder, v, None, range(4 * first, 4 * (first + lanes))) for v in (unsigned, signed))
        found.append(llvm.call(builder, f"llvm.x86.avx512.vpdpbusd.{BYTES}", part.type, [part, a, b]))
    return found[0] if len(found) == 1 else llvm.shuffle(builder, found[0], found[1], range(WIDTH))


def _finish(builder: ir.IRBuilder, sums: Any) -> Any:
    """Sixteen sums of an accumulator."""
    if sums.type == I32S:
        return sums
    if BYTES:
        low, high = (llvm.shuffle(builder, sums, None, part) for part in (range(16), range(16, 32)))
        return builder.add(low, builder.shl(high, llvm.constant(I32S, 8)))
    even, odd = (llvm.shuffle(builder, sums, None, range(first, 32, 2)) for first in (0, 1))
    return builder.add(even, odd)


def _nothing(one: llvm.Vector) -> Any:
    @intrinsic(prefer_literal=True)
    def nothing(typing, count):
        """`count` accumulators of 0."""
        if not isinstance(count, types.IntegerLiteral):
            return None
        kind = types.UniTuple(one, count.literal_value)

        def codegen(context, builder, signature, args):
            return context.make_tuple(builder, kind, [llvm.constant(one.llvm, 0)] * len(kind))

        return kind(count), codegen

    return nothing


no_sums, no_totals = _nothing(pairs), _nothing(floats)


@intrinsic(prefer_literal=True)
def group_sums(typing, count, panels, q, whole, n, group, offset):
    """`count` accumulators of `panels` panels for the tokens from n on, which begin at `offset` times the sum of a
    group of activations (whole[n, 1 + group]); of 16 ints where q is bytes."""
    if not isinstance(count, types.IntegerLiteral) or not isinstance(panels, types.IntegerLiteral):
        return None
    one = ints if q.dtype == types.int8 else pairs
    kind = types.UniTuple(one, count.literal_value)
    tokens = len(kind) // panels.literal_value

    def codegen(context, builder, signature, args):
        _, _, _, whole_value, n_value, group_value, offset_value = args
        begun = []
        for t in range(tokens):
            place = [builder.add(n_value, I64(t)), builder.add(group_value, I64(1))]
            sum_ = builder.load(llvm.address(context, builder, whole, whole_value, place))
            first = llvm.splat(builder, builder.mul(sum_, builder.trunc(offset_value, I32)))
            if one is pairs:  # only where bytes are not multiplied, and a row has two lanes
                order = [i // 2 if i % 2 == 0 else WIDTH for i in range(32)]
                first = llvm.shuffle(builder, first, llvm.constant(I32S, 0), order)
            begun.append(first)
        return context.make_tuple(builder, kind, [begun[i % tokens] for i in range(len(kind))])

    given = (count, panels, q, whole, types.int64, types.int64, types.int64)
    return kind(*given), codegen


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


def scaled(panels: int) -> Any:
    """Groups of columns: integer sums become floats, scaled, and are added up."""

    @intrinsic
    def add_group(typing, totals, sums, scale, minimum, panel, group, whole, qs, n):
        """totals + sums * scale + minimum * whole[n, 1 + group], for 16 rows a panel.

        scale and minimum are int4's and hold the bits of halves [panels, groups * 16], or both are int8's [rows] and
        left for `store`. Where qs [N, groups] has a scale for each group of activations, that is taken in too.
        """

        def codegen(context, builder, signature, args):
            given, sums_value, scale_value, minimum_value, panel_value, group_value, whole_value, qs_value, n_value = (
                args
            )
            found = list(cgutils.unpack_tuple(builder, given))
            whole_sums = cgutils.unpack_tuple(builder, sums_value)
            tokens = len(found) // panels
            column = builder.mul(group_value, I64(WIDTH))
            nibbles = scale.dtype == types.uint16

            def halves(kind: Any, array: Any, p: int) -> Any:
                place = llvm.address(context, builder, kind, array, [builder.add(panel_value, I64(p)), column])
                return builder.fpext(llvm.read(builder, place, ir.VectorType(HALF, WIDTH), 2), F16)

            def multiply_add(*factors: Any) -> Any:
                return llvm.call(builder, "llvm.fma.v16f32", F16, list(factors))

            factors = [halves(scale, scale_value, p) for p in range(panels)] if nibbles else []
            floors = [halves(minimum, minimum_value, p) for p in range(panels)] if nibbles else []
            for t in range(tokens):
                token = builder.add(n_value, I64(t))
                step = None
                if qs.ndim == 2:
                    step = llvm.splat(
                        builder, builder.load(llvm.address(context, builder, qs, qs_value, [token, group_value]))
                    )
                if nibbles:
                    place = llvm.address(
                        context, builder, whole, whole_value, [token, builder.add(group_value, I64(1))]
                    )
                    activations = llvm.splat(builder, builder.sitofp(builder.load(place), ir.FloatType()))
                    activations = builder.fmul(activations, step) if step else activations
                for p in range(panels):
                    at = p * tokens + t
                    products = builder.sitofp(_finish(builder, whole_sums[at]), F16)
                    factor = factors[p] if nibbles else step
                    if nibbles and step:
                        factor = builder.fmul(factor, step)
                    found[at] = multiply_add(products, factor, found[at])
                    if nibbles:
                        found[at] = multiply_add(floors[p], activations, found[at])
            return context.make_tuple(builder, signature.return_type, found)

        signature = totals(totals, sums, scale, minimum, types.int64, types.int64, whole, qs, types.int64)
        return signature, codegen

    return add_group


def stores(panels: int) -> Any:
    """A tile of int8 products into the result."""

    @intrinsic
    def store(typing, y, n, panel, sums, scale, whole, qs):
        """y[n, 16 * panel : ...] = sums less their correction, times the rows' scales and a token's; whole[n, 0] is the
        sum of a token's activations."""

        def codegen(context, builder, signature, args):
            y_value, n_value, panel_value, given, scale_value, whole_value, qs_value = args
            sums_ = cgutils.unpack_tuple(builder, given)
            tokens = len(sums_) // panels
            rows = [builder.mul(builder.add(panel_value, I64(p)), I64(WIDTH)) for p in range(panels)]
            scales = [
                llvm.read(builder, llvm.address(context, builder, scale, scale_value, [row]), F16, 4) for row in rows
            ]
            for t in range(tokens):
                token = builder.add(n_value, I64(t))
                activations = builder.load(llvm.address(context, builder, whole, whole_value, [token, I64(0)]))
                correction = llvm.splat(builder, builder.shl(activations, I32(7)))
                factor = llvm.splat(builder, builder.load(llvm.address(context, builder, qs, qs_value, [token])))
                for p in range(panels):
                    exact = builder.sub(_finish(builder, sums_[p * tokens + t]), correction)
                    value = builder.fmul(builder.fmul(builder.sitofp(exact, F16), scales[p]), factor)
                    llvm.write(builder, llvm.address(context, builder, y, y_value, [token, rows[p]]), value, 4)
            return context.get_dummy_value()

        return types.void(y, types.int64, types.int64, sums, scale, whole, qs), codegen

    return store


def total_stores(panels: int) -> Any:
    """A tile of sums of groups into the result."""

    @intrinsic
    def store(typing, y, n, panel, totals, scale, qs):
        """y[n, 16 * panel : ...] = totals, times the rows' scales where these are int8's, times a token's scale where
        it has one for all groups."""

        def codegen(context, builder, signature, args):
            y_value, n_value, panel_value, given, scale_value, qs_value = args
            totals_ = cgutils.unpack_tuple(builder, given)
            tokens = len(totals_) // panels
            rows = [builder.mul(builder.add(panel_value, I64(p)), I64(WIDTH)) for p in range(panels)]
            for t in range(tokens):
                token = builder.add(n_value, I64(t))
                for p, row in enumerate(rows):
                    value = totals_[p * tokens + t]
                    if scale.dtype == types.float32:
                        place = llvm.address(context, builder, scale, scale_value, [row])
                        value = builder.fmul(value, llvm.read(builder, place, F16, 4))
                    if qs.ndim == 1:
                        factor = builder.load(llvm.address(context, builder, qs, qs_value, [token]))
                        value = builder.fmul(value, llvm.splat(builder, factor))
                    llvm.write(builder, llvm.address(context, builder, y, y_value, [token, row]), value, 4)
            return context.get_dummy_value()

        return types.void(y, types.int64, types.int64, totals, scale, qs), codegen

    return store

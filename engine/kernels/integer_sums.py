"""The sums of integer dot products (`kernels.integer_dots`): how they begin, are scaled, added up and stored.

A tile is `panels` panels of 16 rows with as many tokens as it has accumulators for, panel by panel. An accumulator is a
vector of 32 ints, or of 16 where activations are bytes and the processor multiplies bytes; a total is one of 16 floats.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from engine.kernels import llvm
from engine.kernels.llvm import F16, HALF, I32, I32S, I64, WIDTH, ints, pairs
from engine.kernels.register_tiles import nothing
from engine.kernels.sizes import VNNI


def _finish(builder: ir.IRBuilder, sums: Any) -> Any:
    """Sixteen sums of an accumulator."""
    if sums.type == I32S:
        return sums
    if VNNI:
        low, high = (llvm.shuffle(builder, sums, None, part) for part in (range(16), range(16, 32)))
        return builder.add(low, builder.shl(high, llvm.constant(I32S, 8)))
    even, odd = (llvm.shuffle(builder, sums, None, range(first, 32, 2)) for first in (0, 1))
    return builder.add(even, odd)


no_sums = nothing(pairs)


@intrinsic(prefer_literal=True)
def group_sums(typing, count, panels, q, whole, n, group, offset):
    """`count` accumulators of `panels` panels for the tokens from n on, which begin at `offset` times the sum of a
    group of activations (whole[n, 1 + group]); of 16 ints where q is bytes.

    Parameters
    ----------
    count, panels : literals; `count / panels` is how many tokens there are.
    q : i8 or i16 [N, K], whose type says what an accumulator is.
    whole : i32 [N, 1 + K / 32], sums of activations.
    n, group : the first token and the group, i64.
    offset : what weights are counted from, i64.
    """
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

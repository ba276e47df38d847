"""Matrix products of the compiled step and prefill: y = x W^T * scale + bias, for every way weights are stored.

fp32 and half weights multiply fp32 activations, int8 and int4 weights whole numbers (`kernels.rounding`). In decode a
token's activations are of up to 15 bits with one scale, small enough that no int32 sum overflows: what is lost against
fp32 activations is a rounding of 1 in 11,000 or finer of a token's largest value. Prompts may round to 8 bits with a
scale for each 32 columns. `python -m engine.benchmark --operators` times all of them, `python -m engine.measure.check
--fidelity` prints what they cost.

Shapes: a matrix [R, K] as `model.Matrix` says, N tokens as `model.Activations` says, y f32 [N, R or wider]. A call
computes rows first <= i < last for all N tokens, `first` a multiple of 16; integer products go on to the next such.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import types
from numba.extending import overload

from engine.kernels.inner import distinct, inner
from engine.kernels.int4 import int4_product, int4_product_of_bytes
from engine.kernels.int8 import int8_group_product, int8_product
from engine.kernels.model import part
from engine.kernels.register_tiles import load_rows, multiply_add, no_sums, store_totals
from engine.kernels.scalars import bytes_of, widen
from engine.kernels.sizes import AHEAD, VNNI
from engine.kernels.vectors import prefetch, prefetch_next


@cache
def _float_tile(rows: int, tokens: int) -> Any:
    """The product of so many rows from i on with so many tokens from n on, over the first `full` columns."""
    count = rows * tokens
    fetch = prefetch if tokens == 1 else prefetch_next

    @inner(forceinline=True)
    @distinct(f"{rows}x{tokens}")
    def tile(w, x, y, i, n, full, columns):
        size = bytes_of(w)  # known to the compiler, as w.itemsize is not
        sums = no_sums(count)
        for j in range(0, full, 16):
            # On small pages the processor's own read-ahead ends with each of them.
            for line in range(0, rows * 16 * size, 64):
                fetch(w, i * columns + rows * j + (line + AHEAD) // size)
            sums = multiply_add(load_rows(w, i, j, rows), load_rows(x, n, j, tokens), sums)
        store_totals(y, n, i, sums, tokens)

    return tile


_two_by_four, _two_by_one, _one_by_one = _float_tile(2, 4), _float_tile(2, 1), _float_tile(1, 1)


@inner()
def float_product(m, a, y, first, last, tokens, columns):
    """Two rows at a time; a token's sum is one vector in one order, whoever else is in the batch.

    Parameters
    ----------
    m, a, y, first, last, tokens, columns : as `linear` takes them.
    """
    w, x = m.weight, a.x
    full = columns // 16 * 16
    # One token is bound by memory, and one row after the other is what the processor reads ahead best.
    twos = first + (last - first) // 2 * 2 if tokens > 1 else first
    fours = tokens // 4 * 4
    for i in range(first, twos, 2):
        for n in range(0, fours, 4):
            _two_by_four(w, x, y, i, n, full, columns)
        for n in range(fours, tokens):
            _two_by_one(w, x, y, i, n, full, columns)
    for i in range(twos, last):
        for n in range(tokens):
            _one_by_one(w, x, y, i, n, full, columns)
    for j in range(full, columns):
        for n in range(tokens):
            for i in range(first, last):
                y[n, i] += widen(w[i, j]) * x[n, j]


def _product(m, a, y, first, last, tokens, columns):
    raise TypeError("compiled code only")


@overload(_product, jit_options={"_nrt": False})
def _pick(m, a, y, first, last, tokens, columns):
    stored = part(m, "weight").dtype
    kernel = {types.uint8: int4_product, types.int8: int8_product}.get(stored, float_product)
    if stored == types.int8 and part(a, "scales").ndim == 2:
        kernel = int8_group_product
    if stored == types.uint8 and part(a, "q").dtype == types.uint16 and not VNNI:
        kernel = int4_product_of_bytes
    return lambda m, a, y, first, last, tokens, columns: kernel(m, a, y, first, last, tokens, columns)


@inner()
def add_bias(m, y, first, last, tokens):
    """The bias of rows first <= i < last, where there is one, is added to y[n, i].

    Parameters
    ----------
    m, y, first, last, tokens : as `linear` takes them.
    """
    if m.bias.shape[0] > 0:
        for n in range(tokens):
            for i in range(first, last):
                y[n, i] += m.bias[i]


@inner()
def linear(m, a, y, first, last, tokens, columns):
    """y[n, i] for rows first <= i < last and n < tokens.

    Parameters
    ----------
    m : `Matrix` [R, K]; how its weights are stored says which part of `a` is read.
    a : `Activations` [N, K or wider].
    y : f32 [N, R or wider], written.
    first, last : rows; `first` a multiple of 16.
    tokens : N, or fewer.
    columns : K.
    """
    _product(m, a, y, first, last, tokens, columns)
    add_bias(m, y, first, last, tokens)

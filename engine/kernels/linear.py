"""Matrix products of the compiled step and prefill: y = x W^T * scale + bias, for every way weights are stored.

fp32 and half weights multiply fp32 activations, int8 and int4 weights whole numbers (`kernels.rounding`). In decode a
token's activations are of up to 15 bits with one scale, small enough that no int32 sum overflows: what is lost against
fp32 activations is a rounding of 1 in 11,000 or finer of a token's largest value. Prompts may round to 8 bits with a
scale for each 32 columns. `python -m engine.benchmark --operators` times all of them, `python -m engine.measure.check
--fidelity` prints what they cost.

Shapes: x f32 [N, K], q, qs and sums as `rounding.quantize` leaves them, w [R, K] of one layer as `model.Weights` says,
y f32 [N, R or wider]. A call computes rows first <= i < last for all N tokens, `first` a multiple of 16; integer
products go on to the next such.
"""

from __future__ import annotations

from numba import types
from numba.extending import overload

from engine.kernels.inner import inner
from engine.kernels.int4 import int4_product
from engine.kernels.int8 import int8_group_product, int8_product
from engine.kernels.scalars import bytes_of, widen
from engine.kernels.sizes import AHEAD
from engine.kernels.vectors import fma, load, prefetch, total, zeros


@inner()
def float_product(w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns):
    """Two rows at a time; a token's sum is one vector in one order, whoever else is in the batch."""
    full = columns // 16 * 16
    size = bytes_of(w)  # known to the compiler, as w.itemsize is not
    # One token is bound by memory, and one row after the other is what the processor reads ahead best.
    twos = first + (last - first) // 2 * 2 if tokens > 1 else first
    ahead_step = 2 * 16 * size
    ahead_elements = AHEAD // size
    for i in range(first, twos, 2):
        n = 0
        while n + 4 <= tokens:
            a0 = zeros()
            a1 = zeros()
            a2 = zeros()
            a3 = zeros()
            b0 = zeros()
            b1 = zeros()
            b2 = zeros()
            b3 = zeros()
            for j in range(0, full, 16):
                for line in range(0, ahead_step, 64):
                    prefetch(w, i * columns + 2 * j + line // size + ahead_elements)
                u = load(w, i, j)
                v = load(w, i + 1, j)
                x0 = load(x, n, j)
                x1 = load(x, n + 1, j)
                x2 = load(x, n + 2, j)
                x3 = load(x, n + 3, j)
                a0 = fma(u, x0, a0)
                a1 = fma(u, x1, a1)
                a2 = fma(u, x2, a2)
                a3 = fma(u, x3, a3)
                b0 = fma(v, x0, b0)
                b1 = fma(v, x1, b1)
                b2 = fma(v, x2, b2)
                b3 = fma(v, x3, b3)
            y[n, i] = total(a0)
            y[n + 1, i] = total(a1)
            y[n + 2, i] = total(a2)
            y[n + 3, i] = total(a3)
            y[n, i + 1] = total(b0)
            y[n + 1, i + 1] = total(b1)
            y[n + 2, i + 1] = total(b2)
            y[n + 3, i + 1] = total(b3)
            n += 4
        while n < tokens:
            a = zeros()
            b = zeros()
            for j in range(0, full, 16):
                for line in range(0, ahead_step, 64):
                    prefetch(w, i * columns + 2 * j + line // size + ahead_elements)
                v = load(x, n, j)
                a = fma(load(w, i, j), v, a)
                b = fma(load(w, i + 1, j), v, b)
            y[n, i] = total(a)
            y[n, i + 1] = total(b)
            n += 1
    for i in range(twos, last):
        for n in range(tokens):
            a = zeros()
            for j in range(0, full, 16):
                # On small pages the processor's own read-ahead ends with each of them.
                prefetch(w, i * columns + j + ahead_elements)
                a = fma(load(w, i, j), load(x, n, j), a)
            y[n, i] = total(a)
    for j in range(full, columns):
        for n in range(tokens):
            for i in range(first, last):
                y[n, i] += widen(w[i, j]) * x[n, j]


def _product(w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns):
    raise TypeError("compiled code only")


@overload(_product, jit_options={"_nrt": False})
def _pick(w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns):
    kernel = {types.uint8: int4_product, types.int8: int8_product}.get(w.dtype, float_product)
    if w.dtype == types.int8 and qs.ndim == 2:
        kernel = int8_group_product
    return lambda w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns: kernel(
        w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns
    )


@inner()
def linear(w, scale, minimum, bias, q, qs, sums, x, y, first, last, tokens, columns):
    """y[n, i] for rows first <= i < last and n < tokens; w's type says which of x and q is read."""
    _product(w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns)
    if bias.shape[0] > 0:
        for n in range(tokens):
            for i in range(first, last):
                y[n, i] += bias[i]

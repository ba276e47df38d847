"""Products of int8 weights with activations rounded to whole numbers of up to 15 bits.

Int32 sums can not overflow and are exact, whatever the order, the batch or the width of the vectors. Shapes as in
`kernels.linear`.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from engine.kernels.atoms import bits_of, float_of_bits
from engine.kernels.int4 import quantize_for_int4
from engine.kernels.tiles import AHEAD, BLOCK
from engine.kernels.vectors import (
    SHORTS,
    dot,
    fma,
    int_total,
    int_zeros,
    load,
    load_shorts,
    prefetch,
    splat,
    store_four_scaled,
    store_rounded,
    zeros,
)

INFINITY = np.int32(np.float32(np.inf).view(np.int32))  # bits that only infinity and NaN reach
SMALLEST = np.int32(np.float32(1e-34).view(np.int32))


@nb.njit(fastmath=True)
def quantize(x, n, columns, q, qs, sums):
    """Round x[n, :columns] to whole numbers q[n] with x = q * qs[n]; for int4 weights where `sums` has room."""
    # Magnitudes are compared by their bits, because a maximum of floats passes over NaN.
    top = np.int32(0)
    for j in range(columns):
        top = max(top, bits_of(x[n, j]) & np.int32(0x7FFFFFFF))
    largest = float_of_bits(top)
    # |q| * 127 * columns must fit an int32.
    limit = np.float32(min(32767, 2147483647 // (127 * columns)))
    # Where all are smaller than `SMALLEST` the inverse would be infinite: they count as zeros. A number that is not
    # finite must stay one, and not become some integer.
    inverse = np.float32(0)
    qs[n] = np.float32(0) if top < INFINITY else np.float32(np.nan)
    if SMALLEST < top < INFINITY:
        inverse = limit / largest
        qs[n] = largest / limit
    if sums.shape[1] > 0:
        quantize_for_int4(x, n, columns, inverse, q, sums)
        return
    full = columns // 16 * 16
    factor = splat(inverse)
    for j in range(0, full, 16):
        store_rounded(q, n, j, fma(load(x, n, j), factor, zeros()))
    for j in range(full, columns):
        q[n, j] = np.int16(np.rint(x[n, j] * inverse))


@nb.njit
def _int8_four_by_four(w, scale, q, qs, y, i, n, full):
    """Rows i to i + 3 for tokens n to n + 3: sixteen sums in registers."""
    columns = w.shape[1]
    a0 = int_zeros()
    a1 = int_zeros()
    a2 = int_zeros()
    a3 = int_zeros()
    b0 = int_zeros()
    b1 = int_zeros()
    b2 = int_zeros()
    b3 = int_zeros()
    c0 = int_zeros()
    c1 = int_zeros()
    c2 = int_zeros()
    c3 = int_zeros()
    d0 = int_zeros()
    d1 = int_zeros()
    d2 = int_zeros()
    d3 = int_zeros()
    for j in range(0, full, 32):
        ahead = i * columns + 4 * j + AHEAD
        prefetch(w, ahead)
        prefetch(w, ahead + 64)
        w0 = load_shorts(w, i, j)
        w1 = load_shorts(w, i + 1, j)
        w2 = load_shorts(w, i + 2, j)
        w3 = load_shorts(w, i + 3, j)
        v = load_shorts(q, n, j)
        a0 = dot(a0, w0, v)
        a1 = dot(a1, w1, v)
        a2 = dot(a2, w2, v)
        a3 = dot(a3, w3, v)
        v = load_shorts(q, n + 1, j)
        b0 = dot(b0, w0, v)
        b1 = dot(b1, w1, v)
        b2 = dot(b2, w2, v)
        b3 = dot(b3, w3, v)
        v = load_shorts(q, n + 2, j)
        c0 = dot(c0, w0, v)
        c1 = dot(c1, w1, v)
        c2 = dot(c2, w2, v)
        c3 = dot(c3, w3, v)
        v = load_shorts(q, n + 3, j)
        d0 = dot(d0, w0, v)
        d1 = dot(d1, w1, v)
        d2 = dot(d2, w2, v)
        d3 = dot(d3, w3, v)
    store_four_scaled(y, n, i, a0, a1, a2, a3, scale, qs[n])
    store_four_scaled(y, n + 1, i, b0, b1, b2, b3, scale, qs[n + 1])
    store_four_scaled(y, n + 2, i, c0, c1, c2, c3, scale, qs[n + 2])
    store_four_scaled(y, n + 3, i, d0, d1, d2, d3, scale, qs[n + 3])


@nb.njit
def _int8_four_by_one(w, scale, q, qs, y, i, n, full):
    """Rows i to i + 3 for token n."""
    columns = w.shape[1]
    a = int_zeros()
    b = int_zeros()
    c = int_zeros()
    d = int_zeros()
    for j in range(0, full, 32):
        ahead = i * columns + 4 * j + AHEAD
        prefetch(w, ahead)
        prefetch(w, ahead + 64)
        v = load_shorts(q, n, j)
        a = dot(a, load_shorts(w, i, j), v)
        b = dot(b, load_shorts(w, i + 1, j), v)
        c = dot(c, load_shorts(w, i + 2, j), v)
        d = dot(d, load_shorts(w, i + 3, j), v)
    store_four_scaled(y, n, i, a, b, c, d, scale, qs[n])


@nb.njit
def _int8_one_by_one(w, scale, q, qs, y, i, n, full):
    columns = w.shape[1]
    sums = int_zeros()
    for j in range(0, full, 32):
        prefetch(w, i * columns + j + AHEAD)  # on small pages the processor's own read-ahead ends with each of them
        sums = dot(sums, load_shorts(w, i, j), load_shorts(q, n, j))
    y[n, i] = np.float32(int_total(sums)) * scale[i] * qs[n]


@nb.njit
def int8_product(w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns):
    full = columns // SHORTS * SHORTS
    # One token is bound by memory, and one row after the other is what the processor reads ahead best.
    fours = first + (last - first) // 4 * 4 if tokens > 1 else first
    quads = tokens // 4 * 4
    block = BLOCK if tokens > 16 else 4
    for start in range(first, fours, block):
        end = min(start + block, fours)
        for n in range(0, quads, 4):
            for i in range(start, end, 4):
                _int8_four_by_four(w, scale, q, qs, y, i, n, full)
        for n in range(quads, tokens):
            for i in range(start, end, 4):
                _int8_four_by_one(w, scale, q, qs, y, i, n, full)
    for i in range(fours, last):
        for n in range(tokens):
            _int8_one_by_one(w, scale, q, qs, y, i, n, full)
    if full < columns:
        for n in range(tokens):
            for i in range(first, last):
                rest = np.int64(0)
                for j in range(full, columns):
                    rest += np.int32(w[i, j]) * np.int32(q[n, j])
                y[n, i] += np.float32(rest) * scale[i] * qs[n]

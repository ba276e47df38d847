"""Products of int4 weights (groups of 32 with a scale and a minimum) with activations rounded to whole numbers.

A short holds four nibbles. Masked in place they are already as wide as they are multiplied, which unpacking by bytes
is not; so the nibbles of 128 columns come in an order of their own, and the activations are put into that order once.
Shapes as in `kernels.linear`.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from engine.kernels.atoms import widen
from engine.kernels.tiles import AHEAD, BLOCK
from engine.kernels.vectors import (
    as_floats,
    dot,
    fma,
    int_zeros,
    load,
    load_fourfold,
    load_nibbles,
    load_shorts,
    load_words,
    nibble_0,
    nibble_1,
    nibble_2,
    nibble_3,
    prefetch,
    splat,
    total,
    zeros,
)


@nb.njit
def quantize_for_int4(x, n, columns, inverse, q, sums):
    """Activations in the order in which `int4_product` meets the nibbles: of 128 columns, four times 32.

    sums[n] has 16 places for each 128 columns, with the sum of a group of 32 at every fourth; then 16 for each group
    that is left, with its sum at the first. The rest is 0.
    """
    blocks = columns // 128
    for block in range(blocks):
        first = 128 * block
        for m in range(4):
            for k in range(32):
                column = first + 32 * (k // 8) + 16 * (m % 2) + 2 * (k % 8) + m // 2
                q[n, first + 32 * m + k] = np.int16(np.rint(x[n, column] * inverse))
        for g in range(4):
            group = 0
            for m in range(4):
                for k in range(8 * g, 8 * g + 8):
                    group += q[n, first + 32 * m + k]
            sums[n, 16 * block + 4 * g] = np.float32(group)
            for lane in range(1, 4):
                sums[n, 16 * block + 4 * g + lane] = np.float32(0)
    for g in range(4 * blocks, columns // 32):
        at = 16 * (g - 3 * blocks)
        group = 0
        for j in range(32 * g, 32 * g + 32):
            q[n, j] = np.int16(np.rint(x[n, j] * inverse))
            group += q[n, j]
        sums[n, at] = np.float32(group)
        for lane in range(1, 16):
            sums[n, at + lane] = np.float32(0)


@nb.njit
def _int4_block(n0, n1, n2, n3, factor, floor, q, sums, n, block, so_far):
    """128 columns of a row for token n: integer sums of four groups, four lanes each, then scaled and added."""
    products = dot(int_zeros(), n0, load_shorts(q, n, 128 * block))
    products = dot(products, n1, load_shorts(q, n, 128 * block + 32))
    products = dot(products, n2, load_shorts(q, n, 128 * block + 64))
    products = dot(products, n3, load_shorts(q, n, 128 * block + 96))
    return fma(as_floats(products), factor, fma(floor, load(sums, n, 16 * block), so_far))


@nb.njit
def _int4_row_block(w, scale, minimum, q, sums, i, n, block, so_far):
    """`_int4_block` of row i."""
    words = load_words(w, i, 64 * block)
    return _int4_block(nibble_0(words), nibble_1(words), nibble_2(words), nibble_3(words),
                       load_fourfold(scale, i, 4 * block), load_fourfold(minimum, i, 4 * block),
                       q, sums, n, block, so_far)  # fmt: skip


@nb.njit
def _int4_group(w, scale, minimum, q, sums, i, n, g, at, so_far):
    """32 columns of a row for token n, where fewer than 128 are left; their sum stands at sums[n, at]."""
    products = dot(int_zeros(), load_nibbles(w, i, 16 * g), load_shorts(q, n, 32 * g))
    scaled = fma(as_floats(products), splat(widen(scale[i, g])), so_far)
    return fma(splat(widen(minimum[i, g])), load(sums, n, at), scaled)


@nb.njit
def _int4_one_by_four(w, scale, minimum, q, qs, sums, y, i, n, columns):
    """Row i for tokens n to n + 3."""
    blocks = columns // 128
    a = zeros()
    b = zeros()
    c = zeros()
    d = zeros()
    for block in range(blocks):
        prefetch(w, i * (columns // 2) + 64 * block + AHEAD)
        words = load_words(w, i, 64 * block)
        n0 = nibble_0(words)
        n1 = nibble_1(words)
        n2 = nibble_2(words)
        n3 = nibble_3(words)
        factor = load_fourfold(scale, i, 4 * block)
        floor = load_fourfold(minimum, i, 4 * block)
        a = _int4_block(n0, n1, n2, n3, factor, floor, q, sums, n, block, a)
        b = _int4_block(n0, n1, n2, n3, factor, floor, q, sums, n + 1, block, b)
        c = _int4_block(n0, n1, n2, n3, factor, floor, q, sums, n + 2, block, c)
        d = _int4_block(n0, n1, n2, n3, factor, floor, q, sums, n + 3, block, d)
    for g in range(4 * blocks, columns // 32):
        at = 16 * (g - 3 * blocks)
        a = _int4_group(w, scale, minimum, q, sums, i, n, g, at, a)
        b = _int4_group(w, scale, minimum, q, sums, i, n + 1, g, at, b)
        c = _int4_group(w, scale, minimum, q, sums, i, n + 2, g, at, c)
        d = _int4_group(w, scale, minimum, q, sums, i, n + 3, g, at, d)
    y[n, i] = total(a) * qs[n]
    y[n + 1, i] = total(b) * qs[n + 1]
    y[n + 2, i] = total(c) * qs[n + 2]
    y[n + 3, i] = total(d) * qs[n + 3]


@nb.njit
def _int4_four_by_one(w, scale, minimum, q, qs, sums, y, i, n, columns):
    """Rows i to i + 3 for token n."""
    blocks = columns // 128
    a = zeros()
    b = zeros()
    c = zeros()
    d = zeros()
    for block in range(blocks):
        ahead = i * (columns // 2) + 256 * block + AHEAD
        prefetch(w, ahead)
        prefetch(w, ahead + 64)
        prefetch(w, ahead + 128)
        prefetch(w, ahead + 192)
        a = _int4_row_block(w, scale, minimum, q, sums, i, n, block, a)
        b = _int4_row_block(w, scale, minimum, q, sums, i + 1, n, block, b)
        c = _int4_row_block(w, scale, minimum, q, sums, i + 2, n, block, c)
        d = _int4_row_block(w, scale, minimum, q, sums, i + 3, n, block, d)
    for g in range(4 * blocks, columns // 32):
        at = 16 * (g - 3 * blocks)
        a = _int4_group(w, scale, minimum, q, sums, i, n, g, at, a)
        b = _int4_group(w, scale, minimum, q, sums, i + 1, n, g, at, b)
        c = _int4_group(w, scale, minimum, q, sums, i + 2, n, g, at, c)
        d = _int4_group(w, scale, minimum, q, sums, i + 3, n, g, at, d)
    y[n, i] = total(a) * qs[n]
    y[n, i + 1] = total(b) * qs[n]
    y[n, i + 2] = total(c) * qs[n]
    y[n, i + 3] = total(d) * qs[n]


@nb.njit
def _int4_one_by_one(w, scale, minimum, q, qs, sums, y, i, n, columns):
    blocks = columns // 128
    a = zeros()
    for block in range(blocks):
        a = _int4_row_block(w, scale, minimum, q, sums, i, n, block, a)
    for g in range(4 * blocks, columns // 32):
        a = _int4_group(w, scale, minimum, q, sums, i, n, g, 16 * (g - 3 * blocks), a)
    y[n, i] = total(a) * qs[n]


@nb.njit
def int4_product(w, scale, minimum, q, qs, sums, x, y, first, last, tokens, columns):
    """Groups of 32 columns: value = nibble * scale + minimum (GGUF's Q4_1, with its order of nibbles)."""
    quads = tokens // 4 * 4
    fours = first + (last - first) // 4 * 4
    block = BLOCK if tokens > 16 else 4
    for start in range(first, last, block):
        end = min(start + block, last)
        for n in range(0, quads, 4):
            for i in range(start, end):
                _int4_one_by_four(w, scale, minimum, q, qs, sums, y, i, n, columns)
        for n in range(quads, tokens):
            for i in range(start, min(end, fours), 4):
                _int4_four_by_one(w, scale, minimum, q, qs, sums, y, i, n, columns)
            for i in range(max(start, fours), end):
                _int4_one_by_one(w, scale, minimum, q, qs, sums, y, i, n, columns)

"""Attention over stored keys and values, read as they are stored: float32, halves or int8, never widened whole.

Scores of four positions or queries are summed together; a weighted sum of values keeps 64 of its columns in registers
while the positions pass. Shapes: E head size, C context; keys and values [C, E] of one slot and group, their scales
f32 [C] (int8) or [0].
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from engine.kernels.inner import inner
from engine.kernels.scalars import bits_of, bytes_of, exp, float_of_bits, narrow, widen
from engine.kernels.sizes import TOGETHER
from engine.kernels.vectors import exp as exp_of
from engine.kernels.vectors import (
    fma,
    get,
    greater,
    greatest,
    less,
    load,
    over,
    plus,
    prefetch,
    put,
    splat,
    store,
    store_four_totals,
    total,
    zeros,
)

LOWEST = np.float32(-1e30)
SMALLEST_SCALE = np.float32(1e-12)  # as in `cache.static`

# Positions fetched ahead of use: the processor's own read-ahead ends with a page, and a page of 4 KB is 32 positions.
AHEAD = 32


@inner()
def fetch(kept, position):
    """Ask for the cache lines of a position."""
    step = 64 // bytes_of(kept)
    for j in range(0, kept.shape[1], step):
        prefetch(kept, position * kept.shape[1] + j)


def write(kept, scales, position, row):
    """kept[position] = row f32 [E], rounded to how the cache stores it."""
    raise TypeError("compiled code only")


@overload(write, jit_options={"_nrt": False})
def _write(kept, scales, position, row):
    if kept.dtype == types.int8:

        def int8(kept, scales, position, row):
            top = np.int32(0)  # magnitudes by their bits, because a maximum of floats passes over NaN
            for d in range(row.shape[0]):
                top = max(top, bits_of(row[d]) & np.int32(0x7FFFFFFF))
            scale = float_of_bits(top) / np.float32(127)
            if scale < SMALLEST_SCALE:
                scale = SMALLEST_SCALE
            scales[position] = scale
            for d in range(row.shape[0]):
                kept[position, d] = np.int8(np.rint(row[d] / scale))

        return int8

    def plain(kept, scales, position, row):
        full = row.shape[0] // 16 * 16
        place = kept[position]
        for d in range(0, full, 16):
            put(place, d, get(row, d))
        for d in range(full, row.shape[0]):
            place[d] = narrow(row[d], kept)

    return plain


@inner()
def dots(q, r, keys, scales, first, last, scores, n):
    """scores[n, p] = q[r] . keys[p] for first <= p < last."""
    size = q.shape[1]
    p = first
    if size % 16 == 0:
        while p + 4 <= last:
            a = zeros()
            b = zeros()
            c = zeros()
            d = zeros()
            for j in range(0, size, 16):
                x = load(q, r, j)
                a = fma(load(keys, p, j), x, a)
                b = fma(load(keys, p + 1, j), x, b)
                c = fma(load(keys, p + 2, j), x, c)
                d = fma(load(keys, p + 3, j), x, d)
            store_four_totals(scores, n, p, a, b, c, d)
            p += 4
        while p < last:
            a = zeros()
            for j in range(0, size, 16):
                a = fma(load(keys, p, j), load(q, r, j), a)
            scores[n, p] = total(a)
            p += 1
    else:
        for p in range(first, last):
            sum_ = np.float32(0)
            for j in range(size):
                sum_ += widen(keys[p, j]) * q[r, j]
            scores[n, p] = sum_
    if scales.shape[0] > 0:
        for p in range(first, last):
            scores[n, p] *= scales[p]


@inner()
def dots_of_three(q, r, keys, scales, first, last, scores, n):
    """`dots` of heads r, r + 1, r + 2 into scores n, n + 1, n + 2; the size of a head is a multiple of 16."""
    size = q.shape[1]
    fours = first + (last - first) // 4 * 4
    for p in range(first, fours, 4):
        for ahead in range(4):
            fetch(keys, p + AHEAD + ahead)
        a0 = zeros()
        a1 = zeros()
        a2 = zeros()
        a3 = zeros()
        b0 = zeros()
        b1 = zeros()
        b2 = zeros()
        b3 = zeros()
        c0 = zeros()
        c1 = zeros()
        c2 = zeros()
        c3 = zeros()
        for j in range(0, size, 16):
            x = load(q, r, j)
            y = load(q, r + 1, j)
            z = load(q, r + 2, j)
            k = load(keys, p, j)
            a0 = fma(k, x, a0)
            b0 = fma(k, y, b0)
            c0 = fma(k, z, c0)
            k = load(keys, p + 1, j)
            a1 = fma(k, x, a1)
            b1 = fma(k, y, b1)
            c1 = fma(k, z, c1)
            k = load(keys, p + 2, j)
            a2 = fma(k, x, a2)
            b2 = fma(k, y, b2)
            c2 = fma(k, z, c2)
            k = load(keys, p + 3, j)
            a3 = fma(k, x, a3)
            b3 = fma(k, y, b3)
            c3 = fma(k, z, c3)
        store_four_totals(scores, n, p, a0, a1, a2, a3)
        store_four_totals(scores, n + 1, p, b0, b1, b2, b3)
        store_four_totals(scores, n + 2, p, c0, c1, c2, c3)
    for h in range(3):
        if scales.shape[0] > 0:
            for p in range(first, fours):
                scores[n + h, p] *= scales[p]
        dots(q, r + h, keys, scales, fours, last, scores, n + h)


@inner()
def soften(scores, n, first, last):
    """scores[n, first:last] become exp(score - maximum); returns the maximum and their sum."""
    full = first + (last - first) // 16 * 16
    tops = splat(LOWEST)
    for p in range(first, full, 16):
        tops = greater(load(scores, n, p), tops)
    top = greatest(tops)
    for p in range(full, last):
        top = max(top, scores[n, p])
    sums, level = zeros(), splat(top)
    for p in range(first, full, 16):
        weights = exp_of(less(load(scores, n, p), level))
        store(scores, n, p, weights)
        sums = plus(sums, weights)
    sum_ = total(sums)
    for p in range(full, last):
        weight = exp(scores[n, p] - top)
        scores[n, p] = weight
        sum_ += weight
    return top, sum_


@inner()
def _store_row(out, r, j, a, b, c, d):
    store(out, r, j, a)
    store(out, r, j + 16, b)
    store(out, r, j + 32, c)
    store(out, r, j + 48, d)


@inner()
def weigh(scores, n, values, scales, first, last, out, r):
    """out[r, :E] = sum of scores[n, p] * values[p] over first <= p < last; scores are scaled on the way."""
    size = values.shape[1]
    if scales.shape[0] > 0:
        for p in range(first, last):
            scores[n, p] *= scales[p]
    j = 0
    while j + 64 <= size:
        a = zeros()
        b = zeros()
        c = zeros()
        d = zeros()
        for p in range(first, last):
            weight = splat(scores[n, p])
            a = fma(load(values, p, j), weight, a)
            b = fma(load(values, p, j + 16), weight, b)
            c = fma(load(values, p, j + 32), weight, c)
            d = fma(load(values, p, j + 48), weight, d)
        _store_row(out, r, j, a, b, c, d)
        j += 64
    for i in range(j, size):
        out[r, i] = np.float32(0)
    if j < size:
        for p in range(first, last):
            weight = scores[n, p]
            for i in range(j, size):
                out[r, i] += weight * widen(values[p, i])


@inner()
def weigh_three(scores, n, values, scales, first, last, out, r):
    """`weigh` of scores n, n + 1, n + 2 into out r, r + 1, r + 2; the size of a head is a multiple of 64."""
    if scales.shape[0] > 0:
        for h in range(3):
            for p in range(first, last):
                scores[n + h, p] *= scales[p]
    for j in range(0, values.shape[1], 64):
        a0 = zeros()
        a1 = zeros()
        a2 = zeros()
        a3 = zeros()
        b0 = zeros()
        b1 = zeros()
        b2 = zeros()
        b3 = zeros()
        c0 = zeros()
        c1 = zeros()
        c2 = zeros()
        c3 = zeros()
        for p in range(first, last):
            fetch(values, p + AHEAD)
            x = splat(scores[n, p])
            y = splat(scores[n + 1, p])
            z = splat(scores[n + 2, p])
            v = load(values, p, j)
            a0 = fma(v, x, a0)
            b0 = fma(v, y, b0)
            c0 = fma(v, z, c0)
            v = load(values, p, j + 16)
            a1 = fma(v, x, a1)
            b1 = fma(v, y, b1)
            c1 = fma(v, z, c1)
            v = load(values, p, j + 32)
            a2 = fma(v, x, a2)
            b2 = fma(v, y, b2)
            c2 = fma(v, z, c2)
            v = load(values, p, j + 48)
            a3 = fma(v, x, a3)
            b3 = fma(v, y, b3)
            c3 = fma(v, z, c3)
        _store_row(out, r, j, a0, a1, a2, a3)
        _store_row(out, r + 1, j, b0, b1, b2, b3)
        _store_row(out, r + 2, j, c0, c1, c2, c3)


@inner()
def attend(q, keys, key_scales, values, value_scales, first, last, scores, parts):
    """Softmax attention of one group's query heads over positions first <= p < last.

    q [R, E], scores [R, C], parts [R, E + 2] where the unnormalised sum, the maximum and the normaliser go: `combine`
    joins the threads' shares (the split of FlashDecoding, Dao et al. 2023).
    """
    heads, size = q.shape
    threes = heads // 3 * 3 if TOGETHER == 3 and size % 64 == 0 else 0
    for r in range(0, threes, 3):
        dots_of_three(q, r, keys, key_scales, first, last, scores, r)
    for r in range(threes, heads):
        dots(q, r, keys, key_scales, first, last, scores, r)
    for r in range(heads):
        parts[r, size], parts[r, size + 1] = soften(scores, r, first, last)
    for r in range(0, threes, 3):
        weigh_three(scores, r, values, value_scales, first, last, parts, r)
    for r in range(threes, heads):
        weigh(scores, r, values, value_scales, first, last, parts, r)


@inner()
def spread(part, size, h):
    """h[:E] = a head's sum over its normaliser; part [E + 2] as `attend` leaves it."""
    full = size // 16 * 16
    normaliser = splat(part[size + 1])
    for d in range(0, full, 16):
        put(h, d, over(get(part, d), normaliser))
    for d in range(full, size):
        h[d] = part[d] / part[size + 1]


@inner(fastmath=True)
def combine(parts, b, size, h):
    """Join the threads' shares of sequence b's attention into h [HE]."""
    threads = parts.shape[0]
    for r in range(parts.shape[2]):
        top = parts[0, b, r, size]
        for t in range(1, threads):
            top = max(top, parts[t, b, r, size])
        total_ = np.float32(0)
        for d in range(size):
            h[r * size + d] = np.float32(0)
        for t in range(threads):
            weight = exp(parts[t, b, r, size] - top)
            total_ += weight * parts[t, b, r, size + 1]
            for d in range(size):
                h[r * size + d] += weight * parts[t, b, r, d]
        for d in range(size):
            h[r * size + d] /= total_

"""Attention over stored keys and values, read as they are stored: float32, halves or int8, never widened whole.

Scores of four positions or queries are summed together; a weighted sum of values keeps 64 of its columns in registers
while the positions pass. Shapes: E head size, C context; keys and values [C, E] of one slot and group, their scales
f32 [C] (int8) or [0].
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numba import types
from numba.extending import overload

from engine.kernels.atoms import exp, narrow, widen
from engine.kernels.vectors import fma, load, splat, store, store_four_totals, total, zeros

LOWEST = np.float32(-1e30)


def write(kept, scales, position, row):
    """kept[position] = row f32 [E], rounded to how the cache stores it."""
    raise TypeError("compiled code only")


@overload(write)
def _write(kept, scales, position, row):
    if kept.dtype == types.int8:

        def int8(kept, scales, position, row):
            largest = np.float32(0)
            for d in range(row.shape[0]):
                largest = max(largest, abs(row[d]))
            scale = max(largest, np.float32(1e-12)) / np.float32(127)
            scales[position] = scale
            for d in range(row.shape[0]):
                kept[position, d] = np.int8(np.rint(row[d] / scale))

        return int8

    def plain(kept, scales, position, row):
        for d in range(row.shape[0]):
            kept[position, d] = narrow(row[d], kept)

    return plain


@nb.njit
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


@nb.njit(fastmath=True)
def soften(scores, n, first, last):
    """scores[n, first:last] become exp(score - maximum); returns the maximum and their sum."""
    top = LOWEST
    for p in range(first, last):
        top = max(top, scores[n, p])
    sum_ = np.float32(0)
    for p in range(first, last):
        weight = exp(scores[n, p] - top)
        scores[n, p] = weight
        sum_ += weight
    return top, sum_


@nb.njit
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
        store(out, r, j, a)
        store(out, r, j + 16, b)
        store(out, r, j + 32, c)
        store(out, r, j + 48, d)
        j += 64
    for i in range(j, size):
        out[r, i] = np.float32(0)
    if j < size:
        for p in range(first, last):
            weight = scores[n, p]
            for i in range(j, size):
                out[r, i] += weight * widen(values[p, i])


@nb.njit
def attend(q, keys, key_scales, values, value_scales, first, last, scores, parts):
    """Softmax attention of one group's query heads over positions first <= p < last.

    q [R, E], scores [R, C], parts [R, E + 2] where the unnormalised sum, the maximum and the normaliser go: `combine`
    joins the threads' shares (the split of FlashDecoding, Dao et al. 2023).
    """
    heads, size = q.shape
    for r in range(heads):
        dots(q, r, keys, key_scales, first, last, scores, r)
        parts[r, size], parts[r, size + 1] = soften(scores, r, first, last)
    for r in range(heads):
        weigh(scores, r, values, value_scales, first, last, parts, r)


@nb.njit(fastmath=True)
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

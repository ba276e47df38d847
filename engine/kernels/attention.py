"""Attention over stored keys and values, read as they are stored: float32, halves or int8, never widened whole.

Scores of four positions or queries are summed together; a weighted sum of values keeps 64 of its columns in registers
while the positions pass. Shapes: E head size, C context; keys and values [C, E] of one slot and group, their scales
f32 [C] (int8) or [0].
"""

from __future__ import annotations

import numpy as np

from engine.kernels import register_tiles as tiles
from engine.kernels.inner import inner
from engine.kernels.scalars import bytes_of, exp, widen
from engine.kernels.sizes import LANES
from engine.kernels.three_heads import AHEAD, load_sums, query_sums, weighted_sums
from engine.kernels.vectors import exp as exp_of
from engine.kernels.vectors import (
    fma,
    greater,
    greatest,
    less,
    load,
    plus,
    prefetch_next,
    splat,
    store,
    total,
    zeros,
)

LOWEST = np.float32(-1e30)


@inner(forceinline=True)
def _four_of_one(q, r, keys, p, scores, n):
    """Scores of head r at four positions from p on, into row n."""
    sums = tiles.no_sums(4)
    for j in range(0, q.shape[1], 16):
        sums = tiles.multiply_add(tiles.load_rows(q, r, j, 1), tiles.load_rows(keys, p, j, 4), sums)
    tiles.store_four_totals(scores, n, p, sums)


@inner(forceinline=True)
def _four_of_three(q, r, keys, p, scores, n, later, at):
    """Scores of three heads from r on at four positions from p on, into rows n and on."""
    tiles.store_four_totals(scores, n, p, query_sums(q, r, keys, p, later, at))


@inner(forceinline=True)
def _columns_of_one(scores, n, values, first, last, j, out, r):
    """64 columns of the weighted sum of the head of score n, into row r."""
    sums = tiles.no_sums(4)
    for p in range(first, last):
        sums = tiles.multiply_add(tiles.splat_rows(scores, n, p, 1), tiles.load_columns(values, p, j, 4), sums)
    tiles.store_sums(out, r, j, sums, 4)


@inner(forceinline=True)
def _columns_of_three(scores, n, values, first, last, j, out, r, later, at):
    """4 `LANES` columns of the weighted sums of three heads from score n on are added to rows r and on."""
    begun = load_sums(out, r, j)
    tiles.store_sums(out, r, j, weighted_sums(scores, n, values, first, last, j, begun, later, at), 4)


@inner()
def dots(q, r, keys, scales, first, last, scores, n):
    """scores[n, p] = q[r] . keys[p] for first <= p < last.

    Parameters
    ----------
    q : f32 [R, E], of which row r is read.
    r : a head of the group.
    keys, scales : as the cache stores them, [C, E], and f32 [C] beside int8, else [0].
    first, last : positions.
    scores : f32 [.., C], of which row n is written from `first` to `last`.
    n : the row of the scores.
    """
    size = q.shape[1]
    if size % 16 == 0:
        fours = first + (last - first) // 4 * 4
        for p in range(first, fours, 4):
            _four_of_one(q, r, keys, p, scores, n)
        for p in range(fours, last):
            a = zeros()
            for j in range(0, size, 16):
                a = fma(load(keys, p, j), load(q, r, j), a)
            scores[n, p] = total(a)
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
def dots_of_three(q, r, keys, scales, first, last, scores, n, later, at):
    """`dots` of heads r, r + 1, r + 2 into scores n, n + 1, n + 2; the size of a head is a multiple of 16.

    What is read `AHEAD` positions later is asked for: towards the end, what is read after these keys.

    Parameters
    ----------
    q, keys, scales, first, last, scores : as `dots` takes them.
    r, n : the first of three heads, and of three rows of scores.
    later, at : what is read next, as the keys are stored, and from which position on.
    """
    ahead = min(AHEAD, last - first)
    turn = last - ahead
    fours = first + (last - first) // 4 * 4
    for p in range(first, fours, 4):
        asked, position = (keys, p + ahead) if p < turn else (later, at + p - turn)
        _four_of_three(q, r, keys, p, scores, n, asked, position)
    for h in range(3):
        if scales.shape[0] > 0:
            for p in range(first, fours):
                scores[n + h, p] *= scales[p]
        dots(q, r + h, keys, scales, fours, last, scores, n + h)


@inner()
def soften(scores, n, first, last):
    """scores[n, first:last] become exp(score - maximum); returns the maximum and their sum.

    Parameters
    ----------
    scores : f32 [.., C].
    n : the row that is changed.
    first, last : positions; where there are none the maximum is `LOWEST` and the sum 0.
    """
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
def weigh(scores, n, values, scales, first, last, out, r):
    """out[r, :E] = sum of scores[n, p] * values[p] over first <= p < last; scores are scaled on the way.

    Parameters
    ----------
    scores : f32 [.., C], of which row n has the weights.
    n : that row.
    values, scales : as the cache stores them, [C, E], and f32 [C] beside int8, else [0].
    first, last : positions.
    out : f32 [.., E or wider], of which row r is written.
    r : that row.
    """
    size = values.shape[1]
    if scales.shape[0] > 0:
        for p in range(first, last):
            scores[n, p] *= scales[p]
    full = size // 64 * 64
    for j in range(0, full, 64):
        _columns_of_one(scores, n, values, first, last, j, out, r)
    for i in range(full, size):
        out[r, i] = np.float32(0)
    if full < size:
        for p in range(first, last):
            weight = scores[n, p]
            for i in range(full, size):
                out[r, i] += weight * widen(values[p, i])


@inner()
def weigh_three(scores, n, values, scales, first, last, out, r, later, at):
    """`weigh` of scores n, n + 1, n + 2 into out r, r + 1, r + 2; the size of a head is a multiple of 64.

    Where a row of values is wider than a tile, a block of positions passes once for each: it is in the nearest cache
    the second time, and memory is read in one direction. What comes later is asked for as in `dots_of_three`.

    Parameters
    ----------
    scores, values, scales, first, last, out : as `weigh` takes them.
    n, r : the first of three rows of weights, and of three rows of the result.
    later, at : what is read next, as the values are stored, and from which position on.
    """
    if scales.shape[0] > 0:
        for h in range(3):
            for p in range(first, last):
                scores[n + h, p] *= scales[p]
    size = values.shape[1]
    for h in range(3):
        for j in range(0, size, 16):
            store(out, r + h, j, zeros())
    ahead = min(AHEAD, last - first)
    turn = last - ahead
    # Blocks end where what is asked for turns from these values to the next.
    p, end = first, turn if size <= 4 * LANES else first + (last - first) % AHEAD
    while p < last:
        asked, position = (values, p + ahead) if p < turn else (later, at + p - turn)
        for j in range(0, size, 4 * LANES):
            _columns_of_three(scores, n, values, p, end, j, out, r, asked, position)
        p, end = end, last if size <= 4 * LANES else end + AHEAD


@inner()
def ask_for(stored, first, last):
    """Ask for rows first <= p < last of keys or values to come to the second cache.

    Parameters
    ----------
    stored : as the cache stores them, [C, E].
    first, last : positions.
    """
    size, step = stored.shape[1], 64 // bytes_of(stored)
    for at in range(first * size, last * size, step):
        prefetch_next(stored, at)


@inner()
def attend(q, kept, first, last, scores, parts, later, at):
    """Softmax attention of one group's query heads over positions first <= p < last.

    `combine` joins the parts (the split of FlashDecoding, Dao et al. 2023).

    Parameters
    ----------
    q : f32 [R, E], scaled and rotated.
    kept : `Cache` of one layer, slot and group.
    first, last : positions, of which there may be none.
    scores : f32 [R, C], work space.
    parts : f32 [R, E + 2], written: a head's unnormalised sum, its maximum and its normaliser.
    later, at : keys that are read after this, as they are stored, and from which position on: they are asked for.
    """
    heads, size = q.shape
    keys, key_scales, values, value_scales = kept.keys, kept.key_scales, kept.values, kept.value_scales
    threes = heads // 3 * 3 if size % 64 == 0 else 0
    for r in range(0, threes, 3):
        dots_of_three(q, r, keys, key_scales, first, last, scores, r, values, first)
    for r in range(threes, heads):
        dots(q, r, keys, key_scales, first, last, scores, r)
    for r in range(heads):
        parts[r, size], parts[r, size + 1] = soften(scores, r, first, last)
    for r in range(0, threes, 3):
        weigh_three(scores, r, values, value_scales, first, last, parts, r, later, at)
    for r in range(threes, heads):
        weigh(scores, r, values, value_scales, first, last, parts, r)


@inner(fastmath=True)
def combine(parts, b, size, h):
    """Join the parts of sequence b's attention into h [HE].

    Parameters
    ----------
    parts : f32 [T, B, H, E + 2], each as `attend` leaves it.
    b : the sequence.
    size : E.
    h : f32 [HE or wider], written.
    """
    count = parts.shape[0]
    for r in range(parts.shape[2]):
        top = parts[0, b, r, size]
        for p in range(1, count):
            top = max(top, parts[p, b, r, size])
        total_ = np.float32(0)
        for d in range(size):
            h[r * size + d] = np.float32(0)
        for p in range(count):
            weight = exp(parts[p, b, r, size] - top)
            total_ += weight * parts[p, b, r, size + 1]
            for d in range(size):
                h[r * size + d] += weight * parts[p, b, r, d]
        for d in range(size):
            h[r * size + d] /= total_

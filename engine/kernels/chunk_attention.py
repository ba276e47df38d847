"""Causal attention of a prompt's chunk: tokens side by side share what they read of keys and values.

Keys and values of a layer are widened once for the whole chunk, keys to columns of 16 positions and values to columns
of 16 of their numbers (`kernels.packing`), and both products are those of `kernels.panel_sums`: tiles of tokens whose
sums stay in registers. All heads of a group meet 16 keys while these are in the nearest cache. A token's numbers depend
on no other token: `kernels.attention` is the slow twin.

Shapes: the letters of `kernels.step`; C here is a multiple of 16.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from engine.kernels import model
from engine.kernels.attention import soften
from engine.kernels.inner import distinct, inner
from engine.kernels.packing import pack_columns
from engine.kernels.panel_sums import float_sums
from engine.kernels.register_tiles import no_sums, store_sums
from engine.kernels.scalars import widen
from engine.kernels.sizes import PACKED
from engine.kernels.vectors import get, load, put, splat, times


def widened(positions: int, kv_heads: int, head_dim: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The shapes of `keys` and `values` as `widen_block` fills them.

    Parameters
    ----------
    positions : most of a sequence.
    kv_heads, head_dim : G and E.
    """
    positions = -(-positions // 16) * 16
    return (kv_heads, positions * head_dim), (kv_heads, positions * (-(-head_dim // 16) * 16))


@inner()
def widen_block(kept, block, keys, values):
    """Widen 16 positions of one group.

    Parameters
    ----------
    kept : `Cache` of one layer, slot and group; what is behind its last position is not looked at.
    block : which 16 positions, i64.
    keys : f32 [C E], written: of each block E columns of 16 positions.
    values : f32 [E / 16 rounded up, times 16 C], written: of each 16 numbers of a head C times these.
    """
    size, first = kept.keys.shape[1], 16 * block
    room = values.shape[0] // ((size + 15) // 16)
    full, last = size // 16 * 16, min(first + 16, kept.keys.shape[0])
    scaled = kept.key_scales.shape[0] > 0
    for e in range(0, full, 16):
        pack_columns(kept.keys, first, e, keys, (block * size + e) * 16)
        for p in range(first, last):
            put(values, e // 16 * room + p * 16, load(kept.values, p, e))
    for e in range(full, size):
        for p in range(first, last):
            keys[(block * size + e) * 16 + p - first] = widen(kept.keys[p, e])
            values[full // 16 * room + p * 16 + e - full] = widen(kept.values[p, e])
    if scaled:
        for e in range(size):
            at = (block * size + e) * 16
            for p in range(first, last):
                keys[at + p - first] *= kept.key_scales[p]
        for c in range((size + 15) // 16):
            for p in range(first, last):
                at = c * room + p * 16
                put(values, at, times(get(values, at), splat(kept.value_scales[p])))


@cache
def attend_together(tokens: int) -> Any:
    """A compiled function (q, n, start, shape, keys, values, scores, h): the context of so many tokens from n on.

    q : f32 [N, H E or wider], queries, rotated and scaled.
    n : the first token, i64; it is at position start + n.
    shape : `Shape`.
    keys, values : as `widen_block` leaves them, f32 [G, ..], of every position up to the last token's.
    scores : f32 [tokens H / G, C and one more], work space.
    h : f32 [tokens, H E and 16 more], written.
    """

    @inner()
    @distinct(f"{tokens}")
    def attend(q, n, start, shape, keys, values, scores, h):
        size, per_group = shape.head_dim, shape.heads // shape.kv_heads
        last = start + n + tokens  # behind the last token's position
        for group in range(shape.kv_heads):
            group_keys, group_values = keys[group], values[group]
            room = group_values.shape[0] // ((size + 15) // 16)
            first = group * per_group
            for block in range((last + 15) // 16):
                for r in range(per_group):
                    sums = float_sums(no_sums(tokens), group_keys, block * size * 16, q, n, (first + r) * size, size)
                    store_sums(scores, r * tokens, 16 * block, sums, 1)
            for r in range(per_group):
                column = (first + r) * size
                for t in range(tokens):
                    behind = last - tokens + t + 1
                    row = r * tokens + t
                    _, sum_ = soften(scores, row, 0, behind)
                    for p in range(behind, last):
                        scores[row, p] = np.float32(0)
                    scores[row, scores.shape[1] - 1] = np.float32(1) / sum_
                for c in range((size + 15) // 16):
                    sums = float_sums(no_sums(tokens), group_values, c * room, scores, r * tokens, 0, last)
                    store_sums(h, 0, column + 16 * c, sums, 1)
                for t in range(tokens):
                    factor = scores[r * tokens + t, scores.shape[1] - 1]
                    for i in range(column, column + size):
                        h[t, i] *= factor

    return attend


attend_many, attend_one = attend_together(PACKED), attend_together(1)


@inner()
def widen_all(cache_, layer, slot, block, keys, values):
    """`widen_block` of every group.

    Parameters
    ----------
    cache_ : `Cache`.
    layer, slot : which.
    block : which 16 positions, i64.
    keys, values : f32 [G, ..], written.
    """
    for g in range(keys.shape[0]):
        widen_block(model.kept(cache_, layer, slot, g), block, keys[g], values[g])

"""One decode step for a batch of sequences, compiled: the fast twin of `decoder.forward` with one token each.

The whole step is ONE parallel region. T threads walk the layers together and meet at a spin barrier wherever one
needs what another wrote: five times a layer. Every weight is read once for the whole batch. A sequence's numbers do not
depend on its batch mates: each is computed by the same operations in the same order, so decoding alone and in a batch
gives the same bits. Several tokens of one sequence may be run at once (to verify guessed ones), with the same bits as
one after another.

Shapes: B tokens, D hidden, H query heads over G key/value heads of size E, F feed-forward, L layers, C context,
V vocabulary, S cache slots, T threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from engine.kernels.attention import attend, combine, write
from engine.kernels.barrier import barrier
from engine.kernels.inner import inner
from engine.kernels.linear import linear
from engine.kernels.model import Shape, Weights, padded, qkv_rows, up_rows
from engine.kernels.pointwise import activate, add, embed, norm, rotate
from engine.kernels.rounding import quantize
from engine.memory import array


class Scratch(NamedTuple):
    """Work space, allocated once. What begins with T is a thread's own; the rest is shared."""

    x: np.ndarray  # f32 [T, B, D] residual stream, one copy a thread so that no one waits to add
    h: np.ndarray  # f32 [T, B, max(D, HE, F)] what goes into a matrix
    hq: np.ndarray  # i16 [T, B, max(D, HE, F)] the same in whole numbers, where weights are integers
    hs: np.ndarray  # f32 [T, B] their scale
    sums: np.ndarray  # i32 [T, B, 1 + max(D, HE, F) / 32] their sum, and those of groups of 32
    q: np.ndarray  # f32 [T, HE]
    row: np.ndarray  # f32 [T, E]
    scores: np.ndarray  # f32 [T, H / G, C]
    qkv: np.ndarray  # f32 [B, (H + 2G)E]
    parts: np.ndarray  # f32 [T, B, H, E + 2] a thread's share of attention: sum, its maximum, its normaliser
    o: np.ndarray  # f32 [B, D]
    up: np.ndarray  # f32 [B, 2F or F]
    counter: np.ndarray  # i64 [1]


def scratch(shape: Shape, weights: Weights, threads: int, batch: int, context: int) -> Scratch:
    """Work space for steps of up to `batch` tokens in sequences of up to `context` tokens."""
    hidden = weights.norm.shape[0]
    attended = shape.heads * shape.head_dim
    widest = padded(max(hidden, attended, shape.feed_forward))

    return Scratch(
        x=array((threads, batch, hidden)),
        h=array((threads, batch, widest)),
        hq=array((threads, batch, widest), np.int16),
        hs=array((threads, batch)),
        sums=array((threads, batch, 2 + widest // 32), np.int32),
        q=array((threads, attended)),
        row=array((threads, shape.head_dim)),
        scores=array((threads, shape.heads // shape.kv_heads, context)),
        qkv=array((batch, padded(qkv_rows(shape)))),
        parts=array((threads, batch, shape.heads, shape.head_dim + 2)),
        o=array((batch, padded(hidden))),
        up=array((batch, padded(up_rows(shape)))),
        counter=array((1,), np.int64),
    )


@inner()
def share(rows, t, threads):
    """Where thread t's rows begin: a multiple of 16, as the products take them."""
    return rows if t == threads else rows * t // threads // 16 * 16


@inner()
def _ready(h, hq, hs, sums, batch, columns, integer):
    """Round what goes into a matrix of integers."""
    if integer:
        for b in range(batch):
            quantize(h, b, columns, hq, hs, sums)


@inner()
def _attention(t, threads, positions, slots, layer, shape, w, cache, s):
    """Thread t's part of the context for every token; the last thread, which reads the newest position, writes it:
    no barrier between."""
    heads, groups, size = shape.heads, shape.kv_heads, shape.head_dim
    per_group = heads // groups
    factor = np.float32(1.0 / np.sqrt(size))
    q = s.q[t].reshape(heads, size)
    row = s.row[t]
    for b in range(positions.shape[0]):
        position, slot = positions[b], slots[b]
        cos = w.cos[position]
        sin = w.sin[position]
        for r in range(heads):
            rotate(s.qkv[b, r * size : (r + 1) * size], w.q_norm[layer], shape.eps, cos, sin, factor, q[r])
        if t == threads - 1:
            for g in range(groups):
                at = (heads + g) * size
                rotate(s.qkv[b, at : at + size], w.k_norm[layer], shape.eps, cos, sin, np.float32(1), row)
                write(cache.keys[layer, slot, g], cache.key_scales[layer, slot, g], position, row)
                at = (heads + groups + g) * size
                write(cache.values[layer, slot, g], cache.value_scales[layer, slot, g], position,
                      s.qkv[b, at : at + size])  # fmt: skip
        first = (position + 1) * t // threads
        last = (position + 1) * (t + 1) // threads
        for g in range(groups):
            attend(q[g * per_group : (g + 1) * per_group], cache.keys[layer, slot, g],
                   cache.key_scales[layer, slot, g], cache.values[layer, slot, g], cache.value_scales[layer, slot, g],
                   first, last, s.scores[t], s.parts[t, b, g * per_group : (g + 1) * per_group])  # fmt: skip


@inner()
def _logits(t, threads, x, rows, shape, w, s, integer_head, logits):
    """Thread t's part of the vocabulary for the first rows of x [B, D]."""
    hidden, vocabulary = w.norm.shape[0], shape.vocabulary
    h, hq, hs = s.h[t], s.hq[t], s.hs[t]
    for b in range(rows):
        norm(x[b], w.norm, w.norm_bias, shape.layer_norm, shape.eps, h[b])
    _ready(h, hq, hs, s.sums[t], rows, hidden, integer_head)
    linear(w.head, w.head_scale, w.qkv_minimum[0, :0], w.norm_bias[:0], hq, hs, s.sums[t], h, logits,
           share(vocabulary, t, threads), share(vocabulary, t + 1, threads), rows, hidden)  # fmt: skip


@inner()
def _walk(t, threads, tokens, positions, slots, shape, w, cache, s, integer, integer_head, logits):
    """Thread t's share of a step."""
    batch = tokens.shape[0]
    attended = shape.heads * shape.head_dim
    hidden = w.norm.shape[0]
    feed = shape.feed_forward
    q_rows, u_rows = qkv_rows(shape), up_rows(shape)
    x, h, hq, hs, sums = s.x[t], s.h[t], s.hq[t], s.hs[t], s.sums[t]
    q_first, q_last = share(q_rows, t, threads), share(q_rows, t + 1, threads)
    d_first, d_last = share(hidden, t, threads), share(hidden, t + 1, threads)
    u_first, u_last = share(u_rows, t, threads), share(u_rows, t + 1, threads)
    arrivals = 0

    for b in range(batch):
        embed(tokens[b], positions[b], w, x[b])

    for layer in range(w.qkv.shape[0]):
        for b in range(batch):
            norm(x[b], w.norm1[layer], w.norm1_bias[layer], shape.layer_norm, shape.eps, h[b])
        _ready(h, hq, hs, sums, batch, hidden, integer)
        linear(w.qkv[layer], w.qkv_scale[layer], w.qkv_minimum[layer], w.qkv_bias[layer], hq, hs, sums, h, s.qkv,
               q_first, q_last, batch, hidden)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)

        _attention(t, threads, positions, slots, layer, shape, w, cache, s)
        arrivals += threads
        barrier(s.counter, arrivals)

        for b in range(batch):
            combine(s.parts, b, shape.head_dim, h[b])
        _ready(h, hq, hs, sums, batch, attended, integer)
        linear(w.out[layer], w.out_scale[layer], w.out_minimum[layer], w.out_bias[layer], hq, hs, sums, h, s.o,
               d_first, d_last, batch, attended)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)

        for b in range(batch):
            add(x[b], s.o[b])
            norm(x[b], w.norm2[layer], w.norm2_bias[layer], shape.layer_norm, shape.eps, h[b])
        _ready(h, hq, hs, sums, batch, hidden, integer)
        linear(w.up[layer], w.up_scale[layer], w.up_minimum[layer], w.up_bias[layer], hq, hs, sums, h, s.up,
               u_first, u_last, batch, hidden)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)

        for b in range(batch):
            activate(s.up[b], shape.gated, shape.gelu, feed, h[b])
        _ready(h, hq, hs, sums, batch, feed, integer)
        linear(w.down[layer], w.down_scale[layer], w.down_minimum[layer], w.down_bias[layer], hq, hs, sums, h, s.o,
               d_first, d_last, batch, feed)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)
        for b in range(batch):
            add(x[b], s.o[b])

    _logits(t, threads, x, batch, shape, w, s, integer_head, logits)


@nb.njit(parallel=True, nogil=True, cache=True)
def step(threads, tokens, positions, slots, shape, weights, cache, work, integer, integer_head, logits):
    """Run tokens i64 [B] at positions i64 [B] of cache slots i64 [B]; write logits f32 [B, V or wider].

    The cache gains the new positions. `threads` must be the number of threads that `prange` really gets:
    `team_is_whole` checks it once, because a missing thread would leave the rest waiting. `integer` and `integer_head`
    say that the matrices, and the head, are int8 or int4.
    """
    work.counter[0] = 0
    for t in nb.prange(threads):
        _walk(t, threads, tokens, positions, slots, shape, weights, cache, work, integer, integer_head, logits)


@nb.njit(parallel=True, nogil=True, cache=True)
def head(threads, x, shape, weights, work, integer_head, logits):
    """Logits f32 [R, V or wider] of residual streams x f32 [R, D] after all layers, not normed; R at most B."""
    for t in nb.prange(threads):
        _logits(t, threads, x, x.shape[0], shape, weights, work, integer_head, logits)

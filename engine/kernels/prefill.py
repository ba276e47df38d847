"""A prompt's chunk through all layers, compiled, for integer weights: one parallel region, integer matrix products.

Products take their rows and everything between them takes its tokens from a shared counter, so that a core that is
disturbed does less; nobody's numbers depend on who computes them, nor on how a prompt is cut into chunks. The slow twin
is `decoder.hidden`.

Shapes: N tokens at positions start, start + 1, ... of one slot; the letters of `kernels.step`.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from engine.kernels.attention import attend, spread, write
from engine.kernels.barrier import atomic_add, barrier
from engine.kernels.inner import inner
from engine.kernels.linear import linear
from engine.kernels.model import Shape, Weights, padded, qkv_rows, up_rows
from engine.kernels.pointwise import activate, add, copy, embed, norm, rotate
from engine.kernels.rounding import BYTE, quantize
from engine.kernels.sizes import BLOCK
from engine.memory import array

PHASES = 9  # meetings of a layer: each has its own ticket counter


class Scratch(NamedTuple):
    """Work space, allocated once for chunks of up to N tokens. What begins with T is a thread's own."""

    x: np.ndarray  # f32 [N, D] residual stream; the result
    qkv: np.ndarray  # f32 [N, (H + 2G)E]
    o: np.ndarray  # f32 [N, D]
    up: np.ndarray  # f32 [N, 2F or F]
    hq: np.ndarray  # i16 or `rounding.BYTE` [N, max(D, HE, F)] what goes into a matrix, in whole numbers
    hs: np.ndarray  # f32 [N] their scale, or f32 [N, max(D, HE, F) / 32] those of groups of 32
    sums: np.ndarray  # i32 [N, 1 + max(D, HE, F) / 32] their sum, and those of groups of 32
    h: np.ndarray  # f32 [T, 1, max(D, HE, F)]
    row: np.ndarray  # f32 [T, E]
    scores: np.ndarray  # f32 [T, H / G, C]
    parts: np.ndarray  # f32 [T, H / G, E + 2]
    counter: np.ndarray  # i64 [1]
    tickets: np.ndarray  # i64 [(L + 1) * PHASES]


def scratch(shape: Shape, weights: Weights, threads: int, tokens: int, context: int, bits: int) -> Scratch:
    """Work space for chunks of up to `tokens` tokens in sequences of up to `context`; activations are rounded to 8
    `bits` by groups, or to up to 16."""
    hidden = weights.norm.shape[0]
    widest = padded(max(hidden, shape.heads * shape.head_dim, shape.feed_forward))

    return Scratch(
        x=array((tokens, hidden)),
        qkv=array((tokens, padded(qkv_rows(shape)))),
        o=array((tokens, padded(hidden))),
        up=array((tokens, padded(up_rows(shape)))),
        hq=array((tokens, widest), BYTE if bits == 8 else np.int16),
        hs=array((tokens, -(-widest // 32)) if bits == 8 else (tokens,)),
        sums=array((tokens, 2 + widest // 32), np.int32),
        h=array((threads, 1, widest)),
        row=array((threads, shape.head_dim)),
        scores=array((threads, shape.heads // shape.kv_heads, context)),
        parts=array((threads, shape.heads // shape.kv_heads, shape.head_dim + 2)),
        counter=array((1,), np.int64),
        tickets=array(((weights.qkv.shape[0] + 1) * PHASES,), np.int64),
    )


@inner()
def _product(ticket, w, scale, minimum, bias, s, y, rows, tokens, columns):
    """All rows of a matrix, a block a ticket."""
    while True:
        first = atomic_add(s.tickets, ticket, 1) * BLOCK
        if first >= rows:
            return
        linear(w, scale, minimum, bias, s.hq, s.hs, s.sums, s.x, y, first, min(first + BLOCK, rows), tokens, columns)


@inner()
def _rotate_and_keep(n, start, slot, layer, shape, w, cache, s, row):
    """Token n's queries are rotated in place; its keys and values go to the cache."""
    heads, groups, size = shape.heads, shape.kv_heads, shape.head_dim
    factor = np.float32(1.0 / np.sqrt(size))
    position = start + n
    cos = w.cos[position]
    sin = w.sin[position]
    qkv = s.qkv[n]
    for r in range(heads):
        rotate(qkv[r * size : (r + 1) * size], w.q_norm[layer], shape.eps, cos, sin, factor, row)
        copy(row, qkv[r * size :])
    for g in range(groups):
        at = (heads + g) * size
        rotate(qkv[at : at + size], w.k_norm[layer], shape.eps, cos, sin, np.float32(1), row)
        write(cache.keys[layer, slot, g], cache.key_scales[layer, slot, g], position, row)
        at = (heads + groups + g) * size
        write(cache.values[layer, slot, g], cache.value_scales[layer, slot, g], position, qkv[at : at + size])


@inner()
def _attend(n, start, slot, layer, shape, cache, s, scores, parts, h):
    """Causal attention of token n into h[0, :HE]."""
    size, per_group = shape.head_dim, shape.heads // shape.kv_heads
    q = s.qkv[n, : shape.heads * size].reshape(shape.heads, size)
    for g in range(shape.kv_heads):
        attend(q[g * per_group : (g + 1) * per_group], cache.keys[layer, slot, g], cache.key_scales[layer, slot, g],
               cache.values[layer, slot, g], cache.value_scales[layer, slot, g], 0, start + n + 1,
               scores, parts)  # fmt: skip
        for r in range(per_group):
            spread(parts[r], size, h[0, (g * per_group + r) * size :])


@inner()
def _walk(t, threads, tokens, start, slot, layers, shape, w, cache, s):
    """Thread t's share of a chunk."""
    count = tokens.shape[0]
    hidden = w.norm.shape[0]
    attended = shape.heads * shape.head_dim
    feed = shape.feed_forward
    h, row, scores, parts = s.h[t], s.row[t], s.scores[t], s.parts[t]
    arrivals = 0
    for layer in range(layers + 1):
        ticket = layer * PHASES
        last_layer = layer == layers
        while True:  # the layer before is added, this one's input normed
            n = atomic_add(s.tickets, ticket, 1)
            if n >= count:
                break
            x = s.x[n]
            if layer == 0:
                embed(tokens[n], start + n, w, x)
            else:
                add(x, s.o[n])
            if not last_layer:
                norm(x, w.norm1[layer], w.norm1_bias[layer], shape.layer_norm, shape.eps, h[0, :hidden])
                quantize(h, 0, hidden, s.hq[n : n + 1], s.hs[n : n + 1], s.sums[n : n + 1])
        if last_layer:
            return
        arrivals += threads
        barrier(s.counter, arrivals)

        _product(ticket + 1, w.qkv[layer], w.qkv_scale[layer], w.qkv_minimum[layer], w.qkv_bias[layer], s, s.qkv,
                 qkv_rows(shape), count, hidden)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)

        while True:
            n = atomic_add(s.tickets, ticket + 2, 1)
            if n >= count:
                break
            _rotate_and_keep(n, start, slot, layer, shape, w, cache, s, row)
        arrivals += threads
        barrier(s.counter, arrivals)

        while True:
            n = count - 1 - atomic_add(s.tickets, ticket + 3, 1)  # the longest first
            if n < 0:
                break
            _attend(n, start, slot, layer, shape, cache, s, scores, parts, h)
            quantize(h, 0, attended, s.hq[n : n + 1], s.hs[n : n + 1], s.sums[n : n + 1])
        arrivals += threads
        barrier(s.counter, arrivals)

        _product(ticket + 4, w.out[layer], w.out_scale[layer], w.out_minimum[layer], w.out_bias[layer], s, s.o,
                 hidden, count, attended)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)

        while True:
            n = atomic_add(s.tickets, ticket + 5, 1)
            if n >= count:
                break
            x = s.x[n]
            add(x, s.o[n])
            norm(x, w.norm2[layer], w.norm2_bias[layer], shape.layer_norm, shape.eps, h[0, :hidden])
            quantize(h, 0, hidden, s.hq[n : n + 1], s.hs[n : n + 1], s.sums[n : n + 1])
        arrivals += threads
        barrier(s.counter, arrivals)

        _product(ticket + 6, w.up[layer], w.up_scale[layer], w.up_minimum[layer], w.up_bias[layer], s, s.up,
                 up_rows(shape), count, hidden)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)

        while True:
            n = atomic_add(s.tickets, ticket + 7, 1)
            if n >= count:
                break
            activate(s.up[n], shape.gated, shape.gelu, feed, h[0])
            quantize(h, 0, feed, s.hq[n : n + 1], s.hs[n : n + 1], s.sums[n : n + 1])
        arrivals += threads
        barrier(s.counter, arrivals)

        _product(ticket + 8, w.down[layer], w.down_scale[layer], w.down_minimum[layer], w.down_bias[layer], s, s.o,
                 hidden, count, feed)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)


@nb.njit(parallel=True, nogil=True, cache=True)
def prefill(threads, tokens, start, slot, layers, shape, weights, cache, work):
    """Run tokens i64 [N] at positions start, ... of a slot through `layers` layers; work.x[:N] is the residual stream,
    not normed. The cache gains the positions. `threads` as in `kernels.step`."""
    work.counter[0] = 0
    work.tickets[:] = 0
    for t in nb.prange(threads):
        _walk(t, threads, tokens, start, slot, layers, shape, weights, cache, work)

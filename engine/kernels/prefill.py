"""A prompt's chunk through all layers, compiled: T threads (`kernels.team`) walk them together.

Products take their rows and everything between them takes its tokens from a shared counter, so that a core that is
disturbed does less; nobody's numbers depend on who computes them, nor on how a prompt is cut into chunks. In the last
layer only keys and values are computed of tokens whose result nobody wants. The slow twin is `decoder.hidden`.

Shapes: N tokens at positions start, start + 1, ... of one slot; the letters of `kernels.step`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from engine.kernels import model
from engine.kernels.barrier import atomic_add, barrier
from engine.kernels.chunk_attention import attend_many, attend_one, widen_all, widened
from engine.kernels.inner import inner
from engine.kernels.keep import keep
from engine.kernels.model import Activations, Shape, Weights, padded, part, qkv_rows, up_rows
from engine.kernels.packed import many
from engine.kernels.pointwise import activate, add, copy, embed, norm, rotate
from engine.kernels.rounding import holder, quantize
from engine.kernels.sizes import BLOCK, PACKED
from engine.kernels.thin import DOWN, MOST_RANK, NONE, OUT, QKV, UP, Thin, read, write
from engine.memory import array

# What is done in a layer, one after the other, each with a counter of tickets of its own. Threads meet after each but
# `QUERIES`.
BEGIN, QUERIES, KEYS_VALUES, ROTATE, ATTEND, OUT_ROWS, NORM, UP_ROWS, ACTIVATE, DOWN_ROWS = range(10)
PHASES = 10

# Tokens of a ticket between products. What is written of them side by side (scales, sums) lies in the same cache lines,
# which would travel between the cores at each.
TOGETHER = 8


class Chunk(NamedTuple):
    """Tokens i64 [N] at positions start, start + 1, ... of a slot; results of the last `wanted` of them are."""

    tokens: np.ndarray
    start: int
    slot: int
    wanted: int
    base: int  # of the adapter that all of them are read with, or `NONE`
    rank: int
    thin: Thin


class Scratch(NamedTuple):
    """Work space, allocated once for chunks of up to N tokens. What begins with T is a thread's own."""

    x: np.ndarray  # f32 [N, D] residual stream; the result
    qkv: np.ndarray  # f32 [N, (H + 2G)E]
    o: np.ndarray  # f32 [N, D]
    up: np.ndarray  # f32 [N, 2F or F]
    hx: np.ndarray  # f32 [N, max(D, HE, F)] what goes into a matrix, where weights are floats; else [0, 0]
    hq: np.ndarray  # (`rounding.holder`) [N, max(D, HE, F)] the same in whole numbers, where they are not
    hs: np.ndarray  # f32 [N] their scale, or f32 [N, max(D, HE, F) / 32] those of groups of 32
    sums: np.ndarray  # i32 [N, 1 + max(D, HE, F) / 32] their sum, and those of groups of 32
    h: np.ndarray  # f32 [T, `PACKED`, max(D, HE, F) and 16 more]
    row: np.ndarray  # f32 [T, E]
    scores: np.ndarray  # f32 [T, `PACKED` H / G, C and more]
    keys: np.ndarray  # f32 [G, C E] a layer's, widened for the chunk
    values: np.ndarray  # f32 [G, C E or more]
    u: np.ndarray  # f32 [N, P r] an adapter's A x of what goes into a matrix
    room: np.ndarray  # [T, 16 max(D, HE, F)] a packed panel, f32 where weights are floats, else i16
    tickets: np.ndarray  # i64 [(L + 1) * PHASES]


def scratch(shape: Shape, weights: Weights, threads: int, tokens: int, context: int, bits: int) -> Scratch:
    """Work space for chunks of a prompt.

    Parameters
    ----------
    shape, weights : the model's.
    threads : T.
    tokens : most of a chunk.
    context : most positions of a sequence.
    bits : 8: activations are rounded to 8 bits by groups of 32; else to up to 16 by token.
    """
    hidden = weights.norm.shape[0]
    widest = padded(max(hidden, shape.heads * shape.head_dim, shape.feed_forward))
    whole = weights.qkv.dtype in (np.int8, np.uint8)
    keys, values = widened(context, shape.kv_heads, shape.head_dim)

    return Scratch(
        x=array((tokens, hidden)),
        qkv=array((tokens, padded(qkv_rows.py_func(shape)))),
        o=array((tokens, padded(hidden))),
        up=array((tokens, padded(up_rows.py_func(shape)))),
        hx=array((0, 0) if whole else (tokens, widest)),
        hq=array((tokens, widest) if whole else (0, 0), holder(weights.qkv.dtype, bits, packed=True)),
        hs=array((tokens, -(-widest // 32)) if bits == 8 else (tokens,)),
        sums=array((tokens, padded(2 + widest // 32)), np.int32),
        h=array((threads, PACKED, widest + 16)),
        row=array((threads, shape.head_dim)),
        # The last of a row is not a position's.
        scores=array((threads, PACKED * shape.heads // shape.kv_heads, padded(context) + 16)),
        keys=array(keys),
        values=array(values),
        u=array((tokens, 3 * MOST_RANK)),
        room=array((threads, 16 * (widest + 32)), np.int16 if whole else np.float32),  # groups of columns end beyond
        tickets=array(((weights.qkv.shape[0] + 1) * PHASES,), np.int64),
    )


@inner()
def _take(s, layer, phase):
    """The next ticket of a phase."""
    return atomic_add(s.tickets, layer * PHASES + phase, 1)


@inner()
def _tokens(s, layer, phase, since, chunk):
    """The tokens of the next ticket of a phase, from the chunk's `since`-th on: first, and behind the last."""
    first = since + _take(s, layer, phase) * TOGETHER
    return first, min(first + TOGETHER, chunk.tokens.shape[0])


@inner()
def _product(layer, phase, which, m, s, t, y, begin, end, since, chunk, columns):
    """Rows begin <= i < end of a matrix for tokens since <= n of a chunk, a block a ticket, by thread t; and those of
    an adapter beside it."""
    tokens = chunk.tokens.shape[0]
    a = Activations(s.hx[since:], s.hq[since:], s.hs[since:], s.sums[since:])
    while since < tokens:
        first = begin + _take(s, layer, phase) * BLOCK
        if first >= end:
            return
        last = min(first + BLOCK, end)
        many(m, a, s.room[t], y[since:], first, last, tokens - since, columns)
        if chunk.base != NONE:
            for n in range(since, tokens):
                write(which, layer, chunk.base, chunk.rank, chunk.thin, s.u[n], y[n], first, last)


def _ready(h, r, columns, s, n):
    """h[r, :columns] is what goes into the next matrix for token n."""
    raise TypeError("compiled code only")


@overload(_ready, jit_options={"_nrt": False})
def _ready_for(h, r, columns, s, n):
    if part(s, "room").dtype == types.float32:
        return lambda h, r, columns, s, n: copy(h[r, :columns], s.hx[n])
    return lambda h, r, columns, s, n: quantize(h, r, columns, Activations(s.hx, s.hq, s.hs, s.sums), n)


@inner()
def _set(h, r, columns, s, n, which, layer, chunk):
    """h[r, :columns] is what goes into the next matrix for token n, and into an adapter's beside it."""
    _ready(h, r, columns, s, n)
    if chunk.base != NONE:
        read(which, layer, chunk.base, chunk.rank, chunk.thin, h[r], s.u[n], 0, 1)


@inner()
def _begin(layer, layers, since, chunk, shape, w, s, h):
    """The layer before is added to the residual stream (the first: tokens are embedded), and this one's input normed,
    unless `layers` are done."""
    while True:
        first, last = _tokens(s, layer, BEGIN, since, chunk)
        if first >= last:
            return
        for n in range(first, last):
            x = s.x[n]
            if layer == 0:
                embed(chunk.tokens[n], chunk.start + n, w, x)
            else:
                add(x, s.o[n])
            if layer < layers:
                norm(x, w.norm1[layer], w.norm1_bias[layer], shape.layer_norm, shape.eps, h[0, : x.shape[0]])
                _set(h, 0, x.shape[0], s, n, QKV, layer, chunk)


@inner()
def _rotate_and_keep(layer, since, chunk, shape, w, cache, s, row):
    """Queries are rotated in place, every token's keys and values go to the cache, and all positions so far are widened
    for the chunk, unless nobody attends: 16 positions a ticket, whether they are the chunk's or were there before."""
    size = shape.head_dim
    factor = np.float32(1.0 / np.sqrt(size))
    last = chunk.start + chunk.tokens.shape[0]
    while True:
        block = _take(s, layer, ROTATE)
        if 16 * block >= last:
            return
        for position in range(max(16 * block, chunk.start), min(16 * block + 16, last)):
            cos = w.cos[position]
            sin = w.sin[position]
            qkv = s.qkv[position - chunk.start]
            for r in range(shape.heads if position - chunk.start >= since else 0):
                rotate(qkv[r * size : (r + 1) * size], w.q_norm[layer], shape.eps, cos, sin, factor, row)
                copy(row, qkv[r * size :])
            keep(qkv, position, chunk.slot, layer, shape, w, cache, row)
        if since < chunk.tokens.shape[0]:
            widen_all(cache, layer, chunk.slot, block, s.keys, s.values)


@inner()
def _attend(layer, since, chunk, shape, s, t):
    """Causal attention of tokens since <= n, the longest first, by thread t."""
    scores, h = s.scores[t], s.h[t]
    columns, count = shape.heads * shape.head_dim, chunk.tokens.shape[0]
    while True:
        end = count - PACKED * _take(s, layer, ATTEND)
        if end <= since:
            return
        if end - since >= PACKED:
            attend_many(s.qkv, end - PACKED, chunk.start, shape, s.keys, s.values, scores, h)
            for r in range(PACKED):
                _set(h, r, columns, s, end - PACKED + r, OUT, layer, chunk)
        else:
            for n in range(since, end):
                attend_one(s.qkv, n, chunk.start, shape, s.keys, s.values, scores, h)
                _set(h, 0, columns, s, n, OUT, layer, chunk)


@inner()
def _add_and_norm(layer, since, chunk, shape, w, s, h):
    """What was attended to is added to the residual stream, and what feeds forward normed."""
    while True:
        first, last = _tokens(s, layer, NORM, since, chunk)
        if first >= last:
            return
        for n in range(first, last):
            x = s.x[n]
            add(x, s.o[n])
            norm(x, w.norm2[layer], w.norm2_bias[layer], shape.layer_norm, shape.eps, h[0, : x.shape[0]])
            _set(h, 0, x.shape[0], s, n, UP, layer, chunk)


@inner()
def _activate(layer, since, chunk, shape, s, h):
    """Gates open what they open."""
    while True:
        first, last = _tokens(s, layer, ACTIVATE, since, chunk)
        if first >= last:
            return
        for n in range(first, last):
            activate(s.up[n], shape.gated, shape.gelu, shape.feed_forward, h[0])
            _set(h, 0, shape.feed_forward, s, n, DOWN, layer, chunk)


@inner()
def prefill(t, threads, words, arrivals, chunk, layers, shape, w, cache, s):
    """Thread t's share of running a chunk of a prompt through the first layers; the cache gains its positions. Returns
    how many arrivals were counted when the last barrier opened.

    Parameters
    ----------
    t, threads : this thread and how many there are, all of which call.
    words, arrivals : of `barrier`, and its count before.
    chunk : `Chunk`.
    layers : how many are run.
    shape, w, cache : the model, as `kernels.model` describes it.
    s : `Scratch` for N tokens or more, its tickets 0; x[N - wanted : N] becomes their residual stream, not normed.
    """
    count = chunk.tokens.shape[0]
    hidden, attended = w.norm.shape[0], shape.heads * shape.head_dim
    queries = attended // 16 * 16  # a product begins with a panel
    h = s.h[t]
    for layer in range(layers):
        since = 0 if layer + 1 < layers else count - chunk.wanted  # before it only keys and values are wanted
        _begin(layer, layers, 0, chunk, shape, w, s, h)
        arrivals = barrier(words, arrivals + threads)
        m = model.qkv(w, layer)
        _product(layer, QUERIES, QKV, m, s, t, s.qkv, 0, queries, since, chunk, hidden)
        _product(layer, KEYS_VALUES, QKV, m, s, t, s.qkv, queries, qkv_rows(shape), 0, chunk, hidden)
        arrivals = barrier(words, arrivals + threads)
        _rotate_and_keep(layer, since, chunk, shape, w, cache, s, s.row[t])
        arrivals = barrier(words, arrivals + threads)
        _attend(layer, since, chunk, shape, s, t)
        arrivals = barrier(words, arrivals + threads)
        _product(layer, OUT_ROWS, OUT, model.out(w, layer), s, t, s.o, 0, hidden, since, chunk, attended)
        arrivals = barrier(words, arrivals + threads)
        _add_and_norm(layer, since, chunk, shape, w, s, h)
        arrivals = barrier(words, arrivals + threads)
        _product(layer, UP_ROWS, UP, model.up(w, layer), s, t, s.up, 0, up_rows(shape), since, chunk, hidden)
        arrivals = barrier(words, arrivals + threads)
        _activate(layer, since, chunk, shape, s, h)
        arrivals = barrier(words, arrivals + threads)
        _product(layer, DOWN_ROWS, DOWN, model.down(w, layer), s, t, s.o, 0, hidden, since, chunk, shape.feed_forward)
        arrivals = barrier(words, arrivals + threads)
    _begin(layers, layers, count - chunk.wanted, chunk, shape, w, s, h)
    return arrivals

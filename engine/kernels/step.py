"""One decode step for a batch of sequences, compiled: the fast twin of `decoder.forward` with one token each.

T threads (`kernels.team`) walk the layers together and meet at a barrier wherever one needs what another wrote: five
times a layer. Every weight is read once for the whole batch. A sequence's numbers do not depend on its batch mates:
each is computed by the same operations in the same order, so decoding alone and in a batch gives the same bits. Several
tokens of one sequence may be run at once (to verify guessed ones), with the same bits as one after another. Fewer than
T threads give the same bits too: attention is split in T parts, whoever computes them.

Shapes: B tokens, D hidden, H query heads over G key/value heads of size E, F feed-forward, L layers, C context,
V vocabulary, S cache slots, T threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from engine.kernels import model
from engine.kernels.argmax import argmax
from engine.kernels.attention import ask_for, attend, combine
from engine.kernels.barrier import arrive, barrier, meet
from engine.kernels.inner import inner
from engine.kernels.keep import keep
from engine.kernels.linear import linear
from engine.kernels.model import Activations, Shape, Weights, padded, part, qkv_rows, up_rows
from engine.kernels.pointwise import activate, add, embed, norm, rotate
from engine.kernels.rounding import holder, quantize
from engine.kernels.thin import DOWN, NONE, OUT, QKV, UP, read, write
from engine.kernels.three_heads import AHEAD
from engine.memory import array


class Scratch(NamedTuple):
    """Work space, allocated once. What begins with T is a thread's own, but for `parts`; the rest is shared."""

    x: np.ndarray  # f32 [T, B, D] residual stream, one copy a thread so that no one waits to add
    h: np.ndarray  # f32 [T, B, max(D, HE, F)] what goes into a matrix
    hq: np.ndarray  # (`rounding.holder`) [T, B, max(D, HE, F)] the same in whole numbers, where weights are integers
    head: np.ndarray  # (`rounding.holder`) [T, B, D] the same for the head, whose weights are int8 beside int4
    hs: np.ndarray  # f32 [T, B] their scale
    sums: np.ndarray  # i32 [T, B, 1 + max(D, HE, F) / 32] their sum, and those of groups of 32
    q: np.ndarray  # f32 [T, HE]
    row: np.ndarray  # f32 [T, E]
    scores: np.ndarray  # f32 [T, H / G, C]
    qkv: np.ndarray  # f32 [B, (H + 2G)E]
    parts: np.ndarray  # f32 [T, B, H, E + 2] parts of attention: sum, its maximum, its normaliser
    o: np.ndarray  # f32 [B, D]
    up: np.ndarray  # f32 [B, 2F or F]
    tops: np.ndarray  # f32 [T, B] the largest of the logits that a thread computed
    best: np.ndarray  # i64 [T, B] which token that is (`argmax`)


def scratch(shape: Shape, weights: Weights, threads: int, batch: int, context: int) -> Scratch:
    """Work space for decode steps.

    Parameters
    ----------
    shape, weights : the model's.
    threads : T.
    batch : most tokens of a step.
    context : most positions of a sequence.
    """
    hidden = weights.norm.shape[0]
    attended = shape.heads * shape.head_dim
    widest = padded(max(hidden, attended, shape.feed_forward))

    return Scratch(
        x=array((threads, batch, hidden)),
        h=array((threads, batch, widest)),
        hq=array((threads, batch, widest), holder(weights.qkv.dtype, 16, packed=False)),
        head=array((threads, batch, padded(hidden)), holder(weights.head.dtype, 16, packed=False)),
        hs=array((threads, batch)),
        sums=array((threads, batch, 2 + widest // 32), np.int32),
        q=array((threads, attended)),
        row=array((threads, shape.head_dim)),
        scores=array((threads, shape.heads // shape.kv_heads, context)),
        qkv=array((batch, padded(qkv_rows.py_func(shape)))),
        parts=array((threads, batch, shape.heads, shape.head_dim + 2)),
        o=array((batch, padded(hidden))),
        up=array((batch, padded(up_rows.py_func(shape)))),
        tops=array((threads, batch)),
        best=array((threads, batch), np.int64),
    )


@inner()
def share(rows, t, threads):
    """Where thread t's rows begin: a multiple of 16, as the products take them.

    Parameters
    ----------
    rows : of the matrix.
    t : the thread; for T it is where all rows end.
    threads : T.
    """
    return rows if t == threads else rows * t // threads // 16 * 16


def _ready(m, a, tokens, columns):
    """Round what goes into a matrix of integers."""
    raise TypeError("compiled code only")


@overload(_ready, jit_options={"_nrt": False})
def _ready_for(m, a, tokens, columns):
    if part(m, "weight").dtype not in (types.int8, types.uint8):
        return lambda m, a, tokens, columns: None

    def rounded(m, a, tokens, columns):
        for b in range(tokens):
            quantize(a.x, b, columns, a, b)

    return rounded


@inner()
def _product(t, threads, m, a, y, rows, tokens, columns):
    """Thread t's rows of a product, into y."""
    _ready(m, a, tokens, columns)
    linear(m, a, y, share(rows, t, threads), share(rows, t + 1, threads), tokens, columns)


@inner()
def _adapted(t, threads, words, arrivals, which, layer, m, a, y, rows, tokens, columns, adapters):
    """Thread t's rows of a product, and of the adapters' beside it; how many arrivals were counted then."""
    bases, ranks, thin = adapters.bases, adapters.ranks, adapters.thin
    some = False
    for b in range(tokens):
        if bases[b] != NONE:
            some = True
            read(which, layer, bases[b], ranks[b], thin, a.x[b], thin.between[b], t, threads)
    if some:
        arrive(words, arrivals + threads)
    _product(t, threads, m, a, y, rows, tokens, columns)
    if some:
        arrivals = meet(words, arrivals + threads)
        first, last = share(rows, t, threads), share(rows, t + 1, threads)
        for b in range(tokens):
            if bases[b] != NONE:
                write(which, layer, bases[b], ranks[b], thin, thin.between[b], y[b], first, last)
    return arrivals


@inner()
def _norm(x, tokens, gain, bias, shape, y):
    """Every token's residual stream, normed."""
    for b in range(tokens):
        norm(x[b], gain, bias, shape.layer_norm, shape.eps, y[b])


@inner()
def _add(x, y, tokens):
    """What a matrix gives for every token is added to its residual stream."""
    for b in range(tokens):
        add(x[b], y[b])


@inner()
def _next(p, parts, b, g, positions, slots, layer, groups, cache):
    """The keys that part p reads after those of a token's group, and from which position on: of the next group, or of
    the next token's first; after the last of all, its own."""
    if g + 1 < groups:
        g += 1
    elif b + 1 < positions.shape[0]:
        b, g = b + 1, 0
    return model.kept(cache, layer, slots[b], g).keys, (positions[b] + 1) * p // parts


@inner()
def _ask_ahead(t, threads, parts, positions, slots, layer, groups, cache):
    """Ask for what thread t's first part of attention touches before its loops ask for anything: the first keys it
    reads and, of the thread that has the last part, where every token's keys and values go."""
    kept = model.kept(cache, layer, slots[0], 0)
    first, last = (positions[0] + 1) * t // parts, (positions[0] + 1) * (t + 1) // parts
    ask_for(kept.keys, first, min(last, first + AHEAD))
    if t == (parts - 1) % threads:
        for b in range(positions.shape[0]):
            for g in range(groups):
                kept = model.kept(cache, layer, slots[b], g)
                ask_for(kept.keys, positions[b], positions[b] + 1)
                ask_for(kept.values, positions[b], positions[b] + 1)


@inner()
def _attention(t, threads, positions, slots, layer, shape, w, cache, s):
    """Thread t's parts of the context for every token; who has the last part, which reads the newest position, writes
    it: no barrier between."""
    heads, groups, size = shape.heads, shape.kv_heads, shape.head_dim
    per_group = heads // groups
    parts = s.parts.shape[0]
    factor = np.float32(1.0 / np.sqrt(size))
    q = s.q[t].reshape(heads, size)
    for b in range(positions.shape[0]):
        position, slot = positions[b], slots[b]
        cos = w.cos[position]
        sin = w.sin[position]
        qkv = s.qkv[b]
        for r in range(heads):
            rotate(qkv[r * size : (r + 1) * size], w.q_norm[layer], shape.eps, cos, sin, factor, q[r])
        if t == (parts - 1) % threads:
            keep(qkv, position, slot, layer, shape, w, cache, s.row[t])
        for p in range(t, parts, threads):
            first = (position + 1) * p // parts
            last = (position + 1) * (p + 1) // parts
            for g in range(groups):
                later, at = _next(p, parts, b, g, positions, slots, layer, groups, cache)
                attend(q[g * per_group : (g + 1) * per_group], model.kept(cache, layer, slot, g), first, last,
                       s.scores[t], s.parts[p, b, g * per_group : (g + 1) * per_group], later, at)  # fmt: skip


@inner()
def _activations(t, s):
    """Thread t's own."""
    return Activations(s.h[t], s.hq[t], s.hs[t], s.sums[t])


@inner()
def head(t, threads, x, rows, shape, w, s, logits):
    """Thread t's part of the logits of residual streams after all layers.

    Parameters
    ----------
    t, threads : this thread and how many walk.
    x : f32 [R, D], not normed; R at most B.
    rows : R, or fewer.
    shape, w : the model, as `kernels.model` describes it.
    s : `Scratch`.
    logits : f32 [R, V or wider], written.
    """
    a = Activations(s.h[t], s.head[t], s.hs[t], s.sums[t])
    _norm(x, rows, w.norm, w.norm_bias, shape, a.x)
    _product(t, threads, model.head(w), a, logits, shape.vocabulary, rows, w.norm.shape[0])


@inner()
def step(t, threads, words, arrivals, tokens, positions, slots, adapters, shape, w, cache, s, logits):
    """Thread t's share of running tokens at positions of cache slots, which gain these positions, of the logits that
    follow and of the largest of them. Returns how many arrivals were counted when the last barrier opened.

    Parameters
    ----------
    t, threads : this thread and how many walk, all of which call; at most T.
    words, arrivals : of `barrier`, and its count before.
    tokens, positions, slots : i64 [B].
    adapters : `thin.Adapters` of the tokens.
    shape, w, cache : the model, as `kernels.model` describes it.
    s : `Scratch` for B tokens or more.
    logits : f32 [B, V or wider], written.
    """
    batch = tokens.shape[0]
    attended = shape.heads * shape.head_dim
    hidden = w.norm.shape[0]
    feed = shape.feed_forward
    x, a = s.x[t], _activations(t, s)

    for b in range(batch):
        embed(tokens[b], positions[b], w, x[b])

    for layer in range(w.qkv.shape[0]):
        _norm(x, batch, w.norm1[layer], w.norm1_bias[layer], shape, a.x)
        _ask_ahead(t, threads, s.parts.shape[0], positions, slots, layer, shape.kv_heads, cache)
        arrivals = _adapted(
            t, threads, words, arrivals, QKV, layer, model.qkv(w, layer), a, s.qkv, qkv_rows(shape), batch, hidden,
            adapters,
        )  # fmt: skip
        arrivals = barrier(words, arrivals + threads)

        _attention(t, threads, positions, slots, layer, shape, w, cache, s)
        arrivals = barrier(words, arrivals + threads)

        for b in range(batch):
            combine(s.parts, b, shape.head_dim, a.x[b])
        arrivals = _adapted(
            t, threads, words, arrivals, OUT, layer, model.out(w, layer), a, s.o, hidden, batch, attended, adapters
        )
        arrivals = barrier(words, arrivals + threads)

        _add(x, s.o, batch)
        _norm(x, batch, w.norm2[layer], w.norm2_bias[layer], shape, a.x)
        arrivals = _adapted(
            t, threads, words, arrivals, UP, layer, model.up(w, layer), a, s.up, up_rows(shape), batch, hidden, adapters
        )
        arrivals = barrier(words, arrivals + threads)

        for b in range(batch):
            activate(s.up[b], shape.gated, shape.gelu, feed, a.x[b])
        arrivals = _adapted(
            t, threads, words, arrivals, DOWN, layer, model.down(w, layer), a, s.o, hidden, batch, feed, adapters
        )
        arrivals = barrier(words, arrivals + threads)
        _add(x, s.o, batch)

    head(t, threads, x, batch, shape, w, s, logits)
    first, last = share(shape.vocabulary, t, threads), share(shape.vocabulary, t + 1, threads)
    for b in range(batch):
        s.tops[t, b], s.best[t, b] = argmax(logits[b], first, last)
    return arrivals

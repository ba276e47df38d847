"""One decode step for a batch of sequences, compiled: the fast twin of `decoder.forward` with one token each.

The whole step is ONE parallel region. T threads walk the layers together and meet at a spin barrier wherever one
needs what another wrote: five times a layer. Every weight is read once for the whole batch; every row of a matrix
is one simple loop, which LLVM vectorises better than any blocked form tried (measured: 21 GB/s against 11 to 14).
A sequence's numbers do not depend on its batch mates: each is computed by the same loops in the same order,
so decoding alone and in a batch gives the same bits.

Shapes: B sequences, D hidden, H query heads over G key/value heads of size E, F feed-forward, L layers, C context,
V vocabulary, S cache slots, T threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from engine.kernels.atoms import barrier, exp, widen


class Shape(NamedTuple):
    """What the arrays' shapes do not say."""

    heads: int  # H
    kv_heads: int  # G
    head_dim: int  # E
    feed_forward: int  # F
    layer_norm: bool  # LayerNorm with bias, else RMSNorm
    gated: bool  # silu(gate) * up, else an activation alone
    gelu: bool  # tanh-approximated GELU, else SiLU
    eps: float


class Weights(NamedTuple):
    """Stacked over layers. W is int8, uint16 (halves) or float32; an empty last axis means the part is absent."""

    embed: np.ndarray  # W [V, D]
    embed_scale: np.ndarray  # f32 [V]
    positions: np.ndarray  # f32 [C, D] or [0, 0]
    norm1: np.ndarray  # f32 [L, D]
    norm1_bias: np.ndarray  # f32 [L, D] or [L, 0]
    qkv: np.ndarray  # W [L, (H + 2G)E, D]
    qkv_scale: np.ndarray  # f32 [L, (H + 2G)E]
    qkv_bias: np.ndarray  # f32 [L, (H + 2G)E] or [L, 0]
    q_norm: np.ndarray  # f32 [L, E] or [L, 0]
    k_norm: np.ndarray  # f32 [L, E] or [L, 0]
    out: np.ndarray  # W [L, D, HE]
    out_scale: np.ndarray
    out_bias: np.ndarray
    norm2: np.ndarray
    norm2_bias: np.ndarray
    up: np.ndarray  # W [L, 2F, D], gate rows first; [L, F, D] where not gated
    up_scale: np.ndarray
    up_bias: np.ndarray
    down: np.ndarray  # W [L, D, F]
    down_scale: np.ndarray
    down_bias: np.ndarray
    norm: np.ndarray  # f32 [D]
    norm_bias: np.ndarray  # f32 [D] or [0]
    head: np.ndarray  # W [V, D]
    head_scale: np.ndarray  # f32 [V]
    cos: np.ndarray  # f32 [C, E / 2]
    sin: np.ndarray  # f32 [C, E / 2]


class Scratch(NamedTuple):
    """Work space, allocated once. `x`, `h`, `q` and `scores` are a thread's own; the rest is shared."""

    x: np.ndarray  # f32 [T, B, D] residual stream, one copy a thread so that no one waits to add
    h: np.ndarray  # f32 [T, B, max(D, HE)] normed, or attended
    q: np.ndarray  # f32 [T, HE]
    scores: np.ndarray  # f32 [T, H / G, C]
    qkv: np.ndarray  # f32 [B, (H + 2G)E]
    parts: np.ndarray  # f32 [T, B, H, E + 2] a thread's share of attention: sum, its maximum, its normaliser
    o: np.ndarray  # f32 [B, D]
    up: np.ndarray  # f32 [B, 2F or F]
    f: np.ndarray  # f32 [B, F]
    counter: np.ndarray  # i64 [1]


def scratch(shape: Shape, weights: Weights, threads: int, batch: int, context: int) -> Scratch:
    """Work space for steps of up to `batch` sequences of up to `context` tokens."""
    hidden = weights.norm.shape[0]
    attended = shape.heads * shape.head_dim

    def zeros(*size: int) -> np.ndarray:
        return np.zeros(size, np.float32)

    return Scratch(
        x=zeros(threads, batch, hidden),
        h=zeros(threads, batch, max(hidden, attended)),
        q=zeros(threads, attended),
        scores=zeros(threads, shape.heads // shape.kv_heads, context),
        qkv=zeros(batch, weights.qkv.shape[1]),
        parts=zeros(threads, batch, shape.heads, shape.head_dim + 2),
        o=zeros(batch, hidden),
        up=zeros(batch, weights.up.shape[1]),
        f=zeros(batch, shape.feed_forward),
        counter=np.zeros(1, np.int64),
    )


@nb.njit(fastmath=True)
def _matvec(w, scale, bias, x, y, first, last, batch, columns):
    """y[b, i] = x[b] . w[i] * scale[i] + bias[i] for rows first <= i < last: a row is read once for the batch."""
    for i in range(first, last):
        row = w[i]
        for b in range(batch):
            total = np.float32(0)
            for j in range(columns):
                total += widen(row[j]) * x[b, j]
            y[b, i] = total * scale[i]
        if bias.shape[0] > 0:
            for b in range(batch):
                y[b, i] += bias[i]


@nb.njit(fastmath=True)
def _norm(x, gain, bias, layer_norm, eps, y):
    """RMSNorm (Zhang & Sennrich 2019), or LayerNorm where `layer_norm`."""
    n = gain.shape[0]
    mean = np.float32(0)
    if layer_norm:
        for i in range(n):
            mean += x[i]
        mean /= np.float32(n)
    squares = np.float32(0)
    for i in range(n):
        squares += (x[i] - mean) * (x[i] - mean)
    r = np.float32(1) / np.sqrt(squares / np.float32(n) + np.float32(eps))
    for i in range(n):
        y[i] = (x[i] - mean) * r * gain[i]
    if bias.shape[0] > 0:
        for i in range(n):
            y[i] += bias[i]


@nb.njit(fastmath=True)
def _rotate(x, gain, eps, cos, sin, factor, y):
    """Rotary position embedding of one head (Su et al. 2021), halves paired; normed first where `gain` is there."""
    n = x.shape[0]
    half = n // 2
    if gain.shape[0] > 0:
        _norm(x, gain, gain[:0], False, eps, y)
    else:
        for i in range(n):
            y[i] = x[i]
    for i in range(half):
        a = y[i]
        b = y[half + i]
        y[i] = (a * cos[i] - b * sin[i]) * factor
        y[half + i] = (b * cos[i] + a * sin[i]) * factor


@nb.njit(fastmath=True)
def _attend(q, keys, values, first, last, scores, parts):
    """Softmax attention of one group's query heads over positions first <= p < last; K and V are read once.

    q [R, E], keys and values [C, E], scores [R, C], parts [R, E + 2] where the unnormalised sum, the maximum and
    the normaliser go: `_combine` joins the threads' shares (the split of FlashDecoding, Dao et al. 2023).
    """
    heads, size = q.shape
    for r in range(heads):
        parts[r, size] = np.float32(-1e30)
    for p in range(first, last):
        key = keys[p]
        for r in range(heads):
            total = np.float32(0)
            for d in range(size):
                total += q[r, d] * key[d]
            scores[r, p] = total
            parts[r, size] = max(parts[r, size], total)
    for r in range(heads):
        top = parts[r, size]
        total = np.float32(0)
        for p in range(first, last):
            weight = exp(scores[r, p] - top)
            scores[r, p] = weight
            total += weight
        parts[r, size + 1] = total
        for d in range(size):
            parts[r, d] = np.float32(0)
    for p in range(first, last):
        value = values[p]
        for r in range(heads):
            weight = scores[r, p]
            for d in range(size):
                parts[r, d] += weight * value[d]


@nb.njit(fastmath=True)
def _combine(parts, b, size, h):
    """Join the threads' shares of sequence b's attention into h [HE]."""
    threads = parts.shape[0]
    for r in range(parts.shape[2]):
        top = parts[0, b, r, size]
        for t in range(1, threads):
            top = max(top, parts[t, b, r, size])
        total = np.float32(0)
        for d in range(size):
            h[r * size + d] = np.float32(0)
        for t in range(threads):
            weight = exp(parts[t, b, r, size] - top)
            total += weight * parts[t, b, r, size + 1]
            for d in range(size):
                h[r * size + d] += weight * parts[t, b, r, d]
        for d in range(size):
            h[r * size + d] /= total


@nb.njit(fastmath=True)
def _activate(up, gated, gelu, first, last, feed_forward, f):
    """f = act(up), or act(gate) * up with the gate's rows first (SwiGLU, Shazeer 2020)."""
    for i in range(first, last):
        x = up[i]
        # tanh-GELU is x * sigmoid(1.5957691 (x + 0.044715 x^3)), so both activations are x times a sigmoid.
        u = np.float32(1.5957691216) * (x + np.float32(0.044715) * x * x * x) if gelu else x
        f[i] = x / (np.float32(1) + exp(-u))
    if gated:
        for i in range(first, last):
            f[i] *= up[feed_forward + i]


@nb.njit(fastmath=True)
def _walk(t, threads, tokens, positions, slots, shape, w, keys, values, s, logits):
    """Thread t's share of a step."""
    batch = tokens.shape[0]
    heads, groups, size = shape.heads, shape.kv_heads, shape.head_dim
    per_group = heads // groups
    attended = heads * size
    hidden = w.norm.shape[0]
    feed = shape.feed_forward
    factor = np.float32(1.0 / np.sqrt(size))
    q_rows = w.qkv.shape[1]
    vocabulary = w.head.shape[0]
    x = s.x[t]
    h = s.h[t]
    q = s.q[t].reshape(heads, size)
    arrivals = 0

    for b in range(batch):
        scale = w.embed_scale[tokens[b]]
        for i in range(hidden):
            x[b, i] = widen(w.embed[tokens[b], i]) * scale
        if w.positions.shape[0] > 0:
            for i in range(hidden):
                x[b, i] += w.positions[positions[b], i]

    for layer in range(w.qkv.shape[0]):
        for b in range(batch):
            _norm(x[b], w.norm1[layer], w.norm1_bias[layer], shape.layer_norm, shape.eps, h[b])
        _matvec(w.qkv[layer], w.qkv_scale[layer], w.qkv_bias[layer], h, s.qkv,
                q_rows * t // threads, q_rows * (t + 1) // threads, batch, hidden)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)

        for b in range(batch):
            position = positions[b]
            cos = w.cos[position]
            sin = w.sin[position]
            for r in range(heads):
                _rotate(s.qkv[b, r * size : (r + 1) * size], w.q_norm[layer], shape.eps, cos, sin, factor, q[r])
            if t == threads - 1:  # the last thread reads the newest position, so it writes it: no barrier between
                for g in range(groups):
                    at = (heads + g) * size
                    _rotate(s.qkv[b, at : at + size], w.k_norm[layer], shape.eps, cos, sin, np.float32(1),
                            keys[layer, slots[b], g, position])  # fmt: skip
                    at = (heads + groups + g) * size
                    for d in range(size):
                        values[layer, slots[b], g, position, d] = s.qkv[b, at + d]
            first = (position + 1) * t // threads
            last = (position + 1) * (t + 1) // threads
            for g in range(groups):
                _attend(q[g * per_group : (g + 1) * per_group], keys[layer, slots[b], g], values[layer, slots[b], g],
                        first, last, s.scores[t], s.parts[t, b, g * per_group : (g + 1) * per_group])  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)

        for b in range(batch):
            _combine(s.parts, b, size, h[b])
        _matvec(w.out[layer], w.out_scale[layer], w.out_bias[layer], h, s.o,
                hidden * t // threads, hidden * (t + 1) // threads, batch, attended)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)

        for b in range(batch):
            for i in range(hidden):
                x[b, i] += s.o[b, i]
            _norm(x[b], w.norm2[layer], w.norm2_bias[layer], shape.layer_norm, shape.eps, h[b])
        first = feed * t // threads
        last = feed * (t + 1) // threads
        _matvec(w.up[layer], w.up_scale[layer], w.up_bias[layer], h, s.up, first, last, batch, hidden)
        if shape.gated:
            _matvec(w.up[layer], w.up_scale[layer], w.up_bias[layer], h, s.up, feed + first, feed + last, batch, hidden)
        for b in range(batch):
            _activate(s.up[b], shape.gated, shape.gelu, first, last, feed, s.f[b])
        arrivals += threads
        barrier(s.counter, arrivals)

        _matvec(w.down[layer], w.down_scale[layer], w.down_bias[layer], s.f, s.o,
                hidden * t // threads, hidden * (t + 1) // threads, batch, feed)  # fmt: skip
        arrivals += threads
        barrier(s.counter, arrivals)
        for b in range(batch):
            for i in range(hidden):
                x[b, i] += s.o[b, i]

    for b in range(batch):
        _norm(x[b], w.norm, w.norm_bias, shape.layer_norm, shape.eps, h[b])
    _matvec(w.head, w.head_scale, w.norm_bias[:0], h, logits,
            vocabulary * t // threads, vocabulary * (t + 1) // threads, batch, hidden)  # fmt: skip


@nb.njit(parallel=True, fastmath=True, nogil=True, cache=True)
def step(threads, tokens, positions, slots, shape, weights, keys, values, work, logits):
    """Run tokens i64 [B] at positions i64 [B] of cache slots i64 [B]; write logits f32 [B, V].

    keys and values f32 [L, S, G, C, E] gain the new positions. `threads` must be the number of threads that
    `prange` really gets: `team_is_whole` checks it once, because a missing thread would leave the rest waiting.
    """
    work.counter[0] = 0
    for t in nb.prange(threads):
        _walk(t, threads, tokens, positions, slots, shape, weights, keys, values, work, logits)

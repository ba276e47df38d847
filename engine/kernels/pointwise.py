"""What happens to one token at a time between the matrix products: embedding, norms, rotary positions, activations."""

from __future__ import annotations

import numba as nb
import numpy as np

from engine.kernels.atoms import exp, widen


@nb.njit(fastmath=True)
def embed(token, position, w, x):
    """x f32 [D] = the token's embedding, and its position's where positions are learned."""
    scale = w.embed_scale[token]
    for i in range(x.shape[0]):
        x[i] = widen(w.embed[token, i]) * scale
    if w.positions.shape[0] > 0:
        for i in range(x.shape[0]):
            x[i] += w.positions[position, i]


@nb.njit(fastmath=True)
def norm(x, gain, bias, layer_norm, eps, y):
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
def rotate(x, gain, eps, cos, sin, factor, y):
    """Rotary position embedding of one head (Su et al. 2021), halves paired; normed first where `gain` is there."""
    n = x.shape[0]
    half = n // 2
    if gain.shape[0] > 0:
        norm(x, gain, gain[:0], False, eps, y)
    else:
        for i in range(n):
            y[i] = x[i]
    for i in range(half):
        a = y[i]
        b = y[half + i]
        y[i] = (a * cos[i] - b * sin[i]) * factor
        y[half + i] = (b * cos[i] + a * sin[i]) * factor


@nb.njit(fastmath=True)
def activate(up, gated, gelu, first, last, feed_forward, f):
    """f = act(up), or act(gate) * up with the gate's rows first (SwiGLU, Shazeer 2020)."""
    # tanh-GELU is x * sigmoid(1.5957691 (x + 0.044715 x^3)), so both activations are x times a sigmoid. Two loops,
    # for a loop with a choice inside is not vectorised.
    if gelu:
        for i in range(first, last):
            x = up[i]
            f[i] = x / (np.float32(1) + exp(np.float32(-1.5957691216) * (x + np.float32(0.044715) * x * x * x)))
    else:
        for i in range(first, last):
            f[i] = up[i] / (np.float32(1) + exp(-up[i]))
    if gated:
        for i in range(first, last):
            f[i] *= up[feed_forward + i]

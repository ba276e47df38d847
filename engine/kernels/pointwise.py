"""What happens to one token at a time between the matrix products: embedding, norms, rotary positions, activations."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from engine.kernels import vectors as v
from engine.kernels.inner import inner
from engine.kernels.scalars import exp, widen


def _look_up(table, scale, token, x):
    raise TypeError("compiled code only")


@overload(_look_up, jit_options={"_nrt": False})
def _look_up_stored(table, scale, token, x):
    if table.dtype == types.int8:  # in panels

        def packed(table, scale, token, x):
            panel, row = token // 16, token % 16
            for i in range(x.shape[0]):
                x[i] = np.float32(table[panel, i // 4 * 64 + row * 4 + i % 4]) * scale[token]

        return packed

    def plain(table, scale, token, x):
        for i in range(x.shape[0]):
            x[i] = widen(table[token, i])

    return plain


@inner(fastmath=True)
def embed(token, position, w, x):
    """x f32 [D] = the token's embedding, and its position's where positions are learned.

    Parameters
    ----------
    token, position : their numbers.
    w : `Weights`.
    x : f32 [D], written.
    """
    _look_up(w.embed, w.embed_scale, token, x)
    if w.positions.shape[0] > 0:
        for i in range(x.shape[0]):
            x[i] += w.positions[position, i]


@inner(fastmath=True)
def norm(x, gain, bias, layer_norm, eps, y):
    """RMSNorm (Zhang & Sennrich 2019), or LayerNorm where `layer_norm`.

    Parameters
    ----------
    x : f32 [D].
    gain : f32 [D].
    bias : f32 [D] or [0].
    layer_norm : whether the mean is taken off.
    eps : what is added to the mean square.
    y : f32 [D or wider], written.
    """
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


@inner()
def rotate(x, gain, eps, cos, sin, factor, y):
    """Rotary position embedding of one head (Su et al. 2021), halves paired; normed first where `gain` is there.

    Parameters
    ----------
    x : f32 [E].
    gain : f32 [E] or [0].
    eps : of the norm.
    cos, sin : f32 [E / 2], of the position.
    factor : float32 that the result is multiplied by.
    y : f32 [E], written.
    """
    n = x.shape[0]
    half = n // 2
    if gain.shape[0] > 0:
        norm(x, gain, gain[:0], False, eps, y)
    else:
        copy(x, y)
    full = half // 16 * 16
    scale = v.splat(factor)
    for i in range(0, full, 16):
        a, b, c, s = v.get(y, i), v.get(y, half + i), v.get(cos, i), v.get(sin, i)
        v.put(y, i, v.times(v.less(v.times(a, c), v.times(b, s)), scale))
        v.put(y, half + i, v.times(v.fma(b, c, v.times(a, s)), scale))
    for i in range(full, half):
        a_, b_ = y[i], y[half + i]
        y[i] = (a_ * cos[i] - b_ * sin[i]) * factor
        y[half + i] = (b_ * cos[i] + a_ * sin[i]) * factor


@inner(fastmath=True)
def _activation(x, gelu):
    # tanh-GELU is x * sigmoid(1.5957691 (x + 0.044715 x^3)), so both activations are x times a sigmoid.
    if gelu:
        return x / (np.float32(1) + exp(np.float32(-1.5957691216) * (x + np.float32(0.044715) * x * x * x)))
    return x / (np.float32(1) + exp(-x))


@inner()
def activate(up, gated, gelu, feed_forward, f):
    """f [F] = act(up), or act(gate) * up with the gate's rows first (SwiGLU, Shazeer 2020).

    Parameters
    ----------
    up : f32 [2F or F, or wider].
    gated : whether there are gates.
    gelu : tanh-approximated GELU, else SiLU.
    feed_forward : F.
    f : f32 [F or wider], written.
    """
    full = feed_forward // 16 * 16
    one, sign = v.splat(np.float32(1)), v.splat(np.float32(-1))
    cubic, slope = v.splat(np.float32(0.044715)), v.splat(np.float32(-1.5957691216))
    for i in range(0, full, 16):
        x = v.get(up, i)
        power = v.times(slope, v.fma(v.times(v.times(x, x), x), cubic, x)) if gelu else v.times(x, sign)
        y = v.over(x, v.plus(one, v.exp(power)))
        if gated:
            y = v.times(y, v.get(up, feed_forward + i))
        v.put(f, i, y)
    for i in range(full, feed_forward):
        f[i] = _activation(up[i], gelu)
        if gated:
            f[i] *= up[feed_forward + i]


@inner()
def copy(x, y):
    """y[:n] = x [n]."""
    full = x.shape[0] // 16 * 16
    for i in range(0, full, 16):
        v.put(y, i, v.get(x, i))
    for i in range(full, x.shape[0]):
        y[i] = x[i]


@inner()
def add(x, y):
    """x [D] += y [D or wider]."""
    full = x.shape[0] // 16 * 16
    for i in range(0, full, 16):
        v.put(x, i, v.plus(v.get(x, i), v.get(y, i)))
    for i in range(full, x.shape[0]):
        x[i] += y[i]

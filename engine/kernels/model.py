"""A model as the compiled operators see it: its shape in numbers, its weights as arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engine.kernels.inner import distinct, inner


class Shape(NamedTuple):
    """What the arrays' shapes do not say."""

    heads: int  # H
    kv_heads: int  # G
    head_dim: int  # E
    feed_forward: int  # F
    vocabulary: int  # V
    layer_norm: bool  # LayerNorm with bias, else RMSNorm
    gated: bool  # silu(gate) * up, else an activation alone
    gelu: bool  # tanh-approximated GELU, else SiLU
    eps: float


@inner()
def qkv_rows(shape):
    """Rows of the matrix that makes queries, keys and values.

    Python calls this and `up_rows` as `py_func`: else each process would compile them anew, 0.2 s.
    """
    return (shape.heads + 2 * shape.kv_heads) * shape.head_dim


@inner()
def up_rows(shape):
    """Rows of the matrix that makes gates and what they open, or the latter alone."""
    return shape.feed_forward * 2 if shape.gated else shape.feed_forward


def padded(columns: int) -> int:
    """Columns of a work array, which products and roundings fill by sixteens."""
    return -(-columns // 16) * 16


class Matrix(NamedTuple):
    """A stored matrix of one layer, R rows and K columns: y = x W^T * scale + bias.

    weight : W [R, K] in float32 or uint16 (halves), int8 [R / 16, K / 4 * 64] or uint8 [R / 16, K / 8 * 64] in panels,
        as `parameters.Matrix` keeps them.
    scale : f32 [R] beside int8, uint16 (halves) [R / 16, K / 32 * 16] beside int4, else empty.
    minimum : as the scale beside int4, else empty.
    bias : f32 [R] or [0].
    """

    weight: np.ndarray
    scale: np.ndarray
    minimum: np.ndarray
    bias: np.ndarray


class Activations(NamedTuple):
    """What goes into a matrix, for N tokens: as it is, and rounded to whole numbers (`rounding.quantize`).

    x : f32 [N, K or wider], what a matrix of floats reads; the others are what one of integers does.
    q : of a type that `rounding.holder` names [N, K or wider], in the order in which the products read them.
    scales : f32 [N], or by groups f32 [N, K / 32]: x = q * scale.
    sums : i32 [N, 1 + K / 32] the sum of q, then those of groups of 32.
    """

    x: np.ndarray
    q: np.ndarray
    scales: np.ndarray
    sums: np.ndarray


def part(kind: Any, name: str) -> Any:
    """The Numba type of a field of a NamedTuple's Numba type."""
    return kind.types[kind.fields.index(name)]


class Weights(NamedTuple):
    """Stacked over layers; W [.., rows, columns], scales and minima as `parameters.Matrix` keeps them: float32, uint16
    (halves), int8 in panels or, for int4, uint8 in panels. An empty last axis: the part is absent."""

    embed: np.ndarray  # W (int8 beside int4) [V, D]
    embed_scale: np.ndarray
    positions: np.ndarray  # f32 [C, D] or [0, 0]
    norm1: np.ndarray  # f32 [L, D]
    norm1_bias: np.ndarray  # f32 [L, D] or [L, 0]
    qkv: np.ndarray  # W [L, (H + 2G)E, D]
    qkv_scale: np.ndarray
    qkv_minimum: np.ndarray
    qkv_bias: np.ndarray  # f32 [L, (H + 2G)E] or [L, 0]
    q_norm: np.ndarray  # f32 [L, E] or [L, 0]
    k_norm: np.ndarray  # f32 [L, E] or [L, 0]
    out: np.ndarray  # W [L, D, HE]
    out_scale: np.ndarray
    out_minimum: np.ndarray
    out_bias: np.ndarray
    norm2: np.ndarray
    norm2_bias: np.ndarray
    up: np.ndarray  # W [L, 2F, D], gate rows first; [L, F, D] where not gated
    up_scale: np.ndarray
    up_minimum: np.ndarray
    up_bias: np.ndarray
    down: np.ndarray  # W [L, D, F]
    down_scale: np.ndarray
    down_minimum: np.ndarray
    down_bias: np.ndarray
    norm: np.ndarray  # f32 [D]
    norm_bias: np.ndarray  # f32 [D] or [0]
    head: np.ndarray  # W (int8 beside int4) [V, D]
    head_scale: np.ndarray
    cos: np.ndarray  # f32 [C, E / 2]
    sin: np.ndarray  # f32 [C, E / 2]


class Cache(NamedTuple):
    """Keys and values as stored: float32, uint16 (halves) or int8 [L, S, G, C, E]; scales f32 [L, S, G, C] beside int8,
    else [L, S, G, 0]. Of one layer, slot and group the leading axes are gone (`kept`)."""

    keys: np.ndarray
    values: np.ndarray
    key_scales: np.ndarray
    value_scales: np.ndarray


# Numba takes no tuples within tuples into a parallel region: the parts of a matrix are gathered inside it.


def _matrix(name: str) -> Any:
    """A compiled function (w, layer): that `Matrix` of a layer of `Weights`."""
    weight, scale, minimum, bias = (Weights._fields.index(name + part) for part in ("", "_scale", "_minimum", "_bias"))

    @inner()
    @distinct(name)
    def matrix(w, layer):
        return Matrix(w[weight][layer], w[scale][layer], w[minimum][layer], w[bias][layer])

    return matrix


qkv, out, up, down = map(_matrix, ("qkv", "out", "up", "down"))


@inner()
def head(w):
    """The `Matrix` that makes logits; it has neither minima nor a bias."""
    return Matrix(w.head, w.head_scale, w.qkv_minimum[0, :0], w.norm_bias[:0])


@inner()
def kept(cache, layer, slot, group):
    """Keys and values [C, E] and their scales [C] of one layer, slot and group of a `Cache`.

    Parameters
    ----------
    cache : `Cache` of all layers, slots and groups.
    layer, slot, group : which.
    """
    return Cache(
        cache.keys[layer, slot, group],
        cache.values[layer, slot, group],
        cache.key_scales[layer, slot, group],
        cache.value_scales[layer, slot, group],
    )

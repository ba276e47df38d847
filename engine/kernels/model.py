"""A model as the compiled operators see it: its shape in numbers, its weights as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.kernels.inner import inner


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
    """Rows of the matrix that makes queries, keys and values."""
    return (shape.heads + 2 * shape.kv_heads) * shape.head_dim


@inner()
def up_rows(shape):
    """Rows of the matrix that makes gates and what they open, or the latter alone."""
    return shape.feed_forward * 2 if shape.gated else shape.feed_forward


def padded(columns: int) -> int:
    """Columns of a work array, which products and roundings fill by sixteens."""
    return -(-columns // 16) * 16


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
    else [L, S, G, 0]."""

    keys: np.ndarray
    values: np.ndarray
    key_scales: np.ndarray
    value_scales: np.ndarray

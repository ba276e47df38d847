"""A model as the compiled operators see it: its shape in numbers, its weights as arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


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
    """Stacked over layers. W is float32, uint16 (halves), int8, or for int4 uint8 [..., columns / 2]. Scales are f32
    [..., rows], for int4 halves [..., rows, columns / 32] with minima alike. An empty last axis: the part is absent."""

    embed: np.ndarray  # W (int8 beside int4) [V, D]
    embed_scale: np.ndarray  # f32 [V]
    positions: np.ndarray  # f32 [C, D] or [0, 0]
    norm1: np.ndarray  # f32 [L, D]
    norm1_bias: np.ndarray  # f32 [L, D] or [L, 0]
    qkv: np.ndarray  # W [L, (H + 2G)E, D]
    qkv_scale: np.ndarray
    qkv_minimum: np.ndarray  # [L, rows, columns / 32] or [L, 0, 0]
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
    head_scale: np.ndarray  # f32 [V]
    cos: np.ndarray  # f32 [C, E / 2]
    sin: np.ndarray  # f32 [C, E / 2]


class Cache(NamedTuple):
    """Keys and values as stored: float32, uint16 (halves) or int8 [L, S, G, C, E]; scales f32 [L, S, G, C] beside int8,
    else [L, S, G, 0]."""

    keys: np.ndarray
    values: np.ndarray
    key_scales: np.ndarray
    value_scales: np.ndarray

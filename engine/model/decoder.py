"""The decoder: one plain forward pass in torch for every family, driven by its `Architecture`.

It runs prefill everywhere, decode on accelerators, and is the slow twin that the compiled step is held to.
Sequences are packed, not padded: N tokens of several sequences stand in one row after another, linear layers see
them as one matrix, and only attention looks at whose they are. It knows no sampling and no text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.cache.static import StaticCache
from engine.model.adapters.pool import Block, Pool
from engine.model.families import Architecture
from engine.model.matrix import Matrix
from engine.model.onednn import Product
from engine.model.parameters import Parameters

# Rows of the head expanded to the compute dtype at once: 8,192 x 576 floats are 19 MB, where the whole head is 113.
HEAD_ROWS = 8192


class Segment(NamedTuple):
    """`tokens` new tokens of the sequence in cache slot `slot`, the first at position `start`, read with an adapter or
    by the bare model."""

    slot: int
    start: int
    tokens: int
    adapter: Block | None = None


class Decoder:
    """Weights, cache and shapes bound together. Not thread-safe: one thread runs the model.

    Parameters
    ----------
    arch, params : the model.
    cache : where keys and values go; its `dtype` is what is computed in, whatever it stores.
    product : what multiplies by the layers' weights.
    pool : of the adapters that segments name.
    """

    def __init__(
        self, arch: Architecture, params: Parameters, cache: StaticCache, product: Product = F.linear,
        pool: Pool | None = None,
    ) -> None:  # fmt: skip
        self.arch = arch
        self.params = params
        self.cache = cache
        self.product = product
        self.pool = pool
        self.dtype = cache.dtype
        self.device = cache.device
        self._expanded = torch.empty(0, dtype=self.dtype, device=self.device)

    @torch.inference_mode()
    def hidden(
        self, tokens: Tensor, segments: Sequence[Segment], layers: int | None = None, final: bool = True
    ) -> Tensor:
        """Run packed tokens through layers; their keys and values go to the cache.

        Parameters
        ----------
        tokens : ids i64 [N] of all segments, one after another.
        segments : whose the tokens are; their lengths sum to N.
        layers : how many of the first layers are run; None runs all.
        final : whether the last norm follows, which is only sensible after all layers.

        Returns
        -------
        The residual stream [N, D] in the cache's dtype.
        """
        p, arch = self.params, self.arch
        positions = torch.cat([torch.arange(s.start, s.start + s.tokens) for s in segments]).to(self.device)  # [N]
        cos, sin = p.cos[positions][:, None].to(self.dtype), p.sin[positions][:, None].to(self.dtype)  # [N, 1, E/2]
        x = p.embed.rows(tokens, self.dtype)  # [N, D]
        if p.positions.numel():
            x = x + p.positions[positions].to(self.dtype)
        for layer in range(arch.layers if layers is None else layers):
            h = self._norm(x, p.norm1[layer], p.norm1_bias[layer])
            x = x + self._matrix(self._attention(layer, h, cos, sin, segments), "out", layer, segments)
            h = self._norm(x, p.norm2[layer], p.norm2_bias[layer])
            x = x + self._matrix(self._activate(self._matrix(h, "up", layer, segments)), "down", layer, segments)
        return self.last_norm(x) if final else x

    @torch.inference_mode()
    def last_norm(self, x: Tensor) -> Tensor:
        """The norm after all layers, of residual streams [N, D]."""
        return self._norm(x, self.params.norm, self.params.norm_bias)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Logits f32 [R, V] of hidden rows [R, D]: only the rows asked for pay for the head."""
        head = self.params.head
        if head.weight.dtype == self.dtype:
            return F.linear(hidden, head.weight).float()
        out = torch.empty(hidden.shape[0], head.shape[0], device=self.device)  # [R, V]
        for first in range(0, out.shape[1], HEAD_ROWS):
            last = first + HEAD_ROWS
            out[:, first:last] = self._linear(hidden, head.part(first, last)).float()
        return out

    def _matrix(self, x: Tensor, name: str, layer: int, segments: Sequence[Segment]) -> Tensor:
        """x [N, columns] through a layer's matrix, and through each segment's adapter beside it."""
        y = self._linear(x, getattr(self.params, name).layer(layer))
        first = 0
        for segment in segments:
            rows = slice(first, first + segment.tokens)
            if segment.adapter is not None:
                assert self.pool is not None, "whoever names an adapter has its pool"
                self.pool.add(y[rows], x[rows], segment.adapter, name, layer)
            first += segment.tokens
        return y

    def _linear(self, x: Tensor, m: Matrix) -> Tensor:
        """x [N, columns] to [N, rows]; a stored precision is expanded once for all rows of x."""
        bias = m.bias.to(self.dtype) if m.bias.numel() else None
        if m.weight.dtype == self.dtype:
            return self.product(x, m.weight, bias)
        rows, columns = m.shape
        if self._expanded.numel() < rows * columns:
            self._expanded = torch.empty(rows * columns, dtype=self.dtype, device=self.device)
        return self.product(x, m.widen(self._expanded[: rows * columns].view(rows, columns)), bias)

    def _norm(self, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        size = (gain.shape[0],)
        if self.arch.family.layer_norm:
            return F.layer_norm(x, size, gain.to(self.dtype), bias.to(self.dtype), self.arch.eps)
        return F.rms_norm(x, size, gain.to(self.dtype), self.arch.eps)

    def _activate(self, up: Tensor) -> Tensor:
        act = (lambda t: F.gelu(t, approximate="tanh")) if self.arch.gelu else F.silu
        if not self.arch.family.gated:
            return act(up)  # [N, F]
        gate, linear = up.chunk(2, dim=-1)
        return act(gate).mul_(linear)  # [N, F]

    def _attention(self, layer: int, h: Tensor, cos: Tensor, sin: Tensor, segments: Sequence[Segment]) -> Tensor:
        """Causal grouped-query attention of h [N, D]; gives [N, H * E]."""
        arch, p = self.arch, self.params
        qkv = self._matrix(h, "qkv", layer, segments).view(h.shape[0], -1, arch.head_dim)  # [N, H + 2G, E]
        q, k, v = qkv.split([arch.heads, arch.kv_heads, arch.kv_heads], dim=1)
        if p.q_norm.shape[1]:
            q = F.rms_norm(q, (arch.head_dim,), p.q_norm[layer].to(self.dtype), arch.eps)
            k = F.rms_norm(k, (arch.head_dim,), p.k_norm[layer].to(self.dtype), arch.eps)
        if not arch.family.learned_positions:
            q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        attended = torch.empty(h.shape[0], arch.heads, arch.head_dim, dtype=self.dtype, device=self.device)
        first = 0
        for slot, start, count, _ in segments:
            rows, end = slice(first, first + count), start + count
            self.cache.store(layer, slot, start, k[rows].transpose(0, 1), v[rows].transpose(0, 1))
            keys, values = self.cache.load(layer, slot, end)  # [G, end, E]: the chunk's own as they are stored
            # A chunk that does not begin the text sees all before it: query i sees keys up to start + i.
            mask = None
            if start and count > 1:
                mask = torch.ones(count, end, dtype=torch.bool, device=self.device).tril(start)
            attended[rows] = F.scaled_dot_product_attention(
                q[rows].transpose(0, 1)[None],  # [1, H, count, E]
                keys[None],
                values[None],
                attn_mask=mask,
                is_causal=start == 0 and count > 1,
                enable_gqa=arch.heads != arch.kv_heads,
            )[0].transpose(0, 1)
            first += count
        return attended.view(h.shape[0], -1)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of x [N, heads, E], first half paired with second (the Hub's layout)."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

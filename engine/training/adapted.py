"""A decoder whose weights stand still and whose adapter learns, in plain torch with gradients.

What stands before an activated adapter's instruction need not be run again: its keys and values, read by whoever serves
the model, come in as they are, and only the tokens behind them go forward and backward.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import BadModel
from engine.model.adapters.lora import MATRICES, LoRA, parts_of
from engine.model.build import BuildOptions
from engine.model.families import Architecture, Unfit, describe
from engine.model.matrix import Matrix
from engine.model.parameters import Parameters
from engine.weights import load_config, resolve
from engine.weights.converted import load_parameters


def bare(model: str, window: int = 0) -> tuple[Architecture, Parameters]:
    """A model to learn beside, its matrices in fp32.

    Parameters
    ----------
    model : as `EngineConfig.model`.
    window : tokens of the longest text; 0 is the model's own window, at most 4,096.

    Raises
    ------
    BadModel : there is none, or it does not run on the native backend.
    """
    files = resolve(model, lambda stage, share: None)
    try:
        arch = describe(load_config(files.folder))
    except Unfit as reason:
        raise BadModel(f"No adapter is trained for {files.name}: {reason}.") from reason
    options = BuildOptions("fp32", window or min(arch.context, 4096), torch.device("cpu"), torch.float32)
    return arch, load_parameters(arch, files, options)


class Past(NamedTuple):
    """What was read before, of B texts, T tokens wide.

    Attributes
    ----------
    keys, values : f32 [L, B, G, T, E].
    lengths : i64 [B] how many tokens each text has; what stands behind them is not looked at.
    """

    keys: Tensor
    values: Tensor
    lengths: Tensor


class Adapted(nn.Module):
    """A model and the LoRA that is learnt beside it. B begins with zeros, so that it begins as the bare model.

    Parameters
    ----------
    arch, params : the model, its matrices in fp32.
    rank, alpha : r, and what B A is multiplied by, alpha / r.
    dtype : of the products: float32, or bfloat16 where the processor has it.
    dropout : share of what goes into A that is set to zero while it learns.
    seed : of A, which begins as PEFT's does (Kaiming uniform with a root of 5).
    """

    def __init__(
        self, arch: Architecture, params: Parameters, rank: int, alpha: float, dtype: torch.dtype = torch.float32,
        dropout: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.arch, self.rank, self.scaling, self.dtype, self.dropout = arch, rank, alpha / rank, dtype, dropout
        self._params = params
        self._weights = {
            name: [getattr(params, name).layer(layer).weight.to(dtype) for layer in range(arch.layers)]
            for name in MATRICES
        }
        generator = torch.Generator().manual_seed(seed)
        a, b = {}, {}
        self._ends: dict[str, list[int]] = {}
        for name, parts in parts_of(arch).items():
            columns, rows = parts[0].columns, sum(part.rows for part in parts)
            bound = 1 / math.sqrt(columns)
            spread = torch.rand(arch.layers, len(parts), rank, columns, generator=generator)
            a[name] = nn.Parameter((2 * spread - 1) * bound)
            b[name] = nn.Parameter(torch.zeros(arch.layers, rows, rank))
            self._ends[name] = [sum(part.rows for part in parts[: p + 1]) for p in range(len(parts))]
        self.a, self.b = nn.ParameterDict(a), nn.ParameterDict(b)

    def hidden(self, ids: Tensor, lengths: Tensor, past: Past | None = None) -> Tensor:
        """States after the last norm, f32 [B, N, D], of tokens i64 [B, N] that stand behind what was read before.

        Parameters
        ----------
        ids : padded behind their `lengths` i64 [B], with any token.
        lengths : how many each text has.
        past : what stands before them, None for nothing.
        """
        p, arch = self._params, self.arch
        batch, count = ids.shape
        before = past.lengths if past is not None else torch.zeros(batch, dtype=torch.int64)
        positions = before[:, None] + torch.arange(count)  # [B, N]
        cos, sin = p.cos[positions][:, None], p.sin[positions][:, None]  # [B, 1, N, E / 2]
        mask = torch.ones(count, count, dtype=torch.bool).tril().expand(batch, 1, count, count)
        if past is not None:
            width = past.keys.shape[3]
            seen = (torch.arange(width) < before[:, None])[:, None, None].expand(batch, 1, count, width)
            mask = torch.cat([seen, mask], -1)
        x = p.embed.rows(ids.flatten(), torch.float32).view(batch, count, -1)
        if p.positions.numel():
            x = x + p.positions[positions]
        for layer in range(arch.layers):
            h = self._norm(x, p.norm1[layer], p.norm1_bias[layer])
            x = x + self._matrix("out", layer, self._attention(layer, h, cos, sin, mask, past))
            h = self._norm(x, p.norm2[layer], p.norm2_bias[layer])
            x = x + self._matrix("down", layer, self._activate(self._matrix("up", layer, h)))
        return self._norm(x, p.norm, p.norm_bias)

    def logits(self, states: Tensor) -> Tensor:
        """Logits f32 [R, V] of states f32 [R, D]."""
        return F.linear(states, self._params.head.weight.float())

    def lora(self, name: str, invocation: tuple[int, ...]) -> LoRA:
        """What has been learnt, as an adapter is served."""
        a = {key: part.detach().clone() for key, part in self.a.items()}
        b = {key: part.detach() * self.scaling for key, part in self.b.items()}
        return LoRA(name, self.rank, invocation, a, b)

    def _matrix(self, name: str, layer: int, x: Tensor) -> Tensor:
        """x f32 [B, N, K] through a matrix and the adapter beside it, f32 [B, N, R]."""
        m: Matrix = getattr(self._params, name).layer(layer)
        y = F.linear(x.to(self.dtype), self._weights[name][layer]).float()
        if m.bias.numel():
            y = y + m.bias
        x = F.dropout(x, self.dropout, self.training)
        a, b = self.a[name][layer], self.b[name][layer]
        first, changes = 0, []
        for part, end in zip(a, self._ends[name], strict=True):
            changes.append(F.linear(F.linear(x, part), b[first:end]))
            first = end
        return y + self.scaling * torch.cat(changes, -1)

    def _norm(self, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        size = (gain.shape[0],)
        if self.arch.family.layer_norm:
            return F.layer_norm(x, size, gain, bias, self.arch.eps)
        return F.rms_norm(x, size, gain, self.arch.eps)

    def _activate(self, up: Tensor) -> Tensor:
        act = (lambda t: F.gelu(t, approximate="tanh")) if self.arch.gelu else F.silu
        if not self.arch.family.gated:
            return act(up)
        gate, linear = up.chunk(2, -1)
        return act(gate) * linear

    def _attention(self, layer: int, h: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, past: Past | None) -> Tensor:
        arch, p = self.arch, self._params
        batch, count, _ = h.shape
        qkv = self._matrix("qkv", layer, h).view(batch, count, -1, arch.head_dim).transpose(1, 2)  # [B, H + 2G, N, E]
        q, k, v = qkv.split([arch.heads, arch.kv_heads, arch.kv_heads], dim=1)
        if p.q_norm.shape[1]:
            q = F.rms_norm(q, (arch.head_dim,), p.q_norm[layer], arch.eps)
            k = F.rms_norm(k, (arch.head_dim,), p.k_norm[layer], arch.eps)
        if not arch.family.learned_positions:
            q, k = _rotate(q, cos, sin), _rotate(k, cos, sin)
        if past is not None:
            k, v = torch.cat([past.keys[layer], k], 2), torch.cat([past.values[layer], v], 2)
        groups = arch.heads // arch.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        seen = F.scaled_dot_product_attention(q, k, v, mask)
        return seen.transpose(1, 2).reshape(batch, count, -1)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

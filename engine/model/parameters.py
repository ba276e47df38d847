"""A model's weights in one precision, stacked over layers, ready for both decoders: torch's and the compiled one.

q, k and v are one matrix, gate and up another; biases that a family lacks are empty. The same memory serves torch
(tensors) and Numba (views), so a precision is held once. `engine.model.build` makes them from a checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from engine.model.families import Architecture
from engine.model.matrix import Matrix


@dataclass(frozen=True)
class Parameters:
    """The weights. Vectors are f32; of those that a family lacks the last axis has no numbers.

    Shapes: L layers, D hidden, V vocabulary, H heads and G key/value heads of E numbers, F feed-forward, C context.

    Attributes
    ----------
    embed, head : [V, D]; a tied head is the embedding itself.
    positions : the table of learned positions, [C, D] or [0, D].
    norm1, norm1_bias, norm2, norm2_bias : the norms before attention and before the feed-forward, [L, D].
    qkv : queries, keys and values, [L, (H + 2 G) E, D].
    q_norm, k_norm : the norms of each head's queries and keys, [L, E].
    out : back from attention, [L, D, H E].
    up : gate before up [L, 2 F, D], or up alone [L, F, D].
    down : [L, D, F].
    norm, norm_bias : the norm after all layers, [D].
    cos, sin : of the rotary angles of each position, [context, E / 2].
    """

    embed: Matrix
    positions: Tensor
    norm1: Tensor
    norm1_bias: Tensor
    qkv: Matrix
    q_norm: Tensor
    k_norm: Tensor
    out: Matrix
    norm2: Tensor
    norm2_bias: Tensor
    up: Matrix
    down: Matrix
    norm: Tensor
    norm_bias: Tensor
    head: Matrix
    cos: Tensor
    sin: Tensor

    def tensors(self) -> list[Tensor]:
        """Every tensor once: a tied head is the embedding's own memory."""
        found: dict[int, Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            for tensor in value.tensors() if isinstance(value, Matrix) else (value,):
                found.setdefault(tensor.data_ptr() or id(tensor), tensor)
        return list(found.values())

    def count(self) -> int:
        """Numbers the model is made of: scales, and the rotary tables, are none of them."""
        total = 0
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Matrix):
                tied = field.name == "head" and value is self.embed
                layers = math.prod(value.weight.shape[:-2])
                total += 0 if tied else layers * math.prod(value.shape) + value.bias.numel()
            elif field.name not in ("cos", "sin"):
                total += value.numel()
        return total

    def to(self, device: torch.device) -> Parameters:
        """The same on another device; a tied head stays tied."""
        if device == self.embed.weight.device:
            return self
        moved: dict[str, Matrix | Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Matrix):
                value = value.with_tensors(*(tensor.to(device) for tensor in value.tensors()))
            else:
                value = value.to(device)
            moved[field.name] = moved["embed"] if field.name == "head" and self.head is self.embed else value
        return Parameters(**moved)  # type: ignore[arg-type]  # of the same kinds

    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(t.numel() * t.element_size() for t in self.tensors())


def matrix_shapes(arch: Architecture) -> dict[str, tuple[int, int]]:
    """Rows and columns of each matrix of `Parameters`."""
    attended, kv = arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    up = (2 if arch.family.gated else 1) * arch.feed_forward
    return {
        "embed": (arch.vocabulary, arch.hidden), "head": (arch.vocabulary, arch.hidden),
        "qkv": (attended + 2 * kv, arch.hidden), "out": (arch.hidden, attended),
        "up": (up, arch.hidden), "down": (arch.hidden, arch.feed_forward),
    }  # fmt: skip

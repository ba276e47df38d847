"""A checkpoint's tensors, by the names its family gives them (those of Transformers), and the shapes they must have."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from engine.model.families import Architecture

State = Mapping[str, Tensor]


class Checkpoint:
    """Reads `state` by a family's names, `{}` in them replaced by the layer, with and without the family's prefix.

    Attributes
    ----------
    arch : the model's sizes and its family.
    prefix : the family's, or "" where the state's names have none.
    """

    def __init__(self, arch: Architecture, state: State) -> None:
        names = arch.family.names
        self.arch = arch
        self.prefix = names.prefix if f"{names.prefix}{names.embed}.weight" in state else ""
        self._state = state

    def key(self, name: str, part: str = "weight") -> str:
        """The name in the state of a tensor's weight or bias. The state may lack it."""
        prefixed = f"{self.prefix}{name}.{part}"
        return prefixed if prefixed in self._state else f"{name}.{part}"

    def find(self, name: str, part: str = "weight") -> Tensor | None:
        """A tensor as it is stored, or None."""
        key = self.key(name, part)
        return self._state.get(key)

    def vector(self, name: str, part: str = "weight") -> Tensor:
        """A tensor as f32; [0] where the state, or the family (whose name is ""), has none."""
        found = self.find(name, part) if name else None
        return torch.zeros(0) if found is None else found.float()

    def table(self, name: str) -> Tensor:
        """An embedding or a head, f32 [V, D]. Raises KeyError where the state has none."""
        return self._state[self.key(name)].float()

    def matrix(self, name: str) -> Tensor:
        """A layer's matrix, f32 [rows, columns], however it is stored. Raises KeyError where the state has none."""
        found = self.table(name)
        return found.T if self.arch.family.transposed else found


def expected_shapes(arch: Architecture, state: State) -> dict[str, tuple[int, ...]]:
    """The tensors this architecture must find in `state`, by the names used there: matrices, norms, and the biases of
    a part in every layer and matrix of it once one has them."""
    names, a = arch.family.names, arch
    prefix = Checkpoint(arch, state).prefix
    attended, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    qkv_rows = [attended, kv, kv] if len(names.qkv) == 3 else [attended + 2 * kv]
    shapes: dict[str, tuple[int, ...]] = {
        names.embed: (a.vocabulary, a.hidden),
        names.norm: (a.hidden,),
    }
    if names.positions:
        shapes[names.positions] = (a.context, a.hidden)
    if not a.tied or f"{names.head}.weight" in state:
        shapes[names.head] = (a.vocabulary, a.hidden)

    def matrix(rows: int, columns: int) -> tuple[int, int]:
        return (columns, rows) if a.family.transposed else (rows, columns)

    for i in range(a.layers):
        shapes[names.norm1.format(i)] = shapes[names.norm2.format(i)] = (a.hidden,)
        for name, rows in zip(names.qkv, qkv_rows, strict=True):
            shapes[name.format(i)] = matrix(rows, a.hidden)
        shapes[names.out.format(i)] = matrix(a.hidden, attended)
        for name in names.up:
            shapes[name.format(i)] = matrix(a.feed_forward, a.hidden)
        shapes[names.down.format(i)] = matrix(a.hidden, a.feed_forward)
        if names.q_norm:
            shapes[names.q_norm.format(i)] = shapes[names.k_norm.format(i)] = (a.head_dim,)
    expected = {(key if key == names.head else prefix + key) + ".weight": shape for key, shape in shapes.items()}
    for part in ((names.norm1,), names.qkv, (names.out,), (names.norm2,), names.up, (names.down,), (names.norm,)):
        keys = [prefix + name.format(i) for name in part for i in range(a.layers)]
        # Families with LayerNorm have biases everywhere; of the others, some models have some.
        if a.family.layer_norm or any(f"{key}.bias" in state for key in keys):
            outputs = -1 if a.family.transposed else 0
            expected |= {f"{key}.bias": (expected[f"{key}.weight"][outputs],) for key in keys}
    return expected

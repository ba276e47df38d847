"""Keys and values of running sequences, preallocated: a slot a sequence, shapes that never change."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class StaticCache:
    """`keys` and `values` [L layers, S slots, G heads, C context, E], zeroed.

    On a CPU the pages of a slot cost memory only once they are written, so a long context is free until it is used.
    """

    def __init__(
        self,
        layers: int,
        slots: int,
        kv_heads: int,
        context: int,
        head_dim: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        shape = (layers, slots, kv_heads, context, head_dim)
        self.keys, self.values = _zeros(shape, dtype, device), _zeros(shape, dtype, device)

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Let `target` begin with the first `tokens` positions of `source`."""
        self.keys[:, target, :, :tokens] = self.keys[:, source, :, :tokens]
        self.values[:, target, :, :tokens] = self.values[:, source, :, :tokens]


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device | None) -> Tensor:
    """Zeros whose pages the system gives out on first use: torch.zeros would write, and so own, every one of them."""
    if dtype == torch.float32 and (device is None or device.type == "cpu"):
        return torch.from_numpy(np.zeros(shape, np.float32))
    return torch.zeros(shape, dtype=dtype, device=device)

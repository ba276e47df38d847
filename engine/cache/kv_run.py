"""Keys and values of a run of tokens, taken out of a slot: what the prefix tree keeps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

POSITION = 2  # the axis of positions in every part


@dataclass(frozen=True)
class KVRun:
    """Parts of a cache for `tokens` positions, in the cache's own storage, whatever its precision.

    `parts` are tensors [L, G, n, ...]: keys, values, and scales where they are quantized. `run[a:b]` is a view of
    those positions; `compact()` copies it, so that it holds no memory but its own.
    """

    parts: tuple[Tensor, ...]

    @property
    def tokens(self) -> int:
        return self.parts[0].shape[POSITION]

    @property
    def nbytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in self.parts)

    def __getitem__(self, positions: slice) -> KVRun:
        start, end, step = positions.indices(self.tokens)
        if step != 1:
            raise ValueError("a run is cut into runs: positions one after another")
        return KVRun(tuple(part.narrow(POSITION, start, max(0, end - start)) for part in self.parts))

    def compact(self) -> KVRun:
        return KVRun(tuple(part.clone(memory_format=torch.contiguous_format) for part in self.parts))

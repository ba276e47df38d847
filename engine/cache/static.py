"""Keys and values of running requests, preallocated: a slot a request, shapes that never change.

They are stored in one precision and read back in the dtype the model computes in. What is read is what was stored: a
chunk's own keys and values too, so that a prompt run whole, in chunks or token by token sees the same numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine import memory

SMALLEST_SCALE = 1e-12  # of an int8 head that is all zero


def stored_precision(asked: str, weights: str) -> str:
    """The precision of keys and values that `EngineConfig.kv_precision` asks for beside weights of a precision: "auto"
    is fp32 beside fp32, else half."""
    if asked != "auto":
        return asked
    return "fp32" if weights == "fp32" else "half"


class StaticCache:
    """Keys and values of `slots` sequences of up to `context` tokens in `layers` layers, zeroed.

    On a CPU the pages of a slot cost memory only once they are written, so a long context is free until it is used.

    Parameters
    ----------
    layers, slots, kv_heads, context, head_dim : the sizes L, S, G, C and E of what is kept.
    dtype : what the model computes in, and what `load` gives.
    device : where it is kept; None is the CPU.
    precision : "fp32"; "half" (16 bit: `dtype` where that is 16 bit, else fp16); "int8" (one symmetric scale for each
        head and position); "" stores `dtype`.

    Attributes
    ----------
    keys, values : as stored [L, S, G, C, E].
    key_scales, value_scales : f32 [L, S, G, C] beside int8, else [L, S, G, 0].
    parts : all of them that hold something, each [L, S, G, C, ...].
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
        precision: str = "",
    ) -> None:
        half = dtype if dtype.itemsize == 2 else torch.float16
        stored = {"": dtype, "fp32": torch.float32, "half": half, "int8": torch.int8}[precision]
        self.dtype, self.device = dtype, device or torch.device("cpu")
        heads = (layers, slots, kv_heads)
        self.keys = _zeros((*heads, context, head_dim), stored, self.device)
        self.values = _zeros((*heads, context, head_dim), stored, self.device)
        scales = (*heads, context if stored == torch.int8 else 0)
        self.key_scales = _zeros(scales, torch.float32, self.device)
        self.value_scales = _zeros(scales, torch.float32, self.device)
        all_parts = (self.keys, self.values, self.key_scales, self.value_scales)
        self.parts: tuple[Tensor, ...] = tuple(part for part in all_parts if part.numel())

    @property
    def precision(self) -> str:
        """What is stored: "fp32", "half" or "int8"."""
        return {4: "fp32", 2: "half", 1: "int8"}[self.keys.itemsize]

    def store(self, layer: int, slot: int, start: int, k: Tensor, v: Tensor) -> None:
        """Keep keys and values of one layer.

        Parameters
        ----------
        layer, slot : where they go.
        start : position of the first; the others follow it.
        k, v : [G, n, E].
        """
        end = start + k.shape[1]
        for x, kept, scales in ((k, self.keys, self.key_scales), (v, self.values, self.value_scales)):
            if kept.dtype == torch.int8:
                x, scales[layer, slot, :, start:end] = quantize_heads(x)
            kept[layer, slot, :, start:end] = x

    def load(self, layer: int, slot: int, end: int) -> tuple[Tensor, Tensor]:
        """Keys and values of one layer from the first position on.

        Parameters
        ----------
        layer, slot : where they are.
        end : the position after the last.

        Returns
        -------
        keys, values : [G, end, E] in `dtype`: views where they are stored so.
        """
        k, v = self.keys[layer, slot, :, :end].to(self.dtype), self.values[layer, slot, :, :end].to(self.dtype)
        if self.keys.dtype == torch.int8:
            k = k * self.key_scales[layer, slot, :, :end, None].to(self.dtype)
            v = v * self.value_scales[layer, slot, :, :end, None].to(self.dtype)
        return k, v

    def copy(self, source: int, target: int, tokens: int) -> None:
        """Let a slot begin as another does, in all layers.

        Parameters
        ----------
        source, target : the slot that is copied from, and the one that is written.
        tokens : positions that are copied, from 0 on.
        """
        for part in self.parts:
            part[:, target, :, :tokens] = part[:, source, :, :tokens]


def quantize_heads(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [..., E] to whole numbers -127 to 127 with one scale [...] for each vector: its largest magnitude becomes 127,
    ties go to even. Both in f32."""
    x = x.float()
    scale = x.abs().amax(-1).div_(127).clamp_min_(SMALLEST_SCALE)
    return (x / scale[..., None]).round_(), scale


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return memory.zeros(shape, dtype) if device.type == "cpu" else torch.zeros(shape, dtype=dtype, device=device)

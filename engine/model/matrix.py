"""One weight matrix, or one a layer, in the precision it is stored in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.model.quantize import PANEL, from_panels, widen_groups


@dataclass(frozen=True)
class Matrix:
    """y = x W^T * scale + bias, in as many layers as there are leading axes. What divides is rounded up.

    Attributes
    ----------
    shape : rows and columns of W.
    weight : fp32 and 16 bit [..., rows, columns]; int8 in panels (see `quantize.panels`)
        [..., rows / 16, columns / 4 * 64]; int4 as the bytes u8 that `quantize_groups` gives, in panels
        [..., rows / 16, columns / 8 * 64].
    scale : int8 f32 [..., rows / 16 * 16]; int4 f16 [..., rows / 16, columns / 32 * 16]; else [..., 0].
    bias : f32 [..., rows], or [..., 0] where there is none.
    minimum : int4 as `scale`; else [..., 0, 0].
    """

    shape: tuple[int, int]
    weight: Tensor
    scale: Tensor
    bias: Tensor
    minimum: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """Weight, scale, bias and minimum, in the order that `with_tensors` takes."""
        return self.weight, self.scale, self.bias, self.minimum

    def with_tensors(self, *tensors: Tensor) -> Matrix:
        """A matrix of the same shape from other `tensors()`."""
        return Matrix(self.shape, *tensors)

    def layer(self, index: int) -> Matrix:
        """The matrix of one layer: views."""
        return self.with_tensors(*(tensor[index] for tensor in self.tensors()))

    def part(self, first: int, last: int) -> Matrix:
        """Rows `first` (a multiple of 16) to `last` of a matrix of one layer that is not int4: views."""
        last = min(last, self.shape[0])
        stored, scales = slice(first, last), slice(first, first)
        if self.weight.dtype == torch.int8:
            stored = slice(first // PANEL, -(-last // PANEL))
            scales = slice(stored.start * PANEL, stored.stop * PANEL)
        bias = self.bias[first:last] if self.bias.numel() else self.bias
        return Matrix((last - first, self.shape[1]), self.weight[stored], self.scale[scales], bias, self.minimum)

    def rows(self, indices: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows i64 [N] of a matrix of one layer that is not int4, as numbers [N, columns]."""
        if self.weight.dtype != torch.int8:
            return self.weight[indices].to(dtype)
        found = from_panels(self.weight)[indices // PANEL, indices % PANEL].flatten(1)[:, : self.shape[1]]
        return found.to(dtype) * self.scale[indices][:, None].to(dtype)

    def widen(self, into: Tensor) -> Tensor:
        """The whole matrix of one layer as numbers, written to `into` [rows, columns] of a float dtype."""
        rows, columns = self.shape
        if self.weight.dtype not in (torch.int8, torch.uint8):
            return into.copy_(self.weight)
        stored = from_panels(self.weight).flatten(2).flatten(0, 1)  # [rows, bytes], filled up
        if self.weight.dtype == torch.int8:
            return into.copy_(stored[:rows, :columns]).mul_(self.scale[:rows, None].to(into.dtype))
        scale, minimum = (
            part.unflatten(-1, (-1, PANEL)).transpose(-1, -2).flatten(0, 1)[:rows]  # [rows, columns / 32]
            for part in (self.scale, self.minimum)
        )
        return widen_groups(stored[:rows, : columns // 2], scale, minimum, into)

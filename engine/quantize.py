"""Weights as whole numbers, each with the scale that makes it a number again: int8 by rows, int4 by groups."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.errors import BadModel

GROUP = 32  # columns that share a scale and a minimum in int4


def quantize_rows(weight: Tensor, work: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """fp32 [rows, columns] to int8 with one f32 scale a row, symmetric: the row's largest magnitude becomes 127.

    `work` is a flat f32 buffer to compute in (a fresh one for every matrix costs more than the arithmetic). The values
    come back in it, whole numbers -127 to 127 as f32.
    """
    work = torch.empty(weight.numel()) if work is None else work[: weight.numel()]
    rounded = work.view(weight.shape)
    scale = torch.abs(weight, out=rounded).amax(-1).clamp_min_(1e-12) / 127  # [rows]; faster than aminmax
    return torch.div(weight, scale[:, None], out=rounded).round_(), scale


def quantize_groups(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """fp32 [rows, columns] to int4 in groups of 32 columns: nibbles u8 [rows, columns / 2], scale and minimum f16
    [rows, columns / 32], with value = nibble * scale + minimum.

    The layout and the arithmetic are those of GGUF's Q4_1 (ggml, `quantize_row_q4_1_ref`), so that weights that were
    stored so come back exactly: byte j of a group's 16 holds column j in its low half and column 16 + j in its high.
    Raises BadModel where a group's numbers leave the range of fp16.
    """
    groups = weight.reshape(weight.shape[0], -1, GROUP)  # [rows, columns / 32, 32]
    least, greatest = groups.amin(-1), groups.amax(-1)
    minimum, scale = least.half(), ((greatest - least) / 15).half()
    if not (minimum.isfinite().all() and scale.isfinite().all()):
        raise BadModel("A weight is too large for int4: load this model in fp32 or int8.")
    # A group of one number has scale 0: any nibble gives its minimum.
    step = scale.float().masked_fill_(scale == 0, 1)
    nibbles = ((groups - minimum.float()[..., None]) / step[..., None]).round_().clamp_(0, 15).to(torch.uint8)
    packed = nibbles[..., :16] | nibbles[..., 16:] << 4
    return packed.flatten(1), scale, minimum


def widen_groups(weight: Tensor, scale: Tensor, minimum: Tensor, into: Tensor) -> Tensor:
    """The numbers that `quantize_groups` stored, written to `into` [rows, columns] of any float dtype."""
    packed = weight.view(weight.shape[0], -1, GROUP // 2)  # [rows, columns / 32, 16]
    groups = into.view(*packed.shape[:2], GROUP)
    groups[..., : GROUP // 2] = packed & 15
    groups[..., GROUP // 2 :] = packed >> 4
    groups *= scale[..., None].to(into.dtype)
    groups += minimum[..., None].to(into.dtype)
    return into

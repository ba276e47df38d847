"""Weights as whole numbers, each with the scale that makes it a number again: int8 by rows, int4 by groups.

Both are kept in panels, the order in which the compiled products read them: 16 rows side by side, four bytes of each in
turn (the order of oneDNN's and llama.cpp's repacked weights for VNNI). A vector of 64 bytes then holds four columns of
16 rows, and the sums of 16 rows grow in the 16 lanes of one register: nothing is added across lanes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.errors import BadModel

GROUP = 32  # columns that share a scale and a minimum in int4
PANEL = 16  # rows that lie side by side
QUAD = 4  # bytes of a row that lie together


def panels(rows: Tensor) -> Tensor:
    """Bytes [R, W] in panels [R / 16, W / 4 * 64], both rounded up and filled with zeros."""
    high, wide = -rows.shape[0] % PANEL, -rows.shape[1] % QUAD
    filled = F.pad(rows, (0, wide, 0, high)) if high or wide else rows
    blocks = filled.view(-1, PANEL, filled.shape[1] // QUAD, QUAD)  # [R / 16, 16, W / 4, 4]
    return blocks.transpose(1, 2).flatten(1)


def from_panels(packed: Tensor) -> Tensor:
    """Bytes in panels as rows again [R / 16, 16, W / 4, 4]: a view, with the rows and columns that were filled."""
    return packed.unflatten(-1, (-1, PANEL, QUAD)).transpose(-3, -2)


def in_panels(values: Tensor) -> Tensor:
    """Values that belong to rows [R] or to groups of a row [R, n], to be read with 16 rows side by side: [R / 16 * 16]
    or [R / 16, n * 16], filled with zeros."""
    missing = -values.shape[0] % PANEL
    if values.dim() == 1:
        return F.pad(values, (0, missing))
    return F.pad(values, (0, 0, 0, missing)).unflatten(0, (-1, PANEL)).transpose(1, 2).flatten(1)


def quantize_rows(weight: Tensor, work: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A matrix as int8 with one scale a row, symmetric: the row's largest magnitude becomes 127.

    Parameters
    ----------
    weight : f32 [rows, columns].
    work : a flat f32 buffer to compute in (a fresh one for every matrix costs more than the arithmetic), or None.

    Returns
    -------
    rounded : whole numbers -127 to 127 as f32 [rows, columns], in `work` where that is given.
    scale : f32 [rows].
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
    """The numbers that `quantize_groups` stored.

    Parameters
    ----------
    weight : nibbles u8 [rows, columns / 2].
    scale, minimum : of each group, f16 [rows, columns / 32].
    into : [rows, columns] of any float dtype, which is written and returned.
    """
    packed = weight.view(weight.shape[0], -1, GROUP // 2)  # [rows, columns / 32, 16]
    groups = into.view(*packed.shape[:2], GROUP)
    groups[..., : GROUP // 2] = packed & 15
    groups[..., GROUP // 2 :] = packed >> 4
    groups *= scale[..., None].to(into.dtype)
    groups += minimum[..., None].to(into.dtype)
    return into

"""Linear layers for Transformers' models on a CPU whose weights are stored in fewer bytes and expanded at use.

They save memory, not time: the weight is widened for every call.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.errors import BadModel, BadRequest
from engine.model.quantize import GROUP, quantize_groups, quantize_rows, widen_groups


class CompactLinear(nn.Module):
    """A linear layer whose weight [rows, columns] is stored small.

    Parameters
    ----------
    linear : the layer it stands for; its bias is shared.
    precision : "int8" (one scale a row), "int4" (groups of columns with a scale and a minimum) or "half" (fp16).

    Raises BadModel where a weight is too large for fp16 or int4.
    """

    packed: Tensor
    scale: Tensor
    minimum: Tensor

    def __init__(self, linear: nn.Linear, precision: str) -> None:
        super().__init__()
        wide = linear.weight.detach()
        self.bias = linear.bias
        self.shape, self.dtype = wide.shape, wide.dtype
        minimum = torch.ones(0)
        if precision == "int4":
            packed, scale, minimum = quantize_groups(wide.float())
        elif precision == "int8":
            rounded, scale = quantize_rows(wide.float())
            packed = rounded.to(torch.int8)
        else:
            packed, scale = wide.to(torch.float16), torch.ones(0)
            if not torch.isfinite(packed).all():
                raise BadModel("A weight is too large for half precision: load this model in fp32 or int8.")
        self.register_buffer("packed", packed)
        self.register_buffer("scale", scale)
        self.register_buffer("minimum", minimum)

    @property
    def weight(self) -> Tensor:
        """The weight [rows, columns] as numbers, made anew: some models (T5) ask a layer for it, or for its dtype."""
        wide = torch.empty(self.shape, dtype=self.dtype, device=self.packed.device)
        if self.minimum.numel():
            return widen_groups(self.packed, self.scale, self.minimum, wide)
        wide.copy_(self.packed)
        return wide.mul_(self.scale[:, None]) if self.scale.numel() else wide

    def forward(self, x: Tensor) -> Tensor:
        """x [..., columns] to [..., rows], computed in the dtype of x."""
        if self.minimum.numel():
            wide = torch.empty(self.shape, dtype=x.dtype, device=x.device)
            return F.linear(x, widen_groups(self.packed, self.scale, self.minimum, wide), self.bias)
        y = F.linear(x, self.packed.to(x.dtype))
        y = y * self.scale.to(x.dtype) if self.scale.numel() else y
        return y if self.bias is None else y + self.bias


def compact(model: nn.Module, precision: str) -> None:
    """Swap every linear layer of a model but a tied head for a `CompactLinear`.

    Raises BadRequest where int4 is asked for and the columns of a layer do not divide into groups.
    """
    tied = {id(p) for name, p in model.named_parameters() if "embed" in name or "shared" in name or "wte" in name}
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear and id(child.weight) not in tied:
                if precision == "int4" and child.in_features % GROUP:
                    raise BadRequest(
                        f"This model cannot be held in int4: '{name}' has {child.in_features} columns, not a multiple "
                        f"of {GROUP}."
                    )
                setattr(module, name, CompactLinear(child, precision))

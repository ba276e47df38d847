"""What a backend computes in on a device, and what that is called in `EngineInfo`."""

from __future__ import annotations

import torch


def compute_dtype(device: torch.device, precision: str) -> torch.dtype:
    """fp32 on a CPU, whose 16-bit arithmetic is slower; 16 bit on an accelerator unless fp32 was asked for."""
    if device.type == "cpu" or precision == "fp32":
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16


def precision_name(dtype: torch.dtype) -> str:
    """ "fp32", or "half" for either 16-bit dtype."""
    return "fp32" if dtype == torch.float32 else "half"

"""Adapter folders as PEFT writes them, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

TARGETS = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    "gpt2": ("c_attn", "c_proj", "c_fc"),
}


def write(
    folder: Path, model: nn.Module, targets: tuple[str, ...], rank: int = 4, seed: int = 0, **config: Any
) -> Path:
    """An adapter of every module of a model whose name ends in one of the targets."""
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if name.rsplit(".", 1)[-1] in targets:
            weight = module.weight
            rows, columns = weight.shape if isinstance(module, nn.Linear) else weight.shape[::-1]
            state[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, columns, generator=generator) * 0.1
            state[f"base_model.model.{name}.lora_B.weight"] = torch.randn(rows, rank, generator=generator) * 0.1
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": list(targets), "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps({**told, **config}))
    return folder


def merged(model: nn.Module, folder: Path, scaling: float) -> None:
    """Add an adapter to a model's own weights."""
    from safetensors.torch import load_file

    state = load_file(folder / "adapter_model.safetensors")
    for name, module in model.named_modules():
        down = state.get(f"base_model.model.{name}.lora_A.weight")
        if down is not None:
            change = scaling * state[f"base_model.model.{name}.lora_B.weight"] @ down
            with torch.no_grad():
                module.weight += change if isinstance(module, nn.Linear) else change.T

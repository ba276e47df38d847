"""An adapter as PEFT's folder, which `peft` and `read_lora` read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import UserError
from engine.model.adapters.lora import CONFIG, PREFIX, WEIGHTS, LoRA, parts_of
from engine.model.families import Architecture


def save_lora(lora: LoRA, arch: Architecture, folder: Path, base: str, more: Mapping[str, Any] | None = None) -> Path:
    """Write adapter_config.json and adapter_model.safetensors.

    Parameters
    ----------
    lora : its scaling is in B, so alpha is written as r.
    arch : the model that it was learnt beside.
    folder : made where it is missing; files of the same names are replaced.
    base : the model's name, for the reader.
    more : further entries of adapter_config.json.

    Raises
    ------
    UserError : the folder cannot be written.
    """
    state: dict[str, Tensor] = {}
    targets: dict[str, None] = {}
    for matrix, parts in parts_of(arch).items():
        first = 0
        for p, part in enumerate(parts):
            rows = slice(first, first + part.rows)
            first += part.rows
            if not lora.b[matrix][:, rows].any():
                continue  # nothing was learnt of it
            targets[part.name.rsplit(".", 1)[-1]] = None
            for layer in range(arch.layers):
                module = f"{PREFIX}{arch.family.names.prefix}{part.name.format(layer)}"
                state[f"{module}.lora_A.weight"] = lora.a[matrix][layer, p].contiguous()
                state[f"{module}.lora_B.weight"] = lora.b[matrix][layer, rows].contiguous()
    config: dict[str, Any] = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": lora.rank,
        "lora_alpha": lora.rank, "lora_dropout": 0.0, "target_modules": list(targets), "bias": "none",
        "fan_in_fan_out": arch.family.transposed, "inference_mode": True,
        "alora_invocation_tokens": list(lora.invocation) or None, **(more or {}),
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{folder} cannot be written ({reason}): make room, or name another folder.") from error
    return folder

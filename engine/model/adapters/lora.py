"""A low-rank adapter (LoRA, Hu et al. 2021) as PEFT writes it, laid beside the decoder's joined matrices.

To y = W x it adds B A x, scaled by alpha / r; A is [r, columns], B [rows, r]. Where q, k and v, or gate and up, are one
matrix here, each of these parts has its own A and B: a joined matrix of P parts has A [P, r, columns], and B's rows are
the parts' one below the other. Parts that the adapter leaves alone have zeros.

An activated adapter (aLoRA, Greenewald et al. 2025) acts from its invocation tokens on: what stands before them is read
by the bare model, so that every adapter shares it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import BadModel
from engine.model.families import Architecture

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
MOST_RANK = 256
MATRICES = ("qkv", "out", "up", "down")

# Options of PEFT that change what an adapter computes, and the values that mean "not used".
UNUSED: dict[str, tuple[Any, ...]] = {
    "use_dora": (None, False), "modules_to_save": (None, [], ()), "bias": (None, "none"), "lora_bias": (None, False),
    "layer_replication": (None, []), "trainable_token_indices": (None, [], {}), "target_parameters": (None, []),
    "exclude_modules": (None, []), "use_qalora": (None, False),
}  # fmt: skip


@dataclass(frozen=True)
class LoRA:
    """An adapter's weights, f32, the scaling in B.

    Attributes
    ----------
    name : of its folder.
    rank : r, the largest of its modules'; smaller ones are filled with zeros.
    invocation : token ids from whose last appearance on it acts; empty: from the first token of a text.
    a, b : of each of `MATRICES` with L layers: A [L, P, r, columns], B [L, rows, r].
    """

    name: str
    rank: int
    invocation: tuple[int, ...]
    a: Mapping[str, Tensor]
    b: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        return sum(part.numel() * part.element_size() for part in (*self.a.values(), *self.b.values()))


class Part(NamedTuple):
    """A module of a joined matrix: its name in a checkpoint (`{}` is the layer), and its shape."""

    name: str
    rows: int
    columns: int


def parts_of(arch: Architecture) -> dict[str, list[Part]]:
    """The modules of each of `MATRICES` in their order."""
    names, attended, kv = arch.family.names, arch.heads * arch.head_dim, arch.kv_heads * arch.head_dim
    qkv = [attended, kv, kv] if len(names.qkv) == 3 else [attended + 2 * kv]
    return {
        "qkv": [Part(name, rows, arch.hidden) for name, rows in zip(names.qkv, qkv, strict=True)],
        "out": [Part(names.out, arch.hidden, attended)],
        "up": [Part(name, arch.feed_forward, arch.hidden) for name in names.up],
        "down": [Part(names.down, arch.hidden, arch.feed_forward)],
    }


def read_lora(folder: Path, arch: Architecture) -> LoRA:
    """Read an adapter for a model.

    Parameters
    ----------
    folder : as `peft` saves it.
    arch : the model that it is to stand beside.

    Raises
    ------
    BadModel : it is missing, damaged, a pickle, of another model, or of a kind that is not known here.
    """
    config = _config(folder)
    modules = _modules(folder)
    rank = max((down.shape[0] for down, _ in modules.values()), default=0)
    if not 0 < rank <= MOST_RANK:
        raise BadModel(f"The adapter {folder} has rank {rank}: 1 to {MOST_RANK} are run.")
    a: dict[str, Tensor] = {}
    b: dict[str, Tensor] = {}
    for matrix, parts in parts_of(arch).items():
        a[matrix] = torch.zeros(arch.layers, len(parts), rank, parts[0].columns)
        b[matrix] = torch.zeros(arch.layers, sum(part.rows for part in parts), rank)
        first = 0
        for p, part in enumerate(parts):
            for layer in range(arch.layers):
                name = part.name.format(layer)
                known = name if name in modules else arch.family.names.prefix + name
                if known not in modules:
                    continue
                down, up = modules.pop(known)
                r = down.shape[0]
                if down.shape != (r, part.columns) or up.shape != (part.rows, r):
                    raise BadModel(
                        f"The adapter {folder} is of another model: its {name} takes {down.shape[-1]} numbers and "
                        f"gives {up.shape[0]}, this model's takes {part.columns} and gives {part.rows}."
                    )
                a[matrix][layer, p, :r] = down
                b[matrix][layer, first : first + part.rows, :r] = up * _scaling(config, name, r)
            first += part.rows
    if modules:
        raise BadModel(
            f"The adapter {folder} changes {min(modules)}, which is none of this model's matrices that adapters may "
            "change: those of attention and feed-forward."
        )
    return LoRA(folder.resolve().name, rank, _invocation(config, folder), a, b)


def _config(folder: Path) -> dict[str, Any]:
    """PEFT's options, none of which asks for what is not known here."""
    file = folder / CONFIG
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind = config.get("peft_type")
    except OSError as error:
        raise BadModel(f"{folder} is no adapter: there is no {CONFIG} in it ({error.strerror}).") from error
    except (ValueError, AttributeError) as error:
        raise BadModel(f"{file} cannot be read: it is not JSON as PEFT writes it.") from error
    if kind != "LORA":
        raise BadModel(f"The adapter {folder} is of the kind {kind}: only LORA is run.")
    for name, values in UNUSED.items():
        if config.get(name) not in values:
            raise BadModel(
                f"The adapter {folder} needs {name}={config[name]}, which is not run here: train it without."
            )
    return dict(config)


def _modules(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """A [r, columns] and B [rows, r] in f32 of each module that the adapter changes, by the module's name."""
    file = folder / WEIGHTS
    if not file.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        raise BadModel(
            f"{folder} holds its weights as a pickle, which may run any code: save it with safetensors."
            if pickled else f"{folder} is no adapter: there is no {WEIGHTS} in it."
        )  # fmt: skip
    try:
        state = load_file(file)
    except (OSError, SafetensorError) as error:
        raise BadModel(f"{file} is damaged ({str(error).splitlines()[0][:120]}): fetch it again.") from error
    modules: dict[str, tuple[Tensor, Tensor]] = {}
    for name, down in state.items():
        module, found, _ = name.removeprefix(PREFIX).partition(".lora_A.")
        up = state.get(name.replace(".lora_A.", ".lora_B."))
        if found and up is not None and down.ndim == up.ndim == 2:
            modules[module] = down.float(), up.float()
    if len(state) != 2 * len(modules):
        raise BadModel(
            f"{file} holds tensors that are no pairs of lora_A and lora_B: only those of linear layers are run."
        )
    if not all(bool(torch.isfinite(part).all()) for pair in modules.values() for part in pair):
        raise BadModel(f"{file} holds numbers that are not finite: it is damaged, or its training failed.")
    return modules


def _scaling(config: Mapping[str, Any], module: str, rank: int) -> float:
    """What B is multiplied by: alpha / r, or alpha / sqrt(r) (rsLoRA, Kalajdzievski 2023)."""
    alphas = config.get("alpha_pattern") or {}
    alpha = next((value for name, value in alphas.items() if re.match(rf"(.*\.)?({name})$", module)), None)
    alpha = float(config.get("lora_alpha", rank) if alpha is None else alpha)
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _invocation(config: Mapping[str, Any], folder: Path) -> tuple[int, ...]:
    tokens = config.get("alora_invocation_tokens") or []
    if not isinstance(tokens, list) or not all(isinstance(token, int) for token in tokens):
        raise BadModel(f"{folder / CONFIG} gives alora_invocation_tokens that are no token ids.")
    return tuple(tokens)

"""Checkpoints: all that a training is at a step, so that going on from one gives the same weights, bit for bit.

A checkpoint is a folder `step-N`, after an epoch's validation `step-N-validated`, with two safetensors files and a JSON
file. It is written under another name and renamed when it is whole and on the disk, so that one which can be found can
be trusted; the one before it is removed only then.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.errors import BadModel, UserError

_NAME = re.compile(r"step-(\d+)(-validated)?")
_MODEL, _OPTIMIZER, _STATE = "model.safetensors", "optimizer.safetensors", "state.json"


@dataclass
class Position:
    """Where a training stands.

    Attributes
    ----------
    epoch, batch : the epoch, from 0, and how many of its batches are done.
    step : optimizer steps done.
    best, since : the lowest validation loss so far, None before the first, and epochs since it.
    sums : of the epoch so far: loss x counted targets, right ones, counted ones, tokens.
    seconds : spent in training and validation so far.
    history : a record for each epoch that is done.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    since: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0, 0.0])
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def save(folder: Path, model: nn.Module, optimizer: Optimizer, position: Position, run: str) -> Path:
    """Write a checkpoint and remove older ones.

    Parameters
    ----------
    folder : where checkpoints are; made where it is missing.
    model, optimizer : what is trained.
    position : where training stands.
    run : names what is being trained (a hash of its options): another run does not go on from this one.

    Returns
    -------
    The checkpoint's folder.

    Raises
    ------
    UserError : it cannot be written; what was there before is untouched.
    """
    tensors, numbers = _flat(optimizer)
    tensors["random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    target = folder / f"step-{position.step}{'' if position.batch else '-validated'}"
    building = folder / f".{target.name}.{os.getpid()}"
    try:
        building.mkdir(parents=True)
        save_file(owned(model.state_dict()), building / _MODEL)
        save_file(owned(tensors), building / _OPTIMIZER)
        about = {"run": run, "position": asdict(position), "optimizer": numbers}
        (building / _STATE).write_text(json.dumps(about), encoding="utf-8")
        for file in building.iterdir():
            _to_disk(file)
        building.rename(target)
        _to_disk(folder)
    except (OSError, SafetensorError) as error:  # safetensors has its own for a full disk
        shutil.rmtree(building, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"The checkpoint of step {position.step:,} cannot be written to {folder} ({reason}): make room or name "
            "another folder, and start again: training goes on from the checkpoint before."
        ) from error
    for other in folder.iterdir():
        if other != target and (_NAME.fullmatch(other.name) or other.name.startswith(".step-")):
            shutil.rmtree(other, ignore_errors=True)
    return target


def newest(folder: Path) -> Path | None:
    """The checkpoint of the most steps, or None."""
    found = [
        (int(name[1]), bool(name[2]), path) for path in folder.glob("step-*") if (name := _NAME.fullmatch(path.name))
    ]
    return max(found)[2] if found else None


def load(checkpoint: Path, model: nn.Module, optimizer: Optimizer, run: str) -> Position:
    """Make model, optimizer and the random state those of a checkpoint.

    Parameters
    ----------
    checkpoint : what `newest` gave.
    model, optimizer : of the shapes that were saved; changed in place.
    run : as given to `save`.

    Returns
    -------
    Where training stands.

    Raises
    ------
    UserError : the checkpoint is of another run.
    BadModel : it is damaged.
    """
    try:
        about = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
        if about["run"] != run:
            raise UserError(
                f"{checkpoint.parent} holds a training with other options or texts: name another folder, or "
                "remove it to begin anew."
            )
        model.load_state_dict(load_file(checkpoint / _MODEL))
        tensors = load_file(checkpoint / _OPTIMIZER)
        torch.set_rng_state(tensors.pop("random"))
        if (cuda := tensors.pop("random.cuda", None)) is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(cuda)
        _restore(optimizer, tensors, about["optimizer"])
        return Position(**about["position"])
    except UserError:
        raise
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:160]
        raise BadModel(
            f"The checkpoint {checkpoint} is damaged ({reason}): remove {checkpoint.parent} to begin anew."
        ) from error


def owned(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state, each contiguous and in memory of its own, on the CPU, as safetensors wants them."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}


def _flat(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors by "parameter.name", and all else JSON-able."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for parameter, kept in state["state"].items():
        for name, value in kept.items():
            if isinstance(value, Tensor):
                tensors[f"{parameter}.{name}"] = value
            else:
                numbers[f"{parameter}.{name}"] = value
    return tensors, {"numbers": numbers, "groups": state["param_groups"]}


def _restore(optimizer: Optimizer, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for key, value in (*tensors.items(), *about["numbers"].items()):
        parameter, _, name = key.partition(".")
        state.setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": about["groups"]})


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Safetensors files, checked before a single weight is used.

A damaged or unsafe file is refused with its name and the reason: pickles and archives whatever they are called,
headers that point outside the file, hashes that differ from the manifest, numbers that are not finite.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import BadModel
from engine.weights.cache import FORMAT, MANIFEST
from engine.weights.files import read_json, sha256, short

if TYPE_CHECKING:
    import torch  # at run time imported where used: `import torch` takes a second, and resolving needs none

MAX_HEADER_BYTES = 100_000_000  # as the safetensors library has it
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

_REMEDY = "remove the folder, so that it is made again"
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive, as PyTorch's pickled checkpoints are"),
    (b"GGUF", "a GGUF file; give its path with the ending .gguf"),
    (b"version https://git-lfs", "a Git LFS pointer, not the weights themselves; run `git lfs pull`"),
    (b"<", "a web page, not weights"),
)


def load_state(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a model folder, by name, on the CPU, in the dtype they are stored in.

    Reads model.safetensors, or the shards its index names, or the one *.safetensors there is. Where manifest.json is
    of this program, sizes and SHA-256 must match it; a file from the Hub's cache must match the hash that names it.
    Raises `BadModel` with the file's name and the reason.
    """
    import safetensors.torch

    files = weight_files(folder)
    for path in files:
        check_file(path)
    _check_hashes(folder, files)
    state: dict[str, torch.Tensor] = {}
    for path in files:
        try:
            part = safetensors.torch.load_file(path)
        except Exception as error:  # the library raises its own error, OSError, ValueError and KeyError
            raise BadModel(f"{path.name} of '{folder.name}' is damaged ({short(error)}).") from error
        if twice := state.keys() & part.keys():
            raise BadModel(f"{path.name} of '{folder.name}' repeats the tensor '{min(twice)}' of another shard.")
        for name, tensor in part.items():
            if not _finite(tensor):
                raise BadModel(f"{path.name} of '{folder.name}' holds values in '{name}' that are not finite numbers.")
        state.update(part)
    _check_index(folder, files, state)
    return state


def check_shapes(state: Mapping[str, torch.Tensor], expected: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Check that a model has the tensors its config.json asks for.

    Parameters
    ----------
    state : the tensors it has, by name.
    expected : the shapes that are due, by name; `state` may hold others beside them.
    folder : the model's, for messages.

    Raises
    ------
    BadModel : a tensor is missing or has another shape.
    """
    if missing := sorted(expected.keys() - state.keys()):
        raise BadModel(
            f"The weights of '{folder.name}' lack {len(missing)} tensors that config.json asks for, as '{missing[0]}'."
        )
    for name, shape in expected.items():
        found = tuple(state[name].shape)
        if found != tuple(shape):
            raise BadModel(f"'{name}' of '{folder.name}' has shape {found}, but config.json asks for {tuple(shape)}.")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up a model. Raises `BadModel` where there are none or the index is unsound."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        names = sorted({str(name) for name in _weight_map(folder).values()})
        for name in names:
            if not re.fullmatch(r"[\w.-]+\.safetensors", name):  # a path here could leave the folder
                raise BadModel(f"{INDEX} of '{folder.name}' names the shard {name!r}, which is no plain file name.")
            if not (folder / name).is_file():
                raise BadModel(f"'{folder.name}' lacks the shard {name} that its index names.")
        return [folder / name for name in names]
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        raise BadModel(f"'{folder.name}' has {len(found) or 'no'} *.safetensors and neither {WEIGHTS} nor {INDEX}.")
    return found


def check_file(path: Path) -> None:
    """Raise `BadModel` where a file is not a whole safetensors file, told by its content and not its name."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64)
        if reason := foreign(start):
            raise BadModel(f"{path.name} is {reason}: only safetensors and GGUF are loaded.")
        length = int.from_bytes(start[:8], "little")
        if size < 10 or length > size - 8 or length > MAX_HEADER_BYTES:
            raise BadModel(
                f"{path.name} is truncated or no safetensors file: its header claims {length:,} bytes of {size:,}."
            )
        file.seek(8)
        header = file.read(length)
    try:
        tensors = json.loads(header)
        tensors.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise BadModel(f"{path.name} has a damaged header ({short(error)}).") from error
    if 8 + length + end != size:
        kind = "truncated" if 8 + length + end > size else "longer than its header says"
        raise BadModel(f"{path.name} is {kind}: the header promises {8 + length + end:,} bytes, the file has {size:,}.")


def foreign(start: bytes) -> str:
    """What a file is by its first bytes if it is surely no safetensors file, else ""."""
    if re.match(rb"\x80[\x02-\x05]", start) and start[8:9] != b"{":  # protocol 2 to 5
        return "a pickle, which can run code when it is loaded"
    return next((name for magic, name in _FOREIGN if start.startswith(magic) and start[8:9] != b"{"), "")


def recorded_hashes(folder: Path, files: list[Path]) -> dict[str, str]:
    """File name -> SHA-256 on record: of our manifest.json, and of the Hub's cache, which names large files so."""
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    listed: Mapping[str, Any] = manifest.get("files", {}) if manifest.get("format") == FORMAT else {}
    recorded = {name: str(entry.get("sha256")) for name, entry in listed.items() if isinstance(entry, Mapping)}
    for path in files:
        if re.fullmatch(r"[0-9a-f]{64}", path.resolve().name):
            recorded.setdefault(path.name, path.resolve().name)
    return recorded


def _check_hashes(folder: Path, files: list[Path]) -> None:
    for name, digest in recorded_hashes(folder, files).items():
        path = folder / name
        if path.parent != folder or not path.is_file():
            raise BadModel(f"'{folder.name}' lacks the file {name!r} that its manifest lists: {_REMEDY}.")
        if sha256(path) != digest:
            raise BadModel(f"{name} of '{folder.name}' does not have its recorded SHA-256: {_REMEDY}.")


def _check_index(folder: Path, files: list[Path], state: Mapping[str, Any]) -> None:
    if files[0].name == WEIGHTS or not (folder / INDEX).is_file():
        return
    if missing := sorted(_weight_map(folder).keys() - state.keys()):
        raise BadModel(f"The shards of '{folder.name}' lack {len(missing)} tensors of their index, as '{missing[0]}'.")


def _weight_map(folder: Path) -> dict[str, Any]:
    names = read_json(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise BadModel(f"{INDEX} of '{folder.name}' has no weight_map.")
    return names


def _finite(tensor: torch.Tensor) -> bool:
    """Whether no value is infinite or NaN, told by the exponent bits.

    In numpy, on one thread: torch's parallel reductions took 2 s for 540 MB when other programs kept the cores busy,
    this takes 0.2 s, and numpy has no bfloat16 to do it another way.
    """
    import torch

    if not tensor.numel() or not tensor.is_floating_point():
        return True
    if tensor.element_size() == 1:
        tensor = tensor.float()  # 8-bit floats differ in what they call infinite
    exponents = {
        torch.float64: (torch.int64, 0x7FF0_0000_0000_0000),
        torch.float32: (torch.int32, 0x7F80_0000),
        torch.bfloat16: (torch.int16, 0x7F80),
        torch.float16: (torch.int16, 0x7C00),
    }
    integer, mask = exponents[tensor.dtype]
    bits = tensor.view(integer).numpy()
    return bool((bits & mask).max() != mask)

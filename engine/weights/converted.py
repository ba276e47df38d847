"""A model's weights in the precision it runs in, rounded once and kept in the cache: a start only reads them.

An entry is keyed by the SHA-256 of the weights it was made from, so it can never stand for others, and carries its own,
checked at every start. Only weights whose hash is on record (converted by us, or of the Hub's cache) are kept: a plain
folder may change under our hands and is read as it is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from engine import memory
from engine.errors import BadModel
from engine.model.balance import balanced
from engine.model.families import Architecture, rotary
from engine.model.parameters import Matrix, Parameters, build, expected_shapes, matrix_shapes
from engine.weights import ModelFiles, cache, check_shapes, load_state
from engine.weights.files import read_json, sha256, short
from engine.weights.integrity import check_file, recorded_hashes, weight_files

FORMAT = 3  # raise it when `build`, `balanced` or `quantize` give other numbers than before
FILE = "weights.safetensors"

log = logging.getLogger(__name__)

_MATRIX = ("weight", "scale", "bias", "minimum")
_COMPUTED = ("cos", "sin")  # depend on the window asked for
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I8": torch.int8, "U8": torch.uint8}


def prepare(
    arch: Architecture,
    files: ModelFiles,
    precision: str,
    *,
    context: int,
    device: torch.device,
    compute_dtype: torch.dtype,
    on_layer: Callable[[float], None] | None = None,
) -> Parameters:
    """The parameters of `files` as `parameters.build` makes them (int8 of a balanced state): from the cache, else made
    now and kept.

    Raises BadModel and BadRequest as `load_state`, `check_shapes` and `build` do. A cache that cannot be written or an
    entry that is damaged costs only time.
    """
    key = _key(files, precision, compute_dtype)
    if key and (entry := cache.find(key)):
        try:
            params = read(entry.folder / FILE, arch, context)
            return params.to(device)
        except (BadModel, OSError, KeyError, ValueError) as error:
            log.warning("the stored weights of %s are made again (%s)", files.name, short(error))
            shutil.rmtree(entry.folder, ignore_errors=True)
    state = load_state(files.folder)
    check_shapes(state, expected_shapes(arch, state), files.folder)
    params = build(
        arch, balanced(arch, state) if precision == "int8" else state, precision,
        context=context, device=torch.device("cpu"), compute_dtype=compute_dtype, on_layer=on_layer,
    )  # fmt: skip
    if key:
        try:
            cache.find_or_build(key, lambda folder: write(params, folder / FILE), lambda message, share: None)
        except BadModel as error:
            log.info("the weights of %s are not kept in %s: %s", files.name, precision, error)
    return params.to(device)


def write(params: Parameters, path: Path) -> cache.Built:
    """All of `params` but what the window decides, a tied head once."""
    import safetensors.torch

    tensors: dict[str, Tensor] = {}
    for field in fields(params):
        value = getattr(params, field.name)
        if field.name in _COMPUTED or (field.name == "head" and value is params.embed):
            continue
        parts = {f"{field.name}.{part}": getattr(value, part) for part in _MATRIX} if isinstance(value, Matrix) else {}
        tensors |= parts or {field.name: value}
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return cache.Built("weights in the precision they run in")


def read(path: Path, arch: Architecture, context: int) -> Parameters:
    """What `write` wrote, checked against the hash its manifest records. Tensors lie on huge pages (`memory.empty`).

    Raises BadModel where the file is not the one that was written.
    """
    check_file(path)
    tensors: dict[str, Tensor] = {}
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        start = file.read(8)
        header = file.read(int.from_bytes(start, "little"))
        digest.update(start + header)
        listed = {name: item for name, item in json.loads(header).items() if name != "__metadata__"}
        for name, item in sorted(listed.items(), key=lambda pair: pair[1]["data_offsets"]):
            tensor = memory.empty(tuple(item["shape"]), _DTYPES[item["dtype"]])
            if tensor.numel():
                place = tensor.view(-1).view(torch.uint8).numpy().data
                done = 0
                while count := file.readinto(place[done:]):
                    done += count
                digest.update(place)
            tensors[name] = tensor
    if digest.hexdigest() != read_json(path.parent / cache.MANIFEST)["files"][FILE]["sha256"]:
        raise BadModel(f"{path.name} does not have its recorded SHA-256.")
    given: dict[str, Matrix | Tensor] = {}
    shapes = matrix_shapes(arch)
    for field in fields(Parameters):
        if f"{field.name}.weight" in tensors:
            parts = {part: tensors[f"{field.name}.{part}"] for part in _MATRIX}
            given[field.name] = Matrix(shapes[field.name], **parts)
        elif field.name in tensors:
            given[field.name] = tensors[field.name]
    given.setdefault("head", given["embed"])
    given["cos"], given["sin"] = rotary(arch, context)
    return Parameters(**given)  # type: ignore[arg-type]  # one of the two, as the field has it


def _key(files: ModelFiles, precision: str, compute_dtype: torch.dtype) -> str:
    """The entry's name; "" where nothing is kept."""
    if precision == "fp32":  # as large as the model itself, and nothing to round
        return ""
    paths = weight_files(files.folder)
    recorded = recorded_hashes(files.folder, paths)
    if any(path.name not in recorded for path in paths):
        return ""
    made_of = [FORMAT, precision, str(compute_dtype), sha256(files.folder / "config.json")]
    made_of += [recorded[path.name] for path in paths]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', files.name)[:60]}-{precision}-{digest[:16]}"

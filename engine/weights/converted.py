"""A model's weights converted to the precision it runs in: made once and kept in the cache, which later starts read.

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
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import Tensor

from engine import memory
from engine.errors import BadModel
from engine.model.balance import balanced
from engine.model.build import BuildOptions, build_parameters
from engine.model.checkpoint import State, expected_shapes
from engine.model.families import Architecture, rotary
from engine.model.matrix import Matrix
from engine.model.parameters import Parameters, matrix_shapes
from engine.weights import ModelFiles, cache, check_shapes, load_state
from engine.weights.files import read_json, sha256, short, silent
from engine.weights.integrity import check_file, recorded_hashes, weight_files

FORMAT = 3  # raise it when `build_parameters`, `balanced` or `quantize` give other numbers than before
FILE = "weights.safetensors"

log = logging.getLogger(__name__)

_MATRIX = ("weight", "scale", "bias", "minimum")
_COMPUTED = ("cos", "sin")  # depend on the window asked for
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I8": torch.int8, "U8": torch.uint8}


def load_parameters(
    arch: Architecture,
    files: ModelFiles,
    options: BuildOptions,
    on_share: Callable[[float], None] | None = None,
) -> Parameters:
    """A model's parameters as `build_parameters` makes them, those of int8 from a balanced state: out of the cache,
    else made now and kept there. A cache that cannot be written or an entry that is damaged costs only time.

    Parameters
    ----------
    arch : the model's sizes.
    files : where its weights are.
    options : how the parameters are held.
    on_share : hears the share that is done, 0 to 1, where they are made now.

    Raises
    ------
    BadModel : the weights are damaged, of other shapes than config.json says, or too large for the precision.
    BadRequest : they do not divide into the groups of int4.
    """
    key = _key(files, options)
    if key and (entry := cache.find(key)):
        try:
            return read_parameters(entry.folder / FILE, arch, options.context).to(options.device)
        except (BadModel, OSError, KeyError, ValueError) as error:
            log.warning("the converted weights of %s are made again (%s)", files.name, short(error))
            shutil.rmtree(entry.folder, ignore_errors=True)
    state: State = load_state(files.folder)
    check_shapes(state, expected_shapes(arch, state), files.folder)
    if options.precision == "int8":
        state = balanced(arch, state)
    params = build_parameters(arch, state, replace(options, device=torch.device("cpu")), on_share)
    if key:
        try:
            cache.find_or_build(key, lambda folder: write_parameters(params, folder / FILE), silent)
        except BadModel as error:
            log.info("the weights of %s are not kept in %s: %s", files.name, options.precision, error)
    return params.to(options.device)


def write_parameters(params: Parameters, path: Path) -> cache.Built:
    """Keep all of `params` but what the window decides, a tied head once, in a safetensors file."""
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


def read_parameters(path: Path, arch: Architecture, context: int) -> Parameters:
    """What `write_parameters` wrote, in tensors on huge pages (`memory.empty`).

    Parameters
    ----------
    path : the file; the manifest beside it records its hash.
    arch : the model that it was written of.
    context : positions that the rotary tables are prepared for.

    Raises
    ------
    BadModel : the file is not the one that was written.
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


def _key(files: ModelFiles, options: BuildOptions) -> str:
    """The entry's name; "" where nothing is kept."""
    if options.precision == "fp32":  # as large as the model itself, and nothing to round
        return ""
    paths = weight_files(files.folder)
    recorded = recorded_hashes(files.folder, paths)
    if any(path.name not in recorded for path in paths):
        return ""
    made_of = [FORMAT, options.precision, str(options.compute_dtype), sha256(files.folder / "config.json")]
    made_of += [recorded[path.name] for path in paths]
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', files.name)[:60]}-{options.precision}-{digest[:16]}"

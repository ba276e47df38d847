"""What is found of many texts, found once and kept: what takes an hour goes on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
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
    folder, what : as for `kept`; the files are float16.

    Raises
    ------
    UserError : as for `kept`.
    """
    told = {
        "model": engine.info.model, "precision": engine.info.precision, "layer": layer, "tokens": tokens,
        "reading": reading,
    }  # fmt: skip

    def read(some: Sequence[str], done: Callable[[], object]) -> np.ndarray:
        rows = []
        for text in some:
            rows.append(read_features(engine, text, layer, tokens, reading)[0])
            done()
        return np.stack(rows).astype(np.float16)

    return kept(read, texts, told, folder, what).astype(np.float32)


def kept(
    read: Callable[[Sequence[str], Callable[[], object]], np.ndarray],
    texts: Sequence[str],
    told: Mapping[str, object],
    folder: Path,
    what: str,
) -> np.ndarray:
    """What is found of each of many texts, [n, ...], from `folder` where it is there, the rest read and written.

    Parameters
    ----------
    read : what is found of some texts [m, ...]; calls its second argument after each.
    texts : in an order that stays.
    told : JSON-able, what is read; with the texts it names what the folder holds.
    folder : of these texts and this reading alone; files of 500 texts.
    what : names the bar.

    Raises
    ------
    UserError : the folder holds what was found of other texts or by another reading, or cannot be written.
    """
    from tqdm import tqdm

    _claim(folder, {**told, "texts": _hash(texts)})
    parts = []
    bar = tqdm(total=len(texts), desc=what, unit=" texts", file=sys.stderr, dynamic_ncols=True, disable=None)
    with bar:
        for first in range(0, len(texts), SHARD):
            some = texts[first : first + SHARD]
            file = folder / f"{first:07d}.npy"
            if file.is_file():
                part = np.load(file)
                bar.update(len(some))
            else:
                part = read(some, bar.update)
                _write(file, part)
            parts.append(part)
    return np.concatenate(parts)


def _claim(folder: Path, told: dict[str, object]) -> None:
    """The folder is for what is told, or becomes so."""
    file = folder / ABOUT
    try:
        if file.is_file():
            if json.loads(file.read_text(encoding="utf-8")) != told:
                raise UserError(f"{folder} holds what was found of other texts, or otherwise: name another folder.")
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

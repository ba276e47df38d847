"""Features of many texts: kept in files, gone on with, and never taken for those of other texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import UserError
from pipelines.training import features
from pipelines.training.features import kept_features


class Info:
    model, precision = "fake", "int8"


class Engine:
    info = Info()


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were read by the model, in order; each has its length as its feature."""
    seen: list[str] = []

    def one(engine: Any, text: str, layer: int, tokens: int, reading: str) -> tuple[np.ndarray, int, None]:
        seen.append(text)
        return np.full(4, len(text), np.float32), 1, None

    monkeypatch.setattr(features, "read_features", one)
    monkeypatch.setattr(features, "SHARD", 3)
    return seen


def make(texts: list[str], folder: Path, layer: int = 2) -> np.ndarray:
    return kept_features(Engine(), texts, layer, 64, "last", folder, "texts")  # type: ignore[arg-type]


TEXTS = ["a" * n for n in range(1, 9)]


def test_each_is_read_once(tmp_path: Path, read: list[str]) -> None:
    assert make(TEXTS, tmp_path / "f")[:, 0].tolist() == list(range(1, 9))
    assert make(TEXTS, tmp_path / "f")[:, 0].tolist() == list(range(1, 9))
    assert read == TEXTS


def test_an_interrupted_run_goes_on(tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = features.read_features

    def cut(engine: Any, text: str, *others: Any) -> Any:
        if len(text) == 5:
            raise KeyboardInterrupt
        return real(engine, text, *others)

    monkeypatch.setattr(features, "read_features", cut)
    with pytest.raises(KeyboardInterrupt):
        make(TEXTS, tmp_path / "f")
    monkeypatch.setattr(features, "read_features", real)
    assert make(TEXTS, tmp_path / "f")[:, 0].tolist() == list(range(1, 9))
    assert read == [*TEXTS[:4], *TEXTS[3:]], "the first file's three are not read again"


def test_other_texts_or_another_layer_are_refused(tmp_path: Path, read: list[str]) -> None:
    make(TEXTS, tmp_path / "f")
    for texts, layer in ((TEXTS[1:], 2), (TEXTS, 3)):
        with pytest.raises(UserError, match="of other texts, or otherwise"):
            make(texts, tmp_path / "f", layer)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        make(TEXTS, tmp_path / "file" / "f")

"""Contrast pairs: both texts by ids of their own, and files that hold none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.measure.reviews import BadData
from pipelines.classification.contrast import read_contrast
from pipelines.evaluation.data import Review, without

ROW = {
    "pair_id": 3,
    "text_original": "Good.<br />Yes.",
    "label_original": 1,
    "text_contrast": "Bad.",
    "label_contrast": 0,
}


def test_a_pair_is_two_reviews(tmp_path: Path) -> None:
    pd.DataFrame([ROW]).to_parquet(tmp_path / "x.parquet")
    [pair] = read_contrast(tmp_path / "x.parquet")
    original, contrast = pair.reviews()
    assert (original.id, original.text, original.label) == ("contrast/3/original", "Good.\nYes.", 1)
    assert (contrast.id, contrast.text, contrast.label) == ("contrast/3/contrast", "Bad.", 0)
    train = [Review("train/0", "Good.  Yes.", 1), Review("train/1", "Else.", 0)]
    assert without(train, [pair.original]) == train[1:]  # white space apart


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"label_contrast": 1}, "Pair 3 of .* has no two texts of labels 0 and 1"),
        ({"text_contrast": None}, "Pair 3 of"),
        ({"pair_id": ...}, "no column pair_id"),
    ],
)
def test_files_that_hold_no_pairs(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    row = {key: value for key, value in {**ROW, **change}.items() if value is not ...}
    pd.DataFrame([row]).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(BadData, match=match):
        read_contrast(tmp_path / "x.parquet")
    with pytest.raises(BadData, match="no file"):
        read_contrast(tmp_path / "none.parquet")

"""Trained heads: kept and read back, refused where they do not fit, and what they add to the pipeline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from engine.errors import BadRequest, UserError
from pipelines.classification import heads
from pipelines.classification.heads import Head, head_names, load_head, save_head
from pipelines.classification.pipeline import ClassificationPipeline
from tests.pipelines.fake_engine import FakeEngine

WEIGHT = np.array([[0] * 8, [1, -1, *[0] * 6]], np.float32)
HEAD = Head("praise", "fake", 3, 64, "mean", ("bad", "good"), WEIGHT, np.array([0, 0.5], np.float32), {"rows": 24})


def test_a_head_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = save_head(HEAD, tmp_path / "new")
    assert sorted(file.name for file in path.parent.iterdir()) == ["praise.json", "praise.safetensors"]
    found = load_head(str(path))
    assert isinstance(found, Head)
    assert np.array_equal(found.weight, HEAD.weight) and np.array_equal(found.bias, HEAD.bias)
    assert replace(found, weight=HEAD.weight, bias=HEAD.bias) == replace(HEAD)


def test_two_labels_are_the_logistic_function() -> None:
    features = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    expected = expit(features[:, 0] - features[:, 1] + 0.5)
    assert HEAD.probabilities(features)[:, 1] == pytest.approx(expected, rel=1e-6)
    assert HEAD.probabilities(features[0]).shape == (2,)


def test_heads_that_come_with_brisk_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "FOLDER", tmp_path)
    assert head_names() == []
    with pytest.raises(UserError, match=r"no head 'imdb': give the path .* \(none\)"):
        load_head("imdb")
    save_head(HEAD, tmp_path)
    save_head(replace(HEAD, name="other", model="another"), tmp_path)
    assert head_names() == ["other", "praise"] and head_names("fake") == ["praise"]
    found = load_head("praise")
    assert isinstance(found, Head) and found.layer == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda about: about.update(format="brisk-head-9"),
        lambda about: about.update(labels=["one"]),
        lambda about: about.update(labels=["a", "b", "c"]),
        lambda about: about.pop("layer"),
        lambda about: about.update(reading="max"),
    ],
)
def test_a_damaged_head_is_one_sentence(tmp_path: Path, damage: Any) -> None:
    path = save_head(HEAD, tmp_path)
    about = json.loads(path.read_text())
    damage(about)
    path.write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"not a head, or damaged .*: train it again"):
        load_head(str(path))


def test_weights_that_are_cut_off_or_no_numbers_are_refused(tmp_path: Path) -> None:
    path = save_head(replace(HEAD, weight=np.full((2, 8), np.nan, np.float32)), tmp_path)
    with pytest.raises(UserError, match="a weight is not a number"):
        load_head(str(path))
    tensors = path.with_suffix(".safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-8])
    with pytest.raises(UserError, match="damaged"):
        load_head(str(path))
    tensors.unlink()
    with pytest.raises(UserError, match="damaged"):
        load_head(str(path))


def test_a_name_that_is_a_path_and_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot name a head"):
        save_head(replace(HEAD, name="../up"), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_head(HEAD, tmp_path / "file")


def test_the_pipeline_gives_the_heads_own_labels_and_says_what_it_read(tmp_path: Path) -> None:
    pipeline = ClassificationPipeline(FakeEngine())  # type: ignore[arg-type]
    result = pipeline("A wonderful, moving and clever film.", head=HEAD)
    assert result.scores[0]["label"] == "good" and sum(row["score"] for row in result.scores) == pytest.approx(1)
    assert result.info.timing.prompt_tokens > 0 and not result.info.notes and result.info.shortened is None
    long = pipeline("dull " * 200, ("x", "y"), head=str(save_head(HEAD, tmp_path)))
    assert long.scores[0]["label"] == "bad" and long.info.shortened is not None
    assert "The head 'praise' knows only its own labels (bad, good)" in long.info.notes[0]


@pytest.mark.parametrize("wrong", [{"model": "another"}, {"hidden": 16}])
def test_a_head_of_another_model_is_refused(wrong: dict[str, Any]) -> None:
    pipeline = ClassificationPipeline(FakeEngine(**wrong))  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match="'praise' was trained on fake"):
        pipeline("A film.", head=HEAD)

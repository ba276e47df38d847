"""Heads on word n-grams: kept and read back, refused where damaged, and what they add to the pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from scipy.special import expit

from engine.errors import BadRequest, UserError
from pipelines.classification import heads
from pipelines.classification.heads import head_names, load_head
from pipelines.classification.ngram_head import NgramHead, save_ngram_head
from pipelines.classification.ngrams import buckets
from pipelines.classification.pipeline import ClassificationPipeline
from tests.pipelines.fake_engine import FakeEngine

BITS = 12
GOOD, BAD = buckets("great", BITS)[0], buckets("awful", BITS)[0]


def make() -> NgramHead:
    weights = np.zeros(1 << BITS, np.int8)
    weights[GOOD], weights[BAD] = 100, -127
    return NgramHead("words", ("bad", "good"), weights, 0.02, 0.5, {"rows": 7})


HEAD = make()


def test_log_odds_are_the_weights_of_what_a_text_has() -> None:
    found = HEAD.log_odds(["great", "awful", "great great", "nothing", ""])  # "great great" is two buckets
    assert found == pytest.approx([2.5, -2.04, 0.5 + 2 / 2**0.5, 0.5, 0.5])
    assert HEAD.log_odds([]).shape == (0,)


@given(st.text(max_size=60))
def test_log_odds_are_a_dot_product_in_floats(text: str) -> None:
    seen = np.zeros(1 << BITS)
    seen[buckets(text, BITS)] = 1
    seen /= max(1, np.sqrt(seen.sum()))
    expected = seen @ (HEAD.weights.astype(np.float64) * HEAD.step) + HEAD.bias
    assert HEAD.log_odds([text])[0] == pytest.approx(expected)


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = load_head(str(save_ngram_head(HEAD, tmp_path / "new")))
    assert isinstance(found, NgramHead) and np.array_equal(found.weights, HEAD.weights) and found.bits == BITS
    assert (found.name, found.labels, found.step, found.bias, found.facts) == (
        HEAD.name, HEAD.labels, HEAD.step, HEAD.bias, HEAD.facts
    )  # fmt: skip


def test_it_is_no_models_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for the head of a model does not get one that reads words."""
    monkeypatch.setattr(heads, "FOLDER", tmp_path)
    save_ngram_head(HEAD, tmp_path)
    assert head_names() == ["words"] and head_names("fake") == []


@pytest.mark.parametrize(
    "damage",
    [{"labels": ["one"]}, {"step": float("nan")}, {"bias": None}, {"name": ...}],
    ids=lambda one: next(iter(one)),
)
def test_a_damaged_one_is_one_sentence(tmp_path: Path, damage: dict[str, Any]) -> None:
    path = save_ngram_head(HEAD, tmp_path)
    about = json.loads(path.read_text()) | damage
    path.write_text(json.dumps({key: value for key, value in about.items() if value is not ...}))
    with pytest.raises(UserError, match=r"not a head, or damaged .*: train it again"):
        load_head(str(path))


@pytest.mark.parametrize("weights", [np.zeros(24, np.int8), np.zeros(16, np.float32), np.zeros((4, 4), np.int8)])
def test_weights_of_another_shape_are_refused(tmp_path: Path, weights: np.ndarray) -> None:
    path = save_ngram_head(HEAD, tmp_path)
    save_file({"weights": weights}, path.with_suffix(".safetensors"))
    with pytest.raises(UserError, match="not int8, a power of two"):
        load_head(str(path))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        save_ngram_head(HEAD, tmp_path / "file")


def test_the_pipeline_says_that_no_model_was_run(tmp_path: Path) -> None:
    engine = FakeEngine()
    engine.embed = None  # type: ignore[method-assign, assignment]
    pipeline = ClassificationPipeline(engine)  # type: ignore[arg-type]
    result = pipeline("A great film.", head=HEAD)
    assert [row["label"] for row in result.scores] == ["good", "bad"]
    assert result.scores[0]["score"] == pytest.approx(expit(HEAD.log_odds(["A great film."])[0]))
    assert "the model was not run" in result.info.notes[0] and result.info.timing.prompt_tokens == 4
    asked = pipeline("A great film.", ("x", "y"), head=str(save_ngram_head(HEAD, tmp_path)))
    assert "knows only its own labels (bad, good)" in asked.info.notes[1]
    with pytest.raises(BadRequest):
        pipeline(" ", head=HEAD)


def test_the_one_that_comes_with_brisk() -> None:
    head = load_head("imdb-student")
    assert isinstance(head, NgramHead) and head.labels == ("negative", "positive")
    praise, pan = head.log_odds(
        ["A wonderful film, moving and superbly acted.", "A terrible film, boring and badly acted."]
    )
    assert praise > 1 and pan < -1
    assert head.weights.nbytes <= 16e6

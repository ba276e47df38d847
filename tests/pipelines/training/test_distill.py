"""`brisk distill` on invented reviews: soft labels, three students, their table; and it reads nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from engine.errors import UserError
from engine.measure.command import single
from engine.measure.reviews import read_unlabelled
from pipelines.classification.heads import Head, load_head
from pipelines.classification.ngram_head import NgramHead
from pipelines.cli import run_app
from pipelines.evaluation.data import unique_reviews
from pipelines.training import distill, soft_labels
from pipelines.training.imdb import unlabelled_rows
from pipelines.training.teacher import ngram_matrix, with_bits
from tests.pipelines.fake_engine import FakeEngine

TINY = [
    word for change in ("embedding=16", "heads=2", "layers=1", "feed_forward=16", "max_tokens=24", "epochs=1")
    for word in ("--set", change)
]  # fmt: skip
Out = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path, imdb_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """IMDB's folder with eight reviews without a label, of which one stands in train and one is there twice."""
    folder = tmp_path / "imdb"
    folder.mkdir()
    for file in imdb_dir.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    known = pd.read_parquet(next(folder.glob("train*"))).text[0]
    texts = [
        f"A {word} film, number {i}." for i, word in enumerate(("great", "dull", "moving", "awful", "funny", "silly"))
    ]
    frame = pd.DataFrame({"text": [*texts, known, texts[0]], "label": -1})
    frame.to_parquet(folder / "unsupervised-00000-of-00001.parquet")
    unique_reviews.cache_clear()
    monkeypatch.setenv("IMDB_DIR", str(folder))
    return folder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    engine = FakeEngine()
    monkeypatch.setattr(distill, "load_engine", lambda config: engine)
    monkeypatch.setattr(soft_labels, "LAYER", 3)
    monkeypatch.setattr(soft_labels, "BITS", 14)
    torch.set_num_threads(1)
    return engine


def run(tmp_path: Path, *more: str) -> int:
    options = ("--work", str(tmp_path / "work"), "--bits", "12", "--layers", "2", "--tokens", "32", "--rounds", "1")
    return run_app(single(distill.distill), [*options, *more])


def test_reviews_without_a_label_are_of_neither_split(place: Path) -> None:
    raw, source = read_unlabelled()
    assert len(raw) == 8 and "unsupervised" in source
    rows, said = unlabelled_rows(0)
    assert [row.name for row in rows] == [f"unsupervised/{i}" for i in range(6)] and not any(row.label for row in rows)
    assert "6 reviews without a label" in said and len(unlabelled_rows(2)[0]) == 2


def test_all_students_and_their_table(place: Path, tmp_path: Path, fake: FakeEngine, capsys: Out) -> None:
    assert run(tmp_path, "--students", "ngrams,layers,transformer", "--test", "-1", *TINY) == 0
    out, err = capsys.readouterr()
    assert "Temperature 2; weight of soft targets 0.7 beside a label, 1 without." in err
    work = tmp_path / "work"
    words, layers = load_head(str(work / "imdb-student.json")), load_head(str(work / "imdb-student-layers.json"))
    assert isinstance(words, NgramHead) and words.bits == 12 and words.facts["labelled"] == words.facts["rows"] - 6
    assert isinstance(layers, Head) and (layers.layer, layers.model) == (2, "fake")
    assert (work / "imdb-student-transformer" / "model.safetensors").is_file()
    data = json.loads((work / "table.json").read_text())
    names = [one["name"] for one in data["standings"]]
    assert names == ["teacher", "student: n-grams", "student: 2 layers", "student: Transformer", "TF-IDF", "all layers"]
    assert data["standings"][1]["accuracy"]["value"] > 0.8 and data["standings"][1]["difference"]["base"] == "teacher"
    assert all(word in out for name in names for word in name.split())


def test_the_transformer_may_begin_with_a_trained_one(place: Path, tmp_path: Path, fake: FakeEngine) -> None:
    first = tmp_path / "work" / "imdb-student-transformer"
    assert run(tmp_path, "--students", "transformer", *TINY) == 0
    rate = ("--set", "lr=1e-12", "--set", "word_dropout=0", "--seed", "1")
    more = ("--output", str(tmp_path / "more"), "--init", str(first))
    assert run(tmp_path, "--students", "transformer", *TINY, *rate, *more) == 0
    second = tmp_path / "more" / "imdb-student-transformer"
    assert (first / "tokenizer.json").read_text() == (second / "tokenizer.json").read_text()
    one, two = (load_file(folder / "model.safetensors") for folder in (first, second))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, atol=1e-6, rtol=0)


def test_what_was_read_is_not_read_again(
    place: Path, tmp_path: Path, fake: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(tmp_path) == 0
    first = load_head(str(tmp_path / "work" / "imdb-student.json"))
    monkeypatch.setattr(FakeEngine, "embed", None)
    assert run(tmp_path) == 0
    again = load_head(str(tmp_path / "work" / "imdb-student.json"))
    assert isinstance(first, NgramHead) and isinstance(again, NgramHead)
    assert np.array_equal(first.weights, again.weights) and first.bias == again.bias


def test_without_unlabelled_reviews_and_elsewhere(place: Path, tmp_path: Path, fake: FakeEngine) -> None:
    assert run(tmp_path, "--unlabelled", "-1", "--output", str(tmp_path / "heads"), "--name", "mine") == 0
    head = load_head(str(tmp_path / "heads" / "mine.json"))
    assert head.facts["labelled"] == head.facts["rows"]


def test_fewer_bits_are_what_a_matrix_of_fewer_has() -> None:
    texts = [f"word{i} and word{i + 1} again" for i in range(50)]
    many, few = ngram_matrix(texts, 14), ngram_matrix(texts, 6)
    before = many.copy()
    merged = with_bits(many, 6)
    assert (many != before).nnz == 0, "the matrix it was made of is as it was"
    assert merged.shape == few.shape and (merged != few).nnz == 0 and with_bits(many, 14) is many


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--students", "ngrams,giant"), "Student 'giant' is unknown"),
        (("--set", "layers=many"), "--set layers is 'many': give a whole number"),
        (("--set", "causal=no"), "is a causal classifier"),
        (("--bits", "30"), "--bits is 30: give 10 to 22"),
        (("--soft", "2"), "The weight of soft targets is 2.0"),
        (("--rounds", "0"), "--rounds 1 or more"),
        (("--contrast", "none.parquet"), "There is no file none.parquet"),
        (("--init", "none"), "none/tokenizer.json cannot be read as a vocabulary"),
    ],
)
def test_what_is_refused_is_one_sentence(
    place: Path, tmp_path: Path, fake: FakeEngine, capsys: Out, more: tuple[str, ...], message: str
) -> None:
    assert run(tmp_path, *more) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_no_reviews_without_a_label(place: Path) -> None:
    (place / "unsupervised-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match="no unsupervised-"):
        read_unlabelled()

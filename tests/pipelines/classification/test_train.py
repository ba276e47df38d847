"""Training a head: from IMDB and from files, chosen by cross-validation, and rows that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pipelines.classification import train
from pipelines.classification.heads import Head, load_head
from pipelines.evaluation.data import unique_reviews
from tests.pipelines.fake_engine import BLAME, PRAISE, FakeEngine

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch, imdb_dir: Path) -> FakeEngine:
    fake = FakeEngine()
    unique_reviews.cache_clear()
    monkeypatch.setattr(train, "load_engine", lambda config: fake)
    monkeypatch.setattr("sys.argv", ["train"])
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))
    return fake


def run(tmp_path: Path, *more: str) -> int:
    return train.main(["--name", "new", "--output", str(tmp_path / "heads"), "--choose-on", "20", *more])


def test_a_head_for_imdb_is_fitted_on_train_and_says_how(tmp_path: Path, capsys: Out) -> None:
    assert run(tmp_path, "--rows", "32", "--layers", "1,4") == 0
    out, err = capsys.readouterr()
    path = tmp_path / "heads" / "new.json"
    assert out == f"{path}\n" and "layer 1:" in err and "Layer 4 of 4" in err
    head = load_head(str(path))
    assert isinstance(head, Head)
    assert (head.layer, head.labels, head.model) == (4, ("negative", "positive"), "fake")  # where words are loudest
    assert head.facts["drawn"] == head.facts["rows"] == 32 and head.facts["held_out"]["accuracy"] > 0.9
    assert set(head.facts["layers_tried"]) == {"1", "4"} and "pipelines.classification.train" in head.facts["command"]
    assert len(json.loads(path.read_text())["labels"]) == 2


def test_originals_of_contrast_pairs_are_not_fitted_on(tmp_path: Path) -> None:
    reviews = [r.text for r in unique_reviews("train").reviews[:3]]
    pairs = tmp_path / "pairs.parquet"
    pd.DataFrame(
        {
            "pair_id": [0, 1, 2],
            "text_original": reviews,
            "label_original": [0, 0, 0],
            "text_contrast": ["a", "b", "c"],
            "label_contrast": [1, 1, 1],
        }
    ).to_parquet(pairs)
    assert run(tmp_path, "--rows", "32", "--layers", "3", "--leave-out", str(pairs)) == 0
    head = load_head(str(tmp_path / "heads" / "new.json"))
    assert (head.facts["drawn"], head.facts["rows"]) == (32, 29) and "without 3" in head.facts["source"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_any_labelled_file_with_any_number_of_labels(tmp_path: Path, kind: str) -> None:
    rows = [{"words": f"It is {word} {i}.", "mood": "up"} for i, word in enumerate(PRAISE)]
    rows += [{"words": f"It is {word} {i}.", "mood": "down"} for i, word in enumerate(BLAME)]
    rows += [{"words": f"It is there {i}.", "mood": "007"} for i in range(8)]
    path = tmp_path / f"data.{kind}"
    frame = pd.DataFrame(rows)
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_json(path, orient="records", lines=True)
    columns = ("--data", str(path), "--text-column", "words", "--label-column", "mood", "--layers", "3")
    assert run(tmp_path, *columns) == 0
    head = load_head(str(tmp_path / "heads" / "new.json"))
    assert isinstance(head, Head)
    assert head.labels == ("007", "down", "up") and head.weight.shape == (3, 8)


def test_turned_texts_count_as_much_as_accuracy_affords(tmp_path: Path, capsys: Out) -> None:
    assert run(tmp_path, "--rows", "32", "--layers", "4", "--turned", "0,0.5") == 0
    assert "turned 0.5: accuracy" in capsys.readouterr().err
    facts = load_head(str(tmp_path / "heads" / "new.json")).facts
    tried = facts["turned_tried"]
    most = max(score["accuracy"] for score in tried.values())
    afforded = [float(one) for one, score in tried.items() if score["accuracy"] >= most - train.MAX_ACCURACY_LOSS]
    assert set(tried) == {"0", "0.5"} and facts["turned"] == max(afforded)
    assert facts["held_out"] == tried[f"{facts['turned']:g}"]


def test_texts_without_a_positive_and_a_negative_side_are_not_turned(tmp_path: Path, capsys: Out) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "a good film,x\n" * 6 + "a bad film,y\n" * 6)
    assert run(tmp_path, "--data", str(tmp_path / "a.csv"), "--turned", "0.5") == 2
    assert "--turned needs the labels negative and positive, and these are x, y." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "word"),
    [
        ("a.txt", "text,label\n", "neither .csv nor .jsonl"),
        ("a.csv", "words,label\na,b\n", "no column 'text': it has words, label"),
        ("a.csv", "text,label\nfine,x\n ,y\n", "Row 2 of .* has no text"),
        ("a.csv", "text,label\nfine,\n", "Row 1 of .* has no label"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text"', "cannot be read"),
        ("a.csv", "text,label\n" + "a,x\n" * 6, "have 1 label"),
        ("a.csv", "text,label\n" + "a,x\n" * 6 + "b,y\n" * 4, "'y' has 4 rows: give at least 5"),
    ],
)
def test_files_that_cannot_be_learnt_from(tmp_path: Path, name: str, text: str, word: str, capsys: Out) -> None:
    import re

    (tmp_path / name).write_text(text)
    assert run(tmp_path, "--data", str(tmp_path / name)) == 2
    err = capsys.readouterr().err
    assert re.search(word, err) and "Traceback" not in err


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("--reading max", "reading 'max' is unknown"),
        ("--layers one", "--layers is 'one'"),
        ("--tokens 3", "--tokens is 3"),
        ("--turned a", "--turned is 'a'"),
        ("--turned 0,2", "give weights from 0 to 1"),
        ("--choose-on 3", "--choose-on is 3"),
        ("--rows 0", "1 or more"),
        ("--leave-out nowhere.parquet", "no file nowhere.parquet"),
    ],
)
def test_requests_that_cannot_be_run(tmp_path: Path, option: str, word: str, capsys: Out) -> None:
    assert run(tmp_path, *option.split()) == 2
    assert word in capsys.readouterr().err

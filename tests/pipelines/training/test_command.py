"""`brisk train` as a command: on IMDB and on a file, its report, its scalars, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import load_file

from engine.measure.command import single
from pipelines.cli import run_app
from pipelines.evaluation.data import unique_reviews
from pipelines.training import figures, imdb
from pipelines.training.command import train

Out = pytest.CaptureFixture[str]
SMALL = [
    word for change in ("embedding=16", "heads=2", "layers=1", "feed-forward=16", "max-tokens=24", "epochs=2",
                        "validation=0.25", "batch=8")
    for word in ("--set", change)
]  # fmt: skip


@pytest.fixture(autouse=True)
def _imdb(monkeypatch: pytest.MonkeyPatch, imdb_dir: Path) -> None:
    unique_reviews.cache_clear()
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))


def run(output: Path, *more: str) -> int:
    return run_app(single(train), ["--output", str(output), "--threads", "1", *SMALL, *more])


def test_on_imdb_with_a_figure_of_its_test_split(tmp_path: Path, capsys: Out) -> None:
    assert run(tmp_path / "m", "--test", "16", "--scalars", str(tmp_path / "scalars")) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'm'}\n" and err.startswith("IMDB train, ")
    assert (
        err.count("; validation loss ") == 2 and "IMDB test, 16 reviews, seed 0: accuracy " in err and "n = 16" in err
    )
    assert list((tmp_path / "scalars").glob("events.out.tfevents.*"))
    options = json.loads((tmp_path / "m" / "training.json").read_text())["options"]
    assert (options["embedding"], options["optimizer"], options["seed"]) == (16, "adamw", 0)


def test_as_a_language_model_beside_one_untrained(tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imdb, "FEW", 2)
    more = ("--config", "imdb-gpt", "--set", "vocabulary=300", "--test", "8", "--rows", "16")
    assert run(tmp_path / "lm", *more) == 0
    err = capsys.readouterr().err
    assert "IMDB train, 16 reviews, seed 0" in err and " bits a byte over " in err
    assert "GPT-2's shape untrained, on the same tokens: " in err


def test_a_classifier_begins_with_a_language_model(tmp_path: Path, capsys: Out) -> None:
    words = ("--set", "tokens=words", "--set", "vocabulary=200", "--config", "imdb-gpt")
    assert run(tmp_path / "lm", *words) == 0
    assert run(tmp_path / "m", "--init", str(tmp_path / "lm"), "--set", "lr=1e-30", "--set", "epochs=1") == 0
    assert (tmp_path / "m" / "tokenizer.json").read_bytes() == (tmp_path / "lm" / "tokenizer.json").read_bytes()
    began, ended = (load_file(tmp_path / name / "model.safetensors") for name in ("lm", "m"))
    assert began.keys() == ended.keys() and all(torch.allclose(began[key], ended[key], atol=1e-6) for key in began)
    assert run(tmp_path / "wide", "--init", str(tmp_path / "lm"), "--set", "layers=2") == 2
    assert "cannot be read as a Transformer trained here" in capsys.readouterr().err


def test_the_optimizers_of_this_project_train_too(tmp_path: Path) -> None:
    for name in ("sgd", "adam"):
        assert run(tmp_path / name, "--set", f"optimizer={name}", "--set", "ours=yes", "--set", "epochs=1") == 0


def test_what_can_be_set_is_listed(tmp_path: Path, capsys: Out) -> None:
    assert run(tmp_path / "m", "--set", "help") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 26 and "causal=yes " in lines[9] and not (tmp_path / "m").exists()


def test_on_a_file_of_any_labels(tmp_path: Path) -> None:
    rows = [
        {"words": f"it is {label} number {i}", "mood": label} for i in range(12) for label in ("up", "down", "flat")
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "data.csv", index=False)
    columns = ("--data", str(tmp_path / "data.csv"), "--text-column", "words", "--label-column", "mood")
    assert run(tmp_path / "m", *columns) == 0
    assert json.loads((tmp_path / "m" / "training.json").read_text())["labels"] == ["down", "flat", "up"]


def test_originals_of_contrast_pairs_are_left_out(tmp_path: Path, capsys: Out) -> None:
    originals = [review.text for review in unique_reviews("train").reviews[:2]]
    frame = {"pair_id": [0, 1], "text_original": originals, "label_original": [0, 0], "text_contrast": ["a", "b"],
             "label_contrast": [1, 1]}  # fmt: skip
    pd.DataFrame(frame).to_parquet(tmp_path / "pairs.parquet")
    assert run(tmp_path / "m", "--leave-out", str(tmp_path / "pairs.parquet"), "--set", "epochs=1") == 0
    assert "without 2 originals of contrast pairs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--config", "gpt-5"), "There is no configuration 'gpt-5'"),
        (("--rows", "-1"), "--rows and --test take 0 or more"),
        (("--unlabelled", "-1"), "--unlabelled is for a language model"),
        (("--init", "none"), "tokenizer.json cannot be read as a vocabulary"),
        (("--data", "none.csv"), "none.csv cannot be read"),
        (("--data", "none.csv", "--test", "8"), "--test measures on IMDB"),
        (("--set", "heads=3"), "does not divide into 3 heads"),
        (("--set", "lr=0"), "lr is 0.0"),
        (("--set", "lr"), "--set takes name=value, and 'lr' is none: the names are kind, tokens"),
        (("--set", "depth=3"), "'depth=3' is none"),
        (("--set", "causal=perhaps"), "--set causal is 'perhaps': give yes or no"),
        (("--set", "epochs=1.5"), "--set epochs is '1.5': give a whole number"),
        (("--config", "imdb-words", "--vectors", "none.txt"), "none.txt cannot be read"),
        (("--set", "lr=90", "--set", "optimizer=sgd", "--set", "clip=0"), "lower the learning rate"),
    ],
)
def test_what_is_refused_is_one_sentence(tmp_path: Path, capsys: Out, more: tuple[str, ...], message: str) -> None:
    assert run(tmp_path / "m", *more) == 2
    err = capsys.readouterr().err
    assert message in err.splitlines()[-1] and err.splitlines()[-1].startswith("Error: ") and "Traceback" not in err


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: Out) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file" / "m") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_figure_is_of_the_optimizers_own_steps(tmp_path: Path) -> None:
    walked = {name: figures.path(name, lr) for name, lr in figures.PATHS.items()}
    left = {name: float(figures.valley(torch.from_numpy(path[-1]))) for name, path in walked.items()}
    begun = float(figures.valley(torch.tensor(figures.START)))
    assert all(path.shape == (figures.STEPS + 1, 2) for path in walked.values())
    assert max(left.values()) < begun / 50 and left["sgd"] > 5 * left["momentum"]
    assert run_app(figures.draw, [str(tmp_path)]) == 0
    assert imread(tmp_path / "training-paths.png").shape[1] > 800

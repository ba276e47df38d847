"""A CSV file labelled as a stream: the same labels as one by one, any size in little memory, nothing half written."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.classification import command, label
from pipelines.classification.heads import save_head
from pipelines.classification.ngram_head import save_ngram_head
from pipelines.cli import run_app
from tests.pipelines.classification.test_heads import HEAD as FEATURES
from tests.pipelines.classification.test_ngram_head import HEAD
from tests.pipelines.fake_engine import FakeEngine

Out = pytest.CaptureFixture[str]


def written(path: Path, rows: list[list[str]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)
    return path


def read(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as lines:
        return list(csv.reader(lines))


@pytest.fixture
def head(tmp_path: Path) -> str:
    return str(save_ngram_head(HEAD, tmp_path / "heads"))


def run(tmp_path: Path, head: str, *more: str) -> int:
    return run_app(command.label, [str(tmp_path / "in.csv"), str(tmp_path / "out.csv"), "--head", head, *more])


def test_every_row_keeps_its_columns_and_order(
    tmp_path: Path, head: str, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label, "CHUNK", 3)
    texts = [f"{word} {i}\nand, more" for i in range(10) for word in ("great", "awful")]
    rows = [[str(i), text, "x"] for i, text in enumerate(texts)]
    written(tmp_path / "in.csv", [["id", "text", "more"], *rows])
    assert run(tmp_path, head, "--processes", "2") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out.csv'}\n"
    header, *found = read(tmp_path / "out.csv")
    assert header == ["id", "text", "more", "label", "score"] and [row[:3] for row in found] == rows
    for text, row in zip(texts, found, strict=True):
        p = HEAD.read(None, text)[0]
        assert row[3:] == [HEAD.labels[p.argmax()], f"{p.max():.4f}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heads", "in.csv", "out.csv"]


def test_rows_without_a_text_have_no_label_and_are_counted(tmp_path: Path, head: str, capsys: Out) -> None:
    written(tmp_path / "in.csv", [["id", "text"], ["1", "great"], ["2", " "], ["3"], ["4", "awful"]])
    assert run(tmp_path, head, "--processes", "1") == 0
    assert "2 of 4 rows have no readable text, row 2 first" in capsys.readouterr().err
    assert [row[2] for row in read(tmp_path / "out.csv")] == ["label", "good", "", "", "bad"]


def test_a_head_of_a_model_reads_its_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label, "load_engine", lambda config: FakeEngine())
    written(tmp_path / "in.csv", [["review"], ["A wonderful, moving film."], ["A dull and boring film."]])
    assert run(tmp_path, str(save_head(FEATURES, tmp_path / "heads")), "--text-column", "review") == 0
    assert [row[1] for row in read(tmp_path / "out.csv")] == ["label", "good", "bad"]


def test_chunks_that_wait_are_few() -> None:
    """Whatever the file's length: rows are read no further ahead than `waiting` chunks."""
    taken = 0

    def chunks() -> Iterator[list[list[str]]]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield [["great"]]

    with label.ThreadPoolExecutor(1) as pool:
        judged = label._judged(chunks(), 0, pool, lambda texts: [("good", "1") for _ in texts], waiting=4)
        for done, _ in enumerate(judged, 1):
            assert taken - done <= 4
    assert taken == 100


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        ([["a", "b"], ["1", "2"]], (), r"has no column 'text': it has a, b"),
        ([], (), r"has no column 'text': it has no header"),
        ([["text", "label"], ["1", "2"]], (), r"has a column 'label' already: rename it"),
        ([["text"], ["great"]], ("--processes", "-1"), r"--processes is -1"),
    ],
)
def test_files_that_cannot_be_labelled(
    tmp_path: Path, head: str, capsys: Out, rows: list[list[str]], more: tuple[str, ...], message: str
) -> None:
    written(tmp_path / "in.csv", rows)
    assert run(tmp_path, head, *more) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err and not (tmp_path / "out.csv").exists()


def _end(texts: list[str]) -> None:
    os._exit(1)


def test_a_process_that_is_ended_is_one_sentence(
    tmp_path: Path, head: str, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label, "_by_words", _end)
    written(tmp_path / "in.csv", [["text"], ["great"]])
    assert run(tmp_path, head, "--processes", "1") == 2
    assert "A process that judges rows was ended from outside" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heads", "in.csv"]


def test_places_that_are_none(tmp_path: Path, head: str, capsys: Out) -> None:
    assert run(tmp_path, head) == 2
    assert "in.csv cannot be read: No such file" in capsys.readouterr().err
    written(tmp_path / "in.csv", [["text"], ["great"]])
    assert run_app(command.label, [str(tmp_path / "in.csv"), str(tmp_path / "in.csv"), "--head", head]) == 2
    assert "is the file that is read" in capsys.readouterr().err
    assert run_app(command.label, [str(tmp_path / "in.csv"), str(tmp_path / "no" / "out.csv"), "--head", head]) == 2
    assert "cannot be written" in capsys.readouterr().err
    (tmp_path / "in.csv").write_bytes(b"text\n\xff\xfe\n")
    assert run(tmp_path, head, "--processes", "1") == 2
    assert "is not UTF-8" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["heads", "in.csv"]

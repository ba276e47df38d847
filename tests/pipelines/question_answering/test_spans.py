"""SQuAD's measures, and files of questions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine.measure.reviews import BadData
from pipelines.question_answering import spans


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "f1"),
    [
        ("The Eiffel Tower!", ["eiffel tower"], 1, 1),
        ("in the Eiffel Tower", ["Eiffel Tower", "Paris"], 0, 0.8),
        ("Rome", ["Paris"], 0, 0),
        ("", ["Paris"], 0, 0),
        ("", [], 1, 1),
        ("Paris", [], 0, 0),
        ("the", ["a"], 1, 1),  # nothing is left of either
    ],
)
def test_the_measures_of_squad(answer: str, gold: list[str], exact: float, f1: float) -> None:
    assert spans.exact(answer, gold) == exact and spans.f1(answer, gold) == pytest.approx(f1)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_questions_are_drawn_by_the_seed_and_carry_their_answers(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {
            "context": f"Text {i}.",
            "question": f" What {i}? ",
            "answers": {"text": [f"{i}"] if i % 2 else [], "start": [0]},
        }
        for i in range(20)
    ]
    file = write(tmp_path / "squad" / "dev.parquet", rows)
    found = spans.read_questions(file, 6, 1)
    assert found == spans.read_questions(file, 6, 1) != spans.read_questions(file, 6, 2)
    assert len(found) == 6 and len({q.id for q in found}) == 6
    for question in found:
        row = rows[int(question.id.removeprefix("span/squad/"))]
        assert question.text == row["context"] and question.about["question"] == row["question"].strip()
        assert question.about["answers"] == row["answers"]["text"]
    plain = write(tmp_path / "mine" / "q.parquet", [{"context": "a", "question": "b", "answers": ["c", " "]}])
    assert spans.read_questions(plain, 9, 0)[0].about["answers"] == ["c"]


def test_files_that_hold_no_questions(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no file"):
        spans.read_questions(tmp_path / "none.parquet", 1, 0)
    file = write(tmp_path / "a" / "x.parquet", [{"context": "a", "question": "b"}])
    with pytest.raises(BadData, match="no column answers"):
        spans.read_questions(file, 1, 0)
    file = write(tmp_path / "a" / "y.parquet", [{"context": "", "question": "b", "answers": []}])
    with pytest.raises(BadData, match=r"Row 0 of .* has no context or no question"):
        spans.read_questions(file, 1, 0)


def test_figures_of_every_file_apart() -> None:
    rows = [
        {"id": "span/a/0", "answer": "x", "gold": ["x"], "verbatim": True, "answered": "x", "no_answer": 0.1},
        {"id": "span/a/1", "answer": "x", "gold": [], "verbatim": True, "answered": "x", "no_answer": 0.4},
        {"id": "span/a/2", "answer": "", "gold": ["y"], "verbatim": True, "answered": "y", "no_answer": 0.6},
        {"id": "span/b/0", "answer": "", "gold": [], "verbatim": True, "answered": "z", "no_answer": 0.9},
    ]
    found = {figure.name: figure for figure in spans.figures(rows)}
    assert found["a: F1, answerable"].value == 0.5 and found["a: F1, answerable"].n == 2
    assert found["a: none given, unanswerable"].value == 0 and found["a: F1, all"].value == pytest.approx(1 / 3)
    assert found["a: F1, all, never answering"].value == pytest.approx(1 / 3)
    assert found["a: F1, answerable, always answering"].value == 1 and found["a: AUC of no answer"].value == 0.5
    assert "b: AUC of no answer" not in found and "b: F1, answerable" not in found and found["b: F1, all"].value == 1

"""Lessons from files: what is read, and what is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from engine.measure.reviews import BadData
from pipelines.training.lesson_rows import COLUMNS, read_lessons, renamed


def test_each_form_gives_the_same_lessons(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["one", "two"], "label": ["a", "b"]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    frame.to_parquet(tmp_path / "x.parquet")
    found = [read_lessons(tmp_path / f"x.{kind}", "classification", COLUMNS["classification"]) for kind in ("csv", "jsonl", "parquet")]  # fmt: skip # noqa: E501
    assert found[0] == found[1] == found[2]
    assert [(one.text, one.answer, one.name) for one in found[0]] == [("one", "a", "row 1"), ("two", "b", "row 2")]


def test_squads_answers_are_the_first_or_none(tmp_path: Path) -> None:
    rows = [
        {
            "context": "In Rome.",
            "question": "Where?",
            "title": "Rome",
            "answers": {"text": ["Rome"], "answer_start": [3]},
        },
        {"context": "In Rome.", "question": "When?", "title": "Rome", "answers": {"text": [], "answer_start": []}},
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "q.parquet")
    found = read_lessons(tmp_path / "q.parquet", "question_answering", COLUMNS["question_answering"])
    assert [(one.question, one.answer, one.subject) for one in found] == [
        ("Where?", "Rome", "Rome"),
        ("When?", "", "Rome"),
    ]


def test_columns_may_be_called_otherwise() -> None:
    assert renamed(["text=review", "label=stars"], "classification") == ("review", "", "stars")
    with pytest.raises(BadData, match="'question=q' is none: the names are text, label"):
        renamed(["question=q"], "classification")


@pytest.mark.parametrize(
    ("frame", "task", "sentence"),
    [
        ({"text": ["one"]}, "classification", "has no column 'label': it has text"),
        ({"text": ["", "b"], "label": ["a", "b"]}, "classification", "Row 1 of .* has nothing in 'text'"),
        ({"text": ["a", "b"], "label": ["a", ""]}, "classification", "Row 2 of .* has nothing in 'label'"),
        ({"text": ["a", "b"], "label": ["a", "a"]}, "classification", "has one label alone"),
        (
            {"context": ["In Rome."], "question": ["Where?"], "answers": ["Paris"]}, "question_answering",
            "The answer in row 1 of .* does not stand in its text word for word",
        ),
    ],
)  # fmt: skip
def test_bad_rows_are_named(tmp_path: Path, frame: dict[str, list[str]], task: str, sentence: str) -> None:
    pd.DataFrame(frame).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(BadData, match=sentence):
        read_lessons(tmp_path / "x.csv", task, COLUMNS[task])


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"is neither \.csv nor \.jsonl nor \.parquet"):
        read_lessons(tmp_path / "x.txt", "classification", COLUMNS["classification"])
    with pytest.raises(BadData, match="cannot be read"):
        read_lessons(tmp_path / "x.csv", "classification", COLUMNS["classification"])

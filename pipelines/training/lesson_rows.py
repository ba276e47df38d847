"""Lessons from a file of one's own: CSV, JSONL or Parquet, a row each, checked before anything is learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.measure.reviews import BadData
from pipelines.classification.rows import read_table
from pipelines.training.lessons import Lesson

# Task -> what a row has: text, question (where there is one), answer.
COLUMNS: dict[str, tuple[str, str, str]] = {
    "classification": ("text", "", "label"),
    "question_answering": ("context", "question", "answers"),
    "summarization": ("text", "", "summary"),
    "generation": ("prompt", "", "completion"),
}

SUBJECT = "title"  # column of a text's subject, where questions have one, as SQuAD's


def renamed(columns: Sequence[str], task: str) -> tuple[str, str, str]:
    """A task's columns, "name=theirs" where a file calls one otherwise.

    Raises
    ------
    BadData : there is no such column.
    """
    usual = COLUMNS[task]
    theirs: dict[str, str] = {}
    for one in columns:
        name, equals, other = one.partition("=")
        if not equals or name not in usual or not name:
            known = ", ".join(filter(None, usual))
            raise BadData(f"--column takes name=theirs, and '{one}' is none: the names are {known}.")
        theirs[name] = other
    text, question, answer = (theirs.get(name, name) for name in usual)
    return text, question, answer


def read_lessons(path: Path, task: str, columns: tuple[str, str, str]) -> list[Lesson]:
    """A lesson for each row.

    Parameters
    ----------
    path : .csv, .jsonl or .parquet.
    task : what is learnt.
    columns : of the text, of the question ("" where there is none), of the answer. Answers of questions may be a text,
        a list of texts or SQuAD's {text, answer_start}, of which the first counts; none means the text holds none.

    Raises
    ------
    BadData : it cannot be read, lacks a column, or a row (whose number is given) lacks something.
    """
    frame = read_table(path, [name for name in columns if name], " (--column says which is which)")
    text_column, question_column, answer_column = columns
    lessons = []
    for i, row in enumerate(frame.to_dict("records"), 1):
        text, answer = row[text_column], _first(row[answer_column]).strip()
        question = row[question_column] if question_column else ""
        for column, value in ((text_column, text), (question_column, question)):
            if column and not (isinstance(value, str) and value.strip()):
                raise BadData(f"Row {i:,} of {path} has nothing in '{column}': fill it, or leave the row out.")
        if not answer and task != "question_answering":
            raise BadData(f"Row {i:,} of {path} has nothing in '{answer_column}': fill it, or leave the row out.")
        if task == "question_answering" and answer and answer not in text:
            raise BadData(
                f"The answer in row {i:,} of {path} does not stand in its text word for word: copy it from there."
            )
        subject = str(row.get(SUBJECT) or "") if question_column else ""
        lessons.append(Lesson(text, question, answer, f"row {i}", subject=subject))
    if task == "classification" and len({lesson.answer for lesson in lessons}) < 2:
        raise BadData(f"{path} has one label alone: give at least two.")
    return lessons


def _first(given: Any) -> str:
    """The first of several answers, "" where there is none."""
    if isinstance(given, Mapping):
        given = given.get("text", "")
    if given is None or isinstance(given, float):  # pandas' empty cell
        return ""
    if isinstance(given, str):
        return given
    many = list(given) if hasattr(given, "__iter__") else [given]
    return str(many[0]) if many else ""

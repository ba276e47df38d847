"""Labelled texts to learn from: rows of a CSV or JSONL file, checked before anything is fitted on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from engine.measure.reviews import BadData

MIN_ROWS = 5  # rows of a label: one a fold


class Row(NamedTuple):
    """A text, the name of its label, what the row is called in messages, and what it is about (a film): texts that a
    model is measured on should not share that with those it learnt. Empty where it is not known."""

    text: str
    label: str
    name: str
    about: str = ""


def labels_of(rows: Iterable[Row]) -> list[str]:
    """The labels in alphabetical order; BadData where there are too few, or too few rows of one."""
    counts = Counter(row.label for row in rows)
    if len(counts) < 2:
        raise BadData(f"The rows have {len(counts)} label: give at least two.")
    rarest = min(counts, key=lambda label: counts[label])
    if counts[rarest] < MIN_ROWS:
        raise BadData(f"The label '{rarest}' has {counts[rarest]} rows: give at least {MIN_ROWS} of each.")
    return sorted(counts)


def read_rows(path: Path, text_column: str, label_column: str) -> list[Row]:
    """Rows of a CSV or JSONL file.

    Parameters
    ----------
    path : the file; its ending says which.
    text_column, label_column : names of its columns.

    Raises
    ------
    BadData : it cannot be read, lacks a column, or a row (whose number is given) has no text or no label.
    """
    import pandas as pd

    readers: dict[str, Any] = {
        ".csv": lambda: pd.read_csv(path, dtype=str, keep_default_na=False),
        ".jsonl": lambda: pd.read_json(path, lines=True, dtype=False),
    }
    if path.suffix not in readers:
        raise BadData(f"{path} is neither .csv nor .jsonl: give one of them, or imdb.")
    try:
        frame = readers[path.suffix]()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise BadData(f"{path} cannot be read ({reason}): give a {path.suffix[1:].upper()} file.") from error
    for column in (text_column, label_column):
        if column not in frame.columns:
            raise BadData(f"{path} has no column '{column}': it has {', '.join(map(str, frame.columns))}.")
    rows: list[Row] = []
    for i, (text, label) in enumerate(zip(frame[text_column], frame[label_column], strict=True), 1):
        if not isinstance(text, str) or not text.strip():
            raise BadData(f"Row {i:,} of {path} has no text in '{text_column}': give it one, or leave it out.")
        if label is None or not str(label).strip():
            raise BadData(f"Row {i:,} of {path} has no label in '{label_column}': give it one, or leave it out.")
        rows.append(Row(text, str(label), f"row {i}"))
    return rows

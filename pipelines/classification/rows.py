"""Labelled texts to learn from: rows of a file, checked before anything is fitted on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.measure.reviews import BadData

if TYPE_CHECKING:
    from pandas import DataFrame

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


def read_table(path: Path, columns: Sequence[str], hint: str = "") -> DataFrame:
    """A file of rows that has these columns.

    Parameters
    ----------
    path : .csv, .jsonl or .parquet.
    columns : that it must have; it may have others.
    hint : what to do where one is missing.

    Raises
    ------
    BadData : it cannot be read, or lacks a column.
    """
    import pandas as pd

    readers: dict[str, Any] = {
        ".csv": lambda: pd.read_csv(path, dtype=str, keep_default_na=False),
        ".jsonl": lambda: pd.read_json(path, lines=True, dtype=False),
        ".parquet": lambda: pd.read_parquet(path),
    }
    if path.suffix not in readers:
        raise BadData(f"{path} is neither .csv nor .jsonl nor .parquet: give one of them, or imdb.")
    try:
        frame: DataFrame = readers[path.suffix]()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise BadData(f"{path} cannot be read ({reason}): give a {path.suffix[1:].upper()} file.") from error
    for column in columns:
        if column not in frame.columns:
            raise BadData(f"{path} has no column '{column}': it has {', '.join(map(str, frame.columns))}{hint}.")
    return frame


def read_rows(path: Path, text_column: str, label_column: str) -> list[Row]:
    """Rows of a file that `read_table` reads.

    Parameters
    ----------
    path : the file; its ending says which.
    text_column, label_column : names of its columns.

    Raises
    ------
    BadData : it cannot be read, lacks a column, or a row (whose number is given) has no text or no label.
    """
    frame = read_table(path, (text_column, label_column))
    rows: list[Row] = []
    for i, (text, label) in enumerate(zip(frame[text_column], frame[label_column], strict=True), 1):
        if not isinstance(text, str) or not text.strip():
            raise BadData(f"Row {i:,} of {path} has no text in '{text_column}': give it one, or leave it out.")
        if label is None or not str(label).strip():
            raise BadData(f"Row {i:,} of {path} has no label in '{label_column}': give it one, or leave it out.")
        rows.append(Row(text, str(label), f"row {i}"))
    return rows

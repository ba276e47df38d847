"""Tables of text, written once: for a terminal, as Markdown, JSON or CSV.

Everything that measures gives its result as `Sheet`s, sentences beside them, and data; the form is chosen here.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

FORMATS = ("table", "md", "json")
FILE_WIDTH = 180  # of a table that goes to a file or a pipe, which has no width of its own
STYLES = {"holds": "green", "FAILS": "red", "DOES NOT": "red", "reported": "dim", "not measured": "dim"}  # of a cell


@dataclass(frozen=True)
class Sheet:
    """A titled table of text.

    Attributes
    ----------
    title : shown above it.
    header : names of the columns.
    rows : the cells, as many a row as there are columns. A line break in one stays in a terminal and is a space in
        Markdown.
    right : names of the columns whose cells are set to the right.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[str, ...] = ()


def print_sheets(sheets: Sequence[Sheet], before: Sequence[str] = (), after: Sequence[str] = ()) -> None:
    """Tables on stdout for a person, with sentences before and after them.

    Parameters
    ----------
    sheets : in this order. A cell that is one of `STYLES` has that colour.
    before, after : a line each, shown as they are.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=FILE_WIDTH, highlight=False)
    for line in before:
        console.print(line, markup=False)
    for sheet in sheets:
        table = Table(title=sheet.title, title_justify="left")
        for column in sheet.header:
            table.add_column(column, justify="right" if column in sheet.right else "left")
        for row in sheet.rows:
            table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
        console.print(table)
    for line in after:
        console.print(line, markup=False)


def markdown_table(sheet: Sheet) -> str:
    """The table alone, ending with a line break."""
    marks = ["---:" if column in sheet.right else "---" for column in sheet.header]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |\n"
        for line in (sheet.header, marks, *sheet.rows)
    )


def markdown_page(
    title: str,
    facts: Sequence[str],
    sheets: Sequence[Sheet],
    remarks: Sequence[str] = (),
    sections: Mapping[str, str] | None = None,
) -> str:
    """A page of Markdown.

    Parameters
    ----------
    title : its heading.
    facts : a list under the heading.
    sheets : a section each.
    remarks : a list under the last table.
    sections : heading -> a text shown as it is, in a fence, at the end.
    """
    lines = [f"# {title}", "", *(f"- {fact}" for fact in facts), ""]
    for sheet in sheets:
        lines += [f"## {sheet.title}", "", markdown_table(sheet)]
    lines += [*(f"- {remark}" for remark in remarks), ""] if remarks else []
    for name, text in (sections or {}).items():
        lines += [f"## {name}", "", _fence(text), ""]
    return "\n".join(lines)


def _fence(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def as_json(data: Any) -> str:
    """JSON, indented. It has no NaN: an undefined value is null, at any depth."""
    return json.dumps(finite(data), indent=2, ensure_ascii=False, allow_nan=False)


def finite(value: Any) -> Any:
    """The same with None for every number that is not finite, at any depth; tuples become lists."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line a row; what is nested becomes columns such as `prefill.median`."""
    flat = [_flat(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        elif isinstance(value, (list, tuple)):
            found[before + key] = "; ".join(map(str, value))
        else:
            found[before + key] = value
    return found


def show(form: str, sheets: Sequence[Sheet], lines: Sequence[str], data: Mapping[str, Any], rows: str = "rows") -> None:
    """Print a result to stdout.

    Parameters
    ----------
    form : "table" for a terminal, "md" for the tables and a list of the sentences, "json" for the data, "csv" for one
        list in it.
    sheets : the tables.
    lines : sentences to be read beside them.
    data : all of it for a script, JSON-able.
    rows : key of the list in `data` that CSV holds.
    """
    if form == "json":
        print(as_json(data))
    elif form == "csv":
        print(as_csv(data[rows]), end="")
    elif form == "md":
        for sheet in sheets:
            print(f"{sheet.title}\n\n{markdown_table(sheet)}")
        print("\n".join(f"- {line}" for line in lines))
    else:
        print_sheets(sheets, after=lines)

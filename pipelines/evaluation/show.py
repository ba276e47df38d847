"""A report's text: tables for a terminal, Markdown for a page."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

FORMATS = ("table", "md", "json")
Cells = list[str]
Titled = tuple[str, tuple[str, ...], list[Cells]]  # title, columns, lines

_RIGHT = ("value", "n", "difference", "lost", "won", "McNemar p")


def finite(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: an undefined value is null, at any depth."""
    return {key: _finite(value) for key, value in fields.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return finite(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_table(facts: Sequence[str], tables: Sequence[Titled], rest: Sequence[str]) -> None:
    """On stdout; 120 columns wide where there is no terminal, so that a table in a file is not broken."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=120)
    for fact in facts:
        console.print(fact, markup=False, highlight=False)
    for title, columns, lines in tables:
        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column, justify="right" if column in _RIGHT else "left")
        for line in lines:
            table.add_row(*line)
        console.print(table, highlight=False)
    for text in rest:
        console.print(text, markup=False, highlight=False)


def markdown(
    title: str, facts: Sequence[str], tables: Sequence[Titled], remarks: Sequence[str], sections: Mapping[str, str]
) -> str:
    """A page; `sections` are texts shown as they are."""
    lines = [f"# {title}", "", *(f"- {fact}" for fact in facts), ""]
    for name, columns, rows in tables:
        marks = ["---:" if column in _RIGHT else "---" for column in columns]
        lines += [f"## {name}", "", _line(columns), _line(marks), *map(_line, rows), ""]
    lines += [*(f"- {remark}" for remark in remarks), ""] if remarks else []
    for name, text in sections.items():
        lines += [f"## {name}", "", _fence(text), ""]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _fence(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"

"""The same result as a table for a screen, Markdown, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.measure.speed.figures import Bound, Row, Shape

FORMATS = ("table", "md", "json", "csv")
FILE_WIDTH = 180  # of a table that goes to a file or a pipe, which has no width of its own


@dataclass(frozen=True)
class Sheet:
    """A titled table of text."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def speed_sheet(rows: Sequence[Row], shape: Shape, baseline: str) -> Sheet:
    """Tokens a second and what a user waits for."""
    header = (
        "", "weights", "KV", f"prefill pp{shape.prompt}, tokens/s", "ratio", f"decode tg{shape.new}, tokens/s", "ratio",
        "TTFT", "memory", "load", f"tokens as {baseline}",
    )  # fmt: skip
    cells = tuple(
        (
            row.name, row.dtype, row.kv, row.prefill.text(0), _times(row.prefill_ratio),
            row.decode.text(), _times(row.decode_ratio),
            f"{row.ttft_s.median:.2f} s", f"{row.memory / 1e6:.0f} MB", f"{row.load_s:.1f} s",
            "-" if row.same_tokens is None else f"{row.same_tokens} of {shape.new}",
        )
        for row in rows
    )  # fmt: skip
    return Sheet("Speed: median (least to most)", header, cells)


def bound_sheet(rows: Sequence[Row]) -> Sheet:
    """What each speed is of this machine's ceilings."""
    header = ("", "prefill GFLOP/s", "of fp32 ceiling", "bound", "decode GB/s", "of bandwidth", "bound")
    cells = tuple(
        (row.name, *_cells(row.prefill_bound, "compute"), *_cells(row.decode_bound, "memory")) for row in rows
    )
    return Sheet("What bounds it", header, cells)


def _cells(bound: Bound | None, which: str) -> tuple[str, str, str]:
    if bound is None:
        return "-", "-", "-"
    share = bound.memory_share if which == "memory" else bound.compute_share
    return f"{bound.reached:.0f}" if bound.reached >= 100 else f"{bound.reached:.1f}", f"{share:.0%}", bound.name


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def show(format: str, sheets: Sequence[Sheet], lines: Sequence[str], data: dict[str, Any]) -> None:
    """Print to stdout: sheets and the lines under them, or `data` as JSON, or its last table as CSV."""
    if format == "json":
        print(json.dumps(data, indent=1))
    elif format == "csv":
        lists = (data.get(name) for name in ("kernels", "operators", "targets", "rows"))
        print(as_csv(next((rows for rows in lists if rows), [])), end="")
    elif format == "md":
        print("\n".join([*(as_markdown(sheet) for sheet in sheets), *(f"{line}\n" for line in lines)]), end="")
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=FILE_WIDTH)
        for sheet in sheets:
            table = Table(*sheet.header, title=sheet.title)
            for row in sheet.rows:
                table.add_row(*row)
            console.print(table)
        for line in lines:
            console.print(line, markup=False, highlight=False)


def as_markdown(sheet: Sheet) -> str:
    lines = [sheet.header, ("---",) * len(sheet.header), *sheet.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """One line a row; what is nested becomes columns such as `prefill.median`."""
    flat = [_flat(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in flat for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{before}{key}.")
        elif isinstance(value, (list, tuple)):
            found[before + key] = "; ".join(map(str, value))
        else:
            found[before + key] = value
    return found


def row_data(row: Row) -> dict[str, Any]:
    return asdict(row)

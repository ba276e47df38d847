"""A report from the files of a run: `python -m pipelines.evaluation.report FOLDER` computes it anew.

The figures come from `rows.jsonl` alone; `run.json` only says where and how the rows were made.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.errors import UserError
from pipelines import TASKS, load
from pipelines.evaluation.runner import ROWS_FILE, RUN_FILE, read_rows
from pipelines.evaluation.statistics import Figure, mean, share


@dataclass(frozen=True)
class Report:
    """The figures of a run, one example, and the environment it ran in. `missing`: reviews drawn but not reached."""

    environment: dict[str, Any]
    figures: list[Figure]
    example: str
    rows: int
    failed: int
    missing: int
    reading: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "environment": self.environment,
            "rows": self.rows,
            "failed": self.failed,
            "missing": self.missing,
            "complete": self.missing == 0,
            "figures": [_finite(figure.to_dict()) for figure in self.figures],
            "example": self.example,
        }

    def facts(self) -> list[str]:
        """Sentences a reader must know before the table."""
        sample, engine = self.environment["sample"], self.environment["engine"]
        facts = [
            f"{engine['model']} ({engine['source']}), {engine['precision']} on {engine['device']}, "
            f"{engine['threads']} threads.",
            f"IMDB {sample['split']} ({sample['source']}): {sample['reviews']:,} reviews, {sample['positive']:,} "
            f"of them positive, "
            f"seed {sample['seed']}; of {sample['rows_published']:,} rows {sample['duplicates_removed']:,} "
            f"duplicates and "
            f"{sample['found_in_train_removed']:,} texts that stand in train were removed first.",
        ]
        if self.failed:
            facts.append(f"{self.failed:,} of {self.rows:,} rows failed and are not in the figures.")
        if self.missing:
            facts.append(f"Partial: the run was stopped, {self.missing:,} reviews were not reached.")
        return [*facts, self.reading]

    def table(self) -> Table:
        table = Table(
            title=f"IMDB {self.environment['task']}, {self.environment['engine']['precision']}", title_justify="left"
        )
        for column in ("figure", "value", "95 % interval", "n", "interval by", "note"):
            table.add_column(column, justify="right" if column in ("value", "n") else "left")
        for figure in self.figures:
            table.add_row(*_cells(figure))
        return table

    def markdown(self) -> str:
        environment = self.environment
        lines = [
            f"# IMDB {environment['task']}: {environment['engine']['model']}, {environment['engine']['precision']}",
            "",
        ]
        lines += [f"- {fact}" for fact in self.facts()]
        lines += ["", "| figure | value | 95 % interval | n | interval by | note |", "|---|---:|---|---:|---|---|"]
        lines += [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(figure)) + " |" for figure in self.figures
        ]
        lines += ["", "## Example", "", _fence(self.example), "", "## Prompt", "", _fence(environment["prompt"])]
        lines += ["", "## Environment", "", _fence(json.dumps(environment, indent=2, ensure_ascii=False)), ""]
        return "\n".join(lines)


def _cells(figure: Figure) -> list[str]:
    interval = figure.interval()
    return [figure.name, figure.text(), interval, f"{figure.n:,}", figure.method if interval else "", figure.note]


def _fence(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: an undefined value is null."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in fields.items()
    }


def build_report(folder: Path) -> Report:
    """The report of the run in `folder`; UserError if its files are missing, damaged or of an unknown task."""
    rows = read_rows(folder / ROWS_FILE)
    try:
        environment = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        task, drawn = environment["task"], environment["sample"]["reviews"]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder / RUN_FILE} is missing or damaged: name the folder of a run.") from error
    paths = {known.name: known.evaluation for known in TASKS}
    if task not in paths:
        raise UserError(f"{folder / RUN_FILE} is of the task '{task}', which is unknown here.")
    evaluation = load(paths[task])
    good = [row for row in rows if "error" not in row]
    figures = evaluation.figures(good) + _common(good) if good else []
    example = evaluation.example(good) if good else ""
    return Report(
        environment, figures, example, len(rows), len(rows) - len(good), drawn - len(rows), evaluation.reading
    )


def _common(rows: list[dict[str, Any]]) -> list[Figure]:
    """What every task reports: shortened texts and time."""
    return [
        share("texts shortened", [bool(row.get("shortened")) for row in rows]),
        mean("seconds a review", [row["seconds"] for row in rows], note="one at a time, all of a row's work"),
    ]


def write_report(folder: Path) -> Report:
    """Builds the report and writes `report.json` and `report.md` beside the rows."""
    report = build_report(folder)
    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    (folder / "report.md").write_text(report.markdown(), encoding="utf-8")
    return report


def print_report(report: Report, console: Console) -> None:
    """Facts, table and example, for a person."""
    for fact in report.facts():
        console.print(fact, markup=False, highlight=False)
    console.print(report.table(), highlight=False)
    console.print(f"Example\n{report.example}\n", markup=False, highlight=False)


def stdout_console() -> Console:
    """A console on stdout; 120 columns where there is no terminal, so that a table in a file is not broken."""
    console = Console(file=sys.stdout)
    return console if console.is_terminal else Console(file=sys.stdout, width=120)


def main(arguments: list[str]) -> int:
    """`python -m pipelines.evaluation.report FOLDER`."""
    if len(arguments) != 1:
        print("Error: name one folder: python -m pipelines.evaluation.report FOLDER", file=sys.stderr)
        return 2
    try:
        print_report(write_report(Path(arguments[0])), stdout_console())
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(Path(arguments[0]) / "report.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

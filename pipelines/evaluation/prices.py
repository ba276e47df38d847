"""The price list: what each precision costs and saves, task by task, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.measure.sheet import Sheet, as_json, markdown_page, print_sheets
from engine.measure.statistics import Figure
from pipelines.evaluation.paired import Comparison
from pipelines.evaluation.report import RIGHT, Part, Report

COLUMNS = (
    "task", "precision", "quality", "value", "95 % interval", "difference", "its 95 % interval", "verdict",
    "rows/s", "took", "weights",
)  # fmt: skip
READING = (
    "Every precision ran on the same reviews; a difference is that of the reviews' own results, a gain where positive. "
    "Verdict, against the margin beside it: 'same' where the interval's lower end lies above minus the margin, 'worse' "
    "where its upper end lies below 0, 'no proof' otherwise. Rows/s: one at a time, all of a row's work, baselines and "
    "judges included. Took: all rows of a task in a precision."
)


@dataclass(frozen=True)
class Line:
    """One measure of a task in one precision; `comparison` with the first precision, None in it."""

    task: str
    part: Part
    level: Figure
    comparison: Comparison | None
    rows_per_s: float
    weight_bytes: int

    def cells(self) -> tuple[str, ...]:
        one = self.comparison
        compared = ["", "", ""]
        if one is not None:
            verdict = f"{one.verdict} ({one.margin_text()})"
            compared = [one.difference.signed(), one.difference.interval(), verdict]
        return (
            self.task.replace("_", " "), self.part.precision, self.level.name, self.level.text(),
            self.level.interval(), *compared, f"{self.rows_per_s:.2f}",
            f"{self.part.seconds / 60:.1f} min", f"{self.weight_bytes / 1e6:.0f} MB",
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "task": self.task,
            "precision": self.part.precision,
            "level": self.level.to_dict(),
            "comparison": self.comparison.to_dict() if self.comparison else None,
            "rows_per_s": self.rows_per_s,
            "seconds": self.part.seconds,
            "weight_bytes": self.weight_bytes,
        }


@dataclass(frozen=True)
class Page:
    """All tasks' lines, and how they were made."""

    lines: list[Line]
    reports: Sequence[Report]

    def facts(self) -> list[str]:
        environment = self.reports[0].environment
        versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
        made = f"Made {environment['date']} by `{environment['command']}`, commit {environment['commit']}."
        machine = f"{environment['machine']}; Python {environment['python']}, {versions}."
        outcomes = [
            f"{report.environment['task'].replace('_', ' ').capitalize()}: {' '.join(report.outcome())}"
            for report in self.reports
        ]
        return [made, machine, *self.reports[0].about(), *outcomes]

    def remarks(self) -> list[str]:
        """What each comparison could not have shown."""
        found = []
        for report in self.reports:
            task = report.environment["task"].replace("_", " ")
            found += [f"{task}, {one.precision}, {one.measure}: {one.power()}" for one in report.comparisons]
        return found

    def table(self) -> Sheet:
        """A row a line."""
        return Sheet("Price list", COLUMNS, tuple(line.cells() for line in self.lines), RIGHT)

    def markdown(self) -> str:
        tables = [self.table(), *(report.tables()[0] for report in self.reports)]
        readings = {
            report.environment["task"].replace("_", " "): f"{report.reading}\n\n{report.environment['prompt']}"
            for report in self.reports
        }
        return markdown_page("What each acceleration costs", [*self.facts(), READING], tables, self.remarks(), readings)


def page(reports: Sequence[Report]) -> Page:
    """The page of reports of several tasks in the same precisions."""
    lines = []
    for report in reports:
        compared = {(one.precision, one.measure): one for one in report.comparisons}
        names = [level.name for level in report.parts[0].levels]
        for name in names:
            for part in report.parts:
                level = next((level for level in part.levels if level.name == name), None)
                if level is None:
                    continue
                engine = report.environment["engines"][part.precision]
                lines.append(
                    Line(
                        report.environment["task"], part, level, compared.get((part.precision, name)),
                        part.rows_per_s, engine["weight_bytes"],
                    )
                )  # fmt: skip
    return Page(lines, reports)


def print_page(found: Page, form: str) -> None:
    """On stdout, as `report.print_report`."""
    if form == "json":
        print(as_json([line.to_dict() for line in found.lines]))
    elif form == "md":
        print(found.markdown())
    else:
        print_sheets([found.table()], before=[*found.facts(), READING], after=found.remarks())

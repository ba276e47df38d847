"""A report from the files of a run: `python -m pipelines.evaluation.report FOLDER` computes it anew.

The figures come from `rows.jsonl` alone; `run.json` only says where and how the rows were made.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import UserError
from engine.measure.command import run_app
from engine.measure.sheet import FORMATS, Sheet, as_json, markdown_page, print_sheets
from engine.measure.statistics import Figure, mean, share
from pipelines import TASKS
from pipelines.evaluation.interface import evaluation_of
from pipelines.evaluation.paired import EXAMPLES, Comparison, compare, level
from pipelines.evaluation.picture import Point, Probabilities, draw
from pipelines.evaluation.runner import ROWS_FILE, read_rows, read_run

RIGHT = ("value", "n", "difference", "lost", "won", "McNemar p")  # columns of numbers
SECONDS = "seconds a review"
PICTURE = "report.png"
COLUMNS = ("figure", "value", "95 % interval", "n", "interval by", "note")
COMPARED = ("against", "measure", "difference", "95 % interval", "lost", "won", "McNemar p", "verdict")


@dataclass(frozen=True)
class Part:
    """One precision's figures and one example; `missing`: reviews drawn but not reached; `seconds`: those of all
    its rows; `levels`: what it is compared by."""

    precision: str
    figures: list[Figure]
    example: str
    rows: int
    failed: int
    missing: int
    seconds: float
    levels: list[Figure]
    probabilities: Probabilities | None

    @property
    def rows_per_s(self) -> float:
        seconds = next((figure.value for figure in self.figures if figure.name == SECONDS), 0.0)
        return 1 / seconds if seconds else float("nan")

    def to_dict(self) -> dict[str, Any]:
        return {
            "precision": self.precision,
            "rows": self.rows,
            "failed": self.failed,
            "missing": self.missing,
            "complete": self.missing == 0,
            "seconds": round(self.seconds, 1),
            "figures": [figure.to_dict() for figure in self.figures],
            "example": self.example,
        }


@dataclass(frozen=True)
class Report:
    """The figures of a run, precision by precision, what the later ones lose against the first, and the environment it
    ran in."""

    environment: dict[str, Any]
    parts: list[Part]
    comparisons: list[Comparison]
    reading: str

    @property
    def drawn(self) -> int:
        return sum(part.rows + part.missing for part in self.parts)

    @property
    def done(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def failed(self) -> int:
        return sum(part.failed for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        return {
            "environment": self.environment,
            "complete": self.done == self.drawn,
            "precisions": [part.to_dict() for part in self.parts],
            "comparisons": [one.to_dict() for one in self.comparisons],
        }

    def title(self) -> str:
        model = next(iter(self.environment["engines"].values()), {"model": "?"})["model"]
        return f"IMDB {self.environment['task']}: {model}, {', '.join(self.environment['precisions'])}"

    def facts(self) -> list[str]:
        """Sentences a reader must know before the tables."""
        return [*self.about(), *self.outcome(), self.reading]

    def about(self) -> list[str]:
        """The engines and the sample."""
        sample = self.environment["sample"]
        engines = [
            f"{engine['model']} ({engine['source']}), {engine['precision']} on {engine['device']}, "
            f"{engine['threads']} threads."
            for engine in self.environment["engines"].values()
        ]
        return [
            *engines,
            f"IMDB {sample['split']} ({sample['source']}): {sample['reviews']:,} reviews, {sample['positive']:,} of "
            f"them positive, seed {sample['seed']}; of {sample['rows_published']:,} rows "
            f"{sample['duplicates_removed']:,} duplicates and {sample['found_in_train_removed']:,} texts that stand in "
            "train were removed first.",
        ]

    def outcome(self) -> list[str]:
        """How the run went."""
        beside = self.environment["sample"]["beside"]
        took = ", ".join(f"{part.seconds / 60:.1f} min in {part.precision}" for part in self.parts)
        lines = [f"The reviews{f' and {beside:,} texts of their own' if beside else ''} took {took}."]
        commits = {self.environment["commit"], *(again["commit"] for again in self.environment.get("resumed", []))}
        if len(commits) > 1:
            lines.append(f"The rows were made by {len(commits)} versions of the code: {', '.join(sorted(commits))}.")
        if self.failed:
            lines.append(f"{self.failed:,} of {self.done:,} rows failed and are not in the figures.")
        if self.done < self.drawn:
            lines.append(f"Partial: the run was stopped, {self.drawn - self.done:,} rows were not reached.")
        return lines

    def tables(self) -> list[Sheet]:
        """The figures of each precision, and the comparisons where there are any."""
        task = self.environment["task"]
        found = [
            Sheet(f"IMDB {task}, {part.precision}", COLUMNS, tuple(map(_cells, part.figures)), RIGHT)
            for part in self.parts
        ]
        if self.comparisons:
            title = f"The same reviews in {self.comparisons[0].base}"
            found.append(Sheet(title, COMPARED, tuple(map(_compared, self.comparisons)), RIGHT))
        return found

    def remarks(self) -> list[str]:
        """What the comparisons can show, and the reviews that fell."""
        lines = []
        for one in self.comparisons:
            lines.append(f"{one.precision}, {one.measure}: {one.power()}")
            if one.lost or one.won:
                lost, won = (", ".join(ids[:EXAMPLES]) or "none" for ids in (one.lost or (), one.won or ()))
                lines.append(f"{one.precision}, {one.measure}: lost {lost}; won {won}.")
        return lines

    def markdown(self) -> str:
        environment = self.environment
        sections = {f"Example, {part.precision}": part.example for part in self.parts[:1]}
        sections |= {"Prompt": environment["prompt"], "Environment": _short(environment)}
        facts = [*self.facts(), f"![Quality against speed]({PICTURE})"]
        return markdown_page(self.title(), facts, self.tables(), self.remarks(), sections)


def _short(environment: dict[str, Any]) -> str:
    """Without the ids of the sample, which stand in run.json."""
    sample = {key: value for key, value in environment["sample"].items() if key != "ids"}
    return as_json({**environment, "sample": sample})


def _cells(figure: Figure) -> tuple[str, ...]:
    interval = figure.interval()
    return (figure.name, figure.text(), interval, f"{figure.n:,}", figure.method if interval else "", figure.note)


def _compared(one: Comparison) -> tuple[str, ...]:
    flips = [f"{len(ids):,}" if ids is not None else "" for ids in (one.lost, one.won)]
    p = "" if one.p is None else f"{one.p:.3g}"
    return (
        one.precision, one.measure, one.difference.signed(), one.difference.interval(), *flips, p,
        f"{one.verdict} (margin {one.margin_text()})",
    )  # fmt: skip


def build_report(folder: Path) -> Report:
    """The report of the run in `folder`; UserError if its files are missing, damaged or of an unknown task."""
    rows = read_rows(folder / ROWS_FILE)
    environment = read_run(folder)
    task = environment["task"]
    if task not in TASKS:
        raise UserError(f"{folder / ROWS_FILE} is of the task '{task}', which is unknown here.")
    evaluation = evaluation_of(task)
    parts, good = [], {}
    for precision in environment["precisions"]:
        own = [row for row in rows if row.get("precision") == precision]
        good[precision] = [row for row in own if "error" not in row]
        figures = evaluation.figures(good[precision]) + _common(good[precision]) if good[precision] else []
        example = evaluation.example(good[precision]) if good[precision] else ""
        missing = len(environment["sample"]["ids"]) - len(own)
        found = [level(measure, good[precision]) for measure in evaluation.measures]
        levels = [one for one in found if one is not None]
        said = evaluation.probabilities(good[precision]) if good[precision] else None
        failed, seconds = len(own) - len(good[precision]), sum(row["seconds"] for row in own)
        parts.append(Part(precision, figures, example, len(own), failed, missing, seconds, levels, said))
    base, *others = environment["precisions"]
    compared = [compare(m, good[base], good[other]) for other in others for m in evaluation.measures]
    return Report(environment, parts, [one for one in compared if one is not None], evaluation.reading)


def _common(rows: list[dict[str, Any]]) -> list[Figure]:
    """What every task reports: shortened texts and time."""
    return [
        share("texts shortened", [bool(row.get("shortened")) for row in rows]),
        mean(SECONDS, [row["seconds"] for row in rows], note="one at a time, all of a row's work"),
    ]


def write_report(folder: Path) -> Report:
    """Builds the report and writes `report.json`, `report.md` and its picture beside the rows."""
    report = build_report(folder)
    (folder / "report.json").write_text(as_json(report.to_dict()) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(report.markdown(), encoding="utf-8")
    points = [Point(part.precision, part.levels[0], part.rows_per_s) for part in report.parts if part.levels]
    if points:
        draw(folder / PICTURE, report.title(), points, report.parts[0].probabilities)
    return report


def print_report(report: Report, form: str) -> None:
    """Facts, tables and example on stdout, for a person ("table"), a page ("md") or a script ("json")."""
    if form == "json":
        print(as_json(report.to_dict()))
    elif form == "md":
        print(report.markdown())
    else:
        example = f"Example\n{report.parts[0].example}\n"
        print_sheets(report.tables(), before=report.facts(), after=[*report.remarks(), example])


app = typer.Typer(help=__doc__, add_completion=False, rich_markup_mode=None)


@app.command(help=__doc__)
def again(
    folder: Annotated[Path, typer.Argument(help="Of a run.")],
    format: Annotated[str, typer.Option(help=f"What is printed: {', '.join(FORMATS)}.")] = "table",
) -> None:
    if format not in FORMATS:
        raise UserError(f"The format '{format}' is unknown: choose one of {', '.join(FORMATS)}.")
    print_report(write_report(folder), format)
    print(folder / "report.json", file=sys.stderr if format == "json" else sys.stdout)


def main(arguments: list[str] | None = None) -> int:
    """`python -m pipelines.evaluation.report FOLDER`."""
    return run_app(app, arguments)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m pipelines.evaluation --task TASK --limit N`: a task measured on IMDB reviews.

Several precisions are run on the same reviews and compared review by review with the first. `--task all` makes the
price list: every task in every precision on one page. The report goes to stdout, its path in the last line; progress
goes to stderr. A run that was stopped goes on with `--resume`. Exit codes: 0 done, 1 every row failed, 2 a request that
cannot be run, 130 stopped by Ctrl-C (partial results are written).
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from engine.config import PRECISIONS, EngineConfig
from engine.errors import UserError
from engine.measure.command import run_app, say
from engine.measure.reviews import Split
from engine.measure.sheet import FORMATS
from pipelines import TASKS, load
from pipelines.cli import load_engine, with_engine_options
from pipelines.evaluation.data import Review, Sample, balanced_sample
from pipelines.evaluation.environment import engine_facts, environment
from pipelines.evaluation.prices import page, print_page
from pipelines.evaluation.report import Report, print_report, write_report
from pipelines.evaluation.runner import Options, prepare_folder, run_rows, write_run

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@with_engine_options
def evaluate(
    config: EngineConfig,
    task: Annotated[str, typer.Option(help=", ".join(TASKS) + ", all.")],
    precision: Annotated[str, typer.Option(help=f"With commas: {', '.join(PRECISIONS)}.")] = EngineConfig().precision,
    limit: Annotated[int, typer.Option(help="Reviews, half of each label.")] = 200,
    seed: Annotated[int, typer.Option(help="Of sample and choices.")] = 0,
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    output: Annotated[Path | None, typer.Option(help="Folder; else one in results/.", show_default=False)] = None,
    head: Annotated[
        str | None,
        typer.Option(help="Classification: trained head, or ''.", show_default=False),
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(help="Classification: run to fit a threshold on.", show_default=False),
    ] = None,
    contrast: Annotated[
        Path | None, typer.Option(help="Classification: Parquet of contrast pairs.", show_default=False)
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="Summarization: Parquet of references.", show_default=False)
    ] = None,
    questions: Annotated[
        list[Path] | None,
        typer.Option(help="Question answering: Parquet, as SQuAD.", show_default=False),
    ] = None,
    save_page: Annotated[
        Path | None, typer.Option("--page", help="Of all: write the price list here too.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    format: Annotated[str, typer.Option(help=f"{', '.join(FORMATS)}.")] = "table",
) -> None:
    """Measure a task on IMDB reviews, each precision on the same ones; `--task all` makes the price list.

    The report goes to stdout, its path in the last line. Exit codes: 0 done, 1 every row failed, 2 a request that
    cannot be run, 130 stopped by Ctrl-C (partial results are written; `--resume` goes on).
    """
    known = list(TASKS)
    if task not in (*known, "all"):
        raise UserError(f"The task '{task}' is unknown: choose one of {', '.join(known)}, or all.")
    if split not in ("train", "test"):
        raise UserError(f"The split '{split}' is unknown: choose test or train.")
    if format not in FORMATS:
        raise UserError(f"The format '{format}' is unknown: choose one of {', '.join(FORMATS)}.")
    if seed < 0:
        raise UserError(f"--seed is {seed}: give 0 or more.")
    configs = _configs(config, precision)
    drawn: Split = "train" if split == "train" else "test"
    options = Options(drawn, seed, limit, head, fit, contrast, references, tuple(questions or ()))
    folder = output or Path("results") / f"{task}-{'-'.join(configs)}-{split}-n{limit}-seed{seed}"
    say("reading IMDB")
    sample = balanced_sample(drawn, limit, seed)
    if task != "all":
        run = Run(task, config, configs, options, sample, folder, resume)
        report = run.go()
        print_report(report, format)
        _end([run], [report], folder / "report.json", format)
        return
    runs = [Run(one, config, configs, options, sample, folder / one, resume) for one in known]
    reports = []
    for run in runs:
        say(f"{run.task}:")
        reports.append(run.go())
        if run.interrupted:
            break
    found = page(reports)
    print_page(found, format)
    for place in (folder / "prices.md", *([save_page] if save_page else [])):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(found.markdown(), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{place} cannot be written ({error.strerror or error}): name another.") from error
    _end(runs, reports, folder / "prices.md", format)


def _end(runs: Sequence[Run], reports: Sequence[Report], path: Path, format: str) -> None:
    """The last line, and the exit code."""
    done, drawn = (sum(getattr(report, name) for report in reports) for name in ("done", "drawn"))
    interrupted = any(run.interrupted for run in runs)
    if interrupted:
        say(f"Stopped: the report holds the {done:,} of {drawn:,} rows that were done; --resume goes on.")
    print(path, file=sys.stderr if format == "json" else sys.stdout, flush=True)
    if interrupted:
        raise typer.Exit(130)
    if sum(report.failed for report in reports) == done:
        say("Every row failed: the reasons stand in rows.jsonl.")
        raise typer.Exit(1)


class Run:
    """One task in all precisions, into a folder of its own."""

    def __init__(
        self,
        task: str,
        config: EngineConfig,
        configs: dict[str, EngineConfig],
        options: Options,
        sample: Sample,
        folder: Path,
        resume: bool,
    ) -> None:
        self.task, self.config, self.configs, self.options = task, config, configs, options
        self.sample, self.folder, self.resume = sample, folder, resume
        self.interrupted = False

    def go(self) -> Report:
        """Run what is not done yet; the report of all that is."""
        evaluation = load(TASKS[self.task].evaluation)
        # `brisk evaluate ...` or the module's own options: no argument of the module is a bare word.
        program = ["brisk"] if sys.argv[1:2] == ["evaluate"] else ["python", "-m", "pipelines.evaluation"]
        command = shlex.join([*program, *sys.argv[1:]])
        reviews = (*self.sample.reviews, *evaluation.more(self.options))
        facts = environment(
            self.config, list(self.configs), self.task, evaluation.prompt, self.sample, reviews, self.options, command
        )
        rows = prepare_folder(self.folder, facts, resume=self.resume)
        if rows:
            say(f"{len(rows):,} rows stand in {self.folder} already: going on from there.")
        for name, settings in self.configs.items():
            done = sum(row["precision"] == name for row in rows)
            if done == len(reviews):
                continue
            engine = load_engine(settings)
            facts["engines"][name] = engine_facts(engine)
            write_run(self.folder, facts)
            one = evaluation(engine, self.options)
            outcome = run_rows(one, engine, name, reviews[done:], self.folder, _progress)
            engine.close()
            if outcome.interrupted:
                self.interrupted = True
                break
        return write_report(self.folder)


def _configs(config: EngineConfig, precisions: str) -> dict[str, EngineConfig]:
    """The engine's settings by precision, in the order asked for; UserError for an unknown or repeated one."""
    names = [name.strip() for name in precisions.split(",")]
    for name in names:
        if name not in PRECISIONS:
            raise UserError(f"The precision '{name}' is unknown: choose among {', '.join(PRECISIONS)}.")
        if names.count(name) > 1:
            raise UserError(f"The precision '{name}' is given twice: give each once.")
    return {name: replace(config, precision=name) for name in names}  # type: ignore[arg-type]  # checked above


def _progress(reviews: Sequence[Review]) -> Iterator[Review]:
    from tqdm import tqdm

    # A bar on a terminal, a line now and then in a log.
    return iter(tqdm(reviews, unit="review", file=sys.stderr, mininterval=0.1 if sys.stderr.isatty() else 10))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_app(app, arguments)


if __name__ == "__main__":
    sys.exit(main())

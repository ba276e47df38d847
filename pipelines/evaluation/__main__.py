"""`python -m pipelines.evaluation --task TASK --limit N`: a task measured on IMDB reviews.

Several precisions are run on the same reviews and compared review by review with the first. `--task all` makes the
price list: every task in every precision on one page. The report goes to stdout, its path in the last line; progress
goes to stderr. A run that was stopped goes on with `--resume`. Exit codes: 0 done, 1 every row failed, 2 a request that
cannot be run, 130 stopped by Ctrl-C (partial results are written).
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.config import PRECISIONS, EngineConfig
from engine.errors import UserError
from engine.measure.command import run_app, say, single
from engine.measure.sheet import FORMATS
from pipelines import TASKS
from pipelines.cli import load_engine, with_engine_options
from pipelines.evaluation.data import Review, balanced_sample
from pipelines.evaluation.interface import evaluation_of
from pipelines.evaluation.options import Options, task_options, with_task_options
from pipelines.evaluation.plan import Plan, engine_facts
from pipelines.evaluation.prices import page, print_page
from pipelines.evaluation.report import Report, print_report, write_report
from pipelines.evaluation.runner import prepare_folder, run_rows, write_run


def evaluate(
    config: EngineConfig,
    given: Mapping[str, Any],
    task: Annotated[str, typer.Option(help=", ".join(TASKS) + ", all.")],
    precision: Annotated[str, typer.Option(help=f"With commas: {', '.join(PRECISIONS)}.")] = EngineConfig().precision,
    limit: Annotated[int, typer.Option(help="Reviews, half of each label.")] = 200,
    seed: Annotated[int, typer.Option(help="Of sample and choices.")] = 0,
    split: Annotated[str, typer.Option(help="test or train.")] = "test",
    output: Annotated[Path | None, typer.Option(help="Folder; else one in results/.", show_default=False)] = None,
    save_page: Annotated[
        Path | None, typer.Option("--page", help="Of all: write the price list here too.", show_default=False)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    format: Annotated[str, typer.Option(help=f"{', '.join(FORMATS)}.")] = "table",
) -> None:
    """Measure a task on IMDB reviews, each precision on the same ones; `--task all` makes the price list.

    The report goes to stdout, its path in the last line. Exit codes: 0 done, 1 every row failed, 2 a request that
    cannot be run, 130 stopped by Ctrl-C (partial results are written; `--resume` goes on).

    Parameters
    ----------
    config : the engine's settings; its precision is not used.
    given : options of the tasks, by the name of the field (see `with_task_options`).
    task : a name in `pipelines.TASKS`, or "all".
    precision : one or several with commas between; the others are compared with the first.
    limit, seed, split : the sample, as in `Options`.
    output : folder of the results; None names one under `results/` after the other options.
    save_page : of all tasks, where the price list is written too.
    resume : go on with the run in the folder.
    format : what is printed, one of `FORMATS`.

    Raises
    ------
    UserError : the request cannot be run.
    typer.Exit : with the exit code, where it is not 0.
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
    precisions = _precisions(precision)
    shared = Options("train" if split == "train" else "test", seed, limit)
    folder = output or Path("results") / f"{task}-{'-'.join(precisions)}-{split}-n{limit}-seed{seed}"
    # `brisk evaluate ...` or the module's own options: no argument of the module is a bare word.
    program = ["brisk"] if sys.argv[1:2] == ["evaluate"] else ["python", "-m", "pipelines.evaluation"]
    command = shlex.join([*program, *sys.argv[1:]])
    say("reading IMDB")
    sample = balanced_sample(shared.split, limit, seed)

    def plan(name: str, place: Path) -> Plan:
        own = task_options(evaluation_of(name).options, shared, given)
        return Plan(name, config, precisions, own, sample, place, command)

    if task != "all":
        report, stopped = _run(plan(task, folder), resume)
        print_report(report, format)
        _end([report], stopped, folder / "report.json", format)
        return
    reports = []
    for name in known:
        say(f"{name}:")
        report, stopped = _run(plan(name, folder / name), resume)
        reports.append(report)
        if stopped:
            break
    found = page(reports)
    print_page(found, format)
    for place in (folder / "prices.md", *([save_page] if save_page else [])):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(found.markdown(), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{place} cannot be written ({error.strerror or error}): name another.") from error
    _end(reports, stopped, folder / "prices.md", format)


def _end(reports: Sequence[Report], stopped: bool, path: Path, format: str) -> None:
    """The last line, and the exit code."""
    done, drawn = (sum(getattr(report, name) for report in reports) for name in ("done", "drawn"))
    if stopped:
        say(f"Stopped: the report holds the {done:,} of {drawn:,} rows that were done; --resume goes on.")
    print(path, file=sys.stderr if format == "json" else sys.stdout, flush=True)
    if stopped:
        raise typer.Exit(130)
    if sum(report.failed for report in reports) == done:
        say("Every row failed: the reasons stand in rows.jsonl.")
        raise typer.Exit(1)


def _run(plan: Plan, resume: bool) -> tuple[Report, bool]:
    """Run what is not done yet; the report of all that is, and whether it was stopped before the end."""
    evaluation = evaluation_of(plan.task)
    reviews = (*plan.sample.reviews, *evaluation.more(plan.options))
    facts = plan.environment(evaluation.prompt, reviews)
    rows = prepare_folder(plan.folder, facts, resume=resume)
    if rows:
        say(f"{len(rows):,} rows stand in {plan.folder} already: going on from there.")
    for precision in plan.precisions:
        done = sum(row["precision"] == precision for row in rows)
        if done == len(reviews):
            continue
        engine = load_engine(replace(plan.config, precision=precision))  # type: ignore[arg-type]  # checked before
        facts["engines"][precision] = engine_facts(engine)
        write_run(plan.folder, facts)
        one = evaluation(engine, plan.options)
        outcome = run_rows(one, engine, precision, reviews[done:], plan.folder, _progress)
        engine.close()
        if outcome.interrupted:
            return write_report(plan.folder), True
    return write_report(plan.folder), False


def _precisions(given: str) -> tuple[str, ...]:
    """In the order asked for; UserError for an unknown or repeated one."""
    names = tuple(name.strip() for name in given.split(","))
    for name in names:
        if name not in PRECISIONS:
            raise UserError(f"The precision '{name}' is unknown: choose among {', '.join(PRECISIONS)}.")
        if names.count(name) > 1:
            raise UserError(f"The precision '{name}' is given twice: give each once.")
    return names


def _progress(reviews: Sequence[Review]) -> Iterator[Review]:
    from tqdm import tqdm

    # A bar on a terminal, a line now and then in a log.
    return iter(tqdm(reviews, unit="review", file=sys.stderr, mininterval=0.1 if sys.stderr.isatty() else 10))


def command_line() -> typer.Typer:
    """The command with the options of all tasks there are now."""
    kinds = {task.title: evaluation_of(name).options for name, task in TASKS.items()}
    return single(with_engine_options(with_task_options(evaluate, kinds)))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_app(command_line(), arguments)


if __name__ == "__main__":
    sys.exit(main())

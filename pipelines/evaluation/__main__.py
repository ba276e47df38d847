"""`python -m pipelines.evaluation --task TASK --limit N`: a task measured on IMDB reviews.

The table goes to stdout and the path of the report is its last line; progress goes to stderr. Exit codes: 0 done,
1 every row failed, 2 a request that cannot be run, 130 stopped by Ctrl-C (partial results are written).
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from engine.config import EngineConfig
from engine.errors import UserError
from pipelines import TASKS, load
from pipelines.cli import load_engine, run_app, say, with_engine_options
from pipelines.evaluation.data import Review, balanced_sample

app = typer.Typer(help=__doc__, add_completion=False, rich_markup_mode=None)


@app.command(help=__doc__)
@with_engine_options
def evaluate(
    config: EngineConfig,
    task: Annotated[str, typer.Option(help=", ".join(t.name for t in TASKS))],
    limit: Annotated[int, typer.Option(help="How many reviews, half of each label.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the sample and of every random choice.")] = 0,
    split: Annotated[str, typer.Option(help="test, or train to choose prompts and thresholds on.")] = "test",
    output: Annotated[
        Path | None, typer.Option(help="Folder of the results; a new one.", show_default="results/...")
    ] = None,
) -> None:
    from pipelines.evaluation.environment import environment
    from pipelines.evaluation.report import print_report, stdout_console, write_report
    from pipelines.evaluation.runner import prepare_folder, run_rows

    paths = {known.name: known.evaluation for known in TASKS}
    if task not in paths:
        raise UserError(f"The task '{task}' is unknown: choose one of {', '.join(paths)}.")
    if split not in ("train", "test"):
        raise UserError(f"The split '{split}' is unknown: choose test or train.")
    if seed < 0:
        raise UserError(f"--seed is {seed}: give 0 or more.")
    folder = output or Path("results") / f"{task}-{config.precision}-{split}-n{limit}-seed{seed}"
    say("reading IMDB")
    sample = balanced_sample(split, limit, seed)  # type: ignore[arg-type]  # checked above
    engine = load_engine(config)
    evaluation = load(paths[task])(engine, seed)
    command = shlex.join(["python", "-m", "pipelines.evaluation", *sys.argv[1:]])
    prepare_folder(folder, environment(engine, task, evaluation.prompt, sample, seed, command))
    outcome = run_rows(evaluation, sample, folder, _progress)
    if outcome.interrupted:
        say(f"Stopped: the report holds the {outcome.rows:,} of {len(sample.reviews):,} reviews that were done.")
    report = write_report(folder)
    print_report(report, stdout_console())
    print(folder / "report.json", flush=True)
    if outcome.interrupted:
        raise typer.Exit(130)
    if outcome.failed == outcome.rows:
        say("Every row failed: the reasons stand in rows.jsonl.")
        raise typer.Exit(1)


def _progress(reviews: Sequence[Review]) -> Iterator[Review]:
    from tqdm import tqdm

    # A bar on a terminal, a line now and then in a log.
    return iter(tqdm(reviews, unit="review", file=sys.stderr, mininterval=0.1 if sys.stderr.isatty() else 10))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_app(app, arguments)


if __name__ == "__main__":
    sys.exit(main())

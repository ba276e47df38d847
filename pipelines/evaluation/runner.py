"""Runs one task over a sample: one JSONL row a review and precision, written as it is done, in one order.

A run that was killed goes on where it stopped: whole rows stay, half a row is cut off, and what comes next is what
would have come. So that a row does not depend on the rows before it, the engine forgets earlier prompts at each.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import UserError
from pipelines.evaluation.data import Review
from pipelines.evaluation.interface import Evaluation

if TYPE_CHECKING:
    from engine.engine import Engine

ROWS_FILE = "rows.jsonl"
RUN_FILE = "run.json"
TIMINGS = ("seconds", "timing")  # of a row: all that may differ between two runs of one command
_SAME = ("task", "precisions", "settings", "options", "prompt", "sample")  # of run.json: what makes two runs one

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: rows written, those that failed among them, and whether it was stopped before the end."""

    rows: int
    failed: int
    interrupted: bool


def prepare_folder(output: Path, environment: dict[str, Any], *, resume: bool = False) -> list[dict[str, Any]]:
    """Makes the output folder with its `run.json`, or takes up the run in it; returns the rows it holds already.

    Parameters
    ----------
    output : made with the folders above it where it is not there.
    environment : what `run.json` says; where a run is taken up, it becomes that of the run as it was begun, with what
        differs now added.
    resume : rows that are there may be gone on from.

    Raises
    ------
    UserError : the folder holds rows and `resume` is not asked for, they are of another run or damaged, or nothing can
        be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not (output / ROWS_FILE).exists():
            write_run(output, environment)
            (output / ROWS_FILE).touch()
            return []
        if not resume:
            raise UserError(
                f"{output} holds the rows of another run: name a new folder with --output, or go on with --resume."
            )
        return _take_up(output, environment)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written ({error.strerror or error}): name another folder with --output."
        ) from error


def _take_up(output: Path, environment: dict[str, Any]) -> list[dict[str, Any]]:
    before = read_run(output)
    differing = [key for key in _SAME if before.get(key) != environment[key]]
    if differing:
        raise UserError(
            f"{output} holds another run (its {' and '.join(differing)} differ): name a new folder with --output."
        )
    _cut_half_a_row(output / ROWS_FILE)
    rows = read_rows(output / ROWS_FILE)
    expected = [(p, id) for p in environment["precisions"] for id in environment["sample"]["ids"]][: len(rows)]
    if [(row.get("precision"), row.get("id")) for row in rows] != expected:
        raise UserError(f"{output / ROWS_FILE} does not hold the rows of its run in their order: start anew.")
    taken_up = {key: environment[key] for key in ("date", "commit", "machine")}
    environment |= {**before, "resumed": [*before.get("resumed", []), {**taken_up, "rows": len(rows)}]}
    write_run(output, environment)
    return rows


def _cut_half_a_row(path: Path) -> None:
    """A killed process may leave a row without its end."""
    with open(path, "rb+") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)


def write_run(output: Path, environment: Mapping[str, Any]) -> None:
    """`run.json`, whole or as it was."""
    half = output / f"{RUN_FILE}.part"
    half.write_text(json.dumps(environment, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(half, output / RUN_FILE)


def read_run(output: Path) -> dict[str, Any]:
    """`run.json`; UserError if it is missing or damaged."""
    try:
        found = json.loads((output / RUN_FILE).read_text(encoding="utf-8"))
        _ = found["task"], found["precisions"], found["sample"]["ids"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{output / RUN_FILE} is missing or damaged: name the folder of a run.") from error
    return dict(found)


def run_rows(
    evaluation: Evaluation[Any],
    engine: Engine,
    precision: str,
    reviews: Sequence[Review],
    output: Path,
    progress: Callable[[Sequence[Review]], Iterator[Review]],
) -> Outcome:
    """Every review through `evaluation.run`, added to the rows. One that raises is recorded as failed and the next is
    taken. Ctrl-C ends the run early; what is written stays, whole lines only.

    Parameters
    ----------
    evaluation : the task's, made with `engine`.
    engine : forgets earlier prompts before each review, so that no row depends on those before it.
    precision : said in each row.
    reviews : in this order.
    output : folder of the run, made by `prepare_folder`.
    progress : hands the reviews on one by one, and shows how far they are.
    """
    done = failed = 0
    with open(output / ROWS_FILE, "a", encoding="utf-8") as file:
        try:
            for review in progress(reviews):
                engine.reset_prefix_cache()
                row = {"precision": precision, **_row(evaluation, review)}
                failed += "error" in row
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                done += 1
        except KeyboardInterrupt:
            return Outcome(done, failed, interrupted=True)
    return Outcome(done, failed, interrupted=False)


def _row(evaluation: Evaluation[Any], review: Review) -> dict[str, Any]:
    start: dict[str, Any] = {"id": review.id, "label": review.label}
    if review.stars is not None:
        start["stars"] = review.stars
    if review.film is not None:
        start["film"] = review.film
    began = time.perf_counter()
    try:
        outputs = evaluation.run(review)
    except Exception as error:  # one bad review must not cost the others; its row says what happened
        log.warning("%s failed: %s", review.id, error, exc_info=not isinstance(error, UserError))
        outputs = {"error": f"{type(error).__name__}: {error}"}
    return {**start, **outputs, "seconds": round(time.perf_counter() - began, 4)}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a run, failed ones too; UserError if the file is missing or a line is not JSON."""
    try:
        # Not splitlines(): it would cut at the line separators that may stand inside a text.
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}): name the folder of a run.") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise UserError(
                f"Line {number} of {path} is not JSON: the file is damaged, run the evaluation again."
            ) from error
    return rows

"""Runs one task over a sample: one JSONL row a review, written as it is done."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from engine.errors import UserError
from pipelines.evaluation.data import Review, Sample
from pipelines.evaluation.statistics import Figure
from pipelines.results import RunInfo

if TYPE_CHECKING:
    from engine.engine import Engine

ROWS_FILE = "rows.jsonl"
RUN_FILE = "run.json"

log = logging.getLogger(__name__)
Row = Mapping[str, Any]


class Evaluation(Protocol):
    """One task measured on IMDB. `figures` and `example` see nothing but the rows of the file.

    `prompt` is the exact wording shown to the model, for the report; `reading` says in one line how to read the
    figures.
    """

    prompt: str
    reading: str

    def __init__(self, engine: Engine, seed: int) -> None: ...

    def run(self, review: Review) -> dict[str, Any]:
        """The outputs for one review (JSON-able), with `info_fields` of the pipeline's results."""

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        """The table, from the rows that did not fail."""

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        """One review with what came out, to be read by a person."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: rows written, those that failed among them, and whether it was stopped before the end."""

    rows: int
    failed: int
    interrupted: bool


def info_fields(info: RunInfo) -> dict[str, Any]:
    """What every row says about the run of one request."""
    fields = info.to_dict()
    return {"timing": fields["timing"], "shortened": fields["shortened"]}


def prepare_folder(output: Path, environment: Mapping[str, Any]) -> None:
    """Makes the output folder and writes `run.json`; UserError if it holds a run already or cannot be written."""
    if (output / ROWS_FILE).exists():
        raise UserError(f"{output} holds the rows of another run: name a new folder with --output.")
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / RUN_FILE).write_text(json.dumps(environment, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{output} cannot be written ({error.strerror or error}): name another folder with --output."
        ) from error


def run_rows(
    evaluation: Evaluation, sample: Sample, output: Path, progress: Callable[[Sequence[Review]], Iterator[Review]]
) -> Outcome:
    """Every review through `evaluation.run`. One that raises is recorded as failed and the next is taken.

    Ctrl-C ends the run early; what is written stays, whole lines only.
    """
    done = failed = 0
    with open(output / ROWS_FILE, "w", encoding="utf-8") as file:
        try:
            for review in progress(sample.reviews):
                row = _row(evaluation, review)
                failed += "error" in row
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                done += 1
        except KeyboardInterrupt:
            return Outcome(done, failed, interrupted=True)
    return Outcome(done, failed, interrupted=False)


def _row(evaluation: Evaluation, review: Review) -> dict[str, Any]:
    start = {"id": review.id, "label": review.label}
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

"""What a task brings to be evaluated: a class of its folder's `imdb.py`. No other module here knows a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic

from engine.measure.statistics import Figure
from pipelines import TASKS, load
from pipelines.evaluation.data import Review
from pipelines.evaluation.options import AnyOptions
from pipelines.evaluation.paired import Measure
from pipelines.evaluation.picture import Probabilities
from pipelines.results import RunInfo

if TYPE_CHECKING:
    from engine.engine import Engine

Row = Mapping[str, Any]


class Evaluation(ABC, Generic[AnyOptions]):
    """One task measured on IMDB. `figures`, `example`, `probabilities` and the measures see nothing but the rows of the
    file, so that a report can be made again without an engine.

    Attributes
    ----------
    prompt : the exact wording shown to the model, for the report.
    reading : how to read the figures.
    measures : what precisions are compared by, review by review, and what the price list shows; the one that counts
        first.
    options : the class of what the evaluation is told; `Options` where the task adds nothing.
    """

    prompt: str
    reading: str
    measures: Sequence[Measure]
    options: type[AnyOptions]

    @abstractmethod
    def __init__(self, engine: Engine, options: AnyOptions) -> None:
        """One for each precision. Raises UserError where the options do not suit the engine."""

    @staticmethod
    def more(options: AnyOptions) -> list[Review]:
        """Texts that are measured beside the sample, with ids of their own; none unless the task has some."""
        return []

    @abstractmethod
    def run(self, review: Review) -> dict[str, Any]:
        """The outputs for one review: JSON-able, with `info_fields` of the pipeline's results. What it raises fails
        the row and no other."""

    @staticmethod
    @abstractmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        """The table, from the rows that did not fail, one or more."""

    @staticmethod
    @abstractmethod
    def example(rows: Sequence[Row]) -> str:
        """One review with what came out, to be read by a person; from one row or more."""

    @staticmethod
    def probabilities(rows: Sequence[Row]) -> Probabilities | None:
        """What the picture shows of rows that carry probabilities; nothing unless the task has some."""
        return None


def evaluation_of(task: str) -> type[Evaluation[Any]]:
    """The evaluation of a task in `pipelines.TASKS`, imported now. KeyError for another."""
    found: type[Evaluation[Any]] = load(TASKS[task].evaluation)
    return found


def info_fields(info: RunInfo) -> dict[str, Any]:
    """What every row says about the run of one request."""
    fields = info.to_dict()
    return {"timing": fields["timing"], "shortened": fields["shortened"]}

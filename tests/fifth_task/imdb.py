"""The vowels of reviews."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.measure.statistics import Figure, mean
from pipelines.evaluation.data import Review
from pipelines.evaluation.interface import Evaluation, Row, info_fields
from pipelines.evaluation.options import Options, option
from pipelines.evaluation.paired import Measure
from tests.fifth_task.pipeline import VowelPipeline


@dataclass(frozen=True)
class VowelOptions(Options):
    """Beside the usual ones, `beside`: a text that is measured beside the sample."""

    beside: str | None = field(default=None, metadata=option("A text beside the sample.", kind=str))


class VowelEvaluation(Evaluation[VowelOptions]):
    """Counts the vowels of each review."""

    options = VowelOptions

    prompt = "{text}"
    reading = "Neither more nor less is better."
    measures = (Measure("vowels", lambda row: float(row["vowels"]), margin=0.5, percent=False),)

    def __init__(self, engine: Any, options: VowelOptions) -> None:
        self.pipeline = VowelPipeline(engine)

    @staticmethod
    def more(options: VowelOptions) -> list[Review]:
        return [Review("beside/0", options.beside, 0)] if options.beside else []

    def run(self, review: Review) -> dict[str, Any]:
        result = self.pipeline(review.text)
        return {"vowels": result.vowels, "review": review.text, **info_fields(result.info)}

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        return [mean("vowels a review", [row["vowels"] for row in rows])]

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        return f"{rows[0]['vowels']} vowels: {rows[0]['review']}"

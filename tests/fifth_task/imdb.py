"""The vowels of reviews."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.measure.statistics import Figure, mean
from pipelines.evaluation.data import Review
from pipelines.evaluation.paired import Measure
from pipelines.evaluation.runner import Options, Row, info_fields
from tests.fifth_task.pipeline import VowelPipeline


class VowelEvaluation:
    """See `pipelines.evaluation.runner.Evaluation`."""

    prompt = "{text}"
    reading = "Neither more nor less is better."
    measures = (Measure("vowels", lambda row: float(row["vowels"]), margin=0.5, percent=False),)

    def __init__(self, engine: Any, options: Options) -> None:
        self.pipeline = VowelPipeline(engine)

    @staticmethod
    def more(options: Options) -> list[Review]:
        return []

    def run(self, review: Review) -> dict[str, Any]:
        result = self.pipeline(review.text)
        return {"vowels": result.vowels, "review": review.text, **info_fields(result.info)}

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        return [mean("vowels a review", [row["vowels"] for row in rows])]

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        return f"{rows[0]['vowels']} vowels: {rows[0]['review']}"

    @staticmethod
    def probabilities(rows: Sequence[Row]) -> None:
        return None

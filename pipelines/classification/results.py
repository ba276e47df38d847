"""What classification gives back, with the JSON shapes a Hugging Face user knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from pipelines.results import RunInfo


@dataclass(frozen=True)
class ClassificationResult:
    """The labels of a text. `to_dict()` has the best one at its top, and all of them in `scores`.

    Attributes
    ----------
    scores : one `{"label": str, "score": float}` a label, the highest first, each 0 to 1; they sum to 1 unless labels
        were judged one by one.
    info : how the request went.
    """

    scores: list[LabelScore]
    info: RunInfo

    def to_dict(self) -> dict[str, Any]:
        return {**self.scores[0], "scores": [dict(row) for row in self.scores], **self.info.to_dict()}


class LabelScore(TypedDict):
    """A label and how well it fits, 0 to 1."""

    label: str
    score: float

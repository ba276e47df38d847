"""Contrast pairs (Gardner et al. 2020): a train review, and the same one changed a little so that its label turns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.measure.reviews import BadData, clean_review, read_columns
from pipelines.evaluation.data import Review

PREFIX = "contrast/"  # of the ids
_COLUMNS = ("pair_id", "text_original", "label_original", "text_contrast", "label_contrast")


@dataclass(frozen=True)
class Pair:
    """Clean texts; labels 0 or 1. `id` is the publisher's."""

    id: str
    original: str
    original_label: int
    contrast: str
    contrast_label: int

    def reviews(self) -> tuple[Review, Review]:
        """Both, by ids that tell them from the sample's and one another."""
        return (
            Review(f"{PREFIX}{self.id}/original", self.original, self.original_label),
            Review(f"{PREFIX}{self.id}/contrast", self.contrast, self.contrast_label),
        )


def read_contrast(file: Path) -> list[Pair]:
    """The pairs of a Parquet file with a pair_id, and a text and a label of both. BadData if it is missing, of another
    shape, or a pair does not turn its label."""
    frame = read_columns(file, _COLUMNS)
    pairs = []
    for id, original, label, contrast, other in zip(*(frame[column].tolist() for column in _COLUMNS), strict=True):
        if not (isinstance(original, str) and isinstance(contrast, str)) or {label, other} != {0, 1}:
            raise BadData(f"Pair {id} of {file} has no two texts of labels 0 and 1: leave it out.")
        pairs.append(Pair(str(id), clean_review(original), int(label), clean_review(contrast), int(other)))
    return pairs

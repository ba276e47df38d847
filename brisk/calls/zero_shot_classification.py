"""`zero-shot-classification`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from brisk.calls.common import Calls, check_truncation
from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.text import require_kind

if TYPE_CHECKING:
    from engine.engine import Engine

REASONS = {
    "hypothesis_template": "a causal model is asked for the label itself, in words that were measured",
    "multi_class": "its name is multi_label",
}


class ZeroShotScores(TypedDict):
    """`scores[i]` is of `labels[i]`; the highest first."""

    sequence: str
    labels: list[str]
    scores: list[float]


class ZeroShotClassification(Calls[ClassificationPipeline]):
    """Scores of any labels, as Transformers 4's `pipeline("zero-shot-classification")` gave them.

    It differs in the model: a causal one says how likely each label is after the text, where Transformers asked an
    entailment model about a hypothesis. So `hypothesis_template` is refused. One label alone is judged for itself,
    as if `multi_label` were set: as it was there.
    """

    task = "zero-shot-classification"
    makes = ClassificationPipeline

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        require_kind(engine, self.task, "causal", "seq2seq")

    def __call__(
        self,
        sequences: str | Sequence[str],
        candidate_labels: str | Sequence[str] = (),
        *,
        multi_label: bool = False,
        truncation: bool | str | None = None,
        batch_size: int | None = None,
        **others: object,
    ) -> Any:
        """Scores of the labels for each text.

        Parameters
        ----------
        sequences : a text, a list of them, or a generator of them.
        candidate_labels : a list, or one string with commas between the labels.
        multi_label : judge each label for itself, so that scores (0 to 1) need not sum to 1.
        truncation : True and None mean the same, a text over the window keeps its head and tail; False is refused.
        batch_size : texts that run together; None leaves it to the engine.

        Returns
        -------
        `{"sequence", "labels", "scores"}`, the likeliest label first; for a list, a list of them.

        Raises
        ------
        BadRequest : an empty text, no labels or repeated ones, or an argument that cannot be honoured.
        """
        self._refuse(others, REASONS)
        check_truncation(self.task, truncation)
        if isinstance(candidate_labels, str):
            candidate_labels = [label.strip() for label in candidate_labels.split(",") if label.strip()]
        labels = list(candidate_labels)

        def one(text: str) -> ZeroShotScores:
            scores = self.pipeline(text, labels, multi_label=multi_label or len(labels) == 1).scores
            return ZeroShotScores(
                sequence=text, labels=[row["label"] for row in scores], scores=[row["score"] for row in scores]
            )

        return self._each(sequences, one, batch_size)

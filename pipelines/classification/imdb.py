"""Zero-shot sentiment on IMDB: raw and calibrated from the same forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.classification.templates import CONTENT_FREE, WORDS
from pipelines.evaluation.data import LABELS, Review
from pipelines.evaluation.runner import Row, info_fields
from pipelines.evaluation.statistics import Figure, auc, macro_f1, mean, share

if TYPE_CHECKING:
    from engine.engine import Engine


class ClassificationEvaluation:
    """See `pipelines.evaluation.runner.Evaluation`. `raw` and `calibrated` are probabilities of "positive"."""

    prompt = (
        f"{{text}}{WORDS}\n\nwith {' / '.join(LABELS)} scored as the next word; content-free inputs: {CONTENT_FREE!r}"
    )
    reading = (
        "Zero-shot: nothing was fitted. With two labels calibration moves the threshold only, so the AUC is the "
        "same; a gap "
        "between AUC and accuracy is what a better threshold could win."
    )

    def __init__(self, engine: Engine, seed: int) -> None:
        self.pipeline = ClassificationPipeline(engine)

    def run(self, review: Review) -> dict[str, Any]:
        if self.pipeline.engine.info.kind == "classification":
            return {**self._by_model(review), "review": review.text}
        judgement = self.pipeline.judge(review.text, LABELS)
        scores = {"raw": float(judgement.raw[1]), "calibrated": float(judgement.calibrated[1])}
        return {**scores, "review": review.text, **info_fields(judgement.info)}

    def _by_model(self, review: Review) -> dict[str, Any]:
        """A trained classifier: its label that names the positive class, whatever its case; LABEL_1 by convention."""
        result = self.pipeline(review.text)
        scores = {row["label"].lower(): row["score"] for row in result.scores}
        named = [label for label in scores if label in ("label_1", "1") or label.startswith("pos")]
        if len(scores) != 2 or len(named) != 1:
            raise ValueError(f"the model's labels {sorted(scores)} are not a positive and a negative one")
        return {"raw": scores[named[0]], **info_fields(result.info)}

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        gold = [row["label"] for row in rows]
        [(majority, _)] = Counter(gold).most_common(1)
        figures = [share("accuracy, majority", [y == majority for y in gold], note=f"always {LABELS[majority]}")]
        for kind in ("raw", "calibrated"):
            if kind not in rows[0]:
                continue
            scores = [row[kind] for row in rows]
            predicted = [int(score >= 0.5) for score in scores]
            figures += [
                share(f"accuracy, {kind}", [p == y for p, y in zip(predicted, gold, strict=True)]),
                macro_f1(f"macro-F1, {kind}", gold, predicted),
                auc(f"AUC, {kind}", gold, scores),
                share(f"said positive, {kind}", [bool(p) for p in predicted]),
            ]
        return [*figures, mean("prefill tokens/s", [row["timing"]["prefill_tokens_per_s"] for row in rows])]

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        row = rows[0]
        said = ", ".join(f"{kind} {row[kind]:.3f}" for kind in ("raw", "calibrated") if kind in row)
        return f"{row['id']} ({LABELS[row['label']]}): {row['review']}\n\nP(positive): {said}"

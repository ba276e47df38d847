"""Summarization measured on IMDB, without references: sentiment kept, compression, what is new, what repeats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.evaluation import texts
from pipelines.evaluation.data import LABELS, Review
from pipelines.evaluation.judge import judged, sentiment_judge
from pipelines.evaluation.runner import Row, info_fields
from pipelines.evaluation.statistics import Figure, mean, share
from pipelines.summarization.pipeline import SummarizationPipeline
from pipelines.summarization.prompts import LENGTHS, PROSE, LengthName

if TYPE_CHECKING:
    from engine.engine import Engine

LENGTH: LengthName = "medium"
LEAD_SENTENCES = 3


class SummarizationEvaluation:
    """See `pipelines.evaluation.runner.Evaluation`."""

    prompt = f"{{text}}{PROSE.format(length=LENGTHS[LENGTH])}"
    reading = (
        "Sentiment is judged by TF-IDF + logistic regression fitted on train, never by the model that wrote; its "
        "accuracy "
        "on the whole reviews bounds what a summary can reach. A summary may keep the sentiment and say nothing "
        "else: read "
        "it together with the other figures. LEAD-3 is the review's first three sentences."
    )

    def __init__(self, engine: Engine, seed: int) -> None:
        self.pipeline = SummarizationPipeline(engine)
        sentiment_judge()  # fitted now, so that the first review's time is its own

    def run(self, review: Review) -> dict[str, Any]:
        result = self.pipeline(review.text, length=LENGTH)
        summary, lead = result.summary_text, texts.lead(review.text, LEAD_SENTENCES)
        on_review, on_summary, on_lead = judged([review.text, summary, lead])
        return {
            "summary": summary,
            "compression": result.compression,
            "chunks": result.chunks,
            "novel_bigrams": texts.novel(summary, review.text, 2),
            "repeated_4grams": texts.repeated(summary, 4),
            "lead": lead,
            "lead_compression": len(review.text.split()) / max(1, len(lead.split())),
            "judge_review": on_review,
            "judge_summary": on_summary,
            "judge_lead": on_lead,
            "review": review.text,
            **info_fields(result.info),
        }

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        leak = "fitted on these reviews too" if any(row["id"].startswith("train/") for row in rows) else ""
        written = [row for row in rows if row["summary"]]
        return [
            share("sentiment kept", [bool(row["summary"]) and row["judge_summary"] == row["label"] for row in rows]),
            share("sentiment kept, LEAD-3", [row["judge_lead"] == row["label"] for row in rows]),
            share("judge right on the review", [row["judge_review"] == row["label"] for row in rows], note=leak),
            mean("compression", [row["compression"] for row in written], note="words in for each word out"),
            mean("compression, LEAD-3", [row["lead_compression"] for row in rows]),
            mean("novel bigrams", [row["novel_bigrams"] for row in written], percent=True, note="0 for any extract"),
            mean("repeated 4-grams", [row["repeated_4grams"] for row in written], percent=True),
            share("empty", [not row["summary"] for row in rows]),
            mean("decode tokens/s", [row["timing"]["decode_tokens_per_s"] for row in written]),
        ]

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        row = rows[0]
        start = f"{row['id']} ({LABELS[row['label']]}): {row['review']}"
        return f"{start}\n\nSummary: {row['summary']}\n\nLEAD-3: {row['lead']}"

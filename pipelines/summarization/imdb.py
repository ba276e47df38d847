"""Summarization measured on IMDB, without references: sentiment kept, what is copied, new, repeated or invented; and by
ROUGE where a file has references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.measure.statistics import Figure, mean, share
from pipelines.classification.templates import INSTRUCTION as TONE
from pipelines.evaluation import texts
from pipelines.evaluation.data import LABELS, Review
from pipelines.evaluation.interface import Evaluation, Row, info_fields
from pipelines.evaluation.judge import judged, sentiment_judge
from pipelines.evaluation.options import Options, option
from pipelines.evaluation.paired import Measure
from pipelines.overlap import coverage, density
from pipelines.summarization.pipeline import SummarizationPipeline
from pipelines.summarization.prompts import LENGTHS, PROSE, LengthName
from pipelines.summarization.references import PREFIX, read_references, rouge

if TYPE_CHECKING:
    from engine.engine import Engine

LENGTH: LengthName = "medium"
SENTENCES = 3  # of LEAD and TextRank
LONG = 150  # words: shorter reviews hardly need a summary
CONSTANT = "This is a review of a movie, and the writer says what is good and what is bad about it."
# What is measured, by the key of its row: the pipeline's summary, and what any must beat.
KINDS = {
    "summary": "summary",
    "draft": "the model's own draft",
    "lead": f"LEAD-{SENTENCES}",
    "textrank": "TextRank",
    "random": "random sentence",
    "constant": "constant sentence",
}


def _kept(row: Row, kind: str = "summary") -> float:
    """Whether the judge finds the review's label in it."""
    return float(bool(row[kind]) and row["judge"][kind] == row["label"])


def _of_reviews(value: Callable[[Row], float]) -> Callable[[Row], float | None]:
    return lambda row: None if _is_reference(row) else value(row)


def _is_reference(row: Row) -> bool:
    return str(row["id"]).startswith(PREFIX)


@dataclass(frozen=True)
class SummarizationOptions(Options):
    """Beside the usual ones, `references`: a Parquet file of documents and summaries."""

    references: Path | None = field(default=None, metadata=option("Parquet of references."))


class SummarizationEvaluation(Evaluation[SummarizationOptions]):
    """Summaries of the sample, and of documents that come with a reference."""

    options = SummarizationOptions

    prompt = (
        f"{{text}}{PROSE.format(length=LENGTHS[LENGTH])}\n\n"
        f"and, to hold a draft against its text, of both: {{text}}{TONE}, scored: positive or negative"
    )
    reading = (
        "Sentiment is judged by TF-IDF + logistic regression fitted on train, never by the model that wrote; its "
        "accuracy on the whole reviews bounds what a summary can reach. A summary may keep the sentiment and say "
        "nothing else: read it together with the other figures. Coverage and density: how much is copied, and in how "
        "long pieces (Grusky et al. 2018). Invented: numbers, and words with a capital inside a sentence, that the "
        f"text does not hold. LEAD-{SENTENCES}: the first {SENTENCES} sentences."
    )

    measures = (
        Measure("sentiment kept", _of_reviews(_kept), margin=0.02),
        Measure("nothing invented", _of_reviews(lambda row: float(not row["invented"])), margin=0.02),
    )

    def __init__(self, engine: Engine, options: SummarizationOptions) -> None:
        self.pipeline = SummarizationPipeline(engine)
        self.seed = options.seed
        sentiment_judge()  # fitted now, so that the first review's time is its own

    @staticmethod
    def more(options: SummarizationOptions) -> list[Review]:
        return read_references(options.references, options.limit, options.seed) if options.references else []

    def run(self, review: Review) -> dict[str, Any]:
        result = self.pipeline(review.text, length=LENGTH)
        summary = result.summary_text
        row: dict[str, Any] = {
            "summary": summary,
            "draft": summary if result.draft is None else result.draft,
            "replaced": result.draft is not None,
            "compression": result.compression,
            "chunks": result.chunks,
            "words": len(review.text.split()),
            "invented": texts.invented(summary, review.text),
        }
        if reference := review.about.get("reference"):
            row |= {"reference": reference, "lead": texts.lead(review.text, SENTENCES), "document": review.text}
            return {**row, **info_fields(result.info)}
        row |= {
            "lead": texts.lead(review.text, SENTENCES),
            "textrank": texts.textrank(review.text, SENTENCES),
            "random": texts.some_sentence(review.text, self.seed),
            "constant": CONSTANT,
        }
        labels = judged([review.text, *(row[kind] for kind in KINDS)])
        row["judge"] = dict(zip(("review", *KINDS), labels, strict=True))
        return {**row, "review": review.text, **info_fields(result.info)}

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        references = [row for row in rows if _is_reference(row)]
        rows = [row for row in rows if not _is_reference(row)]
        long = [row for row in rows if row["words"] > LONG]
        leak = "fitted on these reviews too" if any(row["id"].startswith("train/") for row in rows) else ""
        figures = [
            share("judge right on the review", [row["judge"]["review"] == row["label"] for row in rows], note=leak)
        ]
        for name, some in ((f", over {LONG} words", long), ("", rows)):
            written = [row for row in some if row["summary"]]
            figures += [
                share(f"sentiment kept{name}", [bool(_kept(row)) for row in some]),
                share(f"with a number or name invented{name}", [bool(row["invented"]) for row in some]),
                mean(f"repeated 4-grams{name}", [texts.repeated(row["summary"], 4) for row in written], percent=True),
                share(f"empty{name}", [not row["summary"] for row in some]),
                share(f"sentences of the review instead{name}", [row["replaced"] for row in some]),
            ]
        for kind, name in KINDS.items():
            own = [row for row in rows if row[kind]]
            if kind != "summary":
                figures += [
                    share(f"sentiment kept, {name}, over {LONG} words", [bool(_kept(row, kind)) for row in long]),
                    share(f"sentiment kept, {name}", [bool(_kept(row, kind)) for row in rows]),
                ]
            if kind == "draft":
                invented = [bool(texts.invented(row[kind], row["review"])) for row in long]
                figures.append(share(f"with a number or name invented, {name}, over {LONG} words", invented))
            figures += [
                mean(f"compression, {name}", [_compression(row["review"], row[kind]) for row in own],
                     note="words in for each word out"),
                mean(f"coverage, {name}", [coverage(row[kind], row["review"]) for row in own], percent=True),
                mean(f"density, {name}", [density(row[kind], row["review"]) for row in own], note="words"),
                mean(f"novel bigrams, {name}", [texts.novel(row[kind], row["review"], 2) for row in own], percent=True),
            ]  # fmt: skip
        written = [row for row in rows if row["summary"]]
        figures.append(mean("decode tokens/s", [row["timing"]["decode_tokens_per_s"] for row in written]))
        return [*figures, *rouge(references)]

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        row = rows[0]
        start = f"{row['id']} ({LABELS[row['label']]}): {row['review']}"
        shown = [f"{name}: {row[kind]}" for kind, name in KINDS.items() if kind != "constant"]
        return "\n\n".join([start, *shown, f"Invented: {', '.join(row['invented']) or 'nothing'}"])


def _compression(text: str, summary: str) -> float:
    return len(text.split()) / max(1, len(summary.split()))

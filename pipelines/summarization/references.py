"""Documents with a reference summary, such as XSum (Narayan et al. 2018), and ROUGE against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.measure.reviews import clean_review, draw, read_columns
from engine.measure.statistics import Figure, mean
from pipelines.evaluation.data import Review

PREFIX = "reference/"  # of the ids
KINDS = ("rouge1", "rouge2", "rougeL")


def read_references(file: Path, limit: int, seed: int) -> list[Review]:
    """Documents of a file, with summaries that people wrote.

    Parameters
    ----------
    file : Parquet with the columns id, document and summary.
    limit : most documents.
    seed : draws them.

    Returns
    -------
    A review for each; `about["reference"]` is the summary, the label means nothing.

    Raises
    ------
    BadData : the file is missing or of another shape.
    """
    frame = read_columns(file, ("id", "document", "summary"))
    rows = list(zip(frame["id"].astype(str), frame["document"], frame["summary"], strict=True))
    rows = [row for row in rows if all(isinstance(text, str) and text.strip() for text in row)]
    return [
        Review(f"{PREFIX}{id}", clean_review(document), 0, about={"reference": summary.strip()})
        for id, document, summary in draw(rows, limit, seed)
    ]


def rouge(rows: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """ROUGE-1, -2 and -L (F1, Porter's stemmer, the rouge-score package) of `summary` and `lead`."""
    if not rows:
        return []
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(KINDS), use_stemmer=True)
    figures = []
    for kind, name in (("summary", "summary"), ("lead", "LEAD-3")):
        scores = [scorer.score(row["reference"], row[kind]) for row in rows]
        figures += [mean(f"{one}, {name}", [score[one].fmeasure for score in scores]) for one in KINDS]
    return figures

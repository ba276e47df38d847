"""An outside judge of sentiment: TF-IDF and logistic regression on the train split, never the model that writes. It is
also the baseline that a classifier must beat, fitted on as many rows as that one or on all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from pipelines.evaluation.data import Review, balanced_sample, unique_reviews

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


@lru_cache(maxsize=1)
def sentiment_judge() -> Pipeline:
    """The judge, fitted once on the unique train reviews; `predict([text])` gives 0 (negative) or 1."""
    return _fit(unique_reviews("train").reviews)


@lru_cache(maxsize=1)
def baseline(rows: int, seed: int) -> Pipeline:
    """The same, fitted on the rows that a head of so many rows and that seed is."""
    return _fit(balanced_sample("train", rows, seed).reviews)


def _fit(train: Sequence[Review]) -> Pipeline:
    return judge_of([review.text for review in train], [review.label for review in train])


def judge_of(texts: Sequence[str], labels: Sequence[int]) -> Pipeline:
    """The judge that these texts and their labels, 0 or 1, make."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    judge = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, min_df=min(5, max(1, len(texts) // 1_000)), max_features=50_000),
        LogisticRegression(C=3.0, max_iter=1_000),
    )
    return judge.fit(list(texts), list(labels))


def judged(texts: list[str]) -> list[int]:
    """The judge's label of each text."""
    return [int(label) for label in sentiment_judge().predict(texts)]

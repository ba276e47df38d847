"""An outside judge of sentiment: TF-IDF and logistic regression on the train split, never the model that writes."""

from __future__ import annotations

from functools import lru_cache

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from pipelines.evaluation.data import unique_reviews


@lru_cache(maxsize=1)
def sentiment_judge() -> Pipeline:
    """The fitted judge; `predict([text])` gives 0 (negative) or 1. Fitted once, on the unique train reviews."""
    train = unique_reviews("train").reviews
    judge = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, min_df=min(5, max(1, len(train) // 1_000)), max_features=50_000),
        LogisticRegression(C=3.0, max_iter=1_000),
    )
    return judge.fit([review.text for review in train], [review.label for review in train])


def judged(texts: list[str]) -> list[int]:
    """The judge's label of each text."""
    return [int(label) for label in sentiment_judge().predict(texts)]

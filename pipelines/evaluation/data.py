"""IMDB reviews (Maas et al. 2011): loaded, cleaned once, without duplicates, sampled in balance."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from engine.measure.reviews import BadData, Split, clean_review, read

LABELS = ("negative", "positive")  # label 0 and 1


@dataclass(frozen=True)
class Review:
    """`id` is "split/row" of the published table, or the name of its file; `label` 0 (negative) or 1 (positive); `text`
    is clean; `stars` 1 to 10 and `film`, its id, where they are known. `about` holds what else an evaluation was given
    with a text of its own: a question, a reference."""

    id: str
    text: str
    label: int
    stars: int | None = None
    film: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """Reviews of one split and what was set aside before they were drawn."""

    split: Split
    reviews: tuple[Review, ...]
    source: str
    rows: int  # of the split as published
    duplicates: int  # further copies of a text inside the split
    in_train: int  # test texts that stand in train


def load_reviews(split: Split) -> tuple[list[Review], str]:
    """All reviews of a split in published order, cleaned, and the sentence that says where they came from. Sources and
    errors as `engine.measure.reviews.read`."""
    raw, source = read(split)
    return [Review(row.id, clean_review(row.text), row.label, row.stars, row.film) for row in raw], source


def text_key(text: str) -> str:
    """What makes two reviews the same text: white space apart, every character."""
    return " ".join(text.split())


@lru_cache(maxsize=2)
def unique_reviews(split: Split) -> Sample:
    """Every text of a split once (its first row); of test, only what does not stand in train."""
    reviews, source = load_reviews(split)
    first: dict[str, Review] = {}
    for review in reviews:
        first.setdefault(text_key(review.text), review)
    kept = first
    if split == "test":
        train = {text_key(review.text) for review in load_reviews("train")[0]}
        kept = {key: review for key, review in first.items() if key not in train}
    return Sample(split, tuple(kept.values()), source, len(reviews), len(reviews) - len(first), len(first) - len(kept))


def balanced_sample(split: Split, limit: int, seed: int) -> Sample:
    """Unique reviews in random order, half of each label (an odd one is positive).

    Parameters
    ----------
    split : "train" or "test"; of test, no text that stands in train.
    limit : how many, 1 or more.
    seed : the same seed gives the same sample.

    Raises
    ------
    BadData : `limit` is below 1, or there are not enough reviews of a label.
    """
    if limit < 1:
        raise BadData(f"--limit is {limit}: give 1 or more reviews.")
    everything = unique_reviews(split)
    rng = np.random.default_rng(seed)
    drawn: list[Review] = []
    for label, wanted in ((0, limit // 2), (1, limit - limit // 2)):
        pool = [review for review in everything.reviews if review.label == label]
        if wanted > len(pool):
            most = 2 * min(len(pool), len(everything.reviews) - len(pool))
            raise BadData(
                f"--limit is {limit:,}, and the {split} split gives a balanced sample of at most {most:,} reviews."
            )
        drawn += [pool[i] for i in rng.permutation(len(pool))[:wanted]]
    order = rng.permutation(len(drawn))
    shuffled = tuple(drawn[i] for i in order)
    return Sample(split, shuffled, everything.source, everything.rows, everything.duplicates, everything.in_train)


def without(reviews: Iterable[Review], texts: Collection[str]) -> list[Review]:
    """The reviews whose text, white space apart, is none of `texts`."""
    avoided = {text_key(text) for text in texts}
    return [review for review in reviews if text_key(review.text) not in avoided]

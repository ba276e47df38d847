"""Held-out text: reviews of the IMDB test split, cut so that so many tokens in all are predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.measure.reviews import BadData, draw, read, with_line_breaks
from engine.text.tokenizer import Tokenizer

SEED = 0


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a review: `tokens`, and the UTF-8 bytes that all but the first of them stand for."""

    tokens: tuple[int, ...]
    bytes: int


def held_out(count: int) -> tuple[list[str], str]:
    """`count` different texts of the test split, always the same ones, with line breaks for `<br />` and nothing else
    mended; and their source. Raises BadData where there are fewer, or none can be read."""
    reviews, source = read("test")
    texts = list(dict.fromkeys(with_line_breaks(review.text) for review in reviews))
    if count > len(texts):
        raise BadData(f"{count:,} reviews were asked for, and there are {len(texts):,}.")
    return draw(texts, count, SEED), source


def cut(texts: Sequence[str], tokenizer: Tokenizer, total: int, longest: int) -> list[Excerpt]:
    """The first n tokens of each text, n the least with enough tokens in all; a text that ends sooner is taken whole.

    Parameters
    ----------
    texts : one with fewer than two tokens predicts nothing and is left out.
    tokenizer : the model's.
    total : tokens to be predicted in all, which the first of a text is not; 0 takes all.
    longest : most tokens of one text.

    Raises
    ------
    BadData : the texts do not hold so many.
    """
    encoded = [tokenizer.encode_with_offsets(text) for text in texts]
    predicted = np.array([max(min(len(ids), longest) - 1, 0) for ids, _ in encoded])
    if predicted.sum() < total:
        raise BadData(
            f"These {len(texts):,} reviews hold {predicted.sum():,} tokens of the {total:,} asked for: take more."
        )
    keep = _least(lambda n: int(np.minimum(predicted, n - 1).sum()) >= total, 2, longest) if total else longest
    excerpts = []
    for text, (ids, offsets) in zip(texts, encoded, strict=True):
        taken = min(len(ids), keep)
        if taken >= 2:
            rest = text[offsets[0][1] : offsets[taken - 1][1]]
            excerpts.append(Excerpt(tuple(ids[:taken]), len(rest.encode())))
    return excerpts


def _least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The least n from low to high where `holds(n)`, which holds at high and from some n on."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low

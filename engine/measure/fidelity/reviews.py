"""Held-out text: reviews of the IMDB test split (Maas et al. 2011), cut so that so many tokens in all are predicted."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import UserError
from engine.text.tokenizer import Tokenizer

HUB_ID = "stanfordnlp/imdb"
SEED = 0

_BREAK = re.compile(r"[ \t]*(?:<br[ \t]*/?>[ \t]*)+", re.IGNORECASE)


class NoReviews(UserError):
    """There are no reviews to read, or too few; one sentence says what to do."""


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a review: `tokens`, and the UTF-8 bytes that all but the first of them stand for."""

    tokens: tuple[int, ...]
    bytes: int


def read_reviews() -> tuple[list[str], str]:
    """All texts of the test split in published order, each once, with line breaks for `<br />`; and their source.

    `IMDB_DIR` names a folder with `test-*.parquet` or `test.parquet`; without it the `datasets` library is asked.
    """
    folder = os.environ.get("IMDB_DIR", "")
    texts, source = _from_folder(Path(folder)) if folder else _from_hub()
    return list(dict.fromkeys(_BREAK.sub("\n", text).strip() for text in texts)), source


def _from_folder(folder: Path) -> tuple[list[str], str]:
    import pyarrow.parquet

    files = sorted([*folder.glob("test-*.parquet"), *folder.glob("test.parquet")])
    if not files:
        raise NoReviews(
            f"IMDB_DIR is {folder}, where no test-*.parquet stands: name the folder of {HUB_ID}, or unset it."
        )
    texts: list[str] = []
    for file in files:
        try:
            texts += pyarrow.parquet.read_table(file, columns=["text"])["text"].to_pylist()
        except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors, also for a missing column
            reason = str(error).splitlines()[0][:120]
            raise NoReviews(f"{file} cannot be read ({reason}): fetch it again from {HUB_ID}.") from error
    return texts, f"{HUB_ID}, test split, in IMDB_DIR"


def _from_hub() -> tuple[list[str], str]:
    import datasets

    try:
        texts = datasets.load_dataset(HUB_ID, split="test")["text"]
    except Exception as error:  # the library raises dozens of types for "not reachable"
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise NoReviews(
            f"{HUB_ID} could not be loaded ({reason}): connect to the network, or set IMDB_DIR to a folder with its "
            "parquet files."
        ) from error
    return list(texts), f"{HUB_ID}, test split, through datasets {datasets.__version__}"


def draw(texts: Sequence[str], count: int) -> list[str]:
    """`count` of the texts in random order, always the same ones."""
    if count > len(texts):
        raise NoReviews(f"{count:,} reviews were asked for, and there are {len(texts):,}.")
    return [texts[i] for i in np.random.default_rng(SEED).permutation(len(texts))[:count]]


def cut(texts: Sequence[str], tokenizer: Tokenizer, total: int, longest: int) -> list[Excerpt]:
    """The first n tokens of each text (at most `longest`), n the least with `total` tokens in all that are predicted,
    which the first of a text is not; 0 takes all.

    A text that ends sooner is taken whole. Raises NoReviews where they do not hold so many.
    """
    encoded = [tokenizer.encode_with_offsets(text) for text in texts]
    predicted = np.array([max(min(len(ids), longest) - 1, 0) for ids, _ in encoded])
    if predicted.sum() < total:
        raise NoReviews(
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

"""IMDB reviews (Maas et al. 2011): loaded, cleaned once, without duplicates, sampled in balance."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from engine.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Split = Literal["train", "test"]
HUB_ID = "stanfordnlp/imdb"
LABELS = ("negative", "positive")  # label 0 and 1

_BREAK = re.compile(r"[ \t]*(?:<br[ \t]*/?>[ \t]*)+", re.IGNORECASE)
# Bytes 0x80 to 0x9f were read as Latin-1 where they are Windows-1252 dashes, dots and quotes.
_CP1252 = {code: bytes([code]).decode("cp1252", errors="ignore") for code in range(0x80, 0xA0)}  # "" for five unused
_CONTROL = {code: "" for code in [*range(32), 0x7F] if chr(code) not in "\t\n"}
_REPAIR = {**_CP1252, **_CONTROL}


class BadData(UserError):
    """Data that cannot be read or does not suffice, in one sentence."""


@dataclass(frozen=True)
class Review:
    """`id` is "split/row" of the published table; `label` 0 (negative) or 1 (positive); `text` is clean."""

    id: str
    text: str
    label: int


@dataclass(frozen=True)
class Sample:
    """Reviews of one split and what was set aside before they were drawn."""

    split: Split
    reviews: tuple[Review, ...]
    source: str
    rows: int  # of the split as published
    duplicates: int  # further copies of a text inside the split
    in_train: int  # test texts that stand in train


def clean_review(text: str) -> str:
    """A review as its writer meant it: `<br />` are line breaks, mis-decoded cp1252 is repaired, control characters go.

    Cleaning a clean text changes nothing.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_REPAIR)
    return _BREAK.sub("\n", text).strip()


def load_reviews(split: Split) -> tuple[list[Review], str]:
    """All reviews of a split in published order, cleaned, and the sentence that says where they came from.

    `IMDB_DIR` names a folder with `{split}-*.parquet` or `{split}.parquet`; without it the `datasets` library reads
    `stanfordnlp/imdb`. BadData if they are missing, half-downloaded or of another shape.
    """
    folder = os.environ.get("IMDB_DIR", "")
    frame, source = _from_folder(Path(folder), split) if folder else _from_hub(split)
    missing = {"text", "label"} - set(frame.columns)
    if missing:
        raise BadData(
            f"{source} has no column {' and '.join(sorted(missing))}: give the IMDB table with text and label."
        )
    labels = frame["label"].to_numpy()
    if not np.isin(labels, (0, 1)).all() or frame["text"].isna().any():
        raise BadData(
            f"{source} holds rows without text or with labels other than 0 and 1: give the IMDB {split} split."
        )
    rows = zip(frame["text"], labels, strict=True)
    return [Review(f"{split}/{i}", clean_review(text), int(label)) for i, (text, label) in enumerate(rows)], source


def _from_folder(folder: Path, split: Split) -> tuple[pd.DataFrame, str]:
    import pandas as pd

    files = sorted([*folder.glob(f"{split}-*.parquet"), *folder.glob(f"{split}.parquet")])
    if not files:
        raise BadData(
            f"IMDB_DIR is {folder}, where no {split}-*.parquet stands: name the folder of {HUB_ID}, or unset it."
        )
    expected = re.search(r"-of-(\d+)\.parquet$", files[0].name)
    if expected and len(files) != int(expected[1]):
        raise BadData(f"{folder} holds {len(files)} of {int(expected[1])} {split} files: download the rest.")
    frames = []
    for file in files:
        try:
            frames.append(pd.read_parquet(file))
        except (OSError, ValueError) as error:  # pyarrow's errors are of these two families
            reason = str(error).splitlines()[0][:120]
            raise BadData(f"{file} cannot be read ({reason}): it may be half-downloaded, fetch it again.") from error
    return pd.concat(frames, ignore_index=True), f"{folder.name}/{split} parquet in IMDB_DIR"


def _from_hub(split: Split) -> tuple[pd.DataFrame, str]:
    import datasets

    try:
        frame = datasets.load_dataset(HUB_ID, split=split).to_pandas()
    except Exception as error:  # the library raises dozens of types for "not reachable"
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise BadData(
            f"{HUB_ID} could not be loaded ({reason}): connect to the network, or set IMDB_DIR to a folder with "
            f"its parquet files."
        ) from error
    return frame, f"{HUB_ID} through datasets {datasets.__version__}"


def _key(text: str) -> str:
    """What makes two reviews the same text: white space apart, every character."""
    return " ".join(text.split())


@lru_cache(maxsize=2)
def unique_reviews(split: Split) -> Sample:
    """Every text of a split once (its first row); of test, only what does not stand in train."""
    reviews, source = load_reviews(split)
    first: dict[str, Review] = {}
    for review in reviews:
        first.setdefault(_key(review.text), review)
    kept = first
    if split == "test":
        train = {_key(review.text) for review in load_reviews("train")[0]}
        kept = {key: review for key, review in first.items() if key not in train}
    return Sample(split, tuple(kept.values()), source, len(reviews), len(reviews) - len(first), len(first) - len(kept))


def balanced_sample(split: Split, limit: int, seed: int) -> Sample:
    """`limit` unique reviews in random order, half of each label (an odd one is positive). Same seed, same sample.

    BadData when `limit` is below 1 or there are not enough reviews of a label.
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

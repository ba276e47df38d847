"""IMDB reviews (Maas et al. 2011): read from Parquet files, the aclImdb folder or archive, the Hub, or pairs of a label
and a text; cleaned, and drawn.

Labels come in two conventions: 0 and 1, and the 1 and 2 of torchtext's IMDB.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import numpy as np

from engine.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

Split = Literal["train", "test"]
HUB_ID = "stanfordnlp/imdb"
Item = TypeVar("Item")

_FILE = re.compile(r"(?P<split>train|test)/(?P<label>neg|pos)/(?P<number>\d+)_(?P<stars>\d+)\.txt$")
_UNLABELLED = re.compile(r"train/unsup/(\d+)_0\.txt$")
_URLS = re.compile(r"(?P<split>train|test)/urls_(?P<label>neg|pos)\.txt$")
_FILM = re.compile(r"tt\d+")
_BREAK = re.compile(r"[ \t]*(?:<br[ \t]*/?>[ \t]*)+", re.IGNORECASE)
# Bytes 0x80 to 0x9f were read as Latin-1 where they are Windows-1252 dashes, dots and quotes.
_CP1252 = {code: bytes([code]).decode("cp1252", errors="ignore") for code in range(0x80, 0xA0)}  # "" for five unused
_CONTROL = {code: "" for code in [*range(32), 0x7F] if chr(code) not in "\t\n"}
_REPAIR = {**_CP1252, **_CONTROL}


class BadData(UserError):
    """Data that cannot be read or does not suffice, in one sentence."""


class RawReview(NamedTuple):
    """A review as it was published; `label` 0 (negative) or 1 (positive). `stars` (1 to 10) and `film` (its id) where
    they are known."""

    id: str
    text: str
    label: int
    stars: int | None = None
    film: str | None = None


def read(split: Split) -> tuple[list[RawReview], str]:
    """All reviews of a split in published order, and the sentence that says where they came from.

    `IMDB_DIR` names a folder with `{split}-*.parquet` or `{split}.parquet`, an `aclImdb` folder, or its `.tar.gz`;
    without it the `datasets` library reads `stanfordnlp/imdb`. `IMDB_META` may name a folder whose `{split}.parquet`
    has `stars` and `film` row for row. BadData if anything is missing, half-downloaded or of another shape.
    """
    place = Path(os.environ.get("IMDB_DIR", ""))
    if not os.environ.get("IMDB_DIR"):
        frame, source = _hub_table(split)
        reviews = _from_frame(frame, split, source)
    elif place.is_file():
        reviews, source = _from_acl(_archived(place, split), place, split)
    elif (place / split / "pos").is_dir() or (place / split / "neg").is_dir():
        reviews, source = _from_acl(_lying(place, split), place, split)
    else:
        frame, source = _parquet_table(place, split)
        reviews = _from_frame(frame, split, source)
    meta = os.environ.get("IMDB_META", "")
    return (_with_meta(reviews, Path(meta) / f"{split}.parquet") if meta else reviews), source


def read_unlabelled() -> tuple[list[str], str]:
    """The reviews that were published without a label, in published order, and where they came from. Sources as
    `read`'s: `unsupervised-*.parquet`, `train/unsup/*.txt`, or the split `unsupervised` of the Hub's table. BadData if
    anything is missing or cannot be read."""
    given = os.environ.get("IMDB_DIR", "")
    place = Path(given)
    if not given:
        frame, source = _hub_table("unsupervised")
    elif place.is_file() or (place / "train" / "unsup").is_dir():
        files = _archived(place, "train") if place.is_file() else _lying(place, "train")
        found = [(int(name[1]), content()) for path, content in files if (name := _UNLABELLED.search(path))]
        if not found:
            raise BadData(f"IMDB_DIR is {place}, which holds no reviews in train/unsup: fetch the data again.")
        return [text.decode("utf-8", "replace") for _, text in sorted(found)], f"{place.name} in IMDB_DIR"
    else:
        frame, source = _parquet_table(place, "unsupervised")
    if "text" not in frame.columns:
        raise BadData(f"{source} has no column text: give the IMDB table.")
    return [str(text) for text in frame["text"]], source


def with_line_breaks(text: str) -> str:
    """A line break for every run of `<br />`, and no white space at either end."""
    return _BREAK.sub("\n", text).strip()


def clean_review(text: str) -> str:
    """A review as its writer meant it: `<br />` are line breaks, mis-decoded cp1252 is repaired, control characters go.

    Cleaning a clean text changes nothing.
    """
    return with_line_breaks(text.replace("\r\n", "\n").replace("\r", "\n").translate(_REPAIR))


def draw(items: Sequence[Item], count: int, seed: int) -> list[Item]:
    """Some of the items in random order.

    Parameters
    ----------
    items : drawn from without replacement.
    count : how many; all where there are fewer.
    seed : the same seed draws the same items of as many.
    """
    return [items[i] for i in np.random.default_rng(seed).permutation(len(items))[:count]]


def from_pairs(pairs: Iterable[tuple[int, str]], split: Split) -> list[RawReview]:
    """Reviews of (label, text) pairs, in their order; labels are 0 and 1, or 1 and 2. BadData for anything else."""
    found = list(pairs)
    for row, pair in enumerate(found):
        label, text = pair
        if not isinstance(text, str) or not text.strip():
            raise BadData(f"Row {row:,} of {split} has no text: leave it out, or give its text.")
        if isinstance(label, bool) or label not in (0, 1, 2):
            raise BadData(f"Row {row:,} of {split} has the label {label!r}: labels are 0 and 1, or 1 and 2.")
    labels = {int(label) for label, _ in found}
    if {0, 2} <= labels:
        raise BadData(f"The labels of {split} are {sorted(labels)}: give 0 and 1, or 1 and 2.")
    first = 1 if 2 in labels else 0
    return [RawReview(f"{split}/{row}", text, int(label) - first) for row, (label, text) in enumerate(found)]


def _parquet_table(folder: Path, split: str) -> tuple[pd.DataFrame, str]:
    import pandas as pd

    files = sorted([*folder.glob(f"{split}-*.parquet"), *folder.glob(f"{split}.parquet")])
    if not files:
        raise BadData(
            f"IMDB_DIR is {folder}, where no {split}-*.parquet stands: name the folder of {HUB_ID}, or unset it."
        )
    expected = re.search(r"-of-(\d+)\.parquet$", files[0].name)
    if expected and len(files) != int(expected[1]):
        raise BadData(f"{folder} holds {len(files)} of {int(expected[1])} {split} files: download the rest.")
    frame = pd.concat([read_parquet(file) for file in files], ignore_index=True)
    return frame, f"{folder.name}/{split} parquet in IMDB_DIR"


def read_parquet(file: Path) -> pd.DataFrame:
    """BadData if it cannot be read."""
    import pandas as pd

    try:
        return pd.read_parquet(file)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these two families
        reason = str(error).splitlines()[0][:120]
        raise BadData(f"{file} cannot be read ({reason}): it may be half-downloaded, fetch it again.") from error


def read_columns(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A Parquet file that a user named; BadData if it is missing, cannot be read, or lacks one of the columns."""
    if not file.is_file():
        raise BadData(f"There is no file {file}: name a Parquet file with {', '.join(columns)}.")
    frame = read_parquet(file)
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise BadData(f"{file} has no column {' and '.join(missing)}: give {', '.join(columns)}.")
    return frame


def _hub_table(split: str) -> tuple[pd.DataFrame, str]:
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


def _from_frame(frame: pd.DataFrame, split: Split, source: str) -> list[RawReview]:
    missing = {"text", "label"} - set(frame.columns)
    if missing:
        raise BadData(
            f"{source} has no column {' and '.join(sorted(missing))}: give the IMDB table with text and label."
        )
    try:
        return from_pairs(zip(frame["label"].tolist(), frame["text"].tolist(), strict=True), split)
    except BadData as error:
        raise BadData(f"{source}: {error}") from error


def _with_meta(reviews: list[RawReview], file: Path) -> list[RawReview]:
    if not file.is_file():
        raise BadData(f"IMDB_META is {file.parent}, where no {file.name} stands: name its folder, or unset it.")
    frame = read_parquet(file)
    if not {"stars", "film"} <= set(frame.columns) or len(frame) != len(reviews):
        raise BadData(
            f"{file} does not fit the reviews: it needs the columns stars and film, and {len(reviews):,} rows "
            f"(it has {len(frame):,})."
        )
    rows = zip(reviews, frame["stars"].tolist(), frame["film"].tolist(), strict=True)
    found = [review._replace(stars=int(stars), film=str(film)) for review, stars, film in rows]
    if any(((review.stars or 0) > 5) != bool(review.label) for review in found):
        raise BadData(f"The stars in {file} contradict the labels: it belongs to reviews in another order.")
    return found


def _from_acl(
    files: Iterator[tuple[str, Callable[[], bytes]]], place: Path, split: Split
) -> tuple[list[RawReview], str]:
    """The layout of Maas et al.: `{split}/{neg,pos}/{number}_{stars}.txt`, and the films' pages in `urls_{label}.txt`,
    a line a number."""
    texts: list[tuple[int, int, int, str]] = []  # label, number, stars, text
    films: dict[int, list[str]] = {}
    for name, content in files:
        if found := _FILE.search(name):
            label = int(found["label"] == "pos")
            texts.append((label, int(found["number"]), int(found["stars"]), content().decode("utf-8", "replace")))
        elif found := _URLS.search(name):
            pages = content().decode("utf-8", "replace").splitlines()
            films[int(found["label"] == "pos")] = [(_FILM.findall(page) or [""])[0] for page in pages]
    if not texts:
        raise BadData(f"IMDB_DIR is {place}, which holds no {split} reviews: it may be half-downloaded.")
    reviews = []
    for label, number, stars, text in sorted(texts):
        pages = films.get(label, [])
        id = f"{split}/{('neg', 'pos')[label]}/{number}_{stars}"
        if not text.strip():
            raise BadData(f"{id}.txt in {place} is empty: fetch the data again.")
        reviews.append(RawReview(id, text, label, stars, (pages[number] or None) if number < len(pages) else None))
    return reviews, f"{place.name} in IMDB_DIR"


def _lying(folder: Path, split: Split) -> Iterator[tuple[str, Callable[[], bytes]]]:
    for file in (*(folder / split).glob("*/*.txt"), *(folder / split).glob("urls_*.txt")):
        yield f"{split}/{file.relative_to(folder / split).as_posix()}", file.read_bytes


def _archived(file: Path, split: Split) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """The members of a split, in the archive's order: read as they come, for a gzip file has no other way."""
    try:
        with tarfile.open(file, "r:*") as archive:
            for member in archive:
                opened = archive.extractfile(member) if f"/{split}/" in f"/{member.name}" else None
                if opened is not None:
                    yield member.name, opened.read
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadData(f"{file} cannot be read ({error}): it may be half-downloaded, fetch it again.") from error

"""Where reviews come from: the layouts, the label conventions, and data that is not what it should be."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.measure.reviews import BadData, clean_review, from_pairs, read

FILES = {
    "train/neg/0_2.txt": "Bad.<br />Really.",
    "train/neg/10_1.txt": "Worse.",
    "train/neg/2_4.txt": "Dull.",
    "train/pos/0_9.txt": "caf\u00e9",
    "train/urls_neg.txt": "".join(f"http://www.imdb.com/title/tt{i:07}/usercomments\n" for i in range(11)),
    "train/urls_pos.txt": "http://www.imdb.com/title/tt0000077/usercomments\n",
    "test/pos/0_10.txt": "Great.",
    "train/unsup/0_0.txt": "No label.",
    "README": "Maas et al.",
}


def lying(folder: Path) -> Path:
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def archived(folder: Path) -> Path:
    path = folder / "aclImdb_v1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in FILES.items():
            member = tarfile.TarInfo(f"aclImdb/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


@pytest.mark.parametrize("layout", [lying, archived])
def test_the_layout_of_the_publishers_with_stars_and_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: Any
) -> None:
    place = layout(tmp_path / "aclImdb" if layout is lying else tmp_path)
    monkeypatch.setenv("IMDB_DIR", str(place))
    reviews, source = read("train")
    assert place.name in source
    assert [(r.id, r.label, r.stars, r.film) for r in reviews] == [
        ("train/neg/0_2", 0, 2, "tt0000000"), ("train/neg/2_4", 0, 4, "tt0000002"),
        ("train/neg/10_1", 0, 1, "tt0000010"), ("train/pos/0_9", 1, 9, "tt0000077"),
    ]  # fmt: skip
    assert clean_review(reviews[0].text) == "Bad.\nReally." and reviews[3].text == "caf\u00e9"
    [great], _ = read("test")
    assert (great.label, great.stars, great.film) == (1, 10, None)  # no page is listed


def test_a_half_downloaded_archive_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archived(tmp_path)
    monkeypatch.setenv("IMDB_DIR", str(path))
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(BadData, match="half-downloaded"):
        read("train")
    path.write_bytes(b"<html>Not found</html>")
    with pytest.raises(BadData, match="half-downloaded"):
        read("train")


@pytest.mark.parametrize(("labels", "expected"), [((0, 1, 0), [0, 1, 0]), ((1, 2, 1), [0, 1, 0]), ((0, 0), [0, 0])])
def test_both_label_conventions(labels: tuple[int, ...], expected: list[int]) -> None:
    found = from_pairs(((label, f"text {i}") for i, label in enumerate(labels)), "test")
    assert [review.label for review in found] == expected
    assert [review.id for review in found] == [f"test/{i}" for i in range(len(labels))]


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        ([(0, "a"), (1, "")], "Row 1 of train has no text"),
        ([(0, None)], "Row 0 of train has no text"),
        ([(0, "a"), (-1, "b")], "Row 1 of train has the label -1: labels are 0 and 1, or 1 and 2"),
        ([("pos", "a")], "label 'pos'"),
        ([(0, "a"), (1, "b"), (2, "c")], r"are \[0, 1, 2\]: give 0 and 1, or 1 and 2"),
    ],
)
def test_pairs_that_are_no_reviews(pairs: Any, match: str) -> None:
    with pytest.raises(BadData, match=match):
        from_pairs(pairs, "train")


def test_stars_and_films_row_by_row(imdb_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))
    monkeypatch.setenv("IMDB_META", str(tmp_path))
    with pytest.raises(BadData, match=r"no test\.parquet stands"):
        read("test")
    frame = pd.DataFrame({"stars": [2] * 16 + [9] * 16, "film": [f"tt{i % 5}" for i in range(32)]})
    frame.to_parquet(tmp_path / "test.parquet")
    reviews, _ = read("test")
    assert (reviews[0].stars, reviews[17].stars, reviews[17].film) == (2, 9, "tt2")
    frame[::-1].to_parquet(tmp_path / "test.parquet")
    with pytest.raises(BadData, match="another order"):
        read("test")
    frame[:7].to_parquet(tmp_path / "test.parquet")
    with pytest.raises(BadData, match=r"32 rows \(it has 7\)"):
        read("test")


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("One.<br /><br />Two.", "One.\nTwo."),
        ("One. <br/> <BR> Two.", "One.\nTwo."),
        ("a film \x96 not a movie\x85", "a film – not a movie…"),
        ("\x93quoted\x94 \x91s\x92", "“quoted” ‘s’"),
        ("bell\x08 and \x81unused", "bell and unused"),
        (" caf\xe9 <3 <grin> ", "caf\xe9 <3 <grin>"),
        ("a\r\nb\tc", "a\nb\tc"),
    ],
)
def test_cleaning(raw: str, clean: str) -> None:
    assert clean_review(raw) == clean


@given(
    st.text(
        st.one_of(st.sampled_from(list("<br/> \n\r\tb>\x85\x96\x08\x81")), st.characters(exclude_categories=["Cs"]))
    )
)
def test_cleaning_twice_changes_nothing_and_leaves_nothing_to_clean(text: str) -> None:
    once = clean_review(text)
    assert clean_review(once) == once
    assert "<br />" not in once and not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in once)

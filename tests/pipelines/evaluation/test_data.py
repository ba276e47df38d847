from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.measure.reviews import BadData
from pipelines.evaluation import data
from pipelines.evaluation.data import balanced_sample, load_reviews, unique_reviews


@pytest.fixture(autouse=True)
def _fresh() -> None:
    unique_reviews.cache_clear()


def write(folder: Path, split: str, rows: list[tuple[str, int]], name: str = "{}-00000-of-00001.parquet") -> None:
    table = pa.table({"text": [text for text, _ in rows], "label": pa.array([label for _, label in rows], pa.int64())})
    pq.write_table(table, folder / name.format(split))


def test_reviews_have_the_row_of_the_published_table_for_a_name(
    imdb_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))
    reviews, source = load_reviews("test")
    assert [review.id for review in reviews] == [f"test/{i}" for i in range(32)]
    assert "IMDB_DIR" in source and not any("<br" in review.text for review in reviews)


def test_copies_and_test_texts_of_train_are_set_aside_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMDB_DIR", str(tmp_path))
    write(tmp_path, "train", [("good one", 1), ("bad one", 0), ("in both", 1)])
    write(tmp_path, "test", [("a", 0), ("a ", 0), ("in<br />both", 1), ("b", 1), ("c", 0)])
    sample = unique_reviews("test")
    assert [review.id for review in sample.reviews] == ["test/0", "test/3", "test/4"]
    assert (sample.rows, sample.duplicates, sample.in_train) == (5, 1, 1)


def test_a_sample_is_balanced_seeded_and_in_random_order(imdb_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))
    first, again, other = (balanced_sample("test", 21, seed) for seed in (3, 3, 4))
    assert first == again and first.reviews != other.reviews
    labels = [review.label for review in first.reviews]
    assert sum(labels) == 11 and labels != sorted(labels) and len({review.id for review in first.reviews}) == 21


@pytest.mark.parametrize(("limit", "word"), [(0, "1 or more"), (-3, "1 or more"), (33, "at most 32")])
def test_a_sample_that_cannot_be_drawn(imdb_dir: Path, monkeypatch: pytest.MonkeyPatch, limit: int, word: str) -> None:
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))
    with pytest.raises(BadData, match=word):
        balanced_sample("test", limit, 0)


def test_missing_half_downloaded_and_foreign_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMDB_DIR", str(tmp_path))
    with pytest.raises(BadData, match="no test-"):
        load_reviews("test")
    write(tmp_path, "test", [("a", 0)], "{}-00000-of-00002.parquet")
    with pytest.raises(BadData, match="1 of 2"):
        load_reviews("test")
    write(tmp_path, "train", [("a", 0), ("b", -1)])
    with pytest.raises(BadData, match="0 and 1"):
        load_reviews("train")
    (tmp_path / "test-00000-of-00002.parquet").unlink()
    write(tmp_path, "test", [("text " * 50, i % 2) for i in range(100)])
    whole = (tmp_path / "test-00000-of-00001.parquet").read_bytes()
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadData, match="half-downloaded"):
        load_reviews("test")
    pq.write_table(pa.table({"review": ["a"]}), tmp_path / "test-00000-of-00001.parquet")
    with pytest.raises(BadData, match="no column label and text"):
        load_reviews("test")


def test_without_imdb_dir_and_without_a_network_the_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def offline(*args: object, **options: object) -> None:
        raise ConnectionError("Couldn't reach 'stanfordnlp/imdb' on the Hub")

    monkeypatch.delenv("IMDB_DIR", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(BadData, match="set IMDB_DIR"):
        data.load_reviews("test")

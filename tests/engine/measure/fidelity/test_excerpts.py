"""Held-out reviews: where they come from, which are drawn, how they are cut."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.measure.fidelity.excerpts import cut, held_out
from engine.measure.reviews import BadData, draw
from engine.text.tokenizer import Tokenizer
from tests.tiny import save_tiny_tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    save_tiny_tokenizer(tmp_path)
    return Tokenizer.from_folder(tmp_path)


def write(folder: Path, name: str, texts: list[str], column: str = "text") -> None:
    pq.write_table(pa.table({column: texts, "label": [0] * len(texts)}), folder / name)


def test_texts_of_a_folder_once_each_with_line_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "test-00000-of-00001.parquet", ["One.<br /><br />Two. ", "Other", "One.<br />Two."])
    write(tmp_path, "train-00000-of-00001.parquet", ["Not this"])
    monkeypatch.setenv("IMDB_DIR", str(tmp_path))
    texts, source = held_out(2)
    assert sorted(texts) == ["One.\nTwo.", "Other"] and "IMDB_DIR" in source
    with pytest.raises(BadData, match="3 reviews were asked for, and there are 2"):
        held_out(3)


@pytest.mark.parametrize("content", [None, b"half a file", "review"])
def test_no_data_is_one_sentence_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str | None
) -> None:
    if isinstance(content, bytes):
        (tmp_path / "test.parquet").write_bytes(content)
    elif content:
        write(tmp_path, "test.parquet", ["a"], column=content)
    monkeypatch.setenv("IMDB_DIR", str(tmp_path))
    with pytest.raises(BadData, match=r"name the folder of stanfordnlp/imdb|fetch it again|has no column text"):
        held_out(1)


def test_a_hub_out_of_reach_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.delenv("IMDB_DIR", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(BadData, match=r"could not be loaded \(no route\): .* set IMDB_DIR"):
        held_out(1)


def test_the_same_reviews_are_drawn_every_time() -> None:
    texts = [f"review {i}" for i in range(50)]
    first = draw(texts, 20, seed=0)
    assert first == draw(texts, 20, seed=0) != draw(texts, 20, seed=1)
    assert first != texts[:20] and len(set(first)) == 20
    assert sorted(draw(texts, 51, seed=0)) == sorted(texts)


def test_reviews_are_cut_to_the_least_length_that_gives_enough_tokens(tokenizer: Tokenizer) -> None:
    texts = ["a b c d e f g h i j k l m n o p", "a b c", "a b c d e f g h", "Z"]
    lengths = [len(tokenizer.encode(text)) for text in texts]
    excerpts = cut(texts, tokenizer, 20, longest=100)
    keep = max(len(excerpt.tokens) for excerpt in excerpts)
    predicted = [sum(min(length, most) - 1 for length in lengths) for most in (keep, keep - 1)]
    assert predicted[0] >= 20 > predicted[1]
    assert len(excerpts) == 3  # one token predicts nothing
    for excerpt, text in zip(excerpts, texts, strict=False):
        assert list(excerpt.tokens) == tokenizer.encode(text)[: len(excerpt.tokens)]


def test_whole_reviews_up_to_the_window_and_their_bytes(tokenizer: Tokenizer) -> None:
    text = "Fine: naïve 🙂 film"
    [whole] = cut([text], tokenizer, 0, longest=100)
    first = tokenizer.decode(whole.tokens[:1])
    assert whole.bytes == len(text.encode()) - len(first.encode())
    [short] = cut([text], tokenizer, 0, longest=4)
    assert len(short.tokens) == 4
    with pytest.raises(BadData, match="of the 999 asked for: take more"):
        cut([text], tokenizer, 999, longest=100)

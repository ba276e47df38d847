"""Vocabularies of words and of byte pairs, and vectors in GloVe's format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.training.vocabulary import END, UNKNOWN, read_vectors, train_bpe, train_words
from tests.tiny import CORPUS

TEXTS = ("The film is good.", "A GOOD film, a bad end.", "good!")


def test_words_by_frequency() -> None:
    tokenizer = train_words(TEXTS, min_frequency=2)
    assert set(tokenizer.get_vocab()) == {END, UNKNOWN, "good", "film", "a", "."}
    assert tokenizer.encode("The Film was GOOD.").tokens == [UNKNOWN, "film", UNKNOWN, "good", "."]
    assert tokenizer.token_to_id(END) == 0
    assert len(train_words(TEXTS, 1, most=5).get_vocab()) == 5


def test_words_are_read_with_spaces_between() -> None:
    tokenizer = train_words(TEXTS, 1)
    assert tokenizer.decode(tokenizer.encode("A bad end.").ids) == "a bad end ."


BPE = train_bpe(CORPUS, 320)


@given(st.text(max_size=60))
def test_byte_pairs_lose_nothing(text: str) -> None:
    ids = BPE.encode(text).ids
    assert BPE.decode(ids, skip_special_tokens=False) == text or END in text or UNKNOWN in text


def test_byte_pairs_have_a_size() -> None:
    assert train_bpe(CORPUS, 300).get_vocab_size() == 300 and BPE.token_to_id(END) == 0
    assert len(BPE.encode(CORPUS[0]).ids) < len(CORPUS[0])
    with pytest.raises(BadRequest, match="no room for 256 bytes"):
        train_bpe(CORPUS, 200)


def test_vectors_of_known_words(tmp_path: Path) -> None:
    file = tmp_path / "glove.txt"
    file.write_text("good 1 2 3\nunseen 4 5 6\nfilm 0.5 -1 2e-1\n")
    tokenizer = train_words(TEXTS, 2)
    ids, vectors = read_vectors(file, tokenizer, 3)
    assert [tokenizer.id_to_token(int(i)) for i in ids] == ["good", "film"]
    assert np.allclose(vectors, np.array([[1, 2, 3], [0.5, -1, 0.2]]))
    file.write_text("2 3\ngood 1 2 3\n")
    assert read_vectors(file, tokenizer, 3)[0].tolist() == [tokenizer.token_to_id("good")], "word2vec's first line"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("good 1 2\n", r"vectors of 2 numbers \(line 1\), and the embedding has 3"),
        ("good 1 2 3\nfilm 1 x 3\n", "Line 2 .* no number"),
        ("unseen 1 2 3\n", "No word of the vocabulary"),
        (None, "cannot be read"),
    ],
)
def test_vectors_that_do_not_fit(tmp_path: Path, content: str | None, sentence: str) -> None:
    """GloVe of 100 dimensions does not fit an embedding of 512."""
    file = tmp_path / "vectors.txt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BadRequest, match=sentence):
        read_vectors(file, train_words(TEXTS, 2), 3)

"""Vocabularies made from texts by `tokenizers`, and word vectors in GloVe's format for those whose tokens are words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from engine.errors import BadRequest

END, UNKNOWN = "<|endoftext|>", "<|unknown|>"
END_ID = 0  # the special tokens come first, in this order
MOST_WORDS = 1_000_000


def _special() -> list[AddedToken]:
    return [AddedToken(token, special=True, normalized=False) for token in (END, UNKNOWN)]


def train_words(texts: Iterable[str], min_frequency: int = 2, most: int = MOST_WORDS) -> Tokenizer:
    """A vocabulary of whole words in lower case, punctuation apart.

    Parameters
    ----------
    texts : what is counted.
    min_frequency : a word that is rarer is unknown.
    most : the most frequent words that are kept, with the two special tokens.
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    trainer = trainers.WordLevelTrainer(
        vocab_size=most, min_frequency=min_frequency, special_tokens=_special(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def train_bpe(texts: Iterable[str], size: int, min_frequency: int = 2) -> Tokenizer:
    """A byte-level BPE of `size` tokens, as GPT-2's (Sennrich et al. 2016): no text is unknown to it.

    Parameters
    ----------
    texts : what is counted.
    size : tokens in all: 256 bytes, two special ones, and merges.
    min_frequency : a pair that is rarer is not merged.

    Raises
    ------
    BadRequest : `size` leaves no room for the bytes.
    """
    if size < 258:
        raise BadRequest(f"A byte-level vocabulary of {size} has no room for 256 bytes and 2 special tokens: give 258.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_frequency,
        special_tokens=_special(),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def read_vectors(file: Path, tokenizer: Tokenizer, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Word vectors of a text file in GloVe's format: a word and `width` numbers a line, spaces between.

    Parameters
    ----------
    file : the vectors; a first line of two numbers, as word2vec's text format has it, is passed over.
    tokenizer : whose tokens are looked for.
    width : of the embedding that they go into.

    Returns
    -------
    ids int64 [n] of the tokens that were found, and their vectors f32 [n, width].

    Raises
    ------
    BadRequest : the file cannot be read, has vectors of another width, a line that is none, or no known word.
    """
    ids: list[int] = []
    rows: list[np.ndarray] = []
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                fields = line.rstrip("\n").split(" ")
                if number == 1 and len(fields) == 2:
                    continue
                if len(fields) != width + 1:
                    raise BadRequest(
                        f"{file} has vectors of {len(fields) - 1} numbers (line {number:,}), and the embedding has "
                        f"{width}: give vectors of that width, or an embedding of theirs."
                    )
                token = tokenizer.token_to_id(fields[0])
                if token is not None:
                    ids.append(token)
                    rows.append(np.array(fields[1:], np.float32))
    except OSError as error:
        raise BadRequest(f"{file} cannot be read ({error.strerror or error}): name a file of word vectors.") from error
    except ValueError as error:
        if isinstance(error, BadRequest):
            raise
        raise BadRequest(f"Line {number:,} of {file} holds something that is no number: fetch it again.") from error
    if not ids:
        raise BadRequest(
            f"No word of the vocabulary stands in {file}: its words must be in lower case, as GloVe's are."
        )
    return np.array(ids), np.stack(rows)

"""Texts become tokens: a vocabulary of the training part alone, kept beside the checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as Inner

from engine.errors import BadModel, UserError
from engine.text.tokenizer import Tokenizer
from engine.training.vocabulary import END, UNKNOWN, train_bpe, train_words
from pipelines.text import shorten_text
from pipelines.training.options import TransformerOptions


def make_vocabulary(texts: Sequence[str], options: TransformerOptions, folder: Path, init: Path | None = None) -> Inner:
    """The vocabulary of a training: read from `folder` where it was made before, else made and written there.

    Parameters
    ----------
    texts : those that are trained on, no other.
    options : `tokens`, `vocabulary` and `min_frequency` count.
    folder : of the training.
    init : folder of a model whose vocabulary is taken.

    Raises
    ------
    UserError : it cannot be written.
    """
    file = folder / "tokenizer.json"
    if file.is_file():
        return Inner.from_file(str(file))
    if init is not None:
        made = read_vocabulary(init)
    elif options.tokens == "words":
        made = train_words(texts, options.min_frequency, options.vocabulary)
    else:
        made = train_bpe(texts, options.vocabulary, options.min_frequency)
    building = folder / ".tokenizer.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        building.write_text(made.to_str(), encoding="utf-8")
        building.replace(file)
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror or error}): name another folder.") from error
    return made


def read_vocabulary(folder: Path) -> Inner:
    """The vocabulary of a model trained here; BadModel where there is none."""
    file = folder / "tokenizer.json"
    try:
        return Inner.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise BadModel(f"{file} cannot be read as a vocabulary: name the folder of a model trained here.") from error


def reader(inner: Inner) -> Tokenizer:
    """The engine's tokenizer of a vocabulary."""
    return Tokenizer(inner.to_str(), {"eos_token": END, "bos_token": END, "unk_token": UNKNOWN}, None, "the vocabulary")


def encode(tokenizer: Tokenizer, texts: Sequence[str], most: int, what: str) -> list[np.ndarray]:
    """Token ids int32 of each text, of its head and tail where it is longer, as a trained head reads it.

    Parameters
    ----------
    tokenizer : of the vocabulary.
    texts : each with at least one token, else its ids are empty.
    most : tokens of a text.
    what : names the bar.
    """
    from tqdm import tqdm

    bar = tqdm(texts, f"reading {what}", unit=" texts", file=sys.stderr, dynamic_ncols=True, disable=None, leave=False)
    return [np.asarray(tokenizer.encode(shorten_text(tokenizer, text, most)[0]), np.int32) for text in bar]

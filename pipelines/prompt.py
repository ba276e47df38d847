"""Prompts that begin alike: whatever is asked about a text, the token ids up to the text's end are the same.

The engine computes a beginning that it has seen before only once, so four tasks on one text share its prefill. The
text stands first: in the user's turn of a chat model, bare before any other. Generation in a chat begins so by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.engine import Engine
    from engine.text.tokenizer import Tokenizer


def is_chat(engine: Engine) -> bool:
    """Whether a text opens a user's turn; encoder-decoder models and models without a template see it bare."""
    return engine.info.kind == "causal" and engine.tokenizer.has_chat_template


def text_prompt(engine: Engine, text: str, words: str, *, reply: str | None = None) -> list[int]:
    """Ids of `text` and, after it, `words`.

    Without `reply` the model writes on where the words end, inside the user's turn: a small model then continues as
    if nobody had asked, which serves scoring and search. With `reply` the turn is closed and the model answers, with
    `reply` ("" for nothing) as the beginning of its answer; that needs a chat (see `is_chat`).

    White space around `text` is left out: it would only make equal texts differ.
    """
    tokenizer = engine.tokenizer
    text = text.strip()
    if not is_chat(engine):
        if reply is not None:
            raise ValueError("a reply needs a chat model")
        return tokenizer.encode(text + words) if engine.info.kind == "seq2seq" else joined(tokenizer, [], text, words)
    before, after = tokenizer.around([{"role": "user", "content": ""}])
    ids = joined(tokenizer, before, text, words)
    return ids if reply is None else [*ids, *after, *tokenizer.encode(reply, add_bos=False)]


def joined(tokenizer: Tokenizer, before: list[int], text: str, words: str) -> list[int]:
    """`before`, the ids of `text`, those of `words`: as one string where that leaves the text's own ids alone, else
    apart, since a merge across the seam would give the text another last token for each task."""
    bos = False if before else None
    alone, whole = tokenizer.encode(text, add_bos=bos), tokenizer.encode(text + words, add_bos=bos)
    if whole[: len(alone)] == alone:
        return [*before, *whole]
    return [*before, *alone, *tokenizer.encode(words, add_bos=False)]

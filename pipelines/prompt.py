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


def text_prompt(engine: Engine, text: str, instruction: str, *, reply: str | None = None) -> list[int]:
    """Token ids of `text` and, after it, of what is asked about it.

    Parameters
    ----------
    engine : its tokenizer encodes, its kind and chat template say how the text is framed.
    text : the text; white space around it is left out, for it would only make equal texts differ.
    instruction : what follows the text, with the line breaks and spaces it begins with.
    reply : None lets the model write on where the instruction ends, inside the user's turn: a small model then
        continues as if nobody had asked, which serves scoring and search. A string closes the turn and begins the
        model's answer ("" for nothing); that needs a chat (see `is_chat`).

    Returns
    -------
    Ids whose beginning depends on `text` alone, whatever the instruction.

    Raises
    ------
    ValueError : a reply is asked of a model that has no chat.
    """
    tokenizer = engine.tokenizer
    text = text.strip()
    if not is_chat(engine):
        if reply is not None:
            raise ValueError("a reply needs a chat model")
        if engine.info.kind == "seq2seq":
            return tokenizer.encode(text + instruction)
        return joined(tokenizer, [], text, instruction)
    before, after = tokenizer.around([{"role": "user", "content": ""}])
    ids = joined(tokenizer, before, text, instruction)
    return ids if reply is None else [*ids, *after, *tokenizer.encode(reply, add_bos=False)]


def joined(tokenizer: Tokenizer, before: list[int], text: str, instruction: str) -> list[int]:
    """The ids of a text and its instruction, after others.

    Parameters
    ----------
    tokenizer : encodes; it adds its begin mark where `before` is empty.
    before : ids that stand first.
    text, instruction : encoded as one string where that leaves the text's own ids alone, else apart, since a merge
        across the seam would give the text another last token for each task.

    Returns
    -------
    `before`, the ids of `text`, those of `instruction`.
    """
    bos = False if before else None
    alone, whole = tokenizer.encode(text, add_bos=bos), tokenizer.encode(text + instruction, add_bos=bos)
    if whole[: len(alone)] == alone:
        return [*before, *whole]
    return [*before, *alone, *tokenizer.encode(instruction, add_bos=False)]

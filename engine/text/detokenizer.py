"""Token ids to text, one id at a time: what is shown while a model still writes.

Joined, the pieces equal the decode of all ids. A character whose bytes lie in several tokens is held back until it
is whole, so a half emoji never shows as U+FFFD; U+FFFD comes out only where the full decode has it too.
Each token costs the same however long the text has become.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection
from typing import Protocol

import tokenizers

_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_CONTEXT = 4  # ids decoded again before a new one: decoders look at a neighbour (spaces, "##"), not further


class StreamDecoder(Protocol):
    """Turns the ids of one text into what can be shown of it, id by id."""

    def feed(self, token: int) -> str:
        """The text that became readable with this id; "" inside a character or for a special token."""
        ...

    def flush(self) -> str:
        """What is left at the end: U+FFFD where bytes never became a character."""
        ...


def make_stream(tokenizer: tokenizers.Tokenizer, hidden: Collection[int], byte_level: bool) -> StreamDecoder:
    """A decoder of one text.

    Parameters
    ----------
    tokenizer : what the ids are of.
    hidden : ids that give no text: the special tokens.
    byte_level : what `is_byte_level` says of the tokenizer.
    """
    return ByteLevelStream(tokenizer.id_to_token, hidden) if byte_level else WindowStream(tokenizer, hidden)


def is_byte_level(tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether tokens are GPT-2's printable form of bytes, and nothing else is done to the decoded text."""
    return isinstance(tokenizer.decoder, tokenizers.decoders.ByteLevel)


class ByteLevelStream(StreamDecoder):
    """For byte-level BPE (GPT-2, SmolLM2, Qwen, Llama 3): each token is bytes, decoded as they come.

    Python's "replace" and the tokenizers library both put one U+FFFD for each maximal invalid run (Unicode 15,
    section 3.9, table 3-8), so the pieces equal the full decode on invalid bytes too.
    """

    def __init__(self, id_to_token: Callable[[int], str | None], hidden: Collection[int]) -> None:
        self._id_to_token = id_to_token
        self._hidden = hidden
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        if token in self._hidden or (text := self._id_to_token(token)) is None:
            return ""
        return self._utf8.decode(token_bytes(text))

    def flush(self) -> str:
        return self._utf8.decode(b"", final=True)


class WindowStream(StreamDecoder):
    """For any other decoder (SentencePiece, WordPiece): decodes a few ids again and shows what they add.

    The method of vLLM's and TGI's incremental detokenizers, with one difference: a run of byte tokens (<0xE2>...)
    is held until it ends, because the library turns the WHOLE run into U+FFFD when one byte in it is invalid.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer, hidden: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._hidden = hidden
        self._shown: list[int] = []  # the last ids already shown, at most _CONTEXT
        self._held: list[int] = []  # ids not shown yet

    def feed(self, token: int) -> str:
        text = self._tokenizer.id_to_token(token)
        if token in self._hidden or text is None:
            return ""
        self._held.append(token)
        return "" if _BYTE_TOKEN.fullmatch(text) else self.flush()

    def flush(self) -> str:
        before = self._tokenizer.decode(self._shown, skip_special_tokens=False)
        after = self._tokenizer.decode(self._shown + self._held, skip_special_tokens=False)
        self._shown = (self._shown + self._held)[-_CONTEXT:]
        self._held = []
        return after[len(before) :]


def _byte_of_character() -> dict[str, int]:
    """GPT-2's table (openai/gpt-2 `encoder.py`): printable bytes stand for themselves, the rest from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    table.update((chr(256 + n), byte) for n, byte in enumerate(others))
    return table


_BYTES = _byte_of_character()


def token_bytes(text: str) -> bytes:
    """The bytes behind a byte-level token; a token with any other character (an added one) is its own UTF-8."""
    try:
        return bytes(_BYTES[character] for character in text)
    except KeyError:
        return text.encode("utf-8")

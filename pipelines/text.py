"""Where every text enters, and how one that is too long is made to fit or cut in parts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.errors import BadRequest
from engine.results import Timing, Token
from pipelines.results import RunInfo, Shortened

if TYPE_CHECKING:
    from engine.engine import Engine
    from engine.text.tokenizer import Tokenizer

UNCOMPILED = "Plain PyTorch answered, slower: the operators are still being compiled for this machine."
MAX_CHARACTERS = 200_000  # about 45,000 tokens of English: minutes of reading, not hours
BINARY_SHARE = 0.05  # of control and replacement characters: text has next to none, decoded binary data many
MIN_TEXT_TOKENS = 16  # a window that leaves less than this to the text is refused
CUT_MARK = "\n[...]\n"

_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_TEXT = re.compile("[\x01-\x08\x0e-\x1f\x7f\ufffd]")
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")


def check_text(text: object, name: str = "text", *, limit: int = MAX_CHARACTERS) -> str:
    """`text` as it is. Every text of a user passes here.

    Parameters
    ----------
    text : anything that came as a text.
    name : what messages call it.
    limit : most characters.

    Raises
    ------
    BadRequest : not a string, empty, too long, or data that is no text (NUL, lone surrogates, many control characters).
    """
    if not isinstance(text, str) or not text.strip():
        raise BadRequest(f"The {name} is empty: write or paste some text.")
    if len(text) > limit:
        raise BadRequest(f"The {name} has {len(text):,} characters, and at most {limit:,} are read: give a part of it.")
    if "\0" in text:
        raise BadRequest(f"The {name} holds a NUL character, so it is probably binary data: give plain text.")
    if _SURROGATE.search(text):
        raise BadRequest(f"The {name} holds half of a character (a lone surrogate): save it as UTF-8 and try again.")
    if len(_NOT_TEXT.findall(text)) > BINARY_SHARE * len(text):
        raise BadRequest(f"The {name} looks like binary data, not like text: give plain text.")
    return text


def require_kind(engine: Engine, task: str, *kinds: str) -> None:
    """BadRequest unless the loaded model is one of `kinds` (see `engine.info.kind`)."""
    if engine.info.kind not in kinds:
        raise BadRequest(
            f"{engine.info.model} is a {engine.info.kind} model, which cannot do {task}: load a "
            f"{' or '.join(kinds)} model."
        )


def room_for_text(engine: Engine, *, beside: int, max_tokens: int) -> int:
    """Tokens of the window that are left to a text.

    Parameters
    ----------
    engine : its window counts.
    beside : tokens of the prompt that are not the text's.
    max_tokens : tokens kept free for the output.

    Raises
    ------
    BadRequest : fewer than `MIN_TEXT_TOKENS` are left.
    """
    room = engine.max_prompt(max_tokens) - beside
    if room < MIN_TEXT_TOKENS:
        raise BadRequest(
            f"The window of {engine.info.max_context:,} tokens is too small for {beside:,} tokens of instruction and "
            f"{max_tokens:,} of output: ask for fewer tokens or a shorter instruction."
        )
    return room


def shorten_text(tokenizer: Tokenizer, text: str, limit: int) -> tuple[str, Shortened | None]:
    """A text in at most `limit` tokens: its head and its tail, for a text says what it is about at its start and what
    it comes to at its end, and a line "[...]" for the middle.

    Parameters
    ----------
    tokenizer : counts the tokens.
    text : the whole text.
    limit : most tokens of what comes back.

    Returns
    -------
    The text, and what was left out of it, None for nothing.

    Raises
    ------
    BadRequest : hardly a token is left to the text.
    """
    _, offsets = tokenizer.encode_with_offsets(text)
    if len(offsets) <= limit:
        return text, None
    kept = limit - len(tokenizer.encode(CUT_MARK))
    while kept >= 2:
        tail = kept // 2
        short = text[: offsets[kept - tail - 1][1]] + CUT_MARK + text[offsets[len(offsets) - tail][0] :]
        over = len(tokenizer.encode(short)) - limit  # a word cut from its neighbour may encode longer
        if over <= 0:
            return short, Shortened(len(offsets), kept)
        kept -= over
    raise BadRequest(f"The text does not fit: only {limit} tokens of the window are left to it.")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Character spans of the sentences and lines of `text`; together, in order, they cover it without a gap."""
    cuts = [match.end() for match in _SENTENCE_END.finditer(text)]
    edges = [0, *cuts, len(text)]
    return [(start, end) for start, end in itertools.pairwise(edges) if end > start]


def split_text(tokenizer: Tokenizer, text: str, limit: int) -> list[str]:
    """A text in parts that fit.

    Parameters
    ----------
    tokenizer : counts the tokens.
    text : the whole text.
    limit : most tokens of a part.

    Returns
    -------
    The parts; joined, they are `text` again, character for character. They end at a blank line if one stands in their
    last half, else at a sentence end, else (a sentence longer than `limit`) between two tokens.
    """
    _, offsets = tokenizer.encode_with_offsets(text)
    if len(offsets) <= limit:
        return [text]
    sentence_ends = [end for _, end in sentence_spans(text)]
    paragraph_ends = [end for end in sentence_ends if re.search(r"\n\s*\n\s*$", text[max(0, end - 16) : end])]
    parts, start = [], 0
    while start < len(text):
        reach = _reach(tokenizer, text, start, offsets, limit)
        end = reach
        if reach < len(text):
            floor = start + (reach - start) // 2
            end = max(
                (e for e in paragraph_ends if floor < e <= reach),
                default=max((e for e in sentence_ends if start < e <= reach), default=reach),
            )
        parts.append(text[start:end])
        start = end
    return parts


def _reach(tokenizer: Tokenizer, text: str, start: int, offsets: list[tuple[int, int]], limit: int) -> int:
    """The furthest character such that `text[start:it]` has at most `limit` tokens (a cut word may encode longer)."""
    first = next((i for i, (_, end) in enumerate(offsets) if end > start), None)
    if first is None:  # only white space that belongs to no token is left
        return len(text)
    allowed = limit
    while True:
        last = first + allowed - 1
        reach = len(text) if last >= len(offsets) - 1 else max(offsets[last][1], start + 1)
        over = len(tokenizer.encode(text[start:reach])) - limit
        if over <= 0 or reach == start + 1:
            return reach
        allowed = max(1, allowed - over)


def token_windows(count: int, size: int, stride: int) -> list[tuple[int, int]]:
    """Windows [start, end) that cover a run of tokens.

    Parameters
    ----------
    count : how many tokens there are.
    size : most tokens of a window.
    stride : tokens that neighbours share; the last two may share more.
    """
    if count <= size:
        return [(0, count)]
    step = max(1, size - stride)
    starts = list(range(0, count - size, step))
    return [*((s, s + size) for s in starts), (count - size, count)]


@contextmanager
def stopping(tokens: Iterator[Token]) -> Iterator[Iterator[Token]]:
    """Closes a stream of the engine on the way out, so that the work stops as soon as nobody reads on."""
    try:
        yield tokens
    finally:
        if isinstance(tokens, Generator):
            tokens.close()


def run_info(engine: Engine, timing: Timing, shortened: Shortened | None = None, notes: Sequence[str] = ()) -> RunInfo:
    """How a request on `engine` went, for its result.

    Parameters
    ----------
    engine : gives the model, the precision and the device.
    timing : the work it took.
    shortened : what was left out of its text, if anything.
    notes : sentences the user should see.
    """
    info = engine.info
    if info.compiling:
        notes = (*notes, UNCOMPILED)
    return RunInfo(timing, info.model, info.precision, info.device, shortened, tuple(notes))

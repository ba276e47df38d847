"""Turns what a small model writes into what was asked for: no preamble, whole sentences, real bullets.

Everything here is deterministic and drops or re-wraps text only; it never writes a word of its own.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pipelines.text import sentence_spans

# "Here is a summary of the text in one sentence:", "Sure! The following is ...:", "Summary:", "**Summary**"
_PREAMBLE = re.compile(
    r"""^\W*(?:
        (?:sure|certainly|of\ course|okay|ok)\b[^:\n.!]{0,80}[:.!]\s*
      | (?:here(?:'s|’s|\ is|\ are)|(?:the|this)\ following|below\ (?:is|are))\b[^:\n]{0,160}:\s*
      | (?:in\ summary|to\ summarize|to\ sum\ up)\s*[,:]\s*
      | (?:a\ |the\ |brief\ |short\ |key\ )*
        (?:summary|summarized\ text|main\ points|bullet\ points|points|tl;?dr)[^:\n.]{0,60}:\**\s*
      | the\ (?:text|review|passage|article)\ (?:can\ be|is)\ summarized\ as(?:\ follows)?\s*:?\s*
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_PREAMBLE_START = re.compile(
    r"^\W*(?:sure|certainly|of course|ok|here|the following|this following|below|in summary|to sum|summary|key|main)",
    re.IGNORECASE,
)
_RUN = 4  # words that make a repetition
_LOOP_RUNS = 9  # the last so many runs of words, that is a dozen words
_WORD = re.compile(r"\d+|[^\W\d_]+")  # "Barton's" is "Barton" and "s", "2,000" is "2" and "000"
_CAPITALS = 0.2  # more of the words inside sentences: 2 % of IMDB reviews, and a third of a German text's words
_LONGEST_PREAMBLE = 180  # characters: an unfinished text longer than this is no preamble
_BULLET = re.compile(r"^\s*(?:[-*•·–—]+|\d{1,2}[.)])\s*")
_ENDED = re.compile(r"[.!?…][\"'”’)\]*]*$")


def strip_preamble(text: str, *, finished: bool) -> str:
    """`text` without an announcement of itself. An unfinished text that may still turn into one is held back as ""."""
    text = text.lstrip()
    for _ in range(2):  # "Sure! Here is a summary:"
        text = _PREAMBLE.sub("", text, count=1).lstrip()
    held_back = (
        not finished and len(text) < _LONGEST_PREAMBLE and _PREAMBLE_START.match(text) and not _ENDED.search(text)
    )
    return "" if held_back else text


def whole_sentences(text: str) -> str:
    """`text` up to its last finished sentence; all of it if it holds none. For output that met its token limit."""
    text = text.rstrip()
    spans = sentence_spans(text)
    if _ENDED.search(text) or len(spans) < 2:
        return text
    return text[: spans[-1][0]].rstrip() if _ENDED.search(text[: spans[-1][0]].rstrip()) else text


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _runs(words: list[str]) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + _RUN]) for i in range(len(words) - _RUN + 1)]


def is_looping(text: str) -> bool:
    """Whether the last words repeat what was written before: small models, once they loop, never leave the loop."""
    runs = _runs(_words(text))
    seen = set(runs[:-_LOOP_RUNS])
    return len(runs) > _LOOP_RUNS and sum(run in seen for run in runs[-_LOOP_RUNS:]) >= _LOOP_RUNS - 2


def _unrepeated(pieces: list[str]) -> list[str]:
    """The pieces that say something new: not those whose runs of words mostly stood there before, or that repeat
    themselves; at least the first is kept."""
    kept: list[str] = []
    said: set[tuple[str, ...]] = set()
    for piece in pieces:
        words = _words(piece)
        runs = _runs(words) or [tuple(words)]
        new = set(runs) - said
        if words and len(new) > len(runs) / 2:
            kept.append(piece)
            said |= new
    return kept or [piece for piece in pieces if _words(piece)][:1]


@lru_cache(maxsize=8)  # asked again after every token
def _known(source: str) -> tuple[frozenset[str], bool]:
    """The words of a source, lower-case, and whether a capital inside its sentences marks a name."""
    inner = [word for a, b in sentence_spans(source) for word in _WORD.findall(source[a:b])[1:]]
    capitals = sum(word[0].isupper() for word in inner)
    return frozenset(word.lower() for word in _WORD.findall(source)), capitals <= _CAPITALS * len(inner)


def invented(piece: str, source: str) -> list[str]:
    """Names and numbers of a sentence that `source` does not hold: digits, and words with a capital inside it.

    Where capitals mark more than names (German nouns, titles, lists of a cast), only numbers are looked at.
    """
    known, names = _known(source)
    words = _WORD.findall(piece)
    telling = [w for i, w in enumerate(words) if w[0].isdigit() or (names and i and w[0].isupper() and w != "I")]
    return [word for word in telling if word.lower() not in known]


def _founded(pieces: list[str], source: str) -> list[str]:
    """The pieces that name nothing the source does not hold; at least the first is kept."""
    return [piece for piece in pieces if not invented(piece, source)] or pieces[:1]


def prose(text: str, *, finished: bool, cut: bool = False, source: str = "") -> str:
    """What was written, as one paragraph without preamble, bullet marks or repeated sentences.

    Parameters
    ----------
    text : what the model wrote so far.
    finished : whether that is all.
    cut : whether it ends in mid-sentence (its limit was met, or it looped); the paragraph ends at a whole one.
    source : the text it is about; sentences that bring in names or numbers of their own are left out (see
        `invented`). "" leaves them in.
    """
    text = strip_preamble(text, finished=finished)
    text = " ".join(_BULLET.sub("", line).strip() for line in text.splitlines() if line.strip())
    if cut:
        text = whole_sentences(text)
    pieces = _unrepeated([text[a:b].strip() for a, b in sentence_spans(text)])
    return " ".join(_founded(pieces, source) if source else pieces)


def bullets(text: str, most: int, *, finished: bool, cut: bool = False, source: str = "") -> str:
    """What was written, as lines "- point": the model's own lines, or its sentences when it wrote one paragraph.

    Parameters
    ----------
    most : most points.
    text, finished, cut, source : as for `prose`; `cut` drops an unfinished last point.
    """
    text = strip_preamble(text, finished=finished)
    lines = [_BULLET.sub("", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not (finished and line.endswith(":"))]
    if finished and len(lines) == 1:
        lines = [lines[0][a:b].strip() for a, b in sentence_spans(lines[0])]
    if cut and len(lines) > 1 and not _ENDED.search(lines[-1]):
        lines.pop()  # the point that met the token limit
    lines = _unrepeated(lines)
    return "\n".join(f"- {line}" for line in (_founded(lines, source) if source else lines)[:most])

"""Measures of a written text that need no model: n-grams that repeat, differ, or are new."""

from __future__ import annotations

import random
import re
import unicodedata

from pipelines.overlap import centrality, words
from pipelines.text import sentence_spans


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    tokens = words(text)
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def distinct(text: str, n: int) -> float:
    """Different n-grams for each n-gram (distinct-n, Li et al. 2016); 1 if none. Compare equal lengths only."""
    grams = ngrams(text, n)
    return len(set(grams)) / len(grams) if grams else 1.0


def repeated(text: str, n: int) -> float:
    """Share of n-grams that stood in the text before; 0 if there is none."""
    return 1.0 - distinct(text, n)


def novel(text: str, source: str, n: int) -> float:
    """Share of the text's different n-grams that do not stand in `source`; 0 if it has none (See et al. 2017).

    Parameters
    ----------
    text : what was written.
    source : what it was written of.
    n : words of a gram.
    """
    grams = set(ngrams(text, n))
    return len(grams - set(ngrams(source, n))) / len(grams) if grams else 0.0


def lead(text: str, sentences: int) -> str:
    """The first sentences of a text: the summary to beat (LEAD-n)."""
    spans = [(a, b) for a, b in sentence_spans(text) if text[a:b].strip()]
    return text[: spans[min(sentences, len(spans)) - 1][1]].strip() if spans else ""


_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LETTERS = re.compile(r"[^\W\d_][\w'’-]*")
_SENTENCE_START = re.compile(r"(?:^|[.!?…:\n\"“”]\s*)[\"'“‘(]*[^\W\d_][\w'’-]*")
_NO_NAME = re.compile(r"I(?:['’]\w+)?|A")


def invented(summary: str, source: str) -> list[str]:
    """Numbers and names of the summary that the source does not hold, whatever their case.

    A name is a word with a capital that does not begin a sentence, but "I" and its short forms ("I'm"): a rule that
    needs no model, and misses names at the beginning of sentences. The parts of "Rhys-Meyers" are looked up apart.
    """
    summary, source = unicodedata.normalize("NFKC", summary), unicodedata.normalize("NFKC", source)
    read = words(source)
    known = {*read, *map(_bare, read), *_NUMBER.findall(source)}
    starts = {match.end() for match in _SENTENCE_START.finditer(summary)}
    names = [m.group() for m in _LETTERS.finditer(summary) if m.group()[0].isupper() and m.end() not in starts]
    found = [name for name in names if not _NO_NAME.fullmatch(name) and not _is_known(name, known)]
    return [number for number in _NUMBER.findall(summary) if number not in known] + found


def _is_known(name: str, known: set[str]) -> bool:
    return all(part in known or _bare(part) in known for part in words(name))


def _bare(word: str) -> str:
    return re.sub(r"['’]s$", "", word)


def textrank(text: str, sentences: int) -> str:
    """The sentences of a text that are most like the others, in their order (see `overlap.centrality`)."""
    parts = [text[a:b].strip() for a, b in sentence_spans(text) if text[a:b].strip()]
    rank = centrality(parts)
    best = sorted(sorted(range(len(parts)), key=lambda i: (-rank[i], i))[:sentences])
    return " ".join(parts[i] for i in best)


def some_sentence(text: str, seed: int) -> str:
    """One sentence of the text, drawn by `seed` and the text itself."""
    parts = [text[a:b].strip() for a, b in sentence_spans(text) if text[a:b].strip()]
    return random.Random(f"{seed} {text}").choice(parts) if parts else ""

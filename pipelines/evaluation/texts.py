"""Measures of a written text that need no model: n-grams that repeat, differ, or are new."""

from __future__ import annotations

import re


def words(text: str) -> list[str]:
    """Lower-case words and numbers."""
    return re.findall(r"\w+(?:['’]\w+)*", text.lower())


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
    """Share of the text's different n-grams that do not stand in `source`; 0 if it has none (See et al. 2017)."""
    grams = set(ngrams(text, n))
    return len(grams - set(ngrams(source, n))) / len(grams) if grams else 0.0


def lead(text: str, sentences: int) -> str:
    """The first sentences of a text: the summary to beat (LEAD-n)."""
    from pipelines.text import sentence_spans

    spans = [(a, b) for a, b in sentence_spans(text) if text[a:b].strip()]
    return text[: spans[min(sentences, len(spans)) - 1][1]].strip() if spans else ""

"""Measures of a written text that need no model: n-grams that repeat, differ, or are new."""

from __future__ import annotations

import math
import random
import re

from pipelines.text import sentence_spans


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
    spans = [(a, b) for a, b in sentence_spans(text) if text[a:b].strip()]
    return text[: spans[min(sentences, len(spans)) - 1][1]].strip() if spans else ""


def fragments(summary: str, source: str) -> list[int]:
    """Lengths in words of the extracts a summary is put together from, greedily the longest (Grusky et al. 2018,
    figure 3)."""
    written, read = words(summary), words(source)
    places: dict[str, list[int]] = {}
    for place, word in enumerate(read):
        places.setdefault(word, []).append(place)
    found, at = [], 0
    while at < len(written):
        longest = 0
        for place in places.get(written[at], ()):
            length = 1
            while (
                at + length < len(written) and place + length < len(read)
                and written[at + length] == read[place + length]
            ):  # fmt: skip
                length += 1
            longest = max(longest, length)
        if longest:
            found.append(longest)
        at += max(1, longest)
    return found


def coverage(summary: str, source: str) -> float:
    """Share of the summary's words that lie in extracts of the source; 0 for an empty one."""
    return sum(fragments(summary, source)) / max(1, len(words(summary)))


def density(summary: str, source: str) -> float:
    """Mean length of the extract that a word of the summary lies in: 1 for words picked one by one, the summary's own
    length for a copied one."""
    return sum(length * length for length in fragments(summary, source)) / max(1, len(words(summary)))


_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CAPITAL = re.compile(r"[^\W\d_a-z][\w'’-]*")
_SENTENCE_START = re.compile(r"(?:^|[.!?…:\n\"“”]\s*)[\"'“‘(]*[^\W\d_][\w'’-]*")


def invented(summary: str, source: str) -> list[str]:
    """Numbers and names of the summary that the source does not hold, whatever their case.

    A name is a word with a capital that does not begin a sentence: a rule that needs no model, misses names at the
    beginning of sentences, and takes "I" for none.
    """
    known = set(words(source)) | set(_NUMBER.findall(source))
    starts = {match.end() for match in _SENTENCE_START.finditer(summary)}
    names = [m.group() for m in _CAPITAL.finditer(summary) if m.end() not in starts and m.group() not in ("I", "A")]
    bare = [re.sub(r"['’]s?$", "", name) for name in names]
    found = [name for name, word in zip(names, bare, strict=True) if not {word.lower(), name.lower()} & known]
    return [number for number in _NUMBER.findall(summary) if number not in known] + found


def textrank(text: str, sentences: int) -> str:
    """The sentences of a text that are most like the others, in their order (Mihalcea and Tarau 2004: PageRank over
    the overlap of words)."""
    import networkx

    parts = [text[a:b].strip() for a, b in sentence_spans(text) if text[a:b].strip()]
    bags = [set(words(part)) for part in parts]
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(parts)))
    for i, first in enumerate(bags):
        for j, second in enumerate(bags[:i]):
            length = math.log(max(1, len(first))) + math.log(max(1, len(second)))
            if length and (common := len(first & second)):
                graph.add_edge(i, j, weight=common / length)
    rank = networkx.pagerank(graph) if parts else {}
    best = sorted(sorted(rank, key=lambda i: (-rank[i], i))[:sentences])
    return " ".join(parts[i] for i in best)


def some_sentence(text: str, seed: int) -> str:
    """One sentence of the text, drawn by `seed` and the text itself."""
    parts = [text[a:b].strip() for a, b in sentence_spans(text) if text[a:b].strip()]
    return random.Random(f"{seed} {text}").choice(parts) if parts else ""

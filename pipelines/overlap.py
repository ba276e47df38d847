"""How much two texts share, in words: measures that need no model."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u9fff"  # written without spaces: each counts as a word
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+(?:['’][^\W{_IDEOGRAPHS}]+)*")


def words(text: str) -> list[str]:
    """Lower-case words and numbers, composed characters (NFKC)."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


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


def centrality(sentences: Sequence[str]) -> list[float]:
    """How much each sentence is like the others: PageRank over the overlap of words (TextRank, Mihalcea and Tarau
    2004). Sums to 1."""
    import networkx

    bags = [set(words(sentence)) for sentence in sentences]
    graph = networkx.Graph()
    graph.add_nodes_from(range(len(bags)))
    for i, first in enumerate(bags):
        for j, second in enumerate(bags[:i]):
            length = math.log(max(1, len(first))) + math.log(max(1, len(second)))
            if length and (common := len(first & second)):
                graph.add_edge(i, j, weight=common / length)
    rank = networkx.pagerank(graph) if bags else {}
    return [rank[i] for i in range(len(bags))]

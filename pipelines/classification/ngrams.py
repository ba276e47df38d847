"""Texts as sets of word n-grams, each a number: all that a student of a few megabytes sees of a text.

A word is a run of letters, digits and apostrophes in lower case, or one other sign. Each n-gram's words are mixed to 64
bits, of which the highest choose its bucket (feature hashing, Weinberger et al. 2009): two n-grams may share one.
"""

from __future__ import annotations

import re
import zlib

import numpy as np

ORDERS = (1, 2, 3)  # words of an n-gram
MOST_WORDS = 200_000  # whose numbers are remembered: a stream of typing errors must not fill the memory

_WORD = re.compile(r"[\w']+|[^\w\s]")
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio (Knuth's multiplicative hashing)
_NEXT = np.uint64(0xD6E8FEB86659FD93)  # odd, so that no bit is lost
_SHIFT = np.uint64(32)
_known: dict[str, int] = {}


def words(text: str) -> list[str]:
    """The words and signs of a text, in order."""
    return _WORD.findall(text.lower())


def buckets(text: str, bits: int) -> np.ndarray:
    """The buckets of a text's 1- to 3-grams, each once, in ascending order: int64 [n], from 0 to 2^bits - 1.

    Deterministic: the same on every machine and in every process.
    """
    found = words(text)
    numbers = np.fromiter(map(_number, found), np.uint64, len(found))
    grams = [numbers]
    for order in ORDERS[1:]:
        before = grams[-1]
        if len(found) >= order:
            grams.append(_mixed(before[: len(found) - order + 1] * _NEXT + numbers[order - 1 :]))
    return np.unique((np.concatenate(grams) >> np.uint64(64 - bits)).astype(np.int64))


def _number(word: str) -> int:
    """64 bits of a word: two checksums of its UTF-8, mixed."""
    known = _known.get(word)
    if known is None:
        data = word.encode("utf-8", "surrogatepass")
        pair = np.array([zlib.crc32(data) << 32 | zlib.crc32(data, 0x5BD1E995)], np.uint64)
        known = int(_mixed(pair)[0])
        if len(_known) < MOST_WORDS:
            _known[word] = known
    return known


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Every bit of uint64 numbers spread over the high ones; overflow is meant."""
    mixed = numbers * _MIX
    mixed ^= mixed >> _SHIFT
    return mixed * _MIX

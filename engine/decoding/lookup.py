"""Prompt lookup: guess the next tokens from where the last few stood before (Saxena, 2023).

Summaries and answers repeat their prompt, and code and lists repeat themselves: what followed the last three, two or
one tokens the time before is a free draft, as in Transformers' `prompt_lookup_num_tokens`. Nothing here runs a model;
`speculation` decides how much of a draft is worth a try, and `engine.serving.batch` checks it.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 3  # tokens that must match, tried from this many down to one


class Lookup:
    """An index of one sequence's n-grams; it grows with the sequence, so that a draft costs a few dict look-ups."""

    def __init__(self) -> None:
        self._follows: tuple[dict[tuple[int, ...], int], ...] = tuple({} for _ in range(LONGEST))
        self._indexed = 1  # every n-gram that ends before this place is known, with what follows it

    def draft(self, ids: Sequence[int], most: int) -> tuple[list[int], int]:
        """Up to `most` tokens that may follow `ids` (which only ever grows), and how many tokens matched (0: none).

        The longest match counts, of those the most recent. A draft that reaches the end of `ids` goes on with its own
        beginning: that is how a repetition goes on.
        """
        for end in range(self._indexed, len(ids)):
            for n in range(1, min(LONGEST, end) + 1):
                self._follows[n - 1][tuple(ids[end - n : end])] = end
        self._indexed = max(self._indexed, len(ids))
        for n in range(min(LONGEST, len(ids)), 0, -1):
            at = self._follows[n - 1].get(tuple(ids[-n:]))
            if at is not None:
                period = len(ids) - at
                return [ids[at + i % period] for i in range(most)], n
        return [], 0

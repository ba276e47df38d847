"""Prompt lookup against a search by hand."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.decoding.speculation import LONGEST, Lookup


def by_hand(ids: list[int], most: int) -> tuple[list[int], int]:
    """The longest end of `ids` that stood before, where it last did, and what came after."""
    for n in range(min(LONGEST, len(ids)), 0, -1):
        for start in range(len(ids) - n - 1, -1, -1):
            if ids[start : start + n] == ids[len(ids) - n :]:
                text = list(ids)
                for _ in range(most):
                    text.append(text[start + n + len(text) - len(ids)])
                return text[len(ids) :], n
    return [], 0


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 8))
def test_a_draft_is_what_followed_the_longest_and_latest_match(ids: list[int], most: int) -> None:
    assert Lookup().draft(ids, most) == by_hand(ids, most)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=12))
def test_it_grows_with_its_sequence(pieces: list[list[int]]) -> None:
    lookup, ids = Lookup(), []
    for piece in pieces:
        ids += piece
        assert lookup.draft(ids, 4) == by_hand(ids, 4)


def test_a_repetition_goes_on() -> None:
    assert Lookup().draft([9, 1, 2, 1, 2, 1], 5) == ([2, 1, 2, 1, 2], 3)
    assert Lookup().draft([5, 5], 3) == ([5, 5, 5], 1)
    assert Lookup().draft([5], 3) == Lookup().draft([1, 2, 3], 3) == ([], 0)

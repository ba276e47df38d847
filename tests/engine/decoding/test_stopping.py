"""Stop strings: whatever the pieces a text comes in, what is shown is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.decoding.stopping import StopStrings

# Few letters, so that stop strings really occur, overlap and repeat.
WORDS = st.text("ab\n", max_size=30)
STOPS = st.text("ab\n", min_size=1, max_size=4)


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({min(cut, len(text)) for cut in cuts})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def cut_at_the_first(text: str, stops: list[str]) -> str:
    """The text before the stop string that is complete first (the longest of those that end together)."""
    for end in range(1, len(text) + 1):
        if ending := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, ending))]
    return text


@given(WORDS, STOPS, st.lists(st.integers(0, 30)))
def test_one_stop_string_cuts_as_split_does(text: str, stop: str, cuts: list[int]) -> None:
    stopping = StopStrings([stop])
    shown = "".join([stopping.feed(piece) for piece in pieces(text, cuts)] + [stopping.flush()])
    assert shown == text.split(stop)[0]
    assert stopping.hit == (stop in text)


@given(WORDS, st.lists(STOPS, max_size=4), st.lists(st.integers(0, 30)))
def test_several_cut_at_the_one_that_is_complete_first(text: str, stops: list[str], cuts: list[int]) -> None:
    stopping = StopStrings(stops)
    shown = "".join([stopping.feed(piece) for piece in pieces(text, cuts)] + [stopping.flush()])
    assert shown == cut_at_the_first(text, stops)


@given(WORDS, st.lists(STOPS, min_size=1, max_size=4))
def test_no_letter_is_shown_that_may_belong_to_a_stop_string_nor_held_longer(text: str, stops: list[str]) -> None:
    stopping = StopStrings(stops)
    shown = ""
    for end, letter in enumerate(text, 1):
        shown += stopping.feed(letter)
        if stopping.hit:
            break
        held = text[len(shown) : end]
        begun = [n for n in range(1, end + 1) if any(s.startswith(text[end - n : end]) for s in stops)]
        assert len(held) == max(begun, default=0)
    assert text.startswith(shown)


def test_after_a_hit_nothing_more_is_shown() -> None:
    stopping = StopStrings(["END"])
    assert stopping.feed("so END or") == "so "
    assert stopping.hit
    assert (stopping.feed("more"), stopping.flush()) == ("", "")


def test_without_stop_strings_all_is_shown_at_once() -> None:
    stopping = StopStrings([])
    assert (stopping.feed("a"), stopping.feed(""), stopping.flush(), stopping.hit) == ("a", "", "", False)


@pytest.mark.parametrize("text", ["aab", "aaab", "ababb"])
def test_a_stop_string_that_begins_within_a_failed_one(text: str) -> None:
    stopping = StopStrings(["aab", "abb"])
    shown = "".join(stopping.feed(letter) for letter in text)
    assert stopping.hit
    assert shown == text[:-3]

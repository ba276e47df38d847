"""Stop strings, whatever the pieces the text comes in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.decoding.stopping import StopStrings


def shown(stop: tuple[str, ...], pieces: list[str]) -> tuple[str, bool]:
    watcher = StopStrings(stop)
    text = "".join(watcher.feed(piece) for piece in pieces)
    return text + ("" if watcher.hit else watcher.flush()), watcher.hit


@given(st.text("ab#", max_size=40), st.text("ab#", min_size=1, max_size=4), st.lists(st.integers(0, 40)))
def test_any_cut_gives_the_text_before_the_stop(text: str, stop: str, cuts: list[int]) -> None:
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    before, found, _ = text.partition(stop)
    assert shown((stop,), pieces) == (before, bool(found))


@given(st.text("ab#", max_size=30), st.lists(st.text("ab#", min_size=1, max_size=3), min_size=1, max_size=4))
def test_several_stops_do_not_depend_on_the_pieces(text: str, stops: list[str]) -> None:
    assert shown(tuple(stops), list(text)) == shown(tuple(stops), [text])


def test_no_part_of_a_stop_is_shown_and_taken_back() -> None:
    watcher = StopStrings(("\n\nUser:",))
    assert watcher.feed("Hello\n") == "Hello"
    assert watcher.feed("\nUs") == ""
    assert watcher.feed("ual") == "\n\nUsual"
    assert watcher.feed("\n\nUser: hi") == ""
    assert watcher.hit
    assert watcher.feed("more") == ""

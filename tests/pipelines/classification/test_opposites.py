import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.classification import opposites
from pipelines.classification.opposites import opposite


def test_words_of_judgement_are_exchanged_and_keep_their_capitals() -> None:
    assert opposite("A good film. GREAT cast! Boring? No: 9/10.") == "A bad film. TERRIBLE cast! Interesting? No: 2/10."


@pytest.mark.parametrize("text", ["", "A good film, that is all.", "The goodness of greatness at its bestial."])
def test_a_text_that_hardly_judges_has_no_opposite(text: str) -> None:
    assert opposite(text) is None


def test_no_word_becomes_itself_and_no_word_is_listed_on_both_sides() -> None:
    sides = [pair.split() for pair in opposites._PAIRS.split(",")]
    good, bad = {a for a, _ in sides}, {b for _, b in sides}
    assert not good & bad and all(a != b for a, b in sides) and len(good) == len(sides)


@given(st.text())
def test_any_text_can_be_asked(text: str) -> None:
    turned = opposite(text)
    assert turned is None or turned != text

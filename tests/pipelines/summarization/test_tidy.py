import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.summarization import tidy


@pytest.mark.parametrize(
    "announced",
    [
        "Here is a summary of the text: ",
        "Here's a brief summary of the passage in three sentences:\n\n",
        "Sure! Here is the summary:\n",
        "Certainly. ",
        "Summary: ",
        "**Summary:** ",
        "The following is a summary of the text above:\n",
        "In summary, ",
        "The text can be summarized as follows: ",
        "Here are the 5 main points of the text:\n",
        "TL;DR: ",
    ],
)
def test_an_announcement_is_dropped(announced: str) -> None:
    assert tidy.prose(announced + "The film is dull.", finished=True) == "The film is dull."


@pytest.mark.parametrize(
    "text",
    [
        "The film follows a boy who finds a dog: it is his only friend.",
        "Here the film begins to drag.",
        "The summary judge of the court is the hero.",
        "Surely the best film of its year.",
    ],
)
def test_a_summary_that_only_looks_like_one_is_kept(text: str) -> None:
    assert tidy.prose(text, finished=True) == text


def test_an_unfinished_announcement_is_held_back() -> None:
    written = "Here is a summary of the text: A boy finds a dog."
    shown = [tidy.prose(written[:end], finished=False) for end in range(len(written))]
    assert all("Here" not in text for text in shown)
    assert shown[-1] == "A boy finds a dog"


def test_a_cut_text_ends_at_a_whole_sentence() -> None:
    assert tidy.prose("A boy finds a dog. They run awa", finished=True, cut=True) == "A boy finds a dog."
    assert tidy.prose("A boy finds a", finished=True, cut=True) == "A boy finds a"
    assert tidy.prose("A boy finds a dog.", finished=True, cut=True) == "A boy finds a dog."


def test_repeated_sentences_are_said_once() -> None:
    assert tidy.prose("It is dull. It is long. It is dull!", finished=True) == "It is dull. It is long."


def test_a_sentence_that_repeats_earlier_ones_or_itself_is_left_out() -> None:
    first = "The film follows a young boy who finds a dog in the woods."
    again = "The film follows a young boy who finds a dog again and again."
    own_loop = "It is both dark and grim and dark and grim and dark and grim and dark and grim and dark and grim."
    assert tidy.prose(f"{first} {again} {own_loop} The music is good.", finished=True) == f"{first} The music is good."
    assert tidy.prose(own_loop, finished=True) == own_loop, "something is better than nothing"


def test_a_loop_is_seen_soon_and_a_text_without_one_never() -> None:
    start = "The film follows a boy who finds a dog and then loses it in the woods near his home. "
    assert tidy.is_looping(start + "The film follows a boy who finds a dog and then loses it in the woods")
    assert not tidy.is_looping(start * 1)
    assert not tidy.is_looping(start + "The film follows a boy, but the boy is bored, and so are we, for two hours.")
    assert not tidy.is_looping("")


def test_bullets_are_lines_that_start_with_a_dash() -> None:
    wanted = "- The plot is thin.\n- The acting is good."
    for written in (
        "- The plot is thin.\n- The acting is good.",
        "1. The plot is thin.\n2) The acting is good.",
        "* The plot is thin.\n\n• The acting is good.\n* The plot is thin.",
        "Here are the main points:\n- The plot is thin.\n- The acting is good.",
        "The plot is thin. The acting is good.",
    ):
        assert tidy.bullets(written, 5, finished=True) == wanted


def test_bullets_keep_to_their_number_and_drop_the_unfinished_one() -> None:
    assert tidy.bullets("- a.\n- b.\n- c.", 2, finished=True) == "- a.\n- b."
    assert tidy.bullets("- a.\n- b.\n- and the", 5, finished=True, cut=True) == "- a.\n- b."


@given(st.text(st.sampled_from("ab .!:\n-*1)"), max_size=60), st.booleans(), st.booleans())
def test_tidying_writes_no_word_of_its_own(text: str, finished: bool, cut: bool) -> None:
    for tidied in (tidy.prose(text, finished=finished, cut=cut), tidy.bullets(text, 4, finished=finished, cut=cut)):
        letters = iter(c for c in text if c.isalpha())
        assert all(c in letters for c in tidied if c.isalpha()), "letters in their order, none added"
        assert tidied == tidied.strip()
    lines = tidy.bullets(text, 4, finished=finished, cut=cut).splitlines()
    assert len(lines) <= 4 and all(line.startswith("- ") for line in lines)


SOURCE = (
    "Anton runs the last ferry on a wide and lonely river. It sinks in 1994, after quiet years, and Milo's brother "
    "O'Brien swims to Riga with nothing but the clothes he has on. Nobody ever hears from the others again."
)


@pytest.mark.parametrize(
    ("sentence", "names"),
    [
        ("Anton and Milo cross to Riga in 1994.", []),
        ("Ferries sink, I think, and O'Brien swims.", []),
        ("The film by Kate Bush was made in 2004.", ["Kate", "Bush", "2004"]),
        ("1995 was the year.", ["1995"]),
        ("Kate is not seen at the start of a sentence.", []),
    ],
)
def test_names_and_numbers_of_its_own_are_seen(sentence: str, names: list[str]) -> None:
    assert tidy.invented(sentence, SOURCE) == names


def test_where_every_noun_has_a_capital_only_numbers_are_looked_at() -> None:
    source = "Die Passagiere warteten zwei Stunden im Regen auf das Schiff der Gesellschaft aus Hamburg."
    assert tidy.invented("Es war ein langer Abend im Hafen mit 3 Schiffen.", source) == ["3"]


def test_sentences_that_invent_are_left_out_but_for_the_last_one_left() -> None:
    text = "The ferry sinks. It was made by Kate Bush. Anton swims."
    assert tidy.prose(text, finished=True, source=SOURCE) == "The ferry sinks. Anton swims."
    assert tidy.prose(text, finished=True) == text
    assert tidy.prose("It is by Kate Bush. It is by Tom Waits.", finished=True, source=SOURCE) == "It is by Kate Bush."
    lines = "- The ferry sinks.\n- It is by Kate Bush."
    assert tidy.bullets(lines, 3, finished=True, source=SOURCE) == "- The ferry sinks."

import pytest

from pipelines.evaluation import texts


def test_distinct_and_repeated_are_shares_of_the_n_grams() -> None:
    assert texts.distinct("a b a b a", 2) == 0.5
    assert texts.repeated("a b a b a", 2) == 0.5
    assert texts.repeated("a b c d", 4) == 0.0 and texts.distinct("a", 2) == 1.0


def test_novel_n_grams_are_those_the_source_lacks() -> None:
    assert texts.novel("the film is dull", "The film is long.", 2) == 1 / 3
    assert texts.novel("", "anything", 2) == 0.0


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ("The star is Tom Hanks.", []),
        ("The star is Tom Cruise, and he made 3 films.", ["3", "Cruise"]),
        ("Rarely did I see Hanks' best: 1,994 fans came in 1994.", ["1,994"]),
        ("It is set in New York. London is nowhere.", ["New", "York"]),  # no rule sees a name that begins a sentence
        ("I'm sure that I've seen it, and he'd say it is a cliché.", []),
        ("He likes Rhys-Meyers and Éric.", ["Rhys-Meyers", "Éric"]),
        ("", []),
    ],
)
def test_numbers_and_names_that_the_source_lacks(summary: str, expected: list[str]) -> None:
    assert texts.invented(summary, "TOM HANKS was in it, in 1994.") == expected


def test_textrank_takes_the_sentences_most_like_the_others_in_their_order() -> None:
    text = "The cat sat on the mat. Stocks fell. The cat and the dog sat. The dog sat on the mat. Rain."
    assert texts.textrank(text, 2) == "The cat sat on the mat. The dog sat on the mat."
    assert texts.textrank("One only.", 3) == "One only." and texts.textrank("", 3) == ""


def test_a_random_sentence_is_one_of_the_text_and_always_the_same() -> None:
    text = "One. Two. Three. Four."
    drawn = {texts.some_sentence(text, seed) for seed in range(20)}
    assert drawn == {"One.", "Two.", "Three.", "Four."}
    assert texts.some_sentence(text, 3) == texts.some_sentence(text, 3) and texts.some_sentence("", 0) == ""


def test_lead_is_the_first_sentences() -> None:
    assert texts.lead("One. Two! Three? Four.", 3) == "One. Two! Three?"
    assert texts.lead("Only one.", 3) == "Only one." and texts.lead("", 3) == ""

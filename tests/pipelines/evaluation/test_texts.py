from pipelines.evaluation import texts


def test_words_are_lower_case_and_keep_their_apostrophes() -> None:
    assert texts.words("Don't PANIC, it's 1979!") == ["don't", "panic", "it's", "1979"]


def test_distinct_and_repeated_are_shares_of_the_n_grams() -> None:
    assert texts.distinct("a b a b a", 2) == 0.5
    assert texts.repeated("a b a b a", 2) == 0.5
    assert texts.repeated("a b c d", 4) == 0.0 and texts.distinct("a", 2) == 1.0


def test_novel_n_grams_are_those_the_source_lacks() -> None:
    assert texts.novel("the film is dull", "The film is long.", 2) == 1 / 3
    assert texts.novel("", "anything", 2) == 0.0


def test_lead_is_the_first_sentences() -> None:
    assert texts.lead("One. Two! Three? Four.", 3) == "One. Two! Three?"
    assert texts.lead("Only one.", 3) == "Only one." and texts.lead("", 3) == ""

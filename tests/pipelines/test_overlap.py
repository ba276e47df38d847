import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import overlap


def test_words_are_lower_case_and_keep_their_apostrophes() -> None:
    assert overlap.words("Don't PANIC, it's 1979!") == ["don't", "panic", "it's", "1979"]


def test_ideographs_count_one_by_one_and_characters_are_composed() -> None:
    assert overlap.words("我爱film电影") == ["我", "爱", "film", "电", "影"]
    assert overlap.words("cliche\u0301") == overlap.words("clich\u00e9")


def test_extracts_are_the_longest_that_stand_in_the_source() -> None:
    source = "the cat sat on the mat and the dog ran"
    assert overlap.fragments("the dog ran on the mat", source) == [3, 3]
    assert overlap.fragments("a cat flew and the dog sat", source) == [1, 3, 1]
    assert overlap.coverage("a cat flew and the dog sat", source) == 5 / 7
    assert overlap.density("a cat flew and the dog sat", source) == (1 + 9 + 1) / 7
    assert overlap.density(source, source) == 10 and overlap.coverage("", source) == overlap.density("", source) == 0


def test_the_sentences_that_share_words_with_the_others_are_central() -> None:
    rank = overlap.centrality(["The cat sat on the mat.", "Stocks fell.", "The cat and the dog sat on the mat."])
    assert sum(rank) == pytest.approx(1) and rank[1] < min(rank[0], rank[2])
    assert overlap.centrality([]) == []


@given(st.text(), st.text())
def test_shares_lie_between_none_and_all(summary: str, source: str) -> None:
    assert 0 <= overlap.coverage(summary, source) <= 1
    assert overlap.coverage(source, source) == (1 if overlap.words(source) else 0)

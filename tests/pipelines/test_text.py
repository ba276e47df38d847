import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.results import Timing
from pipelines.text import (
    MAX_CHARACTERS,
    UNCOMPILED,
    check_text,
    require_kind,
    room_for_text,
    run_info,
    sentence_spans,
    shorten_text,
    split_text,
    token_windows,
)
from tests.pipelines.fake_engine import FakeEngine, FakeTokenizer

TEXT = st.text(
    st.one_of(st.sampled_from("ab .!?\n\n,"), st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        (None, "empty"),
        ("a\0b", "NUL"),
        ("a\ud800b", "surrogate"),
        ("a" * (MAX_CHARACTERS + 1), f"{MAX_CHARACTERS:,}"),
        ("\x01\x02\x03PK\x04", "binary"),
        ("\ufffd" * 20 + "abc", "binary"),
    ],
)
def test_bad_text_gets_one_sentence(text: object, word: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_text(text, "context")
    assert word in str(caught.value) and "context" in str(caught.value)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_good_text_comes_back_as_it_is() -> None:
    text = " Ünïcode \U0001f469\u200d\U0001f680\r\n\ttabs "
    assert check_text(text) is text
    assert check_text("a" * MAX_CHARACTERS)


def test_a_model_of_another_kind_is_named() -> None:
    with pytest.raises(BadRequest, match="fake is a classification model"):
        require_kind(FakeEngine(kind="classification"), "summarization", "causal")  # type: ignore[arg-type]


def test_a_window_without_room_is_refused_with_its_numbers() -> None:
    engine = FakeEngine(max_context=64)
    assert room_for_text(engine, beside=10, max_tokens=20) == 34  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match=r"64 tokens .* 20 tokens .* 40"):
        room_for_text(engine, beside=20, max_tokens=40)  # type: ignore[arg-type]


@given(TEXT, st.integers(12, 60))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, limit: int) -> None:
    tokenizer = FakeTokenizer()
    short, shortened = shorten_text(tokenizer, text, limit)  # type: ignore[arg-type]
    count = len(tokenizer.encode(text))
    assert len(tokenizer.encode(short)) <= limit
    if count <= limit:
        assert short == text and shortened is None
    else:
        assert shortened is not None and shortened.original_tokens == count and shortened.used_tokens < limit
        assert short[0] == text[0] and short[-1] == text[-1] and "[...]" in short


@given(TEXT)
def test_sentences_cover_the_text_in_order(text: str) -> None:
    assert "".join(text[a:b] for a, b in sentence_spans(text)) == text


@given(TEXT, st.integers(1, 40))
def test_parts_join_to_the_text_and_each_fits(text: str, limit: int) -> None:
    tokenizer = FakeTokenizer()
    parts = split_text(tokenizer, text, limit)  # type: ignore[arg-type]
    assert "".join(parts) == text
    assert all(len(tokenizer.encode(part)) <= limit for part in parts)
    assert all(parts) or text == ""


def test_parts_end_at_paragraphs_then_at_sentences() -> None:
    tokenizer = FakeTokenizer()
    paragraphs = "One two three. Four five.\n\nSix seven eight nine. Ten."
    assert split_text(tokenizer, paragraphs, 12)[0] == "One two three. Four five.\n\n"  # type: ignore[arg-type]
    sentences = "One two three four. Five six seven. Eight nine ten."
    assert split_text(tokenizer, sentences, 11) == ["One two three four. Five six seven. ", "Eight nine ten."]  # type: ignore[arg-type]


def test_a_text_without_any_boundary_is_still_cut() -> None:
    parts = split_text(FakeTokenizer(), "7" * 1_000, 64)  # type: ignore[arg-type]
    assert [len(part) for part in parts] == [64] * 15 + [40]


@given(st.integers(0, 500), st.integers(1, 100), st.integers(0, 99))
def test_windows_cover_every_token_and_overlap(count: int, size: int, stride: int) -> None:
    stride = min(stride, size - 1)
    windows = token_windows(count, size, stride)
    assert windows[0][0] == 0 and windows[-1][1] == count
    assert all(end - start <= size for start, end in windows)
    for (_, end), (start, _) in itertools.pairwise(windows):
        assert end - start >= stride


def test_an_answer_of_plain_torch_says_so_while_operators_are_compiled() -> None:
    assert run_info(FakeEngine(compiling=True), Timing(3), notes=("A note.",)).notes == ("A note.", UNCOMPILED)  # type: ignore[arg-type]
    assert run_info(FakeEngine(), Timing(3), notes=("A note.",)).notes == ("A note.",)  # type: ignore[arg-type]

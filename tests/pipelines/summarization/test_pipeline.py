import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest
from pipelines.summarization.pipeline import LOOPED, PARTS_REPLACED, REPLACED, SummarizationPipeline
from pipelines.summarization.prompts import LENGTHS, PROSE
from pipelines.summarization.results import SummaryResult, SummaryUpdate
from pipelines.text import sentence_spans
from tests.pipelines.fake_engine import FakeEngine

TEXT = "The film is slow but the ending is superb. I liked the music. " * 4


def pipeline(engine: FakeEngine, *, check: bool = False) -> SummarizationPipeline:
    """One that shows what the model writes, or holds it against the text too."""
    return SummarizationPipeline(engine, check=check)  # type: ignore[arg-type]


def test_a_text_that_fits_is_read_once_and_stands_before_the_instruction() -> None:
    engine = FakeEngine(reply=lambda prompt: "Here is a summary: Slow film, superb ending.")
    result = pipeline(engine)(TEXT)
    assert result.summary_text == "Slow film, superb ending."
    assert result.chunks == 1 and len(engine.prompts) == 1
    assert result.compression == len(TEXT.split()) / 4
    assert engine.prompts[0].index("superb") < engine.prompts[0].index(PROSE.format(length=LENGTHS["medium"]))
    assert engine.prompts[0].endswith("assistant\n"), "the model answers in its own turn"


def test_a_long_text_is_read_whole_in_parts_and_merged() -> None:
    engine = FakeEngine(reply=lambda prompt: f"Part {prompt.count('marker')} said.", max_context=160)
    text = "\n\n".join(f"Paragraph {'x' if i % 2 else 'y'} has a marker in it and some more words." for i in range(30))
    result = pipeline(engine)(text)
    assert result.chunks > 2
    assert sum(prompt.count("marker") for prompt in engine.prompts) == 30, "nothing is left out and nothing read twice"
    assert all(len(engine.tokenizer.encode(prompt)) <= 160 for prompt in engine.prompts)
    assert result.summary_text == "Part 0 said.", "the last pass reads the summaries"
    timing = result.info.timing
    assert timing.prompt_tokens == sum(map(len, engine.read)) > 160, "the time is that of all passes"
    assert timing.reused_tokens > 0 and timing.prefill_tokens_per_s == pytest.approx(100.0)


def test_updates_move_forward_and_the_last_is_complete() -> None:
    engine = FakeEngine(reply=lambda prompt: "A first thing. A second thing.", max_context=160)
    updates: list[SummaryUpdate] = list(pipeline(engine).stream("Some words to read here. " * 60))
    fractions = [update.fraction for update in updates]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and fractions[0] == 0.0
    assert updates[0].stage.startswith("part 1 of") and "merging" in {update.stage for update in updates}
    assert updates[-1].stage == "done" and updates[-1].info is not None
    assert updates[-1].result is not None and updates[-1].result.summary_text == updates[-1].summary_text
    assert all(update.result is None for update in updates[:-1])


def test_a_model_that_loops_is_stopped_and_the_result_says_so() -> None:
    loop = "The film is slow, and the boy in the film is slow to find his dog in it. "
    engine = FakeEngine(reply=lambda prompt: loop * 20)
    result = pipeline(engine)(TEXT * 3, length="long")
    assert result.summary_text == loop.strip()
    assert engine.steps < 60 and engine.params[0].max_tokens > 100
    assert result.info.notes == (LOOPED,)


def test_bullets_come_as_bullets() -> None:
    engine = FakeEngine(reply=lambda prompt: " Slow film.\n- Superb ending.")
    result = pipeline(engine)(TEXT, style="bullets")
    assert result.summary_text == "- Slow film.\n- Superb ending."
    assert engine.prompts[0].endswith("-"), "the answer is opened with a bullet"


def test_summaries_that_do_not_shrink_end_all_the_same() -> None:
    engine = FakeEngine(reply=lambda prompt: "one two three four. " * 50, max_context=100)
    result = pipeline(engine)("Many words in a row here. " * 60, length="long")
    assert result.summary_text


def test_no_summary_is_longer_than_its_text() -> None:
    engine = FakeEngine()
    pipeline(engine)("Twelve words are what this text has, so be short with it.", length="long")
    assert engine.params[0].max_tokens < LENGTHS["long"].max_tokens
    assert engine.params[0].min_tokens <= engine.params[0].max_tokens


def test_closing_the_stream_stops_the_engine() -> None:
    engine = FakeEngine(reply=lambda prompt: "word " * 100)
    updates = pipeline(engine).stream(TEXT * 3)
    for _ in range(5):
        next(updates)
    before = engine.steps
    updates.close()  # type: ignore[attr-defined]
    assert engine.steps == before < 10


def test_base_models_and_encoder_decoders_get_no_chat() -> None:
    base = FakeEngine()
    base.tokenizer.has_chat_template = False
    pipeline(base)(TEXT)
    assert base.prompts[0].endswith("TL;DR:")
    t5 = FakeEngine(kind="seq2seq", family="t5")
    pipeline(t5)(TEXT)
    assert t5.prompts[0] == "summarize: " + TEXT.strip()


@pytest.mark.parametrize(
    ("options", "word"),
    [({"text": " "}, "empty"), ({"length": "huge"}, "short, medium, long"), ({"style": "poem"}, "prose or bullets")],
)
def test_bad_requests_get_one_sentence_before_anything_runs(options: dict[str, Any], word: str) -> None:
    engine = FakeEngine()
    with pytest.raises(BadRequest, match=word):
        pipeline(engine).stream(**{"text": TEXT, **options})
    assert not engine.prompts


def test_a_window_too_small_for_any_text_is_refused() -> None:
    with pytest.raises(BadRequest, match="too small"):
        pipeline(FakeEngine(max_context=40))(TEXT)


REVIEW = (
    "The film was a great and moving surprise to me. Its first hour is a little slow for a thriller. "
    "The music of the film is superb and so is the cast. I went home happy and told my friends about the film."
)


def tone(prompt: str, choice: str) -> float:
    """Log-probability of a word after a text: "positive" where it praises, "negative" where it blames."""
    praise = sum(prompt.count(word) for word in ("great", "superb", "moving"))
    blame = sum(prompt.count(word) for word in ("awful", "dull"))
    return (praise - blame) * (1.0 if choice == " positive" else -1.0)


def checked(draft: str, **options: Any) -> SummaryResult:
    return pipeline(FakeEngine(reply=lambda prompt: draft, fit=tone), check=True)(REVIEW, **options)


def test_a_draft_that_says_what_the_text_says_stays() -> None:
    result = checked("The film was a great and moving surprise, the music superb.")
    assert result.summary_text == "The film was a great and moving surprise, the music superb."
    assert result.draft is None and result.info.notes == ()


@pytest.mark.parametrize(
    ("draft", "fault"),
    [
        ("My parcel arrived late and nobody answered any calls.", "speak of what the text does not"),
        ("The film of Boston was a great surprise to me.", "name Boston, which the text does not"),
        ("The film was awful and so is the cast.", "sound less positive than the text"),
        ("", "speak of what the text does not"),
    ],
)
def test_a_draft_that_does_not_hold_gives_way_to_the_text_itself(draft: str, fault: str) -> None:
    result = checked(draft)
    sentences = [REVIEW[a:b].strip() for a, b in sentence_spans(REVIEW)]
    assert result.summary_text and all(part in REVIEW for part in result.summary_text.split(". "))
    assert 1 <= sum(sentence in result.summary_text for sentence in sentences) <= 2, "at most half of a text"
    assert result.info.notes == (REPLACED.format(fault=fault),)


def test_sentences_of_the_text_are_those_in_its_tone() -> None:
    result = checked("Nobody answered any calls.", length="short")
    assert "great" in result.summary_text or "superb" in result.summary_text
    assert result.draft == "Nobody answered any calls."
    assert result.to_dict()["draft"] == result.draft


def test_points_are_sentences_of_the_text_too() -> None:
    lines = checked("Nobody answered any calls.", style="bullets").summary_text.splitlines()
    assert len(lines) == 2 and all(line.startswith("- ") and line[2:] in REVIEW for line in lines)


def test_a_text_without_a_tone_cannot_lose_it() -> None:
    engine = FakeEngine(reply=lambda prompt: "The film was awful and so is the cast.")
    assert pipeline(engine, check=True)(REVIEW).draft is None


def test_parts_whose_drafts_did_not_hold_are_counted() -> None:
    engine = FakeEngine(reply=lambda prompt: "Nobody answered any calls.", fit=tone, max_context=160)
    result = pipeline(engine, check=True)("\n\n".join([REVIEW] * 8))
    counted = [note for note in result.info.notes if note.startswith(PARTS_REPLACED.split("{")[0])]
    assert len(counted) == 1 and int(re.findall(r"\d+", counted[0])[0]) >= result.chunks > 1


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip))
def test_any_text_that_is_taken_gets_a_summary(text: str) -> None:
    engine = FakeEngine(reply=lambda prompt: "Nobody answered any calls.", fit=tone, max_context=160)
    try:
        result = pipeline(engine, check=True)(text * 3)
    except BadRequest as error:
        assert "binary" in str(error)
    else:
        assert result.summary_text

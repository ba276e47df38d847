from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.results import Span
from pipelines.question_answering.pipeline import QuestionAnsweringPipeline, answer_of_span
from pipelines.question_answering.prompts import DEFAULT_THRESHOLD
from tests.pipelines.fake_engine import FakeEngine, FakeTokenizer

CONTEXT = "Ann lives in Oslo with two cats. Ben lives in Rome with Ann Lee."


def pipeline(engine: FakeEngine) -> QuestionAnsweringPipeline:
    return QuestionAnsweringPipeline(engine)  # type: ignore[arg-type]


def finds(words: str) -> FakeEngine:
    return FakeEngine(find=lambda prompt: words if words in prompt else "")


def test_the_answer_is_verbatim_and_knows_its_place() -> None:
    engine = finds("Rome")
    result = pipeline(engine)("Where does Ben live?", CONTEXT)
    [best] = result.answers
    assert best["answer"] == "Rome" == CONTEXT[best["start"] : best["end"]]
    assert best["score"] == pytest.approx(0.905, abs=0.001)
    assert engine.prompts[0].startswith(f"user\n{CONTEXT}\n\n"), "the context stands first"
    assert engine.prompts[0].endswith("Where does Ben live?\nAnswer:"), "the model writes on where the words end"


def test_the_first_word_of_the_context_can_be_the_answer() -> None:
    [best] = pipeline(finds("Ann"))("Who?", CONTEXT, top_k=1, no_answer_threshold=1.0).answers
    assert (best["answer"], best["start"], best["end"]) == ("Ann", 0, 3)


def test_several_answers_are_different_places_best_first() -> None:
    answers = pipeline(finds("Rome"))("Where?", CONTEXT, top_k=4).answers
    assert len(answers) == 4 and len({(a["start"], a["end"]) for a in answers}) == 4
    assert [a["score"] for a in answers] == sorted((a["score"] for a in answers), reverse=True)
    assert all(a["answer"] == CONTEXT[a["start"] : a["end"]] != "" for a in answers)


def test_no_answer_comes_first_when_no_span_is_likely() -> None:
    result = pipeline(finds("nothing"))("Where does Carl live?", CONTEXT, top_k=2)
    assert result.no_answer > DEFAULT_THRESHOLD
    assert result.answers[0] == {"answer": "", "score": result.no_answer, "start": 0, "end": 0}
    assert result.answers[1]["answer"]
    assert pipeline(finds("nothing"))("Where?", CONTEXT, no_answer_threshold=1.0).answers[0]["answer"]


def test_a_long_context_is_read_in_windows_none_left_out() -> None:
    filler = "Nothing of note happened on that day in the town. "
    context = filler * 100 + "Eva was born in Riga. " + filler * 100
    engine = finds("Riga")
    result = pipeline(engine)("Where was Eva born?", context)
    [best] = result.answers
    assert best["answer"] == "Riga" == context[best["start"] : best["end"]]
    assert len(engine.prompts) > 2
    assert all(len(engine.tokenizer.encode(prompt)) <= 512 for prompt in engine.prompts)
    timing = result.info.timing
    assert timing.prompt_tokens == sum(map(len, engine.read)) and timing.reused_tokens > 0
    assert timing.prefill_tokens_per_s == pytest.approx(100.0), "tokens over time add up over the windows"
    for at in range(0, len(context.rstrip()) - 40, 40):
        assert any(context[at : at + 40] in prompt for prompt in engine.prompts)


def test_an_extractive_model_points_by_itself() -> None:
    engine = FakeEngine(find=lambda context: "Oslo", kind="question-answering")
    result = pipeline(engine)("Where does Ann live?", CONTEXT, no_answer_threshold=0.5)
    assert result.answers == [{"answer": "Oslo", "score": 0.9, "start": 13, "end": 17}]
    assert result.no_answer == 0.05


@pytest.mark.parametrize(
    ("argument", "value", "word"),
    [
        ("question", "", "question is empty"),
        ("context", " ", "context is empty"),
        ("context", "a\0", "NUL"),
        ("question", "w" * 3_000, "2,000"),
        ("top_k", 0, "top_k"),
        ("no_answer_threshold", 2.0, "threshold"),
        ("no_answer_threshold", float("nan"), "threshold"),
    ],
)
def test_bad_requests_get_one_sentence(argument: str, value: Any, word: str) -> None:
    asked: dict[str, Any] = {"question": "Where?", "context": CONTEXT, argument: value}
    with pytest.raises(BadRequest, match=word):
        pipeline(FakeEngine())(**asked)


def test_a_question_that_fills_the_window_is_refused() -> None:
    with pytest.raises(BadRequest, match="too small"):
        pipeline(FakeEngine(max_context=64))("where " * 60, CONTEXT)


@given(st.text(st.sampled_from("ab1 .\n-é漢"), min_size=1, max_size=40), st.data())
def test_any_span_becomes_whole_words_of_the_context(context: str, data: st.DataObject) -> None:
    _, places = FakeTokenizer().encode_with_offsets(context)
    start = data.draw(st.integers(0, len(places) - 1))
    end = data.draw(st.integers(start + 1, len(places)))
    answer = answer_of_span(context, Span(start, end, -1.0, end - start), places)
    assert answer["answer"] == context[answer["start"] : answer["end"]]
    assert answer["answer"] == answer["answer"].strip()
    if answer["answer"]:
        for at in (answer["start"], answer["end"]):
            assert not (0 < at < len(context) and context[at - 1].isalnum() and context[at].isalnum())

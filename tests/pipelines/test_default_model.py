"""The four pipelines on the real default model: what a person sees, in seconds."""

from collections.abc import Iterator

import pytest

from engine.config import EngineConfig, SamplingParams
from engine.engine import Engine
from pipelines.classification.heads import Head, head_names, load_head
from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.generation.pipeline import GenerationPipeline
from pipelines.question_answering.pipeline import QuestionAnsweringPipeline
from pipelines.summarization.pipeline import SummarizationPipeline

pytestmark = pytest.mark.model

REVIEW = (
    "I went in expecting little and left in tears. Marta Ruiz plays a night nurse who finds her lost brother in ward "
    "nine, and she is superb. The first hour is slow, but the ending is the best I have seen this year. "
    "It was filmed in Lisbon in 2014. Do not miss it."
)
PAN = "What a waste of an evening. The jokes fall flat, the plot makes no sense and the lead cannot act. Avoid."


@pytest.fixture(scope="module")
def engine(default_model_folder: object) -> Iterator[Engine]:
    with Engine(EngineConfig(model=str(default_model_folder))) as engine:
        yield engine


@pytest.mark.parametrize("calibrate", [True, False])
def test_praise_is_positive_and_a_pan_is_negative(engine: Engine, calibrate: bool) -> None:
    classify = ClassificationPipeline(engine)
    assert classify(REVIEW, calibrate=calibrate).scores[0]["label"] == "positive"
    assert classify(PAN, calibrate=calibrate).scores[0]["label"] == "negative"


def test_any_labels_alone_or_one_by_one(engine: Engine) -> None:
    classify = ClassificationPipeline(engine)
    text = "The striker scored twice in the second half and the team won the cup."
    labels = ("politics", "sports", "cooking", "health care")
    assert classify(text, labels).scores[0]["label"] == "sports"
    alone = classify(text, labels, multi_label=True).scores
    assert alone[0]["label"] == "sports" and alone[0]["score"] > 0.5


def test_answers_are_found_in_the_text_and_a_foreign_question_is_not(engine: Engine) -> None:
    answer = QuestionAnsweringPipeline(engine)
    for question, wanted in (("Where was it filmed?", "Lisbon"), ("Who plays the night nurse?", "Marta Ruiz")):
        answers = answer(question, REVIEW, top_k=3, no_answer_threshold=1.0).answers
        assert all(row["answer"] == REVIEW[row["start"] : row["end"]] for row in answers)
        assert any(wanted in row["answer"] for row in answers)
    here = answer("Where was it filmed?", REVIEW).no_answer
    foreign = answer("How many moons does Jupiter have?", REVIEW).no_answer
    assert foreign > here


def test_a_summary_is_short_streams_and_says_something(engine: Engine) -> None:
    updates = list(SummarizationPipeline(engine).stream(REVIEW * 2, length="short"))
    result = updates[-1].result
    assert result is not None and len(updates) > 5
    assert 5 < len(result.summary_text.split()) < 64
    assert "Here is" not in result.summary_text
    points = SummarizationPipeline(engine)(REVIEW, length="short", style="bullets").summary_text
    assert points and all(line.startswith("- ") for line in points.splitlines())


def test_what_one_task_has_read_the_next_ones_reuse(engine: Engine) -> None:
    text = f"The ferry to the ward is never late. {REVIEW}"  # begins as no other test's text
    tokens = len(engine.tokenizer.encode(text))
    first = ClassificationPipeline(engine)(text).info.timing
    assert first.prompt_tokens - first.reused_tokens >= tokens // 4, "what no other test has read is new"
    before = engine.prompt_tokens_computed
    later = [
        SummarizationPipeline(engine, check=False)(text, length="short").info.timing,  # a check reads its draft too
        QuestionAnsweringPipeline(engine)("Who is never late?", text).info.timing,
        GenerationPipeline(engine)(f"{text}\n\nReply in a word.", params=SamplingParams(max_tokens=4)).info.timing,
    ]
    assert all(timing.reused_tokens >= tokens for timing in later)
    computed = engine.prompt_tokens_computed - before
    assert computed == sum(timing.prompt_tokens - timing.reused_tokens for timing in later)
    assert computed < 120, "the words after the text, of three tasks together"


def test_generation_repeats_itself_with_a_seed_and_continues_raw_text(engine: Engine) -> None:
    generate = GenerationPipeline(engine)
    params = SamplingParams(max_tokens=12, temperature=0.8, seed=7)
    first, again = (generate("Name three colours.", params=params) for _ in range(2))
    assert first.generated_text == again.generated_text != ""
    raw = generate("The capital of France is", mode="continue", params=SamplingParams(max_tokens=4))
    assert "Paris" in raw.generated_text


def test_the_head_that_comes_with_brisk_knows_praise_from_a_pan() -> None:
    with Engine(EngineConfig()) as engine:  # by its name, which a head is bound to
        assert head_names(engine.info.model) == ["imdb-sentiment"]
        classify = ClassificationPipeline(engine)
        assert classify(REVIEW, head="imdb-sentiment").scores[0]["label"] == "positive"
        assert classify(PAN, head="imdb-sentiment").scores[0]["label"] == "negative"
        head = load_head("imdb-sentiment")
        assert isinstance(head, Head) and head.layer < engine.info.layers

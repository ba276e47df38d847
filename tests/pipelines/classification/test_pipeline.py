import math
from typing import Any

import numpy as np
import pytest

from engine.errors import BadRequest
from pipelines.classification.pipeline import MAX_LABELS, ClassificationPipeline
from pipelines.classification.templates import CONTENT_FREE, INSTRUCTION
from tests.pipelines.fake_engine import FakeEngine


def pipeline(engine: FakeEngine) -> ClassificationPipeline:
    return ClassificationPipeline(engine)  # type: ignore[arg-type]


def likes_positive(prompt: str, choice: str) -> float:
    """Prefers " positive" before reading (3 to 1), and doubles what the text names."""
    prior = {" positive": math.log(0.3), " negative": math.log(0.1)}[choice]
    return prior + (math.log(2) if choice.strip() in prompt else 0.0)


def test_the_text_stands_first_and_is_run_once_for_all_labels() -> None:
    engine = FakeEngine()
    pipeline(engine)("Some text.", ("a", "b", "c"), calibrate=False)
    assert [prompt for prompt in engine.prompts if "Some text." in prompt] == engine.prompts[:1]
    assert engine.prompts[0] == f"user\nSome text.{INSTRUCTION}", "the model writes on where the instruction ends"


def test_the_first_run_counts_the_content_free_inputs_and_what_they_share() -> None:
    engine = FakeEngine()
    classify = pipeline(engine)
    first = classify("Some text.").info.timing
    assert first.prompt_tokens == sum(map(len, engine.read)) and len(engine.read) == 1 + len(CONTENT_FREE)
    opening = len(engine.tokenizer.around([{"role": "user", "content": ""}])[0])
    assert first.reused_tokens >= opening * len(CONTENT_FREE), "the opening of the chat is the same for all"
    assert first.prefill_tokens_per_s == pytest.approx(100.0)
    again = classify("Some text.").info.timing
    assert again.prompt_tokens == len(engine.read[-1]) == again.reused_tokens + 1


def test_scores_sum_to_one_highest_first() -> None:
    result = pipeline(FakeEngine(fit=likes_positive))("a negative film", ("negative", "positive"), calibrate=False)
    assert [row["label"] for row in result.scores] == ["positive", "negative"]
    assert [row["score"] for row in result.scores] == pytest.approx([0.6, 0.4])


def test_calibration_takes_out_what_the_model_prefers_unread() -> None:
    judgement = pipeline(FakeEngine(fit=likes_positive)).judge("a negative film")
    assert judgement.raw == pytest.approx([0.6, 0.4])
    assert judgement.calibrated == pytest.approx([1 / 3, 2 / 3])  # only the doubling is left


def test_calibration_is_computed_once_for_a_list_of_labels() -> None:
    engine = FakeEngine(fit=likes_positive)
    classify = pipeline(engine)
    for text in ("one", "two", "three"):
        classify(text)
    assert len(engine.prompts) == 3 + len(CONTENT_FREE)
    classify("four", ("negative", "positive"))
    assert len(engine.prompts) == 4 + 2 * len(CONTENT_FREE), "another order is another list"


def test_a_label_of_several_tokens_has_a_fair_chance() -> None:
    def fit(prompt: str, choice: str) -> float:  # each token costs one; the text makes neither likelier
        return -1.0 * len(choice.split())

    judgement = pipeline(FakeEngine(fit=fit)).judge("text", ("art", "home and garden"))
    assert judgement.raw == pytest.approx([0.5, 0.5])
    assert judgement.calibrated == pytest.approx([0.5, 0.5])


def test_labels_judged_one_by_one_do_not_compete() -> None:
    def fit(prompt: str, choice: str) -> float:  # what the text names is three times as likely as after no text
        return math.log(0.3 if choice.strip() in prompt else 0.1)

    result = pipeline(FakeEngine(fit=fit))("sports and politics", ("sports", "cooking", "politics"), multi_label=True)
    scores = {row["label"]: row["score"] for row in result.scores}
    assert scores == {"sports": pytest.approx(0.75), "politics": pytest.approx(0.75), "cooking": pytest.approx(0.5)}
    [alone] = pipeline(FakeEngine(fit=fit))("sports", ("sports",), multi_label=True).scores
    assert alone["score"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        ((), "no labels"),
        (("one",), "only label"),
        (("a", "b", "A "), "more than once"),
        (("a", " "), "label is empty"),
        ("positive", "no labels"),
        (tuple(map(str, range(MAX_LABELS + 1))), "at most 64"),
        (("a", "b\0"), "NUL"),
    ],
)
def test_bad_labels_get_one_sentence(labels: Any, word: str) -> None:
    with pytest.raises(BadRequest, match=word):
        pipeline(FakeEngine())("text", labels)


def test_a_long_text_is_shortened_and_says_so() -> None:
    engine = FakeEngine(max_context=128)
    result = pipeline(engine)("word " * 500)
    assert result.info.shortened is not None and result.info.shortened.original_tokens >= 500
    assert len(engine.tokenizer.encode(engine.prompts[0])) <= 128


def test_a_classification_model_answers_with_its_own_labels() -> None:
    classify = pipeline(FakeEngine(kind="classification"))
    assert classify("text").scores == [{"label": "POSITIVE", "score": 0.75}, {"label": "NEGATIVE", "score": 0.25}]
    assert classify("text").info.notes == ()
    [note] = classify("text", ("sports", "cooking")).info.notes
    assert "POSITIVE, NEGATIVE" in note


def test_an_extractive_model_is_refused() -> None:
    with pytest.raises(BadRequest, match="question-answering model"):
        pipeline(FakeEngine(kind="question-answering"))


def test_judgements_are_numbers_even_for_hopeless_labels() -> None:
    judgement = pipeline(FakeEngine(fit=lambda prompt, choice: -900.0 - len(choice))).judge("text")
    assert np.isfinite(judgement.raw).all() and np.isfinite(judgement.calibrated).all()

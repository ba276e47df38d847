"""The calls that users of Transformers 4 made of its pipelines: names of arguments, keys, types, lists in and out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import brisk
from brisk.calls import pipeline as module
from engine.config import EngineConfig
from engine.errors import BadRequest
from tests.pipelines.fake_engine import FakeEngine

REVIEW, OTHER = "I could watch this again tomorrow.", "Two hours that I will never get back."
CONTEXT = "The mill by the river was built by Ida Holm. It burned down in 1911."
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a fish."}]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """A fake in place of every loaded engine; `configs` on it are what was asked for."""
    fake = FakeEngine(
        reply=lambda prompt: " A cod, or a herring.",
        fit=lambda prompt, choice: -1.0 - len(choice) / 10,
        find=lambda prompt: "Ida Holm",
    )

    def load(config: EngineConfig, on_progress: Any = None) -> FakeEngine:
        fake.configs.append(config)
        return fake

    monkeypatch.setattr("engine.engine.shared_engine", load)
    return fake


def is_label(row: Any) -> bool:
    return list(row) == ["label", "score"] and type(row["label"]) is str and type(row["score"]) is float


# ---- pipeline()


def test_a_task_takes_model_precision_and_device(engine: FakeEngine) -> None:
    with brisk.pipeline("text-generation", "a/model", precision="int4", device=-1) as generate:
        assert generate.task == "text-generation"
    brisk.pipeline("sentiment-analysis", config=EngineConfig(threads=2, precision="fp32"), device=1)
    brisk.pipeline(task="summarization", model="another")
    assert engine.configs == [
        EngineConfig("a/model", "int4", "cpu"), EngineConfig(threads=2, precision="fp32", device="cuda:1"),
        EngineConfig("another"),
    ]  # fmt: skip


def test_an_unknown_task_is_one_sentence(engine: FakeEngine) -> None:
    with pytest.raises(BadRequest, match=r"The task 'translation' is unknown: choose one of text-classification, .*"):
        brisk.pipeline("translation")
    assert not engine.configs


def test_a_model_of_another_kind_gives_its_engine_back(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    engine.info = FakeEngine(kind="classification").info
    monkeypatch.setattr(engine, "close", lambda: closed.append(True))
    for task in ("zero-shot-classification", "summarization", "question-answering", "text-generation"):
        with pytest.raises(BadRequest, match="is a classification model"):
            brisk.pipeline(task)
    assert closed == [True] * 4


def test_every_name_has_its_task(engine: FakeEngine) -> None:
    assert [brisk.pipeline(name).task for name in module.NAMES] == list(module.NAMES)


# ---- text-classification


def test_text_classification(engine: FakeEngine) -> None:
    classify = brisk.pipeline("text-classification")
    [row] = classify(REVIEW)
    assert is_label(row) and row["label"] == "positive"
    rows = classify([REVIEW, OTHER])
    assert len(rows) == 2 and all(map(is_label, rows))
    assert len(classify([REVIEW])) == 1 and is_label(classify([REVIEW])[0])
    assert is_label(classify({"text": REVIEW}))


def test_text_classification_with_top_k(engine: FakeEngine) -> None:
    classify = brisk.pipeline("sentiment-analysis")
    assert [len(classify(REVIEW, top_k=k)) for k in (1, 2, None)] == [1, 2, 2]
    rows = classify([REVIEW, OTHER], top_k=None)
    assert [len(row) for row in rows] == [2, 2] and all(is_label(one) for row in rows for one in row)
    assert sum(one["score"] for one in rows[0]) == pytest.approx(1)
    assert classify([REVIEW], top_k=1) == [classify(REVIEW, top_k=1)]
    assert classify(REVIEW, return_all_scores=True) == [classify(REVIEW, top_k=None)]
    assert classify(REVIEW, return_all_scores=False) == classify(REVIEW)


def test_a_generator_gives_results_as_they_are_asked_for(engine: FakeEngine) -> None:
    classify = brisk.pipeline("text-classification")
    results = classify(text for text in (REVIEW, OTHER, ""))
    assert isinstance(results, Iterator) and not engine.prompts
    assert is_label(next(results)) and is_label(next(results))
    with pytest.raises(BadRequest, match="empty"):
        next(results)


def test_a_classifier_gives_its_own_labels(engine: FakeEngine) -> None:
    engine.info = FakeEngine(kind="classification").info
    assert brisk.pipeline("text-classification")(REVIEW, truncation=True, padding=True, batch_size=4) == [
        {"label": "POSITIVE", "score": 0.75}
    ]


# ---- zero-shot-classification


def test_zero_shot_classification(engine: FakeEngine) -> None:
    classify = brisk.pipeline("zero-shot-classification")
    found = classify(REVIEW, candidate_labels=["film", "cooking", "gardening"])
    assert list(found) == ["sequence", "labels", "scores"] and found["sequence"] == REVIEW
    assert sorted(found["labels"]) == ["cooking", "film", "gardening"]
    assert found["scores"] == sorted(found["scores"], reverse=True) and sum(found["scores"]) == pytest.approx(1)
    assert all(type(score) is float for score in found["scores"])
    assert classify(REVIEW, "film, cooking, gardening") == found
    several = classify([REVIEW, OTHER], candidate_labels=["film", "cooking"], multi_label=True)
    assert [one["sequence"] for one in several] == [REVIEW, OTHER]
    assert classify([REVIEW], ["film", "cooking"])[0]["sequence"] == REVIEW
    assert classify(REVIEW, "film")["labels"] == ["film"], "one label is judged for itself"


# ---- summarization


def test_summarization(engine: FakeEngine) -> None:
    summarize = brisk.pipeline("summarization")
    [row] = summarize(CONTEXT, min_length=2, max_length=20)
    assert list(row) == ["summary_text"] and row["summary_text"]
    assert engine.params[-1].max_tokens == 20 and engine.params[-1].min_tokens == 2
    summarize(CONTEXT, max_length=20, max_new_tokens=30, min_length=2, min_new_tokens=3, do_sample=False)
    assert engine.params[-1].max_tokens == 30 and engine.params[-1].min_tokens == 3
    rows = summarize([CONTEXT, REVIEW * 3], truncation=True, batch_size=1)
    assert len(rows) == 2 and all(list(one) == ["summary_text"] for one in rows)


@pytest.mark.parametrize("most", [1, 4, 9, 40])
def test_no_summary_is_longer_than_asked_for(engine: FakeEngine, most: int) -> None:
    [row] = brisk.pipeline("summarization")(CONTEXT * 4, max_length=most, min_length=0)
    assert 0 < len(engine.tokenizer.encode(row["summary_text"])) <= most


# ---- question-answering


def test_question_answering(engine: FakeEngine) -> None:
    ask = brisk.pipeline("question-answering")
    found = ask(question="Who built the mill?", context=CONTEXT)
    assert set(found) == {"score", "start", "end", "answer"} and type(found["score"]) is float
    assert found["answer"] == CONTEXT[found["start"] : found["end"]] == "Ida Holm"
    assert ask({"question": "Who built the mill?", "context": CONTEXT}) == found
    assert ask([{"question": "Who built the mill?", "context": CONTEXT}]) == found, "as for one alone"
    assert ask([{"question": "Who built the mill?", "context": CONTEXT}] * 2) == [found, found]
    assert ask(question=["Who built it?", "Who?"], context=CONTEXT) == [found, found]
    assert ask(question=["Who built it?", "Who?"], context=[CONTEXT, CONTEXT]) == [found, found]


def test_question_answering_with_several_answers_or_none(engine: FakeEngine) -> None:
    ask = brisk.pipeline("question-answering")
    answers = ask(question="Who?", context=CONTEXT, top_k=3, max_answer_len=4)
    assert len(answers) == 3 and answers[0]["answer"] == "Ida Holm"
    assert all(len(row["answer"].split()) <= 4 for row in answers)
    engine.find = lambda prompt: ""  # nothing fits well
    assert ask(question="Why?", context=CONTEXT)["answer"], "always an answer unless none is allowed"
    none = ask(question="Why?", context=CONTEXT, handle_impossible_answer=True)
    assert (none["answer"], none["start"], none["end"]) == ("", 0, 0)


# ---- text-generation


def test_text_generation(engine: FakeEngine) -> None:
    generate = brisk.pipeline("text-generation")
    assert generate("My favourite fish:") == [{"generated_text": "My favourite fish: A cod, or a herring."}]
    params = engine.params[-1]
    assert (params.max_tokens, params.temperature, params.top_k, params.top_p) == (256, 0.7, 50, 1.0)
    assert generate("A fish:", return_full_text=False) == [{"generated_text": " A cod, or a herring."}]
    assert generate(["A fish:", "A bird:"]) == [
        [{"generated_text": "A fish: A cod, or a herring."}], [{"generated_text": "A bird: A cod, or a herring."}]
    ]  # fmt: skip
    assert generate("A fish:", max_new_tokens=3)[0]["generated_text"] == "A fish: A cod,"


def test_text_generation_draws_as_it_is_told(engine: FakeEngine) -> None:
    generate = brisk.pipeline("text-generation")
    rows = generate("A fish:", do_sample=True, num_return_sequences=3, temperature=1.5, top_k=5, top_p=0.9, seed=7)
    assert [list(row) for row in rows] == [["generated_text"]] * 3
    drawn = engine.params[-3:]
    assert sorted(p.seed or 0 for p in drawn) == [7, 8, 9]
    assert {(p.temperature, p.top_k, p.top_p) for p in drawn} == {(1.5, 5, 0.9)}
    assert [len(rows) for rows in generate(["A fish:", "A bird:"], num_return_sequences=2)] == [2, 2]
    generate("A fish:", do_sample=False, max_length=9, stop_strings=["herring"], stop_sequence="cod", min_new_tokens=1)
    params = engine.params[-1]
    length = len(engine.tokenizer.encode("A fish:"))
    assert (params.temperature, params.max_tokens, params.min_tokens) == (0, 9 - length, 1)
    assert params.stop == ("herring", "cod")


def test_text_generation_answers_chats(engine: FakeEngine) -> None:
    generate = brisk.pipeline("text-generation")
    [row] = generate(CHAT, max_new_tokens=64)
    assert row["generated_text"] == [*CHAT, {"role": "assistant", "content": " A cod, or a herring."}]
    assert generate(CHAT, return_full_text=False) == [{"generated_text": " A cod, or a herring."}]
    rows = generate([CHAT, CHAT[1:]])
    assert [one[0]["generated_text"][-1]["role"] for one in rows] == ["assistant", "assistant"]
    begun = [*CHAT, {"role": "assistant", "content": "Gladly:"}]
    [row] = generate(begun)
    assert row["generated_text"] == [*CHAT, {"role": "assistant", "content": "Gladly: A cod, or a herring."}]
    assert engine.prompts[-1].endswith("assistant\nGladly:")


# ---- what cannot be honoured


@pytest.mark.parametrize(
    ("task", "inputs", "options", "sentence"),
    [
        ("text-classification", REVIEW, {"function_to_apply": "sigmoid"}, "give 'softmax'"),
        ("text-classification", REVIEW, {"truncation": False}, "a text over the window is shortened"),
        ("text-classification", REVIEW, {"top_k": 0}, "top_k is 0"),
        ("text-classification", {"text": REVIEW, "text_pair": OTHER}, {}, "texts are read one by one"),
        ("text-classification", "", {}, "The text is empty"),
        ("text-classification", [REVIEW], {"batch_size": 0}, "batch_size is 0"),
        ("zero-shot-classification", REVIEW, {"candidate_labels": []}, "There are no labels"),
        ("zero-shot-classification", REVIEW, {"hypothesis_template": "It is {}."}, "cannot honour 'hypothesis_templ"),
        ("summarization", CONTEXT, {"num_beams": 4}, "cannot honour 'num_beams': summaries are greedy"),
        ("summarization", CONTEXT, {"do_sample": True}, "cannot honour 'do_sample'"),
        ("summarization", CONTEXT, {"min_length": 30, "max_length": 20}, "min_length is 30"),
        ("summarization", CONTEXT, {"colour": "red"}, "cannot honour 'colour': no argument of that name is known"),
        ("question-answering", None, {"question": "Who?"}, "A question needs its context"),
        ("question-answering", {"question": "Who?"}, {}, "An example has no question or no context"),
        ("question-answering", None, {"question": ["a", "b"], "context": ["c"]}, "2 questions and 1 contexts"),
        ("question-answering", None, {"question": "a", "context": ["c"]}, "give a list of questions too"),
        ("question-answering", None, {"question": "a", "context": "b", "doc_stride": 64}, "windows of 512 tokens"),
        ("question-answering", None, {"question": "a", "context": "b", "max_answer_len": 99}, "99 tokens"),
        ("text-generation", "Hello", {"num_beams": 2}, "one beam is decoded"),
        ("text-generation", "Hello", {"do_sample": False, "temperature": 0.5}, "where do_sample is False"),
        ("text-generation", "Hello", {"do_sample": False, "num_return_sequences": 2}, "Greedy texts are all the same"),
        ("text-generation", "Hello there", {"max_length": 1}, "max_length is 1, and the prompt alone has 2"),
        ("text-generation", "Hello", {"temperature": -1.0}, "temperature is -1"),
        ("text-generation", "", {}, "The prompt is empty"),
    ],
)
def test_what_cannot_be_honoured_is_one_sentence(
    engine: FakeEngine, task: str, inputs: Any, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BadRequest) as raised:
        brisk.pipeline(task)(inputs, **options)
    assert sentence in str(raised.value) and "\n" not in str(raised.value)


# ---- the real model


@pytest.mark.model
def test_the_default_model_serves_every_task(default_model_folder: object) -> None:
    with brisk.pipeline("sentiment-analysis") as classify, brisk.pipeline("text-generation") as generate:
        assert [row["label"] for row in classify([REVIEW + " Wonderful!", OTHER + " Awful."])] == [
            "positive", "negative"
        ]  # fmt: skip
        greedy = generate(["The capital of France is", "Two and two make"], max_new_tokens=8, do_sample=False)
        assert [len(row) for row in greedy] == [1, 1] and "Paris" in greedy[0][0]["generated_text"]
        [row] = generate(CHAT, max_new_tokens=8, seed=1)
        assert row["generated_text"][-1]["role"] == "assistant"
    with brisk.pipeline("zero-shot-classification") as choose:
        assert choose("The striker scored twice before half-time.", "sport, cooking")["labels"][0] == "sport"
    with brisk.pipeline("summarization") as summarize, brisk.pipeline("question-answering") as ask:
        assert summarize(CONTEXT * 2, max_length=40)[0]["summary_text"]
        found = ask(question="When did the mill burn down?", context=CONTEXT)
        assert found["answer"] == CONTEXT[found["start"] : found["end"]] != ""

"""What is noted of a task's adapter, and the pipelines that take one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadModel, BadRequest
from pipelines.adapter import TaskAdapter, folder_of, read_adapter
from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.generation.pipeline import GenerationPipeline
from pipelines.question_answering import prompts
from pipelines.question_answering.pipeline import QuestionAnsweringPipeline
from pipelines.summarization.pipeline import SummarizationPipeline
from tests.pipelines.fake_engine import FakeEngine

CONTEXT = "The mill was built in Rome by a baker . It burned down twice."


def noted(folder: Path, **brisk: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", **({"brisk": brisk} if brisk else {})})
    )
    return folder


def test_what_training_noted_is_read(tmp_path: Path) -> None:
    assert read_adapter(None, "classification") is None and folder_of(None) is None
    made = noted(tmp_path / "a", task="classification", labels=["bad", "good"])
    found = read_adapter(str(made), "classification")
    assert found == TaskAdapter(made, "classification", ("bad", "good")) and folder_of(found) == made
    foreign = noted(tmp_path / "b")
    assert read_adapter(foreign, "generation") == TaskAdapter(foreign)


def test_what_is_no_adapter_of_the_task_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"none is no adapter: there is no adapter_config.json"):
        read_adapter(tmp_path / "none", "generation")
    with pytest.raises(BadRequest, match="has learnt summarization: give it to that task"):
        read_adapter(noted(tmp_path / "a", task="summarization"), "generation")
    (tmp_path / "a" / "adapter_config.json").write_text("[1]")
    with pytest.raises(BadModel, match="is not JSON as PEFT and Brisk write it"):
        read_adapter(tmp_path / "a", "summarization")


def test_an_adapter_classifies_by_its_own_labels(tmp_path: Path) -> None:
    folder = noted(tmp_path / "a", task="classification", labels=["dull", "bright"])
    engine = FakeEngine(fit=lambda text, word: -1.0 if word == " bright" else -3.0)
    found = ClassificationPipeline(engine, adapter=folder)("A fine film.", ["x", "y"])  # type: ignore[arg-type]
    assert [row["label"] for row in found.scores] == ["bright", "dull"]
    assert found.scores[0]["score"] == pytest.approx(1 / (1 + 2.718281828**-2.0))
    assert set(engine.adapters) == {folder} and "only its own labels (dull, bright)" in found.info.notes[0]


def test_an_adapter_says_that_the_text_holds_no_answer(tmp_path: Path) -> None:
    folder = noted(tmp_path / "a", task="question_answering")
    for none, answer in ((-0.05, ""), (-9.0, "baker")):
        engine = FakeEngine(find=lambda text: "baker", fit=lambda text, word, none=none: none)  # type: ignore[misc]
        found = QuestionAnsweringPipeline(engine, adapter=folder)("Who built it?", CONTEXT)  # type: ignore[arg-type]
        assert found.answers[0]["answer"] == answer
        assert engine.prompts[-1].rstrip().endswith("Question: Who built it?\nAnswer:")
        assert prompts.ADAPTED.partition("{")[0].strip() in engine.prompts[0] and set(engine.adapters) == {folder}


def test_an_adapter_writes(tmp_path: Path) -> None:
    for task, pipeline in (("summarization", SummarizationPipeline), ("generation", GenerationPipeline)):
        folder = noted(tmp_path / task, task=task)
        engine: Any = FakeEngine(reply=lambda prompt: "A baker built the mill.")
        made: Any = pipeline(engine, adapter=folder)
        made(CONTEXT)
        assert engine.adapters[0] == folder


def test_what_an_adapter_does_not_do_is_said(tmp_path: Path) -> None:
    engine: Any = FakeEngine(reply=lambda prompt: "A baker built the mill.")
    classify = ClassificationPipeline(engine, adapter=noted(tmp_path / "a", labels=["dull", "bright"]))
    assert "against one another" in classify("Fine.", multi_label=True).info.notes[0]
    with pytest.raises(BadRequest, match="A head and an adapter are given"):
        classify("Fine.", head="imdb-sentiment")
    summarize = SummarizationPipeline(engine, adapter=noted(tmp_path / "b", task="summarization"), check=False)
    assert not summarize(CONTEXT).info.notes
    assert "one length, which is medium" in summarize(CONTEXT, length="short").info.notes[0]
    before = len(engine.adapters)
    assert "the bare model wrote these bullets" in summarize(CONTEXT, style="bullets").info.notes[0]
    assert set(engine.adapters[before:]) == {None}
    with pytest.raises(BadRequest, match="cannot do question answering with an adapter: load a causal model"):
        extractive: Any = FakeEngine(kind="question-answering")
        QuestionAnsweringPipeline(extractive, adapter=noted(tmp_path / "c"))

"""Lessons as token ids: framed as the pipelines frame them, the text apart, the answer with its end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.engine import Engine
from engine.errors import BadRequest
from pipelines.prompt import text_prompt
from pipelines.question_answering import prompts
from pipelines.training.lessons import TASKS, Lesson, framing, invocation, questions
from tests.engine.reference import opened
from tests.tiny import make_tiny_model

TEXT = "The mill was built by a baker. "


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with opened(make_tiny_model(tmp_path_factory.mktemp("tiny"), "llama", max_positions=256)) as engine:
        yield engine


@pytest.mark.parametrize("task", TASKS)
def test_a_lesson_is_the_pipelines_prompt_and_its_answer(engine: Engine, task: str) -> None:
    [made] = questions([Lesson(TEXT, "By whom?", "a baker", "row 1")], task, engine, 100)
    how = framing(task, engine)
    decode = engine.tokenizer.decode
    whole = text_prompt(
        engine, TEXT, how.instruction.replace("{question}", "By whom?"), reply="" if how.reply else None
    )
    assert [*made.text, *made.asked] == whole
    said = decode(made.answer, skip_special=True)
    assert said.strip() == "a baker" and (made.answer[-1] in engine.tokenizer.eos_ids or said.endswith("\n"))
    begins = invocation(how, engine)
    assert tuple(made.asked[: len(begins)]) == begins and bool(begins) == (task != "generation")
    assert bool(made.text) == (task != "generation")


def test_what_the_text_does_not_hold_is_said_so(engine: Engine) -> None:
    [made] = questions([Lesson(TEXT, "When?", "", "row 1")], "question_answering", engine, 100)
    assert engine.tokenizer.decode(made.answer) == prompts.UNANSWERED + "\n"


def test_long_texts_are_shortened_and_long_answers_refused(engine: Engine) -> None:
    [made] = questions([Lesson(TEXT * 20, "", "x", "row 1")], "classification", engine, 40)
    assert len(made.text) <= len(text_prompt(engine, "", "")) + 42
    with pytest.raises(BadRequest, match=r"row 2 needs [\d,]+ tokens, and the window has 256"):
        questions([Lesson(TEXT, "", "word " * 200, "row 2")], "summarization", engine, 100)
    with pytest.raises(BadRequest, match="There is no task 'poetry'"):
        framing("poetry", engine)

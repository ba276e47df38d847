"""The tasks. Nothing heavy is imported here: a task is named by import paths and loaded when it is asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """One task. `pipeline`, `tab` and `evaluation` are `module:attribute` paths for `load`.

    Attributes
    ----------
    name : of the folder and of `--task`.
    title : on the screen.
    command : of `python -m pipelines`.
    endpoint : of the HTTP interface.
    pipeline : the class, called with an `engine.engine.Engine`.
    tab : a function that builds the Gradio tab.
    evaluation : the class that measures the task on IMDB (see `pipelines.evaluation.runner.Evaluation`).
    """

    name: str
    title: str
    command: str
    endpoint: str
    pipeline: str
    tab: str
    evaluation: str


def _task(name: str, title: str, command: str, pipeline: str, evaluation: str) -> Task:
    folder = f"pipelines.{name}"
    return Task(
        name,
        title,
        command,
        f"/{command}",
        f"{folder}.pipeline:{pipeline}",
        f"{folder}.tab:build",
        f"{folder}.imdb:{evaluation}",
    )


TASKS: tuple[Task, ...] = (
    _task("classification", "Classify", "classify", "ClassificationPipeline", "ClassificationEvaluation"),
    _task("summarization", "Summarize", "summarize", "SummarizationPipeline", "SummarizationEvaluation"),
    _task("question_answering", "Answer", "answer", "QuestionAnsweringPipeline", "QuestionAnsweringEvaluation"),
    _task("generation", "Generate", "generate", "GenerationPipeline", "GenerationEvaluation"),
)


def load(path: str) -> Any:
    """The object a `module:attribute` path names, imported now."""
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)

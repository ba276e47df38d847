"""The screen of the vowels, and their endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.ui import screen
from pipelines.ui.screen import Example, Screen
from tests.fifth_task import TASK
from tests.fifth_task.pipeline import VowelPipeline, VowelResult


def inputs() -> list[Component]:
    return [gr.Textbox(label="Text", elem_id=f"{TASK.name}-text")]


def outputs() -> list[Component]:
    return [gr.Number(label="Vowels", elem_id=f"{TASK.name}-result")]


def start(pipeline: VowelPipeline, text: str) -> Iterable[VowelResult]:
    return [pipeline(text)]


def show(result: VowelResult, *values: Any) -> tuple[list[Any], str]:
    return [result.vowels], screen.done_line(result.info)


def vowels(text: str) -> Callable[[Any], Iterable[dict[str, Any]]]:
    """Count the vowels of a text: {vowels, timing}.

    Args:
        text: the text to count in.
    """
    return lambda pipeline: [result.to_dict() for result in start(pipeline, text)]


SCREEN = Screen(
    TASK, "How many vowels has the text?",
    inputs=inputs, outputs=outputs, start=start, show=show, examples=[Example("Three", ("Banana",))], endpoint=vowels,
)  # fmt: skip

"""The screen of summarization, and its endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from pipelines.summarization import TASK
from pipelines.summarization.examples import FILM, LETTER, MEETING, SCIENCE
from pipelines.summarization.results import SummaryUpdate
from pipelines.ui import screen
from pipelines.ui.screen import Example, Screen

if TYPE_CHECKING:
    from pipelines.summarization.pipeline import SummarizationPipeline

LENGTHS = ["short", "medium", "long"]
STYLES = ["prose", "bullets"]

# Text, length, style.
EXAMPLES = (
    Example("A film review, short", (FILM, "short", "prose")),
    Example("A science story", (SCIENCE, "medium", "prose")),
    Example("Minutes of a meeting, as points", (MEETING, "medium", "bullets")),
    Example("A letter of complaint", (LETTER, "short", "prose")),
)


def start(pipeline: SummarizationPipeline, text: str, length: str, style: str) -> Iterator[SummaryUpdate]:
    """Runs the pipeline.

    Parameters
    ----------
    pipeline : the task's.
    text, length, style : as for `summarize`.
    """
    return pipeline.stream(text, length=length, style=style)  # type: ignore[arg-type]  # checked there


def show(update: SummaryUpdate, *values: Any) -> tuple[list[Any], str]:
    if (result := update.result) is not None:
        parts = f"read in {result.chunks} parts, " if result.chunks > 1 else ""
        return [update.summary_text], screen.done_line(result.info, f"{parts}{result.compression:.1f} times shorter")
    stage = update.stage.capitalize()
    speed = update.info.line() if update.info else ""
    return [update.summary_text], screen.status_line(f"{stage} {update.fraction:.0%}", speed, kind="busy")


def inputs() -> list[Component]:
    text = screen.text_input(TASK, "Text", "Paste an article, a review, a report", 11, 11)
    with gr.Row():
        length = gr.Radio(LENGTHS, value="medium", label="Length", scale=3, min_width=236)
        style = gr.Radio(STYLES, value="prose", label="Style", scale=2, min_width=156)
    return [text, length, style]


def outputs() -> list[Component]:
    return [screen.text_output(TASK, "Summary", 11, 18)]


def summarize(text: str, length: str = "medium", style: str = "prose") -> Callable[[Any], Iterable[dict[str, Any]]]:
    """Summarize a text of any length: {summary_text, compression, chunks, timing}.

    While it runs, {summary_text, stage, fraction} say how far it is.

    Parameters
    ----------
    text : the text to summarize.
    length : short, medium or long.
    style : prose or bullets.
    """

    def run(pipeline: SummarizationPipeline) -> Iterator[dict[str, Any]]:
        with closing(start(pipeline, text, length, style)) as updates:  # type: ignore[type-var]
            for update in updates:
                if update.result is not None:
                    yield update.result.to_dict()
                else:
                    yield {
                        "summary_text": update.summary_text,
                        "stage": update.stage,
                        "fraction": round(update.fraction, 3),
                    }

    return run


SCREEN = Screen(
    TASK, "A summary of a text of any length. What does not fit at once is read in parts, nothing is cut.",
    inputs=inputs, outputs=outputs, start=start, show=show, examples=EXAMPLES, endpoint=summarize, copies=True,
)  # fmt: skip

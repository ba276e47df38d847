"""The screen of classification, and its endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from engine.errors import BadRequest
from pipelines.classification import TASK
from pipelines.classification.heads import head_names
from pipelines.classification.results import ClassificationResult
from pipelines.ui import screen
from pipelines.ui.screen import Example, Screen

if TYPE_CHECKING:
    from pipelines.classification.pipeline import ClassificationPipeline

DEFAULT_LABELS = "positive, negative"
MAX_BARS = 12  # bars on the page; the endpoint gives all labels

NO_HEAD = "none: any labels"

# Text, labels, each label on its own, calibrated, trained head.
EXAMPLES = (
    Example(
        "A happy viewer",
        (
            "I went in expecting very little and came out grinning. The script is sharp, the two leads have real "
            "chemistry, and the last twenty minutes are some of the most moving I have seen this year.",
            DEFAULT_LABELS, False, True, NO_HEAD,
        ),
    ),
    Example(
        "A bored viewer",
        (
            "Two hours of my life I will never get back. The plot makes no sense, the acting is wooden, and the jokes "
            "fall flat one after another.",
            DEFAULT_LABELS, False, True, NO_HEAD,
        ),
    ),
    Example(
        "Praise with a but",
        (
            "Beautiful pictures and a lovely score cannot hide that nothing happens. I admired it, and I was bored.",
            "positive, negative, mixed", False, True, NO_HEAD,
        ),
    ),
    Example(
        "What is the news about?",
        (
            "The central bank raised interest rates by a quarter point on Thursday, saying that prices are still "
            "rising faster than it would like. Shares fell and the currency gained.",
            "sports, economy, science, cooking", False, True, NO_HEAD,
        ),
    ),
    Example(
        "Several labels at once",
        (
            "My parcel arrived two weeks late, the box was crushed, and nobody answers the phone. Please send me my "
            "money back.",
            "late delivery, damaged goods, refund, praise", True, True, NO_HEAD,
        ),
    ),
)  # fmt: skip


def split_labels(labels: object) -> list[str]:
    """ "a, b" as ["a", "b"]; a list stays one. BadRequest for anything else."""
    if isinstance(labels, str):
        return [label.strip() for label in labels.split(",") if label.strip()]
    if isinstance(labels, list) and all(isinstance(label, str) for label in labels):
        return labels
    raise BadRequest("The labels are not readable: give words with commas between them.")


def start(
    pipeline: ClassificationPipeline, text: str, labels: str, multi_label: bool, calibrate: bool, head: str
) -> Iterable[ClassificationResult]:
    """Runs the pipeline.

    Parameters
    ----------
    pipeline : the task's.
    text, labels, multi_label, calibrate : as for `classify`.
    head : a trained head by name, "" or `NO_HEAD` for none.

    Raises
    ------
    BadRequest : there is no such head, or as for the pipeline.
    """
    chosen = None if head in ("", NO_HEAD) else head
    if chosen is not None and chosen not in head_names():  # no path: a visitor may not name files of the server
        raise BadRequest(f"There is no trained head '{chosen}' here: choose among {', '.join(head_names()) or 'none'}.")
    asked = DEFAULT_LABELS if chosen else labels
    return [pipeline(text, split_labels(asked), multi_label=bool(multi_label), calibrate=bool(calibrate), head=chosen)]


def show(result: ClassificationResult, *values: Any) -> tuple[list[Any], str]:
    scores = {row["label"]: row["score"] for row in result.scores}
    return [scores], screen.done_line(result.info)


def inputs() -> list[Component]:
    text = screen.text_input(TASK, "Text", "Paste a review, a message, an article", 8, 16)
    labels = gr.Textbox(
        DEFAULT_LABELS, label="Labels, with commas between them", max_lines=2, elem_id=f"{TASK.name}-labels"
    )
    with gr.Row():
        multi = gr.Checkbox(False, label="Judge each label on its own", scale=2, min_width=200)
        calibrate = gr.Checkbox(True, label="Calibrate", min_width=100)
    head = gr.Dropdown(
        [NO_HEAD, *head_names()], value=NO_HEAD, label="Trained head, with labels of its own",
        elem_id=f"{TASK.name}-head",
    )  # fmt: skip
    return [text, labels, multi, calibrate, head]


def outputs() -> list[Component]:
    chart = gr.Label(
        label="Scores", num_top_classes=MAX_BARS, elem_id=f"{TASK.name}-result", elem_classes=["brisk-bars"]
    )
    return [chart]


def classify(
    text: str, labels: str = DEFAULT_LABELS, multi_label: bool = False, calibrate: bool = True, head: str = ""
) -> Callable[[Any], Iterable[dict[str, Any]]]:
    """Score labels for a text: {label, score} of the best, scores: [{label, score}, ...] of all, timing.

    Parameters
    ----------
    text : the text to judge.
    labels : words or phrases with commas between them.
    multi_label : judge each label on its own; the scores then do not sum to 1.
    calibrate : correct for what the model prefers before it reads the text.
    head : a trained head by name; it has labels of its own, and the three before do not matter.
    """
    return lambda pipeline: [result.to_dict() for result in start(pipeline, text, labels, multi_label, calibrate, head)]


SCREEN = Screen(
    TASK, "How well does each label fit the text? Any labels will do: no training, the model reads them.",
    inputs=inputs, outputs=outputs, start=start, show=show, examples=EXAMPLES, endpoint=classify,
)  # fmt: skip

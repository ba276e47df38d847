"""The screen of question answering, and its endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.components import Component

from pipelines.question_answering import TASK
from pipelines.question_answering.examples import EXPEDITION, FILM, RECIPE, TOWER
from pipelines.question_answering.prompts import DEFAULT_THRESHOLD
from pipelines.question_answering.results import Answer, AnswerResult
from pipelines.ui import screen
from pipelines.ui.screen import Example, Screen

if TYPE_CHECKING:
    from pipelines.question_answering.pipeline import QuestionAnsweringPipeline

TOP_K = 3
CHARACTERS_AROUND = 2_000  # of context, shown on both sides of an answer: the page stays quick with a long text
ALWAYS_ANSWER = 1.0  # a threshold that no probability is above
HEADERS = ["Answer", "Score", "From", "To"]

# Context, question, how many answers, threshold.
EXAMPLES = (
    Example("Who plays Anton?", (FILM, "Who plays Anton?", TOP_K, ALWAYS_ANSWER)),
    Example("How high is the tower?", (TOWER, "How high is the tower?", TOP_K, ALWAYS_ANSWER)),
    Example("How long does it bake?", (RECIPE, "How long does the bread bake?", TOP_K, ALWAYS_ANSWER)),
    Example("When did they leave?", (EXPEDITION, "When did the ship leave?", TOP_K, ALWAYS_ANSWER)),
    Example("Not in the text", (RECIPE, "What is the capital of France?", TOP_K, DEFAULT_THRESHOLD)),
)


def start(
    pipeline: QuestionAnsweringPipeline, context: str, question: str, top_k: float, threshold: float
) -> Iterable[AnswerResult]:
    """Runs the pipeline.

    Parameters
    ----------
    pipeline : the task's.
    context, question, top_k, threshold : as for `answer`; numbers may come as anything.

    Raises
    ------
    BadRequest : a number is none, or as for the pipeline.
    """
    count = screen.number(top_k, "top_k", int)
    return [
        pipeline(question, context, top_k=count, no_answer_threshold=screen.number(threshold, "The threshold", float))
    ]


def highlighted(context: str, answer: Answer) -> list[tuple[str, str | None]]:
    """The context in three pieces, the answer marked; without one, the beginning of the context."""
    start, end = answer["start"], answer["end"]
    if start == end:
        return [(context[: 2 * CHARACTERS_AROUND] + ("…" if len(context) > 2 * CHARACTERS_AROUND else ""), None)]
    first, last = max(0, start - CHARACTERS_AROUND), min(len(context), end + CHARACTERS_AROUND)
    before = ("…" if first else "") + context[first:start]
    after = context[end:last] + ("…" if last < len(context) else "")
    pieces: list[tuple[str, str | None]] = [(before, None), (context[start:end], "answer"), (after, None)]
    return [piece for piece in pieces if piece[0]]


def show(result: AnswerResult, context: str, *values: Any) -> tuple[list[Any], str]:
    rows = [
        [row["answer"] or "(not in the text)", f"{row['score']:.3f}", row["start"], row["end"]]
        for row in result.answers
    ]
    best = result.answers[0]
    said = "not in the text, it seems" if best["start"] == best["end"] else ""
    extra = ", ".join(part for part in (said, f"no answer {result.no_answer:.0%} likely") if part)
    return [highlighted(context, best), rows], screen.done_line(result.info, extra)


def inputs() -> list[Component]:
    context = screen.text_input(TASK, "Context", "Paste the text that holds the answer", 8, 11)
    question = gr.Textbox(
        label="Question", max_lines=2, placeholder="Who, when, where, what?", elem_id=f"{TASK.name}-question"
    )
    with gr.Row():
        top_k = gr.Slider(1, 10, value=TOP_K, step=1, label="Answers", scale=2, min_width=140)
        threshold = gr.Slider(
            0, 1, value=DEFAULT_THRESHOLD, step=0.05, label="No-answer threshold",
            scale=3, min_width=200,
        )  # fmt: skip
    return [context, question, top_k, threshold]


def outputs() -> list[Component]:
    marked = gr.HighlightedText(
        label="Answer in its context", color_map={"answer": "#0f5c4d"}, show_inline_category=False,
        elem_id=f"{TASK.name}-result", elem_classes=["brisk-mark"],
    )  # fmt: skip
    table = gr.Dataframe(
        headers=HEADERS, datatype="str", type="array", interactive=False, wrap=True, label="All answers",
        column_widths=["55%", "15%", "15%", "15%"], buttons=[], elem_id=f"{TASK.name}-table",
        elem_classes=["brisk-table"],
    )  # fmt: skip
    return [marked, table]


def answer(
    question: str, context: str, top_k: int = 1, no_answer_threshold: float = DEFAULT_THRESHOLD
) -> Callable[[Any], Iterable[dict[str, Any]]]:
    """Find the answer to a question in a context: {answer, score, start, end} of the best, answers, no_answer, timing.

    The answer is context[start:end]; it is empty when no_answer is above the threshold.

    Parameters
    ----------
    question : the question.
    context : the text that holds the answer.
    top_k : how many answers, 1 to 20.
    no_answer_threshold : 0 to 1; 1 always answers.
    """
    return lambda pipeline: [
        result.to_dict() for result in start(pipeline, context, question, top_k, no_answer_threshold)
    ]


SCREEN = Screen(
    TASK, "Finds the answer in a text, word for word, and marks the place. Or says that it is not there.",
    inputs=inputs, outputs=outputs, start=start, show=show, examples=EXAMPLES, endpoint=answer,
)  # fmt: skip

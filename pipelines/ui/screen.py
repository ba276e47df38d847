"""What the tabs of the tasks share: their layout, running a request on the page, its status line, examples."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import gradio as gr
from gradio.components import Component

from engine.errors import BadRequest, UserError
from engine.serving.cancellation import Cancellation
from pipelines import Task
from pipelines.results import RunInfo
from pipelines.ui.endpoint import ENGINE_EVENTS, ENGINE_QUEUE, Endpoint, publish
from pipelines.ui.holder import EngineHolder
from pipelines.ui.work import Newest, Step, follow

T = TypeVar("T")


@dataclass(frozen=True)
class Example:
    """One click fills the inputs with `values` (in the order of the tab's inputs) and runs."""

    label: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Screen(Generic[T]):
    """What makes a task's tab its own; `build` makes the tab and the endpoint of it.

    Parameters
    ----------
    task : its name makes the elements' ids, its title names the Run button, its command the endpoint.
    intro : one sentence above the inputs, which says what the task does.
    inputs, outputs : each makes its components, in the left and in the right column, and returns those that a run
        takes or changes, in order. The first input is the one that Clear empties.
    start : `start(pipeline, *values of the inputs)` gives the results as they come.
    show : `show(result, *values of the inputs)` gives the values of the outputs and the HTML of the status line.
    examples : each fills the inputs, in their order.
    endpoint : `endpoint(*arguments over HTTP)` checks them and gives the function of the pipeline whose results, dicts,
        are sent (see `pipelines.ui.endpoint`). Its parameters and its docstring are those of the endpoint.
    copies : whether a button copies the first output.
    """

    task: Task
    intro: str
    inputs: Callable[[], list[Component]]
    outputs: Callable[[], list[Component]]
    start: Callable[..., Iterable[T]]
    show: Callable[..., tuple[list[Any], str]]
    examples: Sequence[Example]
    endpoint: Endpoint
    copies: bool = False


# ---- words on the page


def status_line(state: str, text: str = "", notes: Sequence[str] = (), *, kind: str = "") -> str:
    """HTML of the line under an output; every text in it is escaped.

    Parameters
    ----------
    state : the first word, bold; "" gives no line at all.
    text : what follows it.
    notes : sentences below, a paragraph each.
    kind : "busy", "done" or "stopped", which colours it.
    """
    if not state:
        return ""
    body = f"<b>{html.escape(state)}</b> <span>{html.escape(text)}</span>"
    body += "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f'<div class="brisk-line {kind}" role="status">{body}</div>'


def done_line(info: RunInfo, extra: str = "") -> str:
    """The line of a finished request: its speed, and whatever its user should know."""
    shortened = [info.shortened.sentence()] if info.shortened else []
    text = " · ".join(part for part in (extra, info.line()) if part)
    return status_line("Done", text, [*shortened, *info.notes], kind="done")


def busy_line(step: Step[Any], text: str = "") -> str:
    """The line of a request under way; without `text` it says what is waited for and how long already."""
    return status_line(step.stage if not text else "Writing", text or f"{step.seconds:.1f} s", kind="busy")


def stopped_line(line: str) -> str:
    """The line after Stop keeps what it said before."""
    inside = re.sub(r"^.*?<span>(.*?)</span>.*$", r"\1", line or "", flags=re.DOTALL)
    return status_line("Stopped", html.unescape(inside), kind="stopped")


def toast(error: UserError) -> gr.Error:
    """The error as a message that stays until it is closed. The page shows messages as HTML, so it is escaped."""
    return gr.Error(html.escape(str(error)), duration=None, print_exception=False)


# ---- a tab


def text_input(task: Task, label: str, placeholder: str, lines: int, most: int) -> gr.Textbox:
    """The box of a task's text.

    Parameters
    ----------
    task : its name makes the id.
    label, placeholder : what stands above it, and in it while it is empty.
    lines, most : its height in lines, empty and full.
    """
    return gr.Textbox(label=label, placeholder=placeholder, lines=lines, max_lines=most, elem_id=f"{task.name}-text")


def text_output(task: Task, label: str, lines: int, most: int) -> gr.Textbox:
    """The box of a text that a task writes.

    Parameters
    ----------
    task, label, lines, most : as for `text_input`.
    """
    return gr.Textbox(
        label=label, lines=lines, max_lines=most, interactive=False, elem_id=f"{task.name}-result",
        elem_classes=["brisk-output"],
    )  # fmt: skip


def build(holder: EngineHolder, screen: Screen[Any]) -> None:
    """A task's tab, in the blocks that are open, and its endpoint."""
    name = screen.task.name
    gr.HTML(f'<p class="brisk-intro">{html.escape(screen.intro)}</p>')
    with gr.Row(equal_height=False, elem_classes=["brisk-page"]):
        with gr.Column(scale=1, min_width=300):
            inputs = screen.inputs()
            with gr.Row(elem_classes=["brisk-buttons"]):
                run = gr.Button(
                    screen.task.title, variant="primary", elem_id=f"{name}-run", elem_classes=["brisk-run"],
                    min_width=120,
                )  # fmt: skip
                stop = gr.Button(
                    "Stop", variant="stop", elem_id=f"{name}-stop", elem_classes=["brisk-stop"], min_width=72,
                    interactive=False,
                )  # fmt: skip
                clear = gr.Button("Clear", elem_id=f"{name}-clear", elem_classes=["brisk-clear"], min_width=72)
        with gr.Column(scale=1, min_width=300):
            outputs = screen.outputs()
            line = gr.HTML("", label="Status", elem_id=f"{name}-line", elem_classes=["brisk-line-place"])
            if screen.copies:  # the box's own button would take its label away from screen readers
                copy = gr.Button("Copy", size="sm", elem_id=f"{name}-copy", elem_classes=["brisk-copy"], min_width=72)
                copy.click(None, outputs[:1], None, js="(text) => window.briskCopy(text)", api_visibility="private")
    _wire(holder, screen, inputs, outputs, (run, stop, clear), line)
    publish(holder, screen.task, screen.endpoint)


def _wire(
    holder: EngineHolder,
    screen: Screen[Any],
    inputs: list[Component],
    outputs: list[Component],
    buttons: tuple[gr.Button, gr.Button, gr.Button],
    line: gr.HTML,
) -> None:
    """Connects Run, Stop and Clear (`buttons`, in this order), the status line, and the examples."""
    run, stop, clear = buttons
    handler = run_handler(holder, screen, len(outputs))
    ticket = gr.State(0)  # an example raises it, which runs the same one event as the button
    with gr.Column(elem_classes=["brisk-examples"]):
        chooser = gr.Dataset(
            components=["textbox"],
            samples=[[example.label] for example in screen.examples],
            sample_labels=[example.label for example in screen.examples],
            type="index",
            label="Examples",
            layout="gallery",
            elem_id=f"{screen.task.name}-examples",
        )
    event = gr.on(
        [run.click, ticket.change],
        handler,
        inputs,
        [*outputs, line, stop],
        concurrency_limit=ENGINE_EVENTS,
        concurrency_id=ENGINE_QUEUE,
        trigger_mode="multiple",  # a new run takes the place of the one before
        show_progress="hidden",
        api_visibility="private",
    )
    for trigger in (stop.click, clear.click):
        # Before what these do next: events of one click are dispatched in the order they were made here, and a frame
        # of the cancelled run must not come after.
        trigger(None, None, None, cancels=[event], queue=False, api_visibility="private")
    chooser.click(
        lambda index, count: [*screen.examples[index].values, count + 1],
        [chooser, ticket],
        [*inputs, ticket],
        concurrency_limit=None,  # in the queue all the same: the change of a State is told only from there
        show_progress="hidden",
        api_visibility="private",
    )
    stop.click(
        lambda before: (stopped_line(before), gr.update(interactive=False)),
        [line],
        [line, stop],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    empty = [component.value for component in inputs[:1]]
    clear.click(
        lambda: (*empty, *[None] * len(outputs), "", gr.update(interactive=False)),
        None,
        [*inputs[:1], *outputs, line, stop],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def run_handler(holder: EngineHolder, screen: Screen[Any], outputs: int) -> Callable[..., Iterator[list[Any]]]:
    """The generator behind a Run button: what was there before stays until something new comes, errors become toasts,
    and closing it stops the engine, as does another run of the same visitor's.

    Parameters
    ----------
    holder : where the pipeline comes from.
    screen : the task, and its `start` and `show`.
    outputs : how many output components there are.

    Returns
    -------
    A function of the Gradio request and the values of the inputs, which yields lists of the outputs' values, the HTML
    of the line and an update of the Stop button.
    """
    newest = Newest()

    def handler(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        with newest.run(request.session_hash) as run:
            yield from frames(run, *values)

    def frames(run: Cancellation, *values: Any) -> Iterator[list[Any]]:
        yield [*[gr.skip()] * outputs, status_line("Waiting", kind="busy"), gr.update(interactive=True)]
        steps = follow(holder, screen.task.name, lambda pipeline: screen.start(pipeline, *values), run)
        try:
            for step in steps:
                if step.value is None:
                    yield [*[gr.skip()] * outputs, busy_line(step), gr.skip()]
                else:
                    shown, line = screen.show(step.value, *values)
                    yield [*shown, line, gr.skip()]
        except Exception as error:
            sentence = str(error) if isinstance(error, UserError) else "This is a fault of ours: the log says more."
            line = status_line("Not done", sentence, kind="stopped")
            yield [*[gr.skip()] * outputs, line, gr.update(interactive=False)]
            if isinstance(error, UserError):
                raise toast(error) from error
            raise
        finally:
            steps.close()  # type: ignore[attr-defined]  # a generator: stops the work when this one is closed
        if not run.cancelled:  # else the run that took its place has the screen
            yield [*[gr.skip()] * (outputs + 1), gr.update(interactive=False)]

    return handler


def number(value: Any, name: str, kind: type[int] | type[float]) -> Any:
    """An argument of an endpoint as a number: over HTTP anything may come.

    Parameters
    ----------
    value : what came.
    name : what messages call it.
    kind : int or float.

    Raises
    ------
    BadRequest : no number, or not a whole one where `kind` is int.
    """
    try:
        converted = kind(value)
        if isinstance(value, bool) or converted != float(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        wanted = "a whole number" if kind is int else "a number"
        raise BadRequest(f"{name} is {str(value)[:40]!r}: give {wanted}.") from None
    return converted

"""What the screens of the tasks share: running a request on the page, its status line, examples, endpoints."""

from __future__ import annotations

import html
import inspect
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import gradio as gr
from gradio.context import get_blocks_context

from engine.errors import BadRequest, UserError
from pipelines.results import RunInfo
from pipelines.ui.holder import EngineHolder
from pipelines.ui.work import Newest, Step, follow

T = TypeVar("T")

# Every event that runs the engine carries both. The engine batches what runs together; more requests wait in the queue.
ENGINE_EVENTS = 4
ENGINE_QUEUE = "engine"
API_SILENCE_S = 1.0  # a request over HTTP that takes longer says so, which also lets it be cancelled


@dataclass(frozen=True)
class Buttons:
    """The row under a task's inputs and the line that says how it goes."""

    run: gr.Button
    stop: gr.Button
    clear: gr.Button
    line: gr.HTML


@dataclass(frozen=True)
class Example:
    """One click fills the inputs with `values` (in the order of the tab's inputs) and runs."""

    label: str
    values: tuple[Any, ...]


# ---- words on the page


def status_line(state: str, text: str = "", notes: Sequence[str] = (), *, kind: str = "") -> str:
    """HTML of the line under an output; every text in it is escaped. `kind` "busy", "done" or "stopped" colours it."""
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


def _stopped(line: str) -> str:
    """The line after Stop keeps what it said before."""
    inside = re.sub(r"^.*?<span>(.*?)</span>.*$", r"\1", line or "", flags=re.DOTALL)
    return status_line("Stopped", html.unescape(inside), kind="stopped")


def toast(error: UserError) -> gr.Error:
    """The error as a message that stays until it is closed. The page shows messages as HTML, so it is escaped."""
    return gr.Error(html.escape(str(error)), duration=None, print_exception=False)


# ---- pieces of a tab


@contextmanager
def page(intro: str) -> Iterator[None]:
    """A tab's contents under one sentence that says what it does."""
    gr.HTML(f'<p class="brisk-intro">{html.escape(intro)}</p>')
    with gr.Row(equal_height=False, elem_classes=["brisk-page"]):
        yield


def buttons(task: str, run: str) -> tuple[gr.Button, gr.Button, gr.Button]:
    """Run, Stop, Clear in a row; `task` makes their ids."""
    with gr.Row(elem_classes=["brisk-buttons"]):
        return (
            gr.Button(run, variant="primary", elem_id=f"{task}-run", elem_classes=["brisk-run"], min_width=120),
            gr.Button(
                "Stop", variant="stop", elem_id=f"{task}-stop", elem_classes=["brisk-stop"], min_width=72,
                interactive=False,
            ),
            gr.Button("Clear", elem_id=f"{task}-clear", elem_classes=["brisk-clear"], min_width=72),
        )  # fmt: skip


def line(task: str) -> gr.HTML:
    """The place of a task's status line."""
    return gr.HTML("", label="Status", elem_id=f"{task}-line", elem_classes=["brisk-line-place"])


def copy_button(task: str, source: gr.Textbox) -> None:
    """A button that copies a text box. (The box's own would take its label away from screen readers.)"""
    button = gr.Button("Copy", size="sm", elem_id=f"{task}-copy", elem_classes=["brisk-copy"], min_width=72)
    button.click(None, [source], None, js="(text) => window.briskCopy(text)", api_visibility="private")


def wire(
    holder: EngineHolder,
    task: str,
    row: Buttons,
    inputs: Sequence[gr.components.Component],
    outputs: Sequence[gr.components.Component],
    start: Callable[..., Iterable[T]],
    show: Callable[..., tuple[list[Any], str]],
    examples: Sequence[Example],
) -> None:
    """Connects a tab: Run, Stop, Clear and the examples.

    Parameters
    ----------
    inputs, outputs : components; examples fill the inputs in this order.
    start : `start(pipeline, *values of the inputs)` gives the results as they come.
    show : `show(result, *values of the inputs)` gives the values of the outputs and the HTML of the line.
    """
    handler = run_handler(holder, task, start, show, len(outputs))
    ticket = gr.State(0)  # an example raises it, which runs the same one event as the button
    with gr.Column(elem_classes=["brisk-examples"]):
        chooser = gr.Dataset(
            components=["textbox"],
            samples=[[example.label] for example in examples],
            sample_labels=[example.label for example in examples],
            type="index",
            label="Examples",
            layout="gallery",
            elem_id=f"{task}-examples",
        )
    run = gr.on(
        [row.run.click, ticket.change],
        handler,
        list(inputs),
        [*outputs, row.line, row.stop],
        concurrency_limit=ENGINE_EVENTS,
        concurrency_id=ENGINE_QUEUE,
        trigger_mode="multiple",  # a new run takes the place of the one before
        show_progress="hidden",
        api_visibility="private",
    )
    for trigger in (row.stop.click, row.clear.click):
        # Before what these do next: events of one click are dispatched in the order they were made here, and a frame
        # of the cancelled run must not come after.
        trigger(None, None, None, cancels=[run], queue=False, api_visibility="private")
    chooser.click(
        lambda index, count: [*examples[index].values, count + 1],
        [chooser, ticket],
        [*inputs, ticket],
        concurrency_limit=None,  # in the queue all the same: the change of a State is told only from there
        show_progress="hidden",
        api_visibility="private",
    )
    row.stop.click(
        lambda before: (_stopped(before), gr.update(interactive=False)),
        [row.line],
        [row.line, row.stop],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    empty = [component.value for component in inputs[:1]]
    row.clear.click(
        lambda: (*empty, *[None] * len(outputs), "", gr.update(interactive=False)),
        None,
        [*inputs[:1], *outputs, row.line, row.stop],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def run_handler(
    holder: EngineHolder,
    task: str,
    start: Callable[..., Iterable[T]],
    show: Callable[..., tuple[list[Any], str]],
    outputs: int,
) -> Callable[..., Iterator[list[Any]]]:
    """The generator behind a Run button: what was there before stays until something new comes, errors become toasts,
    and closing it stops the engine, as does another run of the same visitor's."""
    newest = Newest()

    def handler(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        with newest.run(request.session_hash) as stopped:
            yield from frames(stopped, *values)

    def frames(stopped: threading.Event, *values: Any) -> Iterator[list[Any]]:
        yield [*[gr.skip()] * outputs, status_line("Waiting", kind="busy"), gr.update(interactive=True)]
        steps = follow(holder, task, lambda pipeline: start(pipeline, *values), stopped)
        try:
            for step in steps:
                if step.value is None:
                    yield [*[gr.skip()] * outputs, busy_line(step), gr.skip()]
                else:
                    shown, line = show(step.value, *values)
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
        if not stopped.is_set():  # else the run that took its place has the screen
            yield [*[gr.skip()] * (outputs + 1), gr.update(interactive=False)]

    return handler


# ---- endpoints


def endpoint(holder: EngineHolder, task: str, name: str, function: Callable[..., Any]) -> None:
    """Publishes a function at `/name` with its own parameter names, defaults and docstring.

    `function(...)` checks its arguments and returns `start` as `follow` takes it, each result with `to_dict`, or a
    dict as it is. The last value sent is the result; a request that takes longer says what it waits for meanwhile.
    """

    def handler(*values: Any) -> Iterator[dict[str, Any]]:
        said = 0.0
        try:
            steps = follow(holder, task, function(*values))
            try:
                for step in steps:
                    if step.value is not None:
                        yield step.value
                    elif step.seconds - said > API_SILENCE_S:
                        said = step.seconds
                        yield {"stage": step.stage, "seconds": round(step.seconds, 1)}
            finally:
                steps.close()  # type: ignore[attr-defined]
        except UserError as error:
            raise gr.Error(str(error), duration=None, print_exception=False) from error

    signature = inspect.signature(function, eval_str=True)
    handler.__signature__ = signature.replace(return_annotation=dict)  # type: ignore[attr-defined]
    handler.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()} | {"return": dict}
    handler.__name__, handler.__doc__ = name, function.__doc__
    published = gr.api(
        handler, api_name=name, concurrency_limit=ENGINE_EVENTS, concurrency_id=ENGINE_QUEUE, api_visibility="public"
    )
    root = get_blocks_context()
    assert root is not None, "an endpoint is made inside Blocks"
    event = root.fns[published["id"]]
    for block, label in zip([*event.inputs, *event.outputs], [*signature.parameters, "result"], strict=True):
        if isinstance(block, gr.components.Component):
            block.label = label.replace("_", " ")


def number(value: Any, name: str, kind: type[int] | type[float]) -> Any:
    """An argument of an endpoint as a number, or BadRequest: over HTTP anything may come."""
    try:
        converted = kind(value)
        if isinstance(value, bool) or converted != float(value):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        wanted = "a whole number" if kind is int else "a number"
        raise BadRequest(f"{name} is {str(value)[:40]!r}: give {wanted}.") from None
    return converted

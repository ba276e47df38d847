"""The HTTP endpoint of a task: a function published under its own parameter names, run like the page's requests."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gradio as gr
from gradio.context import get_blocks_context

from engine.errors import UserError
from pipelines import Task
from pipelines.ui.holder import EngineHolder
from pipelines.ui.work import follow

# Checks the arguments of a request, and gives what runs it on the pipeline: the dicts to send as they come.
Endpoint = Callable[..., Callable[[Any], Iterable[dict[str, Any]]]]
# Every event that runs the engine carries both. The engine batches what runs together; more requests wait in the queue.
ENGINE_EVENTS = 8
ENGINE_QUEUE = "engine"
API_SILENCE_S = 1.0  # a request over HTTP that takes longer says so, which also lets it be cancelled


def publish(
    holder: EngineHolder, task: Task, function: Callable[..., Callable[[Any], Iterable[dict[str, Any]]]]
) -> None:
    """Publishes a task at `task.endpoint`, inside the Gradio Blocks that are open.

    The last value sent is the result; a request that takes longer says what it waits for meanwhile.

    Parameters
    ----------
    holder : where the pipeline comes from.
    task : its command names the endpoint.
    function : `function(*arguments)` checks the arguments and gives a function of the pipeline, whose results are
        sent. The endpoint has its parameter names, defaults and docstring, in which a parameter is one line.
    """

    def handler(*values: Any) -> Iterator[dict[str, Any]]:
        said = 0.0
        try:
            steps = follow(holder, task.name, function(*values))
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
    handler.__name__, handler.__doc__ = task.command, _as_gradio_reads(inspect.getdoc(function) or "")
    published = gr.api(
        handler,
        api_name=task.command,
        concurrency_limit=ENGINE_EVENTS,
        concurrency_id=ENGINE_QUEUE,
        api_visibility="public",
    )
    root = get_blocks_context()
    assert root is not None, "an endpoint is made inside Blocks"
    event = root.fns[published["id"]]
    for block, label in zip([*event.inputs, *event.outputs], [*signature.parameters, "result"], strict=True):
        if isinstance(block, gr.components.Component):
            block.label = label.replace("_", " ")


def _as_gradio_reads(docstring: str) -> str:
    """A docstring with a numpydoc section Parameters in the form that Gradio takes descriptions from."""
    about, _, rows = docstring.partition("Parameters\n----------\n")
    return f"{about}Args:\n" + re.sub(r"^(\w+) : ", r"    \1: ", rows, flags=re.MULTILINE)

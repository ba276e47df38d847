"""The app: one tab a task on one engine, and the same tasks over HTTP. `brisk serve --help` lists the options.

The page is up before the model is: that loads in the background, and requests wait for it in sight.
Environment: HOST, PORT, QUEUE_SIZE, BRISK_CACHE (where converted models are kept).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from engine.config import EngineConfig
from engine.errors import UserError
from pipelines.cli import run_app, say, with_engine_options
from pipelines.ui.holder import EngineHolder

if TYPE_CHECKING:
    import gradio as gr

# Before Gradio is imported: it reads these then. Nothing leaves the machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

DEFAULT_HOST, DEFAULT_PORT, DEFAULT_QUEUE_SIZE = "127.0.0.1", 7860, 32
MAX_FILE_SIZE = "1mb"  # no tab takes a file; uploads are refused early
KEEP_FILES_S = 3600
LOOK_S = 0.5
TITLE = """<div><h1>Brisk</h1><p>Language-model tasks, fast on the machine you have.</p></div>
<p class="brisk-keys"><kbd>Ctrl</kbd> <kbd>Enter</kbd> runs, <kbd>Esc</kbd> stops</p>"""

cli = typer.Typer(help=__doc__, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def build(holder: EngineHolder, config: EngineConfig, queue_size: int = DEFAULT_QUEUE_SIZE) -> gr.Blocks:
    """The page and its endpoints, not yet served.

    Parameters
    ----------
    holder : where the tabs' pipelines come from.
    config : what the sidebar shows first.
    queue_size : most requests that wait; one more is refused.
    """
    import gradio as gr

    from pipelines import TASKS, load
    from pipelines.ui import screen, sidebar

    with gr.Blocks(title="Brisk", analytics_enabled=False, delete_cache=(KEEP_FILES_S, KEEP_FILES_S)) as page:
        sidebar.build(holder, config)
        gr.HTML(TITLE, elem_classes=["brisk-title"])
        with gr.Tabs(overflow_behavior="wrap"):
            for task in TASKS.values():
                with gr.Tab(task.title, id=task.name, elem_id=f"{task.name}-tab"):
                    screen.build(holder, load(task.tab))
    page.queue(max_size=queue_size, api_open=True)
    return page


def serve(page: gr.Blocks, host: str, port: int) -> str:
    """Starts the server on threads of its own and returns its address.

    Parameters
    ----------
    page : what `build` gave.
    host, port : where to listen.

    Raises
    ------
    UserError : the port is taken.
    """
    from gradio.exceptions import ServerFailedToStartError

    from pipelines.ui import style

    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            show_error=False,
            ssr_mode=False,
            allowed_paths=[],
            max_file_size=MAX_FILE_SIZE,
            enable_monitoring=False,
            run_history=False,
            footer_links=["api", "settings"],
            theme=style.theme(),
            css=style.CSS,
            js=style.JS,
        )
    except (OSError, ServerFailedToStartError) as error:  # somebody took the port since it was looked at
        raise UserError(_port_sentence(host, port, error)) from error
    return url


def check_port(host: str, port: int) -> None:
    """UserError unless a server can listen there; asked before anything slow is imported."""
    try:
        [*_, (family, kind, protocol, _, address)] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        raise UserError(_port_sentence(host, port, error)) from error


def _port_sentence(host: str, port: int, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"Port {port} on {host} cannot be used ({reason}): give another with --port or PORT."


def whole_number(name: str, text: str, low: int, high: int) -> int:
    """The number in an environment variable or an option.

    Parameters
    ----------
    name : what messages call it.
    text : what was given.
    low, high : the range it must lie in, both ends included.

    Raises
    ------
    UserError : no whole number, or out of range.
    """
    if not text.strip().isdecimal() or not low <= int(text) <= high:
        raise UserError(f"{name} is '{text}': give a whole number from {low} to {high}.")
    return int(text)


@cli.command()
@with_engine_options
def main(
    config: EngineConfig,
    host: Annotated[
        str | None, typer.Option(help=f"Address to listen on; else HOST, else {DEFAULT_HOST}.", show_default=False)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help=f"Port to listen on; else PORT, else {DEFAULT_PORT}.", show_default=False)
    ] = None,
    queue_size: Annotated[
        int | None,
        typer.Option(help=f"Most requests that wait; else QUEUE_SIZE, else {DEFAULT_QUEUE_SIZE}.", show_default=False),
    ] = None,
) -> None:
    """Serve the page and the endpoints until Ctrl-C.

    Parameters
    ----------
    config : the engine that serves first.
    host, port : where to listen; else HOST and PORT (or Gradio's GRADIO_SERVER_NAME and _PORT) say it.
    queue_size : most requests that wait; else QUEUE_SIZE says it.

    Raises
    ------
    UserError : a setting out of range, a taken port, or an engine that cannot be loaded.
    """
    began = time.perf_counter()
    env = os.environ
    host = host or env.get("HOST") or env.get("GRADIO_SERVER_NAME") or DEFAULT_HOST
    port_text = env.get("PORT") or env.get("GRADIO_SERVER_PORT") or str(DEFAULT_PORT)
    port = whole_number("The port", str(port) if port is not None else port_text, 1, 65535)
    size_text = str(queue_size) if queue_size is not None else env.get("QUEUE_SIZE") or str(DEFAULT_QUEUE_SIZE)
    size = whole_number("The queue size", size_text, 1, 100_000)
    check_port(host, port)
    logging.getLogger("httpx").setLevel(logging.WARNING)

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    holder = EngineHolder()
    page = build(holder, config, size)
    url = serve(page, host, port)
    holder.begin(config)  # not sooner: importing torch beside Gradio would only delay the page
    say(f"Brisk is at {url} ({time.perf_counter() - began:.1f} s); {config.model} is loading.")
    try:
        wait(holder, ended, began)
    finally:
        page.close(verbose=False)
        holder.close()


def wait(holder: EngineHolder, ended: threading.Event, began: float) -> None:
    """Says on stderr how the first engine loads, then waits.

    Parameters
    ----------
    holder : loads the engine.
    ended : ends the wait.
    began : `time.perf_counter()` at the start, which the time said counts from.

    Raises
    ------
    UserError : the engine cannot be loaded.
    """
    said = ""
    while not ended.is_set() and (status := holder.status).phase != "ready":
        if status.phase == "failed":
            raise UserError(status.error)
        if status.message != said:
            said = status.message
            say(said)
        holder.wait(0.2)
    if (info := holder.status.info) is not None and not ended.is_set():
        say(f"Ready after {time.perf_counter() - began:.1f} s: {info.source}")
        for note in info.notes:
            say(note)
    compiling = info is not None and info.compiling
    while not ended.wait(LOOK_S):  # looked at now and then: a signal that reaches another thread ends no endless wait
        if compiling and (now := holder.status.info) is not None and not now.compiling:
            compiling = False
            say(f"Done compiling after {time.perf_counter() - began:.1f} s.")
            for note in now.notes:
                say(note)


def run() -> NoReturn:
    """The command line of the app alone. Leaves at once when it ends: a model that is still loading on its thread is
    not waited for."""
    leave(run_app(cli))


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code without waiting for its other threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

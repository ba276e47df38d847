"""The app around the tabs: endpoints, concurrency, the queue, start and end of the process."""

from __future__ import annotations

import inspect
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gradio.utils import get_function_description
from gradio_client import Client
from gradio_client.exceptions import AppError

from brisk import app
from engine.config import EngineConfig
from engine.errors import BadModel, UserError
from pipelines import TASKS
from pipelines.ui.endpoint import ENGINE_EVENTS, ENGINE_QUEUE
from pipelines.ui.holder import EngineHolder
from tests.pipelines.paced_engine import PacedEngine, at_rest, holding
from tests.serving import free_port

ROOT = Path(app.__file__).parent.parent
QUEUE = 7
CONTRACT = {
    "/classify": ["text", "labels", "multi_label", "calibrate", "head"],
    "/summarize": ["text", "length", "style"],
    "/answer": ["question", "context", "top_k", "no_answer_threshold"],
    "/generate": [
        "prompt", "mode", "system", "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty",
        "seed", "stop",
    ],
}  # fmt: skip
REQUIRED = {"/classify": ["text"], "/summarize": ["text"], "/answer": ["question", "context"], "/generate": ["prompt"]}


@pytest.fixture(scope="module")
def engine() -> PacedEngine:
    return PacedEngine(reply=lambda prompt: "It is a fine answer.", max_context=4096)


@pytest.fixture(scope="module")
def page(engine: PacedEngine) -> Iterator[Any]:
    holder = EngineHolder(lambda config, on_progress: engine)
    holder.begin(EngineConfig())
    built = app.build(holder, EngineConfig(), QUEUE)
    yield built
    built.close(verbose=False)


@pytest.fixture(scope="module")
def client(page: Any) -> Iterator[Client]:
    yield Client(app.serve(page, "127.0.0.1", free_port()), verbose=False)


# ---- the contract


def test_the_endpoints_are_the_four_tasks_by_name(page: Any) -> None:
    info = page.get_api_info()
    assert sorted(info["named_endpoints"]) == sorted(CONTRACT) == sorted(task.endpoint for task in TASKS.values())
    assert not info["unnamed_endpoints"]
    for name, endpoint in info["named_endpoints"].items():
        assert [row["parameter_name"] for row in endpoint["parameters"]] == CONTRACT[name]
        required = [row["parameter_name"] for row in endpoint["parameters"] if not row["parameter_has_default"]]
        assert required == REQUIRED[name]
        assert [row["label"] for row in endpoint["returns"]] == ["result"]
        assert endpoint["description"] and "Parameters" not in endpoint["description"]
    for fn in page.fns.values():
        if fn.api_visibility == "public":
            _, described, _ = get_function_description(fn.fn)
            assert all(described.values()), "every parameter says what it is"


def test_every_event_that_runs_the_engine_shares_one_limit(page: Any) -> None:
    working = [fn for fn in page.fns.values() if inspect.isgeneratorfunction(fn.fn) and fn.concurrency_id != "load"]
    assert len(working) == 2 * len(TASKS), "a screen and an endpoint for each task"
    assert {(fn.concurrency_id, fn.concurrency_limit) for fn in working} == {(ENGINE_QUEUE, ENGINE_EVENTS)}
    assert all(fn.queue for fn in working)


def test_everything_but_the_endpoints_is_private(page: Any) -> None:
    shown = {fn.api_name for fn in page.fns.values() if fn.api_visibility != "private"}
    assert shown == {name.strip("/") for name in CONTRACT}


def test_the_queue_is_bounded(page: Any) -> None:
    assert page._queue.max_size == QUEUE  # Gradio tells it nowhere else


# ---- over HTTP


def test_answers_have_the_shapes_of_the_tasks(client: Client) -> None:
    result = client.predict("A film.", labels="good, bad, odd", api_name="/classify")
    assert {row["label"] for row in result["scores"]} == {"good", "bad", "odd"} and result["label"] and result["score"]
    result = client.predict("A film about a dog that finds a home.", length="short", api_name="/summarize")
    assert result["summary_text"] and result["chunks"] == 1 and result["compression"] > 0
    context = "Anna came to the house."
    result = client.predict(question="Who?", context=context, no_answer_threshold=1, api_name="/answer")
    assert result["answer"] == context[result["start"] : result["end"]] != ""
    result = client.predict(prompt="Hello", seed=3, api_name="/generate")
    assert result["generated_text"] == "It is a fine answer." and result["details"]["seed"] == 3
    assert result["timing"]["precision"] == "fp32" and result["timing"]["prompt_tokens"] > 0


@pytest.mark.parametrize(
    ("endpoint", "arguments", "sentence"),
    [
        ("/classify", {"text": ""}, "The text is empty"),
        ("/classify", {"text": "x", "labels": ","}, "There are no labels"),
        ("/classify", {"text": "x", "labels": "a, A"}, "more than once"),
        ("/classify", {"text": 5}, "The text is empty"),
        ("/classify", {"text": "x", "labels": 5}, "The labels are not readable"),
        ("/summarize", {"text": "a" * 1_000_000}, "at most 200,000 are read"),
        ("/summarize", {"text": "x", "length": "tiny"}, "The length 'tiny' is unknown"),
        ("/answer", {"question": "Who?", "context": ""}, "The context is empty"),
        ("/answer", {"question": "Who?", "context": "x", "top_k": "many"}, "give a whole number"),
        ("/generate", {"prompt": "x", "temperature": -1}, "temperature is -1"),
        ("/generate", {"prompt": "x", "max_tokens": 0}, "max_tokens is 0"),
        ("/generate", {"prompt": "x", "max_tokens": 9999}, "The window of 4,096 tokens is too small"),
        ("/generate", {"prompt": "x\0"}, "NUL character"),
    ],
)
def test_bad_requests_get_one_sentence(client: Client, endpoint: str, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(AppError) as raised:
        client.predict(**arguments, api_name=endpoint)
    assert sentence in str(raised.value) and "Traceback" not in str(raised.value)
    assert client.predict(prompt="Hello", api_name="/generate")["generated_text"], "the process lives on"


def test_a_bug_shows_no_detail(client: Client, engine: PacedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "reply", lambda prompt: 1 / 0)
    with pytest.raises(AppError) as raised:
        client.predict(prompt="Hello", api_name="/generate")
    assert "division" not in str(raised.value) and str(ROOT) not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("endpoint", "arguments"),
    [
        ("/generate", {"prompt": "Hello"}),
        ("/answer", {"question": "Who?", "context": "one two three four five. " * 4000}),
    ],
)
def test_cancelling_over_http_frees_the_engine(
    client: Client, engine: PacedEngine, monkeypatch: pytest.MonkeyPatch, endpoint: str, arguments: dict[str, Any]
) -> None:
    monkeypatch.setattr(engine, "pace", 0.1)
    monkeypatch.setattr(engine, "reply", lambda prompt: "word " * 250)
    before = engine.steps
    job = client.submit(**arguments, api_name=endpoint)
    until = time.monotonic() + 20
    while not job.outputs() and time.monotonic() < until:
        time.sleep(0.05)
    assert job.outputs() and engine.steps > before
    assert job.cancel()
    assert at_rest(engine) and engine.steps - before < 150


# ---- start and end


def run(arguments: tuple[str, ...], env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "app.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=os.environ | (env or {}), capture_output=True, text=True, timeout=60)


def test_a_taken_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run(("--port", str(port), "--host", "127.0.0.1"))
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"Error: Port {port} on 127.0.0.1 cannot be used")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        ((), {"PORT": "http"}, "The port is 'http'"),
        (("--port", "0"), {}, "The port is '0'"),
        ((), {"QUEUE_SIZE": "-1"}, "The queue size is '-1'"),
        (("--precision", "int3"), {}, "Precision 'int3' is unknown"),
        (("--threads", "-2"), {}, "threads is -2"),
    ],
)
def test_wrong_settings_are_one_sentence(arguments: tuple[str, ...], env: dict[str, str], words: str) -> None:
    done = run(arguments, env)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_model_that_is_not_there_ends_the_start() -> None:
    done = run(("--model", "/no/such/folder", "--port", str(free_port())))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ") and "/no/such/folder" in last and "Traceback" not in done.stderr


def test_the_wait_for_the_first_engine_raises_its_error() -> None:
    def fails(config: EngineConfig, on_progress: Any) -> Any:
        raise BadModel("model.safetensors is cut short: fetch it again.")

    holder = EngineHolder(fails)
    holder.begin(EngineConfig())
    with pytest.raises(UserError, match="cut short"):
        app.wait(holder, threading.Event(), 0.0)


def test_the_log_says_when_compiling_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    engine, ended = PacedEngine(compiling=True, notes=("Being compiled.",)), threading.Event()
    holder = holding(engine)
    waiting = threading.Thread(target=app.wait, args=(holder, ended, time.perf_counter()))
    waiting.start()
    until, said = time.monotonic() + 10, ""
    while "Being compiled." not in said and time.monotonic() < until:
        time.sleep(0.05)
        said += capsys.readouterr().err
    assert "Ready after" in said and "Done compiling" not in said
    engine.info = replace(engine.info, compiling=False, notes=("Compiled for another tier.",))
    while "another tier" not in said and time.monotonic() < until:
        time.sleep(0.05)
        said += capsys.readouterr().err
    ended.set()
    waiting.join()
    assert said.count("Done compiling after") == said.count("another tier") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_to_even_while_a_model_loads(number: signal.Signals, tiny_llama: Path) -> None:
    port = free_port()
    command = [sys.executable, "app.py", "--model", str(tiny_llama), "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        lines = [process.stderr.readline()]
        while "Brisk is at" not in lines[-1]:
            assert lines[-1], f"ended early: {lines}"
            lines.append(process.stderr.readline())
        process.send_signal(number)
        _, rest = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0 and "Traceback" not in rest

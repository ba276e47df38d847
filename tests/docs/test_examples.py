"""Every example of the documents runs on the real model: Python, curl, and the tasks' command lines.

What takes minutes (evaluations, benchmarks) is only held to its options: see `test_commands`.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from brisk.cli import app as brisk_app
from pipelines import TASKS
from pipelines.classification.train import main as train
from pipelines.cli import run_app
from tests.conftest import restore_users_cache
from tests.docs.documents import ADDRESS, ROOT, Block, Call, blocks, call, lines
from tests.serving import served

CALLED = re.compile(r'api_name="(/\w+)"|gradio_api/call/v2(/\w+)')


ARTICLE = (
    "The Long Ferry opened in cinemas last Friday. It was directed by Maria Lindqvist, who spent two winters on the "
    "river to prepare for it. The music was written by Elena Petrova for a single accordion. The film cost four "
    "million euros and was shot in 38 days.\n"
)


def is_short(call: Call) -> bool:
    """Whether a command is a task's, or trains a head on a few rows."""
    return call.name in {*(f"brisk {task.command}" for task in TASKS.values()), "pipelines.classification.train"}


def endpoint_of(block: Block) -> str:
    match = CALLED.search(block.text)
    assert match is not None, f"{block} asks no endpoint"
    return match[1] or match[2]


CLIENT = [block for block in blocks("python") if ADDRESS in block.text]
CURL = [block for block in blocks("sh") if "curl" in block.text]
SHELL = [
    block
    for block in blocks("sh")
    if block not in CURL and any(is_short(call(block.document, line)) for line in lines(block))
]
PLAIN = [block for block in blocks("python") if ADDRESS not in block.text]


def test_every_endpoint_has_both_snippets() -> None:
    endpoints = {task.endpoint for task in TASKS.values()}
    for shown in (CLIENT, CURL):
        assert {endpoint_of(block) for block in shown} == endpoints
        for document in {block.document for block in shown}:
            named = [endpoint_of(block) for block in shown if block.document == document]
            assert len(named) == len(set(named)), f"an endpoint has two snippets in {document}"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, default_model_folder: object) -> Iterator[str]:
    with served(ROOT, tmp_path_factory.mktemp("app") / "log") as url:
        yield url


def check(endpoint: str, result: dict[str, Any], snippet: str) -> None:
    """The shape that the table of docs/usage.md promises."""
    assert {"timing", "model", "shortened", "notes"} <= set(result)
    if endpoint == "/classify":
        scores = result["scores"]
        assert [row["score"] for row in scores] == sorted((row["score"] for row in scores), reverse=True)
        assert {"label": result["label"], "score": result["score"]} == scores[0]
        assert sum(row["score"] for row in scores) == pytest.approx(1)
    elif endpoint == "/summarize":
        assert result["summary_text"].strip() and result["compression"] > 0 and result["chunks"] == 1
    elif endpoint == "/answer":
        assert {"score", "no_answer"} <= set(result) and len(result["answers"]) >= 1
        if result["answer"]:
            assert result["answer"] in snippet and result["end"] - result["start"] == len(result["answer"])
        else:
            assert (result["start"], result["end"]) == (0, 0) and result["no_answer"] > 0.5
    else:
        assert result["generated_text"].strip() and result["details"]["seed"] == 7
        assert result["details"]["generated_tokens"] <= 48


@pytest.mark.model
@pytest.mark.parametrize("block", CLIENT, ids=str)
def test_a_snippet_of_the_client_runs(address: str, block: Block) -> None:
    names: dict[str, Any] = {}
    assert block.text.count(ADDRESS) == 1
    exec(compile(block.text.replace(ADDRESS, address), str(block), "exec"), names)
    check(endpoint_of(block), names["result"], block.text)


@pytest.mark.model
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
@pytest.mark.parametrize("block", CURL, ids=str)
def test_a_snippet_of_curl_runs(address: str, block: Block) -> None:
    assert block.text.count(ADDRESS) == 2
    done = subprocess.run(
        ["sh", "-euc", block.text.replace(ADDRESS, address)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = re.findall(r"^event: (\w+)\ndata: (.*)$", done.stdout, re.MULTILINE)
    assert events and events[-1][0] == "complete", done.stdout
    [result] = json.loads(events[-1][1])
    check(endpoint_of(block), result, block.text)


@pytest.mark.model
@pytest.mark.parametrize("block", PLAIN, ids=str)
def test_a_snippet_of_python_runs(
    block: Block,
    default_model_folder: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    try:
        exec(compile(block.text, str(block), "exec"), names)
    finally:
        if "engine" in names:
            names["engine"].close()
    said = capsys.readouterr().out
    assert said.strip()
    if "A warm, funny film." in block.text:  # the likeliest label comes first
        assert re.search("positive", said) and not re.search("negative.*positive", said.splitlines()[0])
    if "stream(" in block.text:
        assert len(said.splitlines()[-1].split()) > 3


@pytest.fixture(scope="module")
def one_engine(default_model_folder: object) -> Iterator[None]:
    """The engine that all command lines share: loaded once."""
    from engine.config import EngineConfig
    from engine.engine import shared_engine

    with pytest.MonkeyPatch.context() as patch:
        restore_users_cache(patch)
        engine = shared_engine(EngineConfig())
    yield
    engine.close()


@pytest.mark.model
@pytest.mark.parametrize("block", SHELL, ids=str)
def test_the_command_lines_of_the_tasks_run(
    block: Block,
    one_engine: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the order shown, beside the files that they name; what they print is not empty."""
    monkeypatch.chdir(tmp_path)
    Path("article.txt").write_text(ARTICLE, encoding="utf-8")
    rows = [f"{i} times {word},{label}" for i in range(12) for word, label in (("fun", "good"), ("dull", "bad"))]
    Path("reviews.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    for line in lines(block):
        shown = call(block.document, line)
        if not is_short(shown):
            continue
        piped = re.match(r'echo "(.*)" \|', line)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(piped[1].encode() if piped else b"")))
        if shown.name.startswith("brisk "):
            code = run_app(brisk_app, [shown.name.partition(" ")[2], *shown.arguments])
        else:
            code = train(list(shown.arguments))
        said = capsys.readouterr()
        assert code == 0, said.err
        assert said.out.strip(), line

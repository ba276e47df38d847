"""The README is held to what is true: its links lead somewhere, its commands exist, its snippets run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from engine.config import EngineConfig
from engine.weights import REGISTRY
from pipelines import TASKS
from tests.serving import served

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:7860"
OWN = ("engine", "pipelines", "spaces", "tests")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def snippets(language: str, pattern: str) -> dict[str, str]:
    """Endpoint -> the one block that asks it; `pattern` finds its name."""
    found: dict[str, str] = {}
    for block in blocks(language):
        if match := re.search(pattern, block):
            assert f"/{match[1]}" not in found, f"two {language} snippets for {match[1]}"
            found[f"/{match[1]}"] = block
    return found


PYTHON = snippets("python", r'api_name="/(\w+)"')
CURL = snippets("sh", r"gradio_api/call/v2/(\w+)")
COMMANDS = sorted(
    {
        " ".join(match.groups("")).strip()
        for match in re.finditer(r"python -m ([\w.]+)(?: (classify|summarize|answer|generate)\b)?", README)
        if match[1].partition(".")[0] in OWN
    }
)


# ---- fast


def test_links_and_pictures_lead_somewhere() -> None:
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", README)]
    here = [target for target in targets if not target.startswith(("http://", "https://"))]
    assert len([target for target in here if target.startswith("docs/") and target.endswith(".png")]) == len(TASKS)
    assert not [target for target in here if not (ROOT / target).is_file()]


def test_every_endpoint_has_both_snippets_and_a_row() -> None:
    endpoints = {task.endpoint for task in TASKS.values()}
    assert set(PYTHON) == set(CURL) == endpoints
    assert set(re.findall(r"^\| `(/\w+)` \|", README, re.MULTILINE)) == endpoints


def test_the_commands_are_found() -> None:
    assert {"pipelines.evaluation", "spaces.build", "engine.measure.check"} <= set(COMMANDS)
    assert {f"pipelines {task.command}" for task in TASKS.values()} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_answers_help(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "--help"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_every_option_shown_exists() -> None:
    """Each `--option` of a command in a block stands in that command's help."""
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    helps: dict[str, str] = {}
    checked = 0
    for line in lines:
        match = re.search(r"python -m ([\w.]+)(?: (classify|summarize|answer|generate)\b)?(.*)", line)
        if match is None or match[1].partition(".")[0] not in OWN:
            continue
        command = " ".join(match.groups("")[:2]).strip()
        if command not in helps:
            asked = [sys.executable, "-m", *command.split(), "--help"]
            helps[command] = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=120).stdout
        for option in re.findall(r"(?<!\S)--[a-z][\w-]*", match[3]):
            assert option in helps[command], f"{command} has no {option}"
            checked += 1
    assert checked >= 8


def test_the_table_of_switches_is_the_config() -> None:
    [table] = re.findall(r"^\| switch \|.*?\n\n", README, re.MULTILINE | re.DOTALL)
    rows = {row[1]: row[2] for row in re.finditer(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)}
    assert list(rows) == [field.name for field in fields(EngineConfig)]
    for field in fields(EngineConfig):
        if field.name != "model":
            assert f"**{field.default}**" in rows[field.name], f"the default of {field.name} is {field.default}"


def test_the_short_names_are_the_registry() -> None:
    [row] = re.findall(r"^\| a short name \| (.*?) \|$", README, re.MULTILINE)
    assert re.findall(r"`([^`]+)`", row) == list(REGISTRY)


def test_the_requirements_of_make_and_pip_are_files() -> None:
    for name in re.findall(r"-r (\S+\.txt)", README):
        assert (ROOT / name).is_file()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`?make (run|test|help|lint|\w+)`", README)) <= targets


# ---- every snippet, on the real model


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, default_model_folder: object) -> Iterator[str]:
    with served(ROOT, tmp_path_factory.mktemp("app") / "log") as url:
        yield url


def check(endpoint: str, result: dict[str, Any], snippet: str) -> None:
    """The shape that the table of the README promises."""
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
@pytest.mark.parametrize("endpoint", sorted(PYTHON))
def test_the_python_snippet_runs(address: str, endpoint: str) -> None:
    names: dict[str, Any] = {}
    code = PYTHON[endpoint]
    assert code.count(ADDRESS) == 1
    exec(compile(code.replace(ADDRESS, address), f"README {endpoint}", "exec"), names)
    check(endpoint, names["result"], code)


@pytest.mark.model
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
@pytest.mark.parametrize("endpoint", sorted(CURL))
def test_the_curl_snippet_runs(address: str, endpoint: str) -> None:
    code = CURL[endpoint]
    assert code.count(ADDRESS) == 2
    done = subprocess.run(
        ["sh", "-euc", code.replace(ADDRESS, address)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = re.findall(r"^event: (\w+)\ndata: (.*)$", done.stdout, re.MULTILINE)
    assert events and events[-1][0] == "complete", done.stdout
    [result] = json.loads(events[-1][1])
    check(endpoint, result, code)


@pytest.mark.model
def test_the_snippet_of_the_engine_runs(default_model_folder: object, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = [block for block in blocks("python") if "from engine.engine import Engine" in block]
    names: dict[str, Any] = {}
    try:
        exec(compile(code, "README engine", "exec"), names)
    finally:
        if "engine" in names:
            names["engine"].close()
    said = capsys.readouterr().out
    assert "'label': 'positive'" in said and len(said.splitlines()[-1].split()) > 3

"""The commands that documents show exist, with every option shown."""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import sys
from dataclasses import fields

import pytest

from engine.config import EngineConfig
from pipelines import TASKS
from tests.docs.documents import DOCUMENTS, OWN, ROOT, Call, blocks, calls, text_of

# What a block of shell may run besides ours; anything else is a typing error, or belongs here.
PROGRAMS = ("cd", "git", "make", "pip", "pre-commit")
MODULES = ("pip", "pytest", "venv", "ruff", "mypy")

CALLS = list(calls())


def is_ours(call: Call) -> bool:
    return re.split(r"[. ]", call.name)[0] in OWN


COMMANDS = sorted({call.name for call in CALLS if is_ours(call)})


@functools.cache
def help_of(command: str) -> str:
    """What `--help` of one of our commands prints."""
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "--help"],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_are_found() -> None:
    more = {"serve", "evaluate", "label", "train", "train-adapter", "distill", "bench", "check", "space"}
    assert {f"brisk {name}" for name in more | {task.command for task in TASKS.values()}} <= set(COMMANDS)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_answers_help(command: str) -> None:
    assert "Usage" in help_of(command)


@pytest.mark.slow
def test_every_option_shown_exists() -> None:
    checked = 0
    for call in filter(is_ours, CALLS):
        for option in call.options:
            assert option in help_of(call.name), f"{call.document}: {call.name} has no {option}"
            checked += 1
    assert checked >= 8


@pytest.mark.slow
@pytest.mark.parametrize("task", [task.command for task in TASKS.values()])
def test_the_options_of_a_task_are_those_of_its_command(task: str) -> None:
    usage = text_of(ROOT / "docs/usage.md")
    [row] = re.findall(rf"^\| {task} \| (.*) \|$", usage, re.MULTILINE)
    shared = {"--file", "--json", "--help", *(f"--{field.name.replace('_', '-')}" for field in fields(EngineConfig))}
    named = set(re.findall(r"`(--[\w-]+)`", row))
    offered = set(re.findall(r"(?<!\S)--[a-z][\w-]*", help_of(f"brisk {task}")))
    assert named <= offered
    own = {option for option in offered - shared if not option.startswith("--no-")}
    assert own <= named | {option.replace("--no-", "--") for option in named}


def test_every_other_program_is_known() -> None:
    for call in CALLS:
        if is_ours(call) or call.name in PROGRAMS:
            continue
        if call.name in MODULES:
            assert importlib.util.find_spec(call.name), call.name
        else:  # .venv/bin/python app.py
            assert re.fullmatch(r"(\.venv/bin/)?python3?", call.name), f"{call.document}: {call.name}"
            assert (ROOT / call.arguments[0]).is_file(), f"{call.document}: {call.arguments[0]}"


def test_the_requirements_of_make_and_pip_are_files() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    asked = {call.arguments[0] for call in CALLS if call.name == "make"}
    assert {"run", "test", "help"} <= asked <= targets
    for document in DOCUMENTS:
        for name in re.findall(r"-r (\S+\.txt)", text_of(document)):
            assert (ROOT / name).is_file()


def test_the_extras_of_pip_are_those_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    extras = set(re.findall(r"^(\w+) = \[", project.partition("\n[")[0], re.MULTILINE))
    asked = {extra for document in DOCUMENTS for extra in re.findall(r'"\.\[(\w+)\]"', text_of(document))}
    assert asked and asked <= extras
    rows = re.findall(r"^\| `(\w+)` \|", text_of(ROOT / "docs/usage.md").partition("| extra |")[2], re.MULTILINE)
    assert set(rows[: len(extras)]) == extras


def test_there_is_something_to_check() -> None:
    assert len(blocks("sh")) > 10

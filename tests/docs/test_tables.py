"""The tables of the documents are what the code has: switches, parameters, models, variables, endpoints."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from typing import Any

import pytest

from brisk.calls.pipeline import ALIASES, NAMES
from engine.config import EngineConfig, SamplingParams
from engine.weights import REGISTRY
from pipelines import TASKS
from tests.docs.documents import README, ROOT, text_of

CONFIGURATION = text_of(ROOT / "docs/configuration.md")
USAGE = text_of(ROOT / "docs/usage.md")


def table(text: str, head: str) -> dict[str, str]:
    """First cell, in backticks -> second, of the one table whose head begins with `head`."""
    [found] = re.findall(rf"^\| {head} \|.*?\n\n", text, re.MULTILINE | re.DOTALL)
    return {row[1]: row[2] for row in re.finditer(r"^\| `(\w+)` \| (.*?) \|", found, re.MULTILINE)}


@pytest.mark.parametrize(("head", "kind"), [("switch", EngineConfig), ("parameter", SamplingParams)])
def test_a_table_of_settings_is_the_dataclass(head: str, kind: Any) -> None:
    rows = table(CONFIGURATION, head)
    assert list(rows) == [field.name for field in fields(kind)]
    for field in fields(kind):
        if field.name != "model":
            assert f"**{field.default}**" in rows[field.name], f"the default of {field.name} is {field.default}"


def test_the_short_names_are_the_registry() -> None:
    [row] = re.findall(r"^\| a short name \| (.*?) \|$", CONFIGURATION, re.MULTILINE)
    assert re.findall(r"`([^`]+)`", row) == list(REGISTRY)


def asked_of_the_environment() -> set[str]:
    """The variables that our code reads by name, and all of our own that it names."""
    found = set()
    for folder in ("app.py", "brisk", "engine", "pipelines", "spaces"):
        place = ROOT / folder
        for path in [place] if place.is_file() else place.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                asked = ast.unparse(node) if isinstance(node, (ast.Call, ast.Subscript)) else ""
                for name in re.findall(r"""^(?:os\.)?(?:environ|env)(?:\.get\(|\[)['"]([A-Z_]+)['"]""", asked):
                    found.add(name)
                found |= set(re.findall(r"""envvar=['"](\w+)['"]""", asked))
                if isinstance(node, ast.Constant) and re.fullmatch("BRISK_[A-Z_]+", str(node.value)):
                    found.add(str(node.value))
    return found


def described(heading: str) -> set[str]:
    """The variables in the first column of the table under a heading of the configuration."""
    part = CONFIGURATION.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [row.split("|")[1] for row in part.splitlines() if row.startswith("|")]
    return set(re.findall(r"`([A-Z_]+)`", " ".join(cells)))


def test_every_variable_that_is_read_is_described() -> None:
    set_by_us = {"GRADIO_ANALYTICS_ENABLED", "RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"}
    assert asked_of_the_environment() - set_by_us <= described("Environment variables") | described("make")


def test_the_variables_of_make_are_described() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^(?:export )?([A-Z_]+) \?=", makefile, re.MULTILINE)) | {"ARGS", "PYTEST_ARGS"}
    assert described("make") == known


def test_every_task_of_the_calls_has_a_row() -> None:
    [rows] = re.findall(r"^\| task \| arguments \|.*?\n\n", USAGE, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`([\w-]+-[\w-]+|summarization)`", rows)) == {*NAMES, *ALIASES}
    for row in rows.strip().splitlines()[2:]:
        name = re.findall(r"`([\w-]+)`", row)[0].replace("-", "_")
        module = (ROOT / f"brisk/calls/{name}.py").read_text(encoding="utf-8")
        for argument in re.findall(r"`(\w+)`", row.split("|")[2]):
            assert re.search(rf"^ +{argument}:", module, re.MULTILINE), f"{name} has no {argument}"


def test_every_endpoint_has_a_row() -> None:
    assert set(re.findall(r"^\| `(/\w+)` \|", USAGE, re.MULTILINE)) == {task.endpoint for task in TASKS.values()}


def test_the_speeds_of_the_readme_are_those_of_the_benchmarks() -> None:
    """Row by row: a figure of the README's table stands beside the same engine on the page of the benchmarks."""
    benchmarks = text_of(ROOT / "docs/benchmarks.md")
    rows = re.findall(r"^\| \**([\w. ]+?)\**(?: \(.*?\))? \|((?: [\d.]+ \|){4})$", text_of(README), re.MULTILINE)
    assert {"Brisk int8", "Transformers fp32", "llama.cpp Q8_0"} <= {name for name, _ in rows}
    for name, cells in rows:
        beside = " ".join(re.findall(rf"^\| {re.escape(name)} \|.*$", benchmarks, re.MULTILINE))
        for figure in re.findall(r"[\d.]+", cells):
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.])", beside), f"{name}: {figure}"

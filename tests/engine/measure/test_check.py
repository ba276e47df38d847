"""The command of the checks: its tables and exit codes, on findings that a test wrote down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from engine.measure import check, lossless, parity
from engine.measure.command import run_app, split
from engine.measure.lossless import Identity

Out = pytest.CaptureFixture[str]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the checks find; a test may change it."""
    found: dict[str, Any] = {"difference": 1e-6, "differing": ()}

    def identities(model: str, precision: str, prompts: list[str], count: int) -> Iterator[Identity]:
        yield Identity("all prompts at once", precision, len(prompts), count, found["differing"])

    monkeypatch.setattr(parity, "random_models", lambda: [("llama", None)])
    monkeypatch.setattr(parity, "parity", lambda model: (0.0, found["difference"], 0.0))
    monkeypatch.setattr(lossless, "identities", identities)
    return found


def test_what_is_the_same_holds(found: dict[str, Any], capsys: Out) -> None:
    assert run_app(check.main, ["--prompts", "3", "--tokens", "5"]) == 0
    out = capsys.readouterr().out
    assert out.count("holds") == 3 and "FAILS" not in out and "3 of 3" in out


@pytest.mark.parametrize(("name", "value"), [("difference", 1e-3), ("differing", ("'a' differs after 2 tokens",))])
def test_what_differs_fails_and_is_named(found: dict[str, Any], name: str, value: Any, capsys: Out) -> None:
    found[name] = value
    assert run_app(check.main, ["--prompts", "3", "--format", "md"]) == 1
    out = capsys.readouterr().out
    assert "FAILS" in out and ("'a' differs after 2 tokens" in out) == (name == "differing")
    assert run_app(check.main, ["--prompts", "3", "--format", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert list(data["parity"]) == ["llama"] and [one["precision"] for one in data["identity"]] == ["fp32", "int8"]


@pytest.mark.parametrize(("options", "word"), [(["--tokens", "3"], "--tokens is 3"), (["--format", "pdf"], "'pdf'")])
def test_what_cannot_be_checked_is_one_sentence(options: list[str], word: str, capsys: Out) -> None:
    assert run_app(check.main, options) == 2
    assert word in capsys.readouterr().err


def test_names_with_commas_are_read_once_each() -> None:
    assert split(" a, b,,a", ("a", "b", "c"), "Letter") == ["a", "b"]
    with pytest.raises(ValueError, match="Letter 'd' is unknown: choose among a, b, c"):
        split("a,d", ("a", "b", "c"), "Letter")

"""The Space's card: what the Hub reads from its front matter, held to what this project really is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import SpaceCard, SpaceHardware
from packaging.requirements import Requirement

from engine.config import DEFAULT_MODEL
from engine.weights import REGISTRY, load_config, load_state, resolve
from spaces.build import CARD, FILES, ROOT

# https://huggingface.co/docs/hub/spaces-config-reference
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
KEYS = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "suggested_hardware",
    "short_description", "license", "pinned", "fullWidth", "models", "preload_from_hub", "tags",
}  # fmt: skip


@pytest.fixture(scope="module")
def card() -> dict[str, Any]:
    fields: dict[str, Any] = SpaceCard.load(CARD).data.to_dict()
    return fields


def test_the_front_matter_holds_keys_the_hub_knows(card: dict[str, Any]) -> None:
    assert set(card) == KEYS
    assert card["sdk"] == "gradio"
    assert {card["colorFrom"], card["colorTo"]} <= COLOURS
    assert not re.search(r"\w", card["emoji"])
    assert 0 < len(card["short_description"]) <= 60, "the Hub refuses more"
    assert card["suggested_hardware"] in [hardware.value for hardware in SpaceHardware]
    assert card["license"] == "apache-2.0" and "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
    assert card["app_file"] in FILES and (ROOT / card["app_file"]).is_file()
    assert all(re.fullmatch(r"[a-z0-9-]+", tag) for tag in card["tags"])


def test_versions_do_not_drift_from_what_is_tested(card: dict[str, Any]) -> None:
    rows = [Requirement(line) for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines() if "==" in line]
    assert [f"=={card['sdk_version']}"] == [str(row.specifier) for row in rows if row.name == "gradio"]
    assert isinstance(card["python_version"], str), "unquoted, YAML reads 3.10 as 3.1"
    major, minor = map(int, card["python_version"].split("."))
    assert (major, minor) >= (3, 10)


def test_the_preloaded_files_are_what_the_engine_loads(
    card: dict[str, Any], tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Hub cache with nothing but the files the card names serves the default model, and no network is asked."""
    [row] = card["preload_from_hub"]
    repo, names = row.split(" ")
    assert card["models"] == [repo] == [REGISTRY[DEFAULT_MODEL].hub_id]
    commit = "0123456789abcdef0123456789abcdef01234567"
    store = tmp_path / "hub" / f"models--{repo.replace('/', '--')}"
    snapshot = store / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text(commit)
    for name in names.split(","):
        if (tiny_llama / name).is_file():
            shutil.copy(tiny_llama / name, snapshot / name)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("BRISK_CACHE", str(tmp_path / "brisk"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    files = resolve(DEFAULT_MODEL)
    assert files.folder.resolve() == snapshot.resolve()
    assert load_config(files.folder)["model_type"] == "llama"
    assert load_state(files.folder)

"""Weights converted and kept: the same numbers, only from the source they were made from, or none."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import BadModel, BadRequest
from engine.model.balance import balanced
from engine.model.build import BuildOptions, build_parameters
from engine.model.families import describe
from engine.model.matrix import Matrix
from engine.model.parameters import Parameters
from engine.weights import ModelFiles, cache, converted, load_config, load_state
from engine.weights.files import sha256
from tests.engine.conftest import Models
from tests.tiny import make_tiny_model


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRISK_CACHE", str(tmp_path / "cache"))


def recorded(folder: Path) -> ModelFiles:
    """The folder as our converter leaves one: a manifest with every file's hash."""
    files = {path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in folder.iterdir()}
    (folder / cache.MANIFEST).write_text(json.dumps({"format": cache.FORMAT, "source": "a test", "files": files}))
    return ModelFiles(folder, "tiny", "a test")


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    return recorded(make_tiny_model(tmp_path / "model", "qwen2"))


def load(files: ModelFiles, precision: str, context: int = 64) -> Parameters:
    arch = describe(load_config(files.folder))
    return converted.load_parameters(arch, files, BuildOptions(precision, context))


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "models").glob("tiny-*"))


def assert_equal(found: Parameters, expected: Parameters) -> None:
    for field in fields(Parameters):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(a, Matrix):
            assert a.shape == b.shape, field.name
        for x, y in zip(*(m.tensors() if isinstance(m, Matrix) else (m,) for m in (a, b)), strict=True):
            assert x.dtype == y.dtype and torch.equal(x, y), field.name
    assert (found.head is found.embed) == (expected.head is expected.embed)
    assert (found.count(), found.nbytes()) == (expected.count(), expected.nbytes())


def refuse(*_: Any, **__: Any) -> Any:
    raise AssertionError("the source was read")


@pytest.mark.parametrize("precision", ["half", "int8", "int4"])
@pytest.mark.parametrize(("family", "options"), [("qwen2", {}), ("gpt2", {}), ("llama", {"tied": False})])
def test_the_second_start_reads_the_same_numbers_and_not_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, family: str, options: dict[str, Any]
) -> None:
    files = recorded(make_tiny_model(tmp_path / "model", family, **options))
    arch = describe(load_config(files.folder))
    state = load_state(files.folder)
    given = balanced(arch, state) if precision == "int8" else state
    expected = build_parameters(arch, given, BuildOptions(precision, 64))
    assert_equal(load(files, precision), expected)
    monkeypatch.setattr(converted, "load_state", refuse)
    assert_equal(load(files, precision), expected)
    assert load(files, precision, context=7).cos.shape[0] == 7  # the window is no part of what is kept


def test_what_may_change_or_needs_no_rounding_is_not_kept(tmp_path: Path, models: Models) -> None:
    load(ModelFiles(models("llama"), "tiny", "a local folder"), "int8")
    load(recorded(make_tiny_model(tmp_path / "model", "llama")), "fp32")
    assert entries(tmp_path) == []


def test_other_weights_precisions_and_configs_have_entries_of_their_own(tmp_path: Path, files: ModelFiles) -> None:
    for precision in ("int8", "half"):
        load(files, precision)
    other = recorded(make_tiny_model(tmp_path / "other", "qwen2", seed=1))
    assert not torch.equal(load(other, "int8").qkv.weight, load(files, "int8").qkv.weight)
    assert len(entries(tmp_path)) == 3
    config = json.loads((other.folder / "config.json").read_text())
    (other.folder / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    (other.folder / cache.MANIFEST).unlink()
    load(recorded(other.folder), "int8")
    assert len(entries(tmp_path)) == 4


@pytest.mark.parametrize("where", [20, -1])
def test_a_damaged_entry_is_made_again(tmp_path: Path, files: ModelFiles, where: int) -> None:
    expected = load(files, "int8")
    [entry] = entries(tmp_path)
    data = bytearray((entry / converted.FILE).read_bytes())
    data[where] ^= 1
    (entry / converted.FILE).write_bytes(data)
    assert_equal(load(files, "int8"), expected)
    assert (entry / converted.FILE).read_bytes() != bytes(data)


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, files: ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BRISK_CACHE", str(tmp_path / "file"))
    assert load(files, "int8").qkv.weight.dtype == torch.int8


def test_a_source_that_is_damaged_is_refused_where_it_is_read(files: ModelFiles) -> None:
    path = files.folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadModel, match="does not have its recorded SHA-256"):
        load(files, "int8")


def test_what_cannot_be_held_leaves_nothing_behind(tmp_path: Path) -> None:
    files = recorded(make_tiny_model(tmp_path / "model", "llama", hidden=48))
    with pytest.raises(BadRequest, match="not a multiple of 32"):
        load(files, "int4")
    assert entries(tmp_path) == []


def test_the_numbers_of_a_model_are_counted_once(models: Models) -> None:
    for family, options in (("llama", {"tied": True}), ("llama", {"tied": False}), ("gpt2", {})):
        folder = models(family, **options)
        state, arch = load_state(folder), describe(load_config(folder))
        for precision in ("fp32", "int4"):
            params = build_parameters(arch, state, BuildOptions(precision, 9))
            assert params.count() == sum(tensor.numel() for tensor in state.values()), (family, precision)

"""Choosing device, threads and backend, and the sentences where a choice cannot be met."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from engine.errors import BadModel, BadRequest
from engine.loading import pick_device, pick_threads
from tests.engine.conftest import Models
from tests.engine.reference import opened


@pytest.mark.parametrize("name", ["potato", "cuda:99", "meta", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match=f"Device '{name}' cannot be used here: choose auto or cpu"):
        pick_device(name)


def test_auto_is_the_cpu_where_there_is_no_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device("auto") == torch.device("cpu")


def test_threads_are_bounded_by_the_cores_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setenv("CPU_CORES", "3")
    assert pick_threads(0) == (3, ())
    assert pick_threads(2) == (2, ())
    threads, notes = pick_threads(9)
    assert threads == 4
    assert notes == ("9 threads were asked for; this machine has 4 cores, so 4 are used.",)
    monkeypatch.setattr(os, "cpu_count", lambda: 384)
    monkeypatch.setenv("CPU_CORES", "384")
    assert pick_threads(0) == (256, ())


@pytest.fixture
def unknown(models: Models, tmp_path: Path) -> Path:
    """A model whose activation our decoder does not know, though Transformers does."""
    folder = shutil.copytree(models("llama"), tmp_path / "unknown")
    config = {**json.loads((folder / "config.json").read_text()), "hidden_act": "relu"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_what_fits_no_family_runs_on_transformers_and_says_so(unknown: Path) -> None:
    with opened(unknown) as engine:
        assert engine.info.backend == "transformers"
        assert any("'relu' is not silu" in note for note in engine.info.notes)
        assert len(engine.generate("The film")[0].token_ids) > 0


def test_the_native_backend_alone_refuses_it_with_the_reason(unknown: Path) -> None:
    with (
        pytest.raises(BadModel, match=r"cannot run on the native backend: its activation 'relu'"),
        opened(unknown, backend="native"),
    ):
        pass


def test_info_says_what_is_loaded(models: Models) -> None:
    folder = models("qwen2")
    with opened(folder, precision="int8", threads=1, max_context=100) as engine:
        info = engine.info
        assert (info.family, info.backend, info.kind, info.precision) == ("qwen2", "native", "causal", "int8")
        assert (info.device, info.threads, info.max_context, info.layers, info.hidden) == ("cpu", 1, 100, 2, 64)
        assert info.weight_bytes < 2.5 * info.parameters  # a byte a weight, and the small vectors in four
        assert info.load_s > 0
        assert engine.max_prompt(40) == 60


def test_a_window_beyond_the_models_own_is_refused(models: Models) -> None:
    with (
        pytest.raises(BadRequest, match="max_context is 513: this model's window is 512 tokens"),
        opened(models("llama"), max_context=513),
    ):
        pass

"""Weights to stacked parameters: precisions, half's range, names, heads and biases."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import BadModel, BadRequest
from engine.model.build import BuildOptions, build_parameters
from engine.model.families import describe
from engine.model.parameters import Parameters
from engine.model.quantize import GROUP, PANEL
from engine.weights import load_config, load_state
from tests.engine.conftest import Models
from tests.engine.reference import expected_logits, logits, make_decoder, opened, random_tokens
from tests.tiny import make_tiny_model

TEXT = random_tokens(40)[0]


def parameters(folder: Path, precision: str) -> Parameters:
    return build_parameters(describe(load_config(folder)), load_state(folder), BuildOptions(precision, 64))


def changed(folder: Path, target: Path, rename: Any = lambda name: name, **settings: Any) -> Path:
    """A copy of a model whose tensors are renamed (None drops one) and whose config.json says otherwise."""
    shutil.copytree(folder, target)
    state = load_file(target / "model.safetensors")
    kept = {new: tensor.clone() for name, tensor in state.items() if (new := rename(name)) is not None}
    save_file(kept, target / "model.safetensors")
    config = {**json.loads((target / "config.json").read_text()), **settings}
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_int4_keeps_the_matrices_in_groups_and_the_embedding_in_rows(models: Models) -> None:
    params, wide = parameters(models("llama"), "int4"), parameters(models("llama"), "fp32")
    for name in ("qkv", "out", "up", "down"):
        matrix, full = getattr(params, name), getattr(wide, name).weight
        assert matrix.weight.dtype == torch.uint8
        groups = (full.shape[0], full.shape[1] // PANEL, full.shape[2] // GROUP * PANEL)
        assert matrix.scale.shape == matrix.minimum.shape == groups
        found = matrix.layer(1).widen(torch.empty_like(full[1]))
        assert (found - full[1]).abs().max() <= 0.51 * matrix.scale.max()
    assert params.embed.weight.dtype == params.head.weight.dtype == torch.int8


def test_int4_of_columns_that_do_not_divide_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path, "llama", hidden=48)
    with pytest.raises(BadRequest, match=r"cannot be held in int4: '.*q_proj' has 48 columns, not a multiple of 32\."):
        parameters(folder, "int4")


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("half", torch.float16), ("int8", torch.int8)]
)
def test_weights_are_stored_in_the_precision_asked_for(models: Models, precision: str, dtype: torch.dtype) -> None:
    params = parameters(models("llama"), precision)
    state = load_state(models("llama"))
    for name in ("embed", "qkv", "out", "up", "down", "head"):
        assert getattr(params, name).weight.dtype == dtype, name
    gate, up = (state[f"model.layers.1.mlp.{name}_proj.weight"] for name in ("gate", "up"))
    stored = params.up.layer(1).widen(torch.empty(params.up.shape))
    step = float(params.up.scale.max()) if precision == "int8" else 0
    bound = {"fp32": 0.0, "half": 1e-3, "int8": 0.51 * step}[precision]
    assert (stored - torch.cat([gate, up])).abs().max() <= bound  # the gate first


def test_a_tied_head_is_the_embedding_itself_and_counted_once(models: Models) -> None:
    tied, apart = parameters(models("llama"), "fp32"), parameters(models("llama", tied=False), "fp32")
    assert tied.head is tied.embed
    assert apart.nbytes() - tied.nbytes() == 4 * 384 * 64


def test_a_weight_beyond_halfs_range_is_refused(models: Models) -> None:
    state = load_state(models("llama"))
    state["model.layers.1.mlp.up_proj.weight"][0, 0] = 70_000.0
    arch = describe(load_config(models("llama")))
    with pytest.raises(BadModel, match="too large for half precision: load this model in fp32 or int8"):
        build_parameters(arch, state, BuildOptions("half", 8))
    assert build_parameters(arch, state, BuildOptions("int8", 8)).up.scale.max() > 500


@pytest.mark.parametrize(
    ("family", "rename"),
    [
        ("gpt2", lambda name: name.removeprefix("transformer.")),
        ("gpt2", lambda name: name if name.startswith("transformer.") else f"transformer.{name}"),
    ],
    ids=["without", "with"],
)
def test_gpt2_is_read_with_and_without_its_prefix(models: Models, tmp_path: Path, family: str, rename: Any) -> None:
    folder = changed(models(family), tmp_path / "renamed", rename)
    expected = expected_logits(models(family), TEXT)
    assert (logits(make_decoder(folder), TEXT) - expected).abs().max() <= 1e-4


def test_shards_are_read_as_one(models: Models, tmp_path: Path) -> None:
    whole = models("qwen2")
    shutil.copytree(whole, tmp_path / "sharded")
    (tmp_path / "sharded" / "model.safetensors").unlink()
    names = sorted(load_state(whole))
    parts = {f"model-{i + 1:05}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, part in parts.items():
        save_file({name: load_state(whole)[name] for name in part}, tmp_path / "sharded" / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (tmp_path / "sharded" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(logits(make_decoder(tmp_path / "sharded"), TEXT), logits(make_decoder(whole), TEXT))


def test_an_untied_model_without_a_head_is_refused(models: Models, tmp_path: Path) -> None:
    folder = changed(models("llama"), tmp_path / "headless", tie_word_embeddings=False)
    with pytest.raises(BadModel, match=r"lack 1 tensors .* as 'lm_head.weight'"), opened(folder):
        pass


def test_a_head_unlike_the_embedding_is_used_whatever_the_config_says(models: Models, tmp_path: Path) -> None:
    apart = models("llama", tied=False)
    folder = changed(apart, tmp_path / "called-tied", tie_word_embeddings=True)
    assert torch.equal(logits(make_decoder(folder), TEXT), logits(make_decoder(apart), TEXT))


@pytest.mark.parametrize("missing", ["model.layers.0.self_attn.k_proj.bias", "model.layers.1.self_attn.q_proj.bias"])
def test_a_bias_that_is_missing_in_one_place_is_refused(models: Models, tmp_path: Path, missing: str) -> None:
    folder = changed(models("qwen2"), tmp_path / "lacking", lambda name: None if name == missing else name)
    with pytest.raises(BadModel, match=f"as '{missing}'"):
        make_decoder(folder)


def test_a_bias_of_a_wrong_shape_is_refused(models: Models, tmp_path: Path) -> None:
    folder = shutil.copytree(models("gpt2"), tmp_path / "short")
    state = load_file(folder / "model.safetensors")
    state["transformer.h.0.attn.c_attn.bias"] = torch.zeros(64)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(BadModel, match=r"'transformer.h.0.attn.c_attn.bias' .* has shape \(64,\)"):
        make_decoder(folder)


def test_progress_reaches_the_end(models: Models) -> None:
    heard: list[float] = []
    folder = models("llama")
    build_parameters(describe(load_config(folder)), load_state(folder), BuildOptions("int8", 8), heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_every_field_is_counted(models: Models, precision: str) -> None:
    params = parameters(models("gpt2"), precision)
    held = {tensor.data_ptr() for tensor in params.tensors() if tensor.numel()}
    for field in dataclasses.fields(params):
        value = getattr(params, field.name)
        for tensor in (value,) if isinstance(value, torch.Tensor) else value.tensors():
            assert not tensor.numel() or tensor.data_ptr() in held, field.name

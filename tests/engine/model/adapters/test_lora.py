"""Adapters read from PEFT's folders, and everything that is no such folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import BadModel
from engine.model.adapters.lora import read_lora
from engine.model.families import Architecture, describe
from tests.engine.model.adapters.folders import TARGETS, write
from tests.engine.random_decoders import MODELS

LLAMA = MODELS["llama"]


def arch() -> Architecture:
    return describe(LLAMA.config.to_dict())


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    state = load_file(folder / "adapter_model.safetensors")
    change(state)
    save_file(state, folder / "adapter_model.safetensors")


def test_what_peft_scales_is_scaled(tmp_path: Path) -> None:
    plain = read_lora(write(tmp_path / "a", LLAMA, ("q_proj",), rank=4, lora_alpha=4), arch())
    for config, factor in (
        ({"lora_alpha": 12}, 3.0),
        ({"lora_alpha": 4, "use_rslora": True}, 2.0),
        ({"lora_alpha": 4, "alpha_pattern": {"q_proj": 8}}, 2.0),
        ({"lora_alpha": 4, "alpha_pattern": {r"layers\.0\.self_attn\.q_proj": 8}}, None),
    ):
        found = read_lora(write(tmp_path / "b", LLAMA, ("q_proj",), rank=4, **config), arch())
        by_layer = [found.b["qkv"][i].norm() / plain.b["qkv"][i].norm() for i in range(2)]
        assert by_layer == pytest.approx([2.0, 1.0] if factor is None else [factor] * 2)


def test_modules_left_alone_are_zeros(tmp_path: Path) -> None:
    found = read_lora(write(tmp_path / "a", LLAMA, ("v_proj", "up_proj"), rank=3), arch())
    assert found.rank == 3 and found.name == "a" and found.invocation == ()
    assert not found.a["qkv"][:, :2].any() and found.a["qkv"][:, 2].all()
    assert not found.a["out"].any() and not found.a["up"][:, 0].any() and found.a["up"][:, 1].any()


def test_modules_of_other_ranks_are_filled_with_zeros(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", LLAMA, ("o_proj",), rank=4)
    small = read_lora(folder, arch())
    big = write(tmp_path / "b", LLAMA, ("q_proj",), rank=6)
    changed(folder, lambda state: state.update(load_file(big / "adapter_model.safetensors")))
    both = read_lora(folder, arch())
    assert both.rank == 6 and torch.equal(both.a["out"][:, :, :4], small.a["out"]) and not both.a["out"][:, :, 4:].any()


NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        ({"peft_type": "IA3"}, None, "is of the kind IA3: only LORA is run"),
        ({"use_dora": True}, None, "needs use_dora=True, which is not run here"),
        ({"bias": "all"}, None, "needs bias=all"),
        ({"modules_to_save": ["lm_head"]}, None, r"needs modules_to_save=\['lm_head'\]"),
        ({"alora_invocation_tokens": "<q>"}, None, "alora_invocation_tokens that are no token ids"),
        ({}, lambda state: state.pop(NAME), "no pairs of lora_A and lora_B"),
        ({}, lambda state: state.update({NAME: state[NAME][:, :8].contiguous()}), "is of another model: its model"),
        ({}, lambda state: state[NAME].fill_(float("nan")), "numbers that are not finite"),
        ({}, lambda state: state.clear(), "has rank 0: 1 to 256 are run"),
        (
            {},
            lambda state: state.update(
                {f"base_model.model.lm_head.lora_{c}.weight": state[NAME].clone() for c in "AB"}
            ),
            "changes lm_head, which is none of this model's matrices",
        ),
    ],
)
def test_what_is_no_adapter_for_it_is_one_sentence(
    tmp_path: Path, config: dict[str, Any], change: Callable[[dict[str, Any]], None] | None, message: str
) -> None:
    folder = write(tmp_path / "a", LLAMA, TARGETS["llama"], **config)
    if change:
        changed(folder, change)
    with pytest.raises(BadModel, match=message) as error:
        read_lora(folder, arch())
    assert str(error.value).endswith(".")


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"is no adapter: there is no adapter_config\.json in it"):
        read_lora(tmp_path, arch())
    folder = write(tmp_path / "a", LLAMA, ("q_proj",))
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(BadModel, match="is damaged"):
        read_lora(folder, arch())
    weights.rename(folder / "adapter_model.bin")
    with pytest.raises(BadModel, match="as a pickle, which may run any code"):
        read_lora(folder, arch())
    for text in ("{", "[]", json.dumps("x")):
        (folder / "adapter_config.json").write_text(text)
        with pytest.raises(BadModel, match="not JSON as PEFT writes it"):
            read_lora(folder, arch())

"""Weights in their precisions."""

from __future__ import annotations

import pytest
import torch

from engine.check import random_models
from engine.errors import BadModel
from engine.families import describe
from engine.parameters import build, expected_shapes, quantize_rows

CPU = torch.device("cpu")


def test_int8_rows_are_within_half_a_step_and_use_the_whole_range() -> None:
    weight = torch.randn(50, 64, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 50)[:, None]
    weight[7] = 0
    rounded, scale = quantize_rows(weight)
    assert torch.equal(rounded, rounded.round())
    assert (rounded.abs().amax(-1)[torch.arange(50) != 7] == 127).all()
    assert ((rounded * scale[:, None] - weight).abs() <= scale[:, None] * 0.5001).all()
    assert (rounded[7] == 0).all()


def test_half_refuses_a_weight_it_cannot_hold() -> None:
    name, model = next(random_models())
    state = dict(model.state_dict())
    state["model.norm.weight"] = state["model.norm.weight"]  # vectors stay f32, so only matrices matter
    state["model.layers.0.mlp.down_proj.weight"] = state["model.layers.0.mlp.down_proj.weight"] * 1e9
    with pytest.raises(BadModel, match="too large for half"):
        build(describe(model.config.to_dict()), state, "half", context=16, device=CPU, compute_dtype=torch.float32)


@pytest.mark.parametrize("precision", ["fp32", "half", "int8"])
def test_a_precision_takes_the_memory_it_promises(precision: str) -> None:
    _, model = next(random_models())
    arch, state = describe(model.config.to_dict()), dict(model.state_dict())
    params = build(arch, state, precision, context=16, device=CPU, compute_dtype=torch.float32)
    assert params.up.weight.element_size() == {"fp32": 4, "half": 2, "int8": 1}[precision]
    tied = params.head is params.embed
    assert tied == arch.tied
    assert params.nbytes() == sum(t.numel() * t.element_size() for t in params.tensors())


def test_every_expected_name_stands_in_a_real_state() -> None:
    for _, model in random_models():
        state = dict(model.state_dict())
        for name, shape in expected_shapes(describe(model.config.to_dict()), state).items():
            assert tuple(state[name].shape) == shape, name

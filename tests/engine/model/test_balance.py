"""Balanced weights: the same model in fp32, and a better one in int8."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.cache.static import StaticCache
from engine.model.balance import balanced, factors_of, inputs
from engine.model.build import BuildOptions, build_parameters
from engine.model.checkpoint import Checkpoint, State
from engine.model.decoder import Decoder, Segment
from engine.model.families import describe
from tests.engine.random_decoders import MODELS

TOKENS = torch.arange(3, 40)


def logits(model: Any, state: State, precision: str) -> torch.Tensor:
    arch = describe(model.config.to_dict())
    params = build_parameters(arch, state, BuildOptions(precision, 64))
    decoder = Decoder(arch, params, StaticCache(arch.layers, 1, arch.kv_heads, 64, arch.head_dim))
    return decoder.logits(decoder.hidden(TOKENS, [Segment(0, 0, len(TOKENS))]))


def uneven(model: Any) -> dict[str, torch.Tensor]:
    """The model's weights, with a few columns of every product given numbers 50 times as large and weights as much
    smaller: a trained model's outliers, in a model that says the same."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    arch = describe(model.config.to_dict())
    names, axis = arch.family.names, 0 if arch.family.transposed else 1
    key = Checkpoint(arch, state).key
    for layer in range(arch.layers):
        for norm, matrices in ((names.norm1, names.qkv), (names.norm2, names.up)):
            for part in ("weight", "bias"):
                if (scaled := key(norm.format(layer), part)) in state:
                    state[scaled][::16] *= 50
            for name in matrices:
                state[key(name.format(layer))].transpose(0, axis)[::16] /= 50
        if arch.family.gated:
            for part in ("weight", "bias"):
                if (scaled := key(names.up[1].format(layer), part)) in state:
                    state[scaled][::16] *= 50
            state[key(names.down.format(layer))][:, ::16] /= 50
    return state


@pytest.mark.parametrize("name", MODELS)
def test_in_fp32_the_balanced_model_is_the_same_bit_for_bit(name: str) -> None:
    model = MODELS[name]
    state = uneven(model)
    expected = logits(model, state, "fp32")
    changed = balanced(describe(model.config.to_dict()), state)
    found = logits(model, changed, "fp32")
    assert any(not torch.equal(changed[key], state[key]) for key in state)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", MODELS)
def test_in_int8_it_loses_less_where_columns_differ(name: str) -> None:
    model = MODELS[name]
    state = uneven(model)
    expected = logits(model, state, "fp32")

    def lost(given: State) -> float:
        return float((logits(model, given, "int8") - expected).square().mean())

    assert lost(balanced(describe(model.config.to_dict()), state)) < 0.5 * lost(state)


def test_what_a_layer_is_given_is_what_it_is_given_in_the_whole_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["gpt2"]
    arch = describe(model.config.to_dict())
    params = build_parameters(arch, dict(model.state_dict()), BuildOptions("fp32", 64))
    seen: list[torch.Tensor] = []
    linear = Decoder._linear

    def heard(self: Decoder, x: torch.Tensor, m: Any) -> torch.Tensor:
        seen.append(x.square().mean(0))
        return linear(self, x, m)

    found = [squares for layer in inputs(arch, dict(model.state_dict())) for squares in layer]
    length = min(64, arch.context)
    tokens = torch.randint(arch.vocabulary, (8 * length,), generator=torch.Generator().manual_seed(0))
    cache = StaticCache(arch.layers, 8, arch.kv_heads, length, arch.head_dim)
    monkeypatch.setattr(Decoder, "_linear", heard)
    Decoder(arch, params, cache).hidden(tokens, [Segment(slot, 0, length) for slot in range(8)])
    expected = [squares for i, squares in enumerate(seen) if i % 4 != 1]  # all but what goes to `out`
    assert len(found) == len(expected) == 3 * arch.layers
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_columns_of_zeros_have_factors_too() -> None:
    assert torch.isfinite(factors_of(torch.zeros(8), [torch.zeros(4, 8)])).all()
    found = factors_of(torch.tensor([1.0, 16.0, 256.0]) ** 2, [torch.ones(2, 3)])  # 1, 2 and 4 over 7/3
    assert found.tolist() == [0.5, 1, 2]

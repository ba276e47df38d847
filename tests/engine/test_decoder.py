"""The decoder against Transformers on random models of every family, in fp32 and in the 16 bit of an accelerator."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from engine.cache.static import StaticCache
from engine.check import LOGIT_BOUND, parity, random_models
from engine.decoder import Decoder, Segment
from engine.families import describe, rotary
from engine.parameters import Parameters, build

MODELS = dict(random_models())
CPU = torch.device("cpu")


def parameters(model: Any, precision: str, dtype: torch.dtype = torch.float32) -> Parameters:
    arch = describe(model.config.to_dict())
    return build(arch, dict(model.state_dict()), precision, context=128, device=CPU, compute_dtype=dtype)


def decoder(model: Any, precision: str, dtype: torch.dtype = torch.float32) -> Decoder:
    arch = describe(model.config.to_dict())
    cache = StaticCache(arch.layers, 4, arch.kv_heads, 128, arch.head_dim, dtype)
    return Decoder(arch, parameters(model, precision, dtype), cache)


@pytest.mark.parametrize("family", MODELS)
def test_logits_equal_transformers_alone_ragged_and_chunked(family: str) -> None:
    assert max(parity(MODELS[family])) <= LOGIT_BOUND


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(("precision", "bound"), [("half", 0.01), ("int8", 0.3)])
def test_stored_precisions_stay_near_fp32(family: str, precision: str, bound: float) -> None:
    text = torch.randint(300, (40,), generator=torch.Generator().manual_seed(2))
    full, stored = (
        d.logits(d.hidden(text, [Segment(0, 0, 40)])).log_softmax(-1)
        for d in (decoder(MODELS[family], "fp32"), decoder(MODELS[family], precision))
    )
    divergence = (full.exp() * (full - stored)).sum(-1)  # KL, nats, a position
    assert 0 < float(divergence.mean()) < bound


@pytest.mark.parametrize("precision", ["half", "int8"])
def test_sixteen_bit_arithmetic_of_an_accelerator_runs_on_cpu_tensors(precision: str) -> None:
    text = torch.randint(300, (24,), generator=torch.Generator().manual_seed(3))
    full, low = decoder(MODELS["qwen3"], "fp32"), decoder(MODELS["qwen3"], precision, torch.bfloat16)
    assert low.cache.keys.dtype == torch.bfloat16
    expected = full.logits(full.hidden(text, [Segment(0, 0, 24)])).log_softmax(-1)
    low.hidden(text[:16], [Segment(1, 0, 16)])
    rows = [low.logits(low.hidden(text[i : i + 1], [Segment(1, i, 1)])) for i in range(16, 24)]  # prefill, then decode
    found = torch.cat(rows).log_softmax(-1)
    divergence = (expected[16:].exp() * (expected[16:] - found)).sum(-1)
    assert found.dtype == torch.float32
    assert float(divergence.mean()) < 0.5


def test_an_early_layer_is_what_transformers_calls_it() -> None:
    model = MODELS["llama"]
    text = torch.arange(10, 30)
    expected = model(text[None], output_hidden_states=True).hidden_states[2][0]
    found = decoder(model, "fp32").hidden(text, [Segment(0, 0, 20)], layers=2, final=False)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "scaling",
    [
        {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 32},
    ],
)  # fmt: skip
def test_rotary_scaling_equals_transformers(scaling: dict[str, Any]) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", vocab_size=307, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, initializer_range=0.2,
        rope_parameters={"rope_theta": 10000.0, **scaling},
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    plain = describe({**model.config.to_dict(), "rope_parameters": None, "rope_scaling": None})
    assert not torch.equal(rotary(describe(model.config.to_dict()), 128)[0], rotary(plain, 128)[0])
    assert max(parity(model)) <= LOGIT_BOUND

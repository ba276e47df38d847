"""config.json to an architecture, and the rotary table."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engine.model.families import FAMILIES, Unfit, describe, rotary
from engine.weights import load_config
from tests.engine.conftest import Models
from tests.tiny import FAMILIES as TINY_FAMILIES

LLAMA: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 64,
    "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "intermediate_size": 128,
    "vocab_size": 300, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_every_family_is_read(models: Models, family: str) -> None:
    arch = describe(load_config(models(family)))
    assert (arch.name, arch.layers, arch.hidden, arch.heads, arch.head_dim) == (family, 2, 64, 4, 16)
    assert arch.kv_heads == (4 if family == "gpt2" else 2)
    assert arch.context == 512
    assert arch.feed_forward == (256 if family == "gpt2" else 128)
    assert arch.family is FAMILIES[family]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "mamba"}, "'mamba' is not one of llama"),
        ({"model_type": None}, "is not one of"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "not a language-model head"),
        ({"architectures": ["LlamaForQuestionAnswering"]}, "not a language-model head"),
        ({"quantization_config": {"bits": 4}}, "quantized by another library"),
        ({"hidden_act": "relu"}, "'relu' is not silu or tanh-GELU"),
        ({"hidden_act": None}, "has no 'hidden_act'"),
        ({"hidden_size": None}, "has no 'hidden_size'"),
        ({"hidden_size": "large"}, "'hidden_size' as 'large'"),
        ({"num_hidden_layers": 0}, "'num_hidden_layers' as 0"),
        ({"vocab_size": -3}, "'vocab_size' as -3"),
        ({"rms_norm_eps": float("nan")}, "'rms_norm_eps' as nan"),
        ({"num_key_value_heads": 3}, "do not divide evenly"),
        ({"head_dim": 7}, "do not divide evenly"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn' is not default, linear, llama3"),
        ({"rope_scaling": {"type": "linear"}}, "'factor' as None"),
        ({"rope_scaling": {**LLAMA3, "low_freq_factor": 0}}, "'low_freq_factor' as 0"),
        ({"partial_rotary_factor": 0.5}, "only a part of each head"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scales its attention"),
    ],
)
def test_what_does_not_fit_says_why(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        describe({**LLAMA, **change})


def test_a_sliding_window_bounds_the_text_and_is_noted() -> None:
    arch = describe({**LLAMA, "model_type": "mistral", "sliding_window": 100})
    assert arch.context == 100
    assert "100 tokens" in arch.notes[0]
    unused = describe({**LLAMA, "model_type": "qwen2", "sliding_window": 100, "use_sliding_window": False})
    assert (unused.context, unused.notes) == (256, ())


@pytest.mark.parametrize(
    "scaling", [None, {"type": "linear", "factor": 4.0}, LLAMA3], ids=["plain", "linear", "llama3"]
)
@pytest.mark.parametrize("theta", [10_000.0, 500_000.0])
def test_rotary_equals_transformers(scaling: dict[str, Any] | None, theta: float) -> None:
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    cos, sin = rotary(describe({**LLAMA, "rope_theta": theta, "rope_scaling": scaling}), 256)
    parameters = {"rope_theta": theta, **({"rope_type": "default"} if scaling is None else scaling)}
    parameters["rope_type"] = parameters.pop("type", parameters.get("rope_type"))
    config = LlamaConfig(hidden_size=64, num_attention_heads=4, max_position_embeddings=256, rope_parameters=parameters)
    theirs = LlamaRotaryEmbedding(config)(torch.zeros(1), torch.arange(256)[None])
    for ours, expected in zip((cos, sin), theirs, strict=True):
        assert ours.shape == (256, 8)
        torch.testing.assert_close(torch.cat([ours, ours], -1), expected[0], atol=1e-5, rtol=0)


def test_both_spellings_of_rope_settings_are_read() -> None:
    old = describe({**LLAMA, "rope_theta": 500.0, "rope_scaling": LLAMA3})
    new = describe({**LLAMA, "rope_parameters": {**LLAMA3, "rope_theta": 500.0}})
    assert old == new
    assert old.rope_theta == 500.0

"""Reading config.json: what the native decoder takes, and the reason where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from engine.families import Unfit, describe

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    "vocab_size": 49152, "hidden_act": "silu", "rope_theta": 100000.0, "tie_word_embeddings": True,
}  # fmt: skip


def test_smollm2_is_read() -> None:
    arch = describe(LLAMA)
    assert (arch.heads, arch.kv_heads, arch.head_dim, arch.context) == (9, 3, 64, 8192)
    assert arch.rope_theta == 100000.0
    assert arch.tied


def test_rope_parameters_of_transformers_5_are_read() -> None:
    newer = {**LLAMA, "rope_theta": None, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}
    assert describe(newer).rope_theta == 5e5


def test_a_sliding_window_bounds_the_context_and_is_said() -> None:
    arch = describe({**LLAMA, "model_type": "mistral", "sliding_window": 4096})
    assert arch.context == 4096
    assert "4096" in arch.notes[0]
    assert describe({**LLAMA, "model_type": "qwen2", "sliding_window": 64, "use_sliding_window": False}).context == 8192


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"model_type": "mamba"}, "mamba"),
        ({"hidden_act": "relu"}, "relu"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "yarn"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "part of each head"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "head"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized"),
    ],
)
def test_what_does_not_fit_says_why(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        describe({**LLAMA, **changed})

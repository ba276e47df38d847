"""Bytes and operations, worked out by hand on a small architecture."""

from __future__ import annotations

import pytest

from engine.measure.speed import roofline
from engine.model.families import Architecture, describe


def arch(**changes: object) -> Architecture:
    config = {
        "model_type": "llama", "vocab_size": 100, "hidden_size": 8, "intermediate_size": 10, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 2, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": True,
    }  # fmt: skip
    return describe({**config, **changes})


def test_matrices_are_counted_as_transformers_builds_them() -> None:
    # q and o: 8 x 8 each; k and v: 8 x 4 each; gate, up and down: 8 x 10 each
    assert roofline.matrix_parameters(arch()) == 3 * (2 * 64 + 2 * 32 + 3 * 80)


def test_an_embedding_that_is_not_the_head_is_not_read_in_decode() -> None:
    matrices = roofline.matrix_parameters(arch())
    untied = arch(tie_word_embeddings=False)
    assert roofline.read_once(arch(), 4.0 * (matrices + 800)) == 4.0 * (matrices + 800)
    assert roofline.read_once(untied, 4.0 * (matrices + 1600)) == pytest.approx(4.0 * (matrices + 800))


@pytest.mark.parametrize(("kv", "size"), [("fp32", 4 * 2), ("half", 2 * 2), ("int8", 2 + 4)])
def test_a_position_has_keys_and_values_of_every_layer_and_head(kv: str, size: int) -> None:
    assert roofline.kv_token_bytes(arch(), kv) == 2 * 3 * 2 * size


def test_decode_reads_weights_once_and_every_streams_cache() -> None:
    work = roofline.decode(arch(), 10, 4, 1000.0, "fp32")
    assert work.nbytes == 1000 + 4 * 10 * roofline.kv_token_bytes(arch(), "fp32")
    assert work.flops == 4 * (2 * (roofline.matrix_parameters(arch()) + 800) + 4 * 3 * 4 * 2 * 10)


def test_prefill_attends_to_all_before_and_takes_the_head_once() -> None:
    work = roofline.prefill(arch(), 5, 1000.0)
    assert work.nbytes == 1000
    assert work.flops == 2 * roofline.matrix_parameters(arch()) * 5 + 4 * 3 * 4 * 2 * (1 + 2 + 3 + 4 + 5) + 2 * 800


def test_the_bound_is_what_explains_most_of_the_time() -> None:
    work = roofline.Work(nbytes=50, flops=10)
    assert work.shares(1.0, bandwidth=100, flops=100) == (0.5, 0.1)
    assert roofline.bound((0.5, 0.1)) == "memory"
    assert roofline.bound((0.6, 0.9)) == "compute"
    assert roofline.bound((0.4, 0.3)) == "Python, other"

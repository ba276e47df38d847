"""Our decoder against Transformers on the same random weights: max |logit difference| at most 1e-4 in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.model.decoder import Segment
from engine.model.quantize import quantize_groups, quantize_rows
from tests.engine.conftest import Models
from tests.engine.reference import expected_logits, logits, make_decoder, random_tokens, transformers_model
from tests.tiny import FAMILIES

BOUND = 1e-4
TEXTS = random_tokens(1, 90, 33, 7)


def worst(found: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


@pytest.fixture(params=FAMILIES)
def folder(request: pytest.FixtureRequest, models: Models) -> Path:
    return models(request.param)


def test_alone(folder: Path) -> None:
    decoder = make_decoder(folder)
    expected = [expected_logits(folder, text) for text in TEXTS]
    assert worst([logits(decoder, text) for text in TEXTS], expected) <= BOUND
    assert expected[1].std() > 1  # weights large enough for a difference to show


def test_in_a_ragged_batch(folder: Path) -> None:
    decoder = make_decoder(folder)
    packed = torch.tensor([token for text in TEXTS for token in text])
    segments = [Segment(slot, 0, len(text)) for slot, text in enumerate(TEXTS)]
    rows = decoder.logits(decoder.hidden(packed, segments)).split([len(text) for text in TEXTS])
    assert worst(list(rows), [expected_logits(folder, text) for text in TEXTS]) <= BOUND
    # one token more for each, decoded together from what the cache holds
    more = random_tokens(4, seed=1)[0]
    segments = [Segment(slot, len(text), 1) for slot, text in enumerate(TEXTS)]
    rows = decoder.logits(decoder.hidden(torch.tensor(more), segments)).split(1)
    expected = [expected_logits(folder, [*text, token])[-1:] for text, token in zip(TEXTS, more, strict=True)]
    assert worst(list(rows), expected) <= BOUND


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_prompt_in_chunks_equals_the_whole(folder: Path, chunk: int) -> None:
    decoder, text = make_decoder(folder), TEXTS[1]
    parts = [logits(decoder, text[at : at + chunk], slot=2, start=at) for at in range(0, len(text), chunk)]
    assert worst([torch.cat(parts)], [expected_logits(folder, text)]) <= BOUND


def test_what_a_slot_held_before_does_not_matter(folder: Path) -> None:
    decoder = make_decoder(folder)
    fresh = logits(decoder, TEXTS[2], slot=0)
    logits(decoder, TEXTS[1], slot=1)
    assert torch.equal(logits(decoder, TEXTS[2], slot=1), fresh)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_hidden_states_after_each_layer(folder: Path, layer: int) -> None:
    decoder, text = make_decoder(folder), TEXTS[2]
    with torch.inference_mode():
        states = transformers_model(folder)(torch.tensor([text]), output_hidden_states=True).hidden_states
    found = decoder.hidden(torch.tensor(text), [Segment(0, 0, len(text))], layers=layer, final=layer == 2)
    assert worst([found], [states[layer][0]]) <= BOUND


@pytest.mark.parametrize(
    "options",
    [
        {"tied": False},
        {"tied": True, "hidden": 96},
        {"vocab": 259, "layers": 3},
    ],
    ids=["untied", "six-heads", "odd-vocabulary"],
)
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_other_sizes_and_heads(models: Models, family: str, options: dict[str, Any]) -> None:
    folder = models(family, **options)
    text = random_tokens(30, vocabulary=259)[0]
    assert worst([logits(make_decoder(folder), text)], [expected_logits(folder, text)]) <= BOUND


@pytest.mark.parametrize(
    "settings",
    [
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
        {"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 32, "rope_theta": 10000.0}},
        {"attention_bias": True, "mlp_bias": True},
        {"head_dim": 32},
        {"num_key_value_heads": 1},
    ],
    ids=["linear", "llama3", "biases", "wide-heads", "one-key-head"],
)  # fmt: skip
def test_llama_variants(tmp_path: Path, settings: dict[str, Any]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 300, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**{**sizes, **settings}))
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(tmp_path)
    text = random_tokens(100, vocabulary=300)[0]
    assert worst([logits(make_decoder(tmp_path), text)], [expected_logits(tmp_path, text)]) <= BOUND


def in_int8(weight: Tensor) -> Tensor:
    """What int8 makes of a matrix fp32 [rows, columns]."""
    whole, scale = quantize_rows(weight)
    return whole * scale[:, None]


def test_int4_computes_with_its_widened_weights(models: Models) -> None:
    folder, text = models("llama"), TEXTS[2]
    stored, plain = make_decoder(folder, "int4"), make_decoder(folder)
    assert plain.params.head is plain.params.embed
    plain.params.embed.weight.copy_(in_int8(plain.params.embed.weight))
    for name in ("qkv", "out", "up", "down"):
        for one in getattr(plain.params, name).weight:
            packed, scale, minimum = quantize_groups(one)
            low, high = (packed & 15).view(*scale.shape, 16), (packed >> 4).view(*scale.shape, 16)
            one.copy_((torch.cat([low, high], -1) * scale.float()[..., None] + minimum.float()[..., None]).flatten(1))
    assert worst([logits(stored, text)], [logits(plain, text)]) <= BOUND
    assert worst([logits(stored, text)], [expected_logits(folder, text)]) > 0.01


@pytest.mark.parametrize("kv_precision", ["fp32", "half", "int8"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_every_kv_precision_sees_the_same_numbers_however_a_text_is_cut(
    models: Models, family: str, kv_precision: str
) -> None:
    """Keys and values are read as they are stored, so chunks, and one token at a time, change rounding of sums only.

    Such a rounding may move a value of an int8 head over a tie, by one step of that value; seldom, and by little.
    """
    decoder, text = make_decoder(models(family), kv_precision=kv_precision), TEXTS[1]
    whole = logits(decoder, text)
    for chunk in (1, 7):
        parts = [logits(decoder, text[at : at + chunk], slot=1, start=at) for at in range(0, len(text), chunk)]
        assert worst([torch.cat(parts)], [whole]) <= {"fp32": BOUND, "half": 0.02, "int8": 0.2}[kv_precision]
        assert (torch.cat(parts) - whole).abs().median() <= BOUND


@pytest.mark.parametrize(("kv_precision", "bound"), [("half", 0.05), ("int8", 2.0)])
def test_a_stored_kv_precision_is_what_is_attended_to(models: Models, kv_precision: str, bound: float) -> None:
    folder, text = models("llama"), TEXTS[1]
    found = logits(make_decoder(folder, kv_precision=kv_precision), text)
    assert 0 < worst([found], [expected_logits(folder, text)]) <= bound


@pytest.mark.parametrize(("precision", "bound"), [("half", 0.05), ("int8", 1.5)])
def test_stored_precisions_compute_with_the_rounded_weights(models: Models, precision: str, bound: float) -> None:
    """Half and int8 equal fp32 run on their own rounded weights; they differ, a little, from the originals."""
    folder, text = models("llama"), TEXTS[2]
    stored, plain = make_decoder(folder, precision), make_decoder(folder)
    rounded = in_int8 if precision == "int8" else Tensor.half
    assert plain.params.head is plain.params.embed
    plain.params.embed.weight.copy_(rounded(plain.params.embed.weight))
    for name in ("qkv", "out", "up", "down"):
        for one in getattr(plain.params, name).weight:
            one.copy_(rounded(one))
    found = logits(stored, text)
    assert worst([found], [logits(plain, text)]) <= BOUND
    assert 0 < worst([found], [expected_logits(folder, text)]) <= bound

"""Decoders for the compiled step and prefill: every family, biases, wide heads, with texts in their slots."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from engine.model.decoder import Decoder, Segment
from tests.engine.random_decoders import MODELS, decoder

THREADS = [1, 2]  # whether or not there are two cores
LENGTHS = (1, 30, 7, 90)  # tokens each of four slots holds

# Weights and what keys and values are stored in. Every pair compiles for half a minute where nothing is cached: tests
# keep to these.
PAIRS = {"fp32": "fp32", "half": "half", "int8": "half", "int4": "half", "int8 kv": "int8"}

# Llama's three heads of 64 share keys and values (which some processors take together); biases and gates that the other
# families lack; a vocabulary that no tile divides.
WIDE = {
    "vocab_size": 301, "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 128, "attention_bias": True, "mlp_bias": True,
    "tie_word_embeddings": True,
}  # fmt: skip


@cache
def model(name: str) -> Any:
    """One of `MODELS`, or "wide"."""
    if name != "wide":
        return MODELS[name]
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    made = LlamaForCausalLM(LlamaConfig(**WIDE, initializer_range=0.2)).eval()  # type: ignore[arg-type]
    for key, value in made.named_parameters():
        if key.endswith(".bias"):
            torch.nn.init.normal_(value, std=0.3)
    return made


def empty(family: str, pair: str) -> Decoder:
    """A decoder whose slots hold nothing."""
    return decoder(model(family), pair.split()[0], kv_precision=PAIRS[pair])


def filled(family: str, pair: str) -> Decoder:
    """A decoder whose slots hold random texts of `LENGTHS`."""
    twin = empty(family, pair)
    generator = torch.Generator().manual_seed(5)
    for slot, length in enumerate(LENGTHS):
        twin.hidden(torch.randint(300, (length,), generator=generator), [Segment(slot, 0, length)])
    return twin


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)

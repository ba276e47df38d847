"""The two sides of every comparison: our decoder on a folder, and Transformers on the same one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine import Engine, EngineConfig, SamplingParams
from engine.cache.static import StaticCache
from engine.model.build import BuildOptions, build_parameters
from engine.model.checkpoint import expected_shapes
from engine.model.decoder import Decoder, Segment
from engine.model.families import describe
from engine.weights import check_shapes, load_config, load_state


def opened(folder: Path, **options: Any) -> Engine:
    """An engine in fp32 with plain torch decode unless told otherwise."""
    return Engine(EngineConfig(str(folder), **{"precision": "fp32", "kernels": False, "threads": 2, **options}))


def make_decoder(
    folder: Path, precision: str = "fp32", slots: int = 4, context: int = 128, kv_precision: str = ""
) -> Decoder:
    arch, state = describe(load_config(folder)), load_state(folder)
    check_shapes(state, expected_shapes(arch, state), folder)
    params = build_parameters(arch, state, BuildOptions(precision, context))
    cache = StaticCache(arch.layers, slots, arch.kv_heads, context, arch.head_dim, precision=kv_precision)
    return Decoder(arch, params, cache)


def logits(decoder: Decoder, tokens: Sequence[int], slot: int = 0, start: int = 0) -> torch.Tensor:
    """Logits [T, V] of one text."""
    return decoder.logits(decoder.hidden(torch.tensor(tokens), [Segment(slot, start, len(tokens))]))


@cache
def transformers_model(folder: Path) -> Any:
    """The folder's model in fp32 with plain ("eager") attention."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


@torch.inference_mode()
def expected_logits(folder: Path, tokens: Sequence[int]) -> torch.Tensor:
    """Logits [T, V] by Transformers."""
    return transformers_model(folder)(torch.tensor([list(tokens)])).logits[0]


def expected_tokens(folder: Path, prompt: Sequence[int], count: int) -> tuple[int, ...]:
    """What Transformers' own greedy `generate` adds to a prompt."""
    out = transformers_model(folder).generate(
        torch.tensor([list(prompt)]), max_new_tokens=count, do_sample=False, pad_token_id=0
    )
    return tuple(out[0, len(prompt) :].tolist())


def random_tokens(*lengths: int, vocabulary: int = 384, seed: int = 0) -> list[list[int]]:
    """Texts of those lengths; ids from 3 on, so that no special token ends one."""
    generator = np.random.default_rng(seed)
    return [generator.integers(3, vocabulary, length).tolist() for length in lengths]


GREEDY = SamplingParams(max_tokens=20)
LONG = SamplingParams(max_tokens=400, min_tokens=400)
PROMPTS = random_tokens(1, 5, 40, 12, 7, 3, 25, 9)


def tokens_of(engine: Engine, prompts: Any, params: SamplingParams = GREEDY) -> list[tuple[int, ...]]:
    return [done.token_ids for done in engine.generate(prompts, params)]

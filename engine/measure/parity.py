"""Our decoder against Transformers on small random models of every family: logits in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from engine.cache.static import StaticCache
from engine.model.build import BuildOptions, build_parameters
from engine.model.decoder import Decoder, Segment
from engine.model.families import describe

LOGIT_BOUND = 1e-4  # max |difference|


def random_models() -> Iterator[tuple[str, Any]]:
    """A small random Transformers model of every family we run ourselves."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import AutoConfig

    sizes = {
        "vocab_size": 307, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
    }  # fmt: skip
    gpt2 = {"vocab_size": 307, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 128,
            "bos_token_id": 0, "eos_token_id": 0}  # fmt: skip
    for name, given in (
        ("llama", sizes),
        ("mistral", {**sizes, "sliding_window": None}),
        ("qwen2", sizes),
        ("qwen3", {**sizes, "head_dim": 32}),
        ("gpt2", gpt2),
    ):
        torch.manual_seed(0)
        config = AutoConfig.for_model(name, initializer_range=0.2, **given)
        yield name, AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()


@torch.inference_mode()
def parity(model: Any) -> tuple[float, float, float]:
    """Max |logit difference| alone, in a ragged batch, and with the prompt cut into chunks of 7."""
    arch = describe(model.config.to_dict())
    params = build_parameters(arch, dict(model.state_dict()), BuildOptions("fp32", 128))
    decoder = Decoder(arch, params, StaticCache(arch.layers, 4, arch.kv_heads, 128, arch.head_dim))
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randint(arch.vocabulary, (n,), generator=generator) for n in (1, 90, 33, 7)]
    expected = [model(text[None]).logits[0] for text in texts]

    def worst(found: list[torch.Tensor]) -> float:
        return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))

    alone = [decoder.logits(decoder.hidden(text, [Segment(0, 0, len(text))])) for text in texts]
    packed = [Segment(slot, 0, len(text)) for slot, text in enumerate(texts)]
    ragged = decoder.logits(decoder.hidden(torch.cat(texts), packed)).split([len(text) for text in texts])
    chunked = [
        torch.cat([
            decoder.logits(decoder.hidden(part, [Segment(0, 7 * i, len(part))])) for i, part in enumerate(text.split(7))
        ])
        for text in texts
    ]  # fmt: skip
    return worst(alone), worst(list(ragged)), worst(chunked)

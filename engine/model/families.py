"""What differs between model families, as data: a new family is a new row in `FAMILIES`.

A family names its weights and says which of the decoder's few alternatives it takes. `describe` reads a model's
config.json into an `Architecture`; what it cannot vouch for raises `Unfit`, and the model runs on Transformers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


class Unfit(Exception):
    """The native decoder does not know this model; the text says what is unknown."""


@dataclass(frozen=True)
class Names:
    """Weight names as checkpoints have them; `{}` is the layer. Several names are one matrix, rows joined."""

    embed: str
    norm1: str
    qkv: tuple[str, ...]
    out: str
    norm2: str
    up: tuple[str, ...]  # gate before up
    down: str
    norm: str
    head: str
    positions: str = ""
    q_norm: str = ""
    k_norm: str = ""
    prefix: str = ""  # checkpoints with and without this prefix exist


LLAMA = Names(
    embed="model.embed_tokens",
    norm1="model.layers.{}.input_layernorm",
    qkv=("model.layers.{}.self_attn.q_proj", "model.layers.{}.self_attn.k_proj", "model.layers.{}.self_attn.v_proj"),
    out="model.layers.{}.self_attn.o_proj",
    norm2="model.layers.{}.post_attention_layernorm",
    up=("model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.up_proj"),
    down="model.layers.{}.mlp.down_proj",
    norm="model.norm",
    head="lm_head",
)
QWEN3 = Names(
    **{
        **LLAMA.__dict__,
        "q_norm": "model.layers.{}.self_attn.q_norm",
        "k_norm": "model.layers.{}.self_attn.k_norm",
    }
)
GPT2 = Names(
    embed="wte",
    positions="wpe",
    norm1="h.{}.ln_1",
    qkv=("h.{}.attn.c_attn",),
    out="h.{}.attn.c_proj",
    norm2="h.{}.ln_2",
    up=("h.{}.mlp.c_fc",),
    down="h.{}.mlp.c_proj",
    norm="ln_f",
    head="lm_head",
    prefix="transformer.",
)


@dataclass(frozen=True)
class Family:
    """What the models of one `model_type` have in common."""

    names: Names
    layer_norm: bool = False  # LayerNorm, else RMSNorm
    gated: bool = True  # silu(gate) * up, else an activation alone
    learned_positions: bool = False  # a table, else rotary
    transposed: bool = False  # matrices stored [in, out] (Conv1D of GPT-2)


FAMILIES: dict[str, Family] = {
    "llama": Family(LLAMA),
    "mistral": Family(LLAMA),
    "qwen2": Family(LLAMA),
    "qwen3": Family(QWEN3),
    "gpt2": Family(GPT2, layer_norm=True, gated=False, learned_positions=True, transposed=True),
}


ROPE_SCALING: dict[str, tuple[str, ...]] = {  # and the numbers each needs
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


@dataclass(frozen=True)
class Architecture:
    """The sizes of one model. `context` is the longest text it may be run on."""

    name: str
    family: Family
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context: int
    eps: float
    gelu: bool
    tied: bool
    rope_theta: float = 10000.0
    rope_scaling: tuple[tuple[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def describe(config: Mapping[str, Any]) -> Architecture:
    """Read a Transformers config.json. Raises `Unfit` with the reason where no family fits."""
    kind = str(config.get("model_type", ""))
    family = FAMILIES.get(kind)
    if family is None:
        raise Unfit(f"model type '{kind}' is not one of {', '.join(FAMILIES)}")
    if any(name.endswith(("Classification", "Answering")) for name in config.get("architectures") or ()):
        raise Unfit("its head is not a language-model head")
    if config.get("quantization_config"):
        raise Unfit("its weights are stored quantized by another library")

    def read(*names: str, default: Any = None) -> Any:
        for name in names:
            if config.get(name) is not None:
                return config[name]
        if default is None:
            raise Unfit(f"its config.json has no '{names[0]}'")
        return default

    def size(*names: str, default: int | None = None) -> int:
        value = read(*names, default=default)
        if not isinstance(value, int) or value < 1:
            raise Unfit(f"its config.json gives '{names[0]}' as {value!r}")
        return value

    def number(name: str, value: Any) -> float:
        if not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise Unfit(f"its config.json gives '{name}' as {value!r}")
        return float(value)

    heads = size("num_attention_heads", "n_head")
    kv_heads = size("num_key_value_heads", default=heads)
    hidden = size("hidden_size", "n_embd")
    head_dim = size("head_dim", default=hidden // heads)
    if heads % kv_heads or head_dim % 2:
        raise Unfit(f"its {heads} heads of {head_dim} over {kv_heads} key/value heads do not divide evenly")
    activation = str(read("hidden_act", "activation_function"))
    gelu = activation in ("gelu_new", "gelu_pytorch_tanh")
    if activation != "silu" and not gelu:
        raise Unfit(f"its activation '{activation}' is not silu or tanh-GELU")
    if config.get("scale_attn_by_inverse_layer_idx") or config.get("scale_attn_weights") is False:
        raise Unfit("it scales its attention in an uncommon way")

    context = size("max_position_embeddings", "n_positions")
    notes: tuple[str, ...] = ()
    window = config.get("sliding_window") if config.get("use_sliding_window", True) else None
    if window and int(window) < context:
        context = int(window)
        notes = (f"Its attention window is {context} tokens, and so is the longest text: within it nothing is lost.",)

    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    scaling = {k: v for k, v in rope.items() if k != "rope_theta"}
    rope_type = scaling.get("rope_type", scaling.get("type", "default"))
    if rope_type not in ROPE_SCALING:
        raise Unfit(f"its rotary scaling '{rope_type}' is not {', '.join(ROPE_SCALING)}")
    for name in ROPE_SCALING[rope_type]:
        number(name, scaling.get(name))
    if float(config.get("partial_rotary_factor") or rope.get("partial_rotary_factor") or 1) != 1:
        raise Unfit("it rotates only a part of each head")

    return Architecture(
        name=kind,
        family=family,
        layers=size("num_hidden_layers", "n_layer"),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        feed_forward=size("intermediate_size", "n_inner", default=4 * hidden),
        vocabulary=size("vocab_size"),
        context=context,
        eps=number("rms_norm_eps", read("rms_norm_eps", "layer_norm_epsilon")),
        gelu=gelu,
        tied=bool(config.get("tie_word_embeddings", kind == "gpt2")),
        rope_theta=number("rope_theta", rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        rope_scaling=tuple(sorted(scaling.items())) if rope_type != "default" else (),
        notes=notes,
    )


def rotary(arch: Architecture, context: int) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of the rotary angles, float32 [context, head_dim / 2]; (1, 0) where positions are learned.

    Scaling "llama3" as in Meta's Llama 3.1 release: long wavelengths are stretched, short ones kept.
    """
    half = arch.head_dim // 2
    if arch.family.learned_positions:
        return torch.ones(context, half), torch.zeros(context, half)
    frequency = 1.0 / arch.rope_theta ** (torch.arange(0, arch.head_dim, 2, dtype=torch.int64).float() / arch.head_dim)
    scaling = dict(arch.rope_scaling)
    if scaling:
        factor = float(scaling["factor"])
        if scaling.get("rope_type", scaling.get("type")) == "linear":
            frequency = frequency / factor
        else:
            low, high = float(scaling["low_freq_factor"]), float(scaling["high_freq_factor"])
            wavelength = 2 * math.pi / frequency
            old = float(scaling["original_max_position_embeddings"])
            smooth = ((old / wavelength - low) / (high - low)).clamp(0, 1)
            frequency = frequency / factor * (1 - smooth) + frequency * smooth
    angle = torch.arange(context).float()[:, None] * frequency[None]  # [context, head_dim / 2]
    return angle.cos(), angle.sin()

"""A GGUF file made into a Transformers folder: config.json and model.safetensors in fp32, the tokenizer beside them.

Undoes what llama.cpp's converter (convert_hf_to_gguf.py) did on the way in: the interleaved order of Llama's q and k
rows, the transposed matrices of GPT-2, Llama 3's rotary factors baked into a tensor.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import BadModel
from engine.model.families import FAMILIES, Family
from engine.weights.files import Progress, short
from engine.weights.gguf_file import GgufError, field, open_gguf
from engine.weights.gguf_tokenizer import write_tokenizer

if TYPE_CHECKING:
    import gguf

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
}
ROPE_FACTORS = "rope_freqs.weight"


def convert(path: Path, folder: Path, progress: Progress) -> tuple[str, tuple[str, ...]]:
    """Write the model in a GGUF file as a Transformers folder.

    Parameters
    ----------
    path : the GGUF file.
    folder : where config.json, model.safetensors and the tokenizer go.
    progress : hears what is being done.

    Returns
    -------
    types : the quantization types of its matrices ("Q4_1/Q8_0").
    notes : sentences to show.

    Raises
    ------
    BadModel : the file (which is named) is damaged, of an unknown architecture, or holds what cannot be carried over
        exactly.
    """
    progress(f"Reading {path.name}", None)
    reader = open_gguf(path)
    try:
        config = read_config(reader)
        state = read_state(reader, config, progress)
        notes = write_tokenizer(reader, config, folder)
    except (GgufError, NotImplementedError, UnicodeDecodeError) as error:
        raise BadModel(f"{path.name} cannot be used: {short(error)}.") from error
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    progress("Writing the converted weights", None)
    import torch
    from safetensors.torch import save_file

    tensors = {name: torch.from_numpy(weight) for name, weight in state.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return "/".join(sorted({t.tensor_type.name for t in reader.tensors if len(t.shape) > 1})), notes


def read_config(reader: gguf.GGUFReader) -> dict[str, Any]:
    """config.json of the model: the sizes from the metadata, in the names Transformers gives them."""
    kind = field(reader, "general.architecture", str)
    if kind not in ARCHITECTURES:
        raise GgufError(f"its architecture '{kind}' is not one of {', '.join(ARCHITECTURES)}")

    def number(key: str, default: int | None = None, most: int = 1 << 20) -> int:
        value: int = field(reader, f"{kind}.{key}", int, default)
        if not 0 < value <= most:
            raise GgufError(f"its '{kind}.{key}' is {value}")
        return value

    layers, hidden = number("block_count", most=1000), number("embedding_length")
    heads, context = number("attention.head_count"), number("context_length", most=1 << 24)
    embed = next((tensor for tensor in reader.tensors if tensor.name == "token_embd.weight"), None)
    if embed is None or len(embed.shape) != 2:
        raise GgufError("it has no token_embd.weight")
    config: dict[str, Any] = {"architectures": [ARCHITECTURES[kind]], "model_type": kind}
    config["vocab_size"] = int(embed.shape[1])
    if kind == "gpt2":
        return config | {
            "n_layer": layers,
            "n_embd": hidden,
            "n_head": heads,
            "n_positions": context,
            "n_inner": number("feed_forward_length", 4 * hidden),
            "layer_norm_epsilon": field(reader, "gpt2.attention.layer_norm_epsilon", float),
            "activation_function": "gelu_new",
            "dtype": "float32",
        }
    head_dim = number("attention.key_length", hidden // heads)
    if number("attention.value_length", head_dim) != head_dim or number("rope.dimension_count", head_dim) != head_dim:
        raise GgufError("its heads rotate only in part, or differ in size between keys and values")
    if field(reader, f"{kind}.expert_count", int, 0) > 0:
        raise GgufError("it is a mixture of experts, which is not read")
    config |= {
        "hidden_size": hidden,
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "max_position_embeddings": context,
        "rms_norm_eps": field(reader, f"{kind}.attention.layer_norm_rms_epsilon", float),
        "rope_theta": field(reader, f"{kind}.rope.freq_base", float, 10000.0),
        "rope_scaling": _rope_scaling(reader, kind, head_dim),
        "hidden_act": "silu",
        "dtype": "float32",
    }
    names = {tensor.name for tensor in reader.tensors}
    if kind == "llama":
        config |= {"attention_bias": "blk.0.attn_q.bias" in names, "mlp_bias": "blk.0.ffn_up.bias" in names}
    if window := field(reader, f"{kind}.attention.sliding_window", int, 0):
        config |= {"model_type": "mistral", "architectures": ["MistralForCausalLM"]} if kind == "llama" else {}
        config |= {"sliding_window": window, "use_sliding_window": True}
    return config


def read_state(reader: gguf.GGUFReader, config: dict[str, Any], progress: Progress) -> dict[str, np.ndarray]:
    """All weights by Transformers' names.

    Parameters
    ----------
    reader : the file.
    config : what `read_config` gave; its `tie_word_embeddings` is set here.
    progress : hears the share of the weights that is read.

    Returns
    -------
    f32 arrays in Transformers' layout.

    Raises
    ------
    GgufError : a tensor is missing, unknown, or of an unexpected size.
    """
    kind = config["model_type"]
    family = FAMILIES[kind]
    tensors = {tensor.name: tensor for tensor in reader.tensors if tensor.name != ROPE_FACTORS}
    state: dict[str, np.ndarray] = {}
    for name, stored in _names(config, family).items():
        if (tensor := tensors.pop(stored, None)) is None:
            if not name.endswith(".bias") and not name.startswith(family.names.head):
                raise GgufError(f"it has no '{stored}'")
            continue
        state[name] = _restore(name, _dequantize(tensor), config, family)
        progress("Converting the weights", len(state) / len(reader.tensors))
    if tensors:
        raise GgufError(f"it holds '{min(tensors)}', which a {kind} model does not have")
    head, embed = f"{family.names.head}.weight", f"{family.names.prefix}{family.names.embed}.weight"
    if head in state and np.array_equal(state[head], state[embed]):
        del state[head]
    config["tie_word_embeddings"] = head not in state
    return state


def _names(config: dict[str, Any], family: Family) -> dict[str, str]:
    """{name in Transformers: name in GGUF} of every weight and bias the family may have."""
    import gguf

    layers = config.get("num_hidden_layers") or config["n_layer"]
    arch = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == config["model_type"].replace("mistral", "llama"))
    table = gguf.get_tensor_name_map(arch, layers)
    names: dict[str, str] = {}
    for entry in fields(family.names):
        patterns = getattr(family.names, entry.name)
        if entry.name == "prefix":
            continue
        biased = entry.name in ("qkv", "out", "up", "down") or (entry.name.startswith("norm") and family.layer_norm)
        for pattern in filter(None, (patterns,) if isinstance(patterns, str) else patterns):
            whole = pattern if entry.name == "head" else family.names.prefix + pattern
            for module in dict.fromkeys(whole.format(layer) for layer in range(layers)):
                if (stored := table.get_name(module)) is None:
                    raise GgufError(f"'{module}' has no name in GGUF")
                names[f"{module}.weight"] = f"{stored}.weight"
                if biased:
                    names[f"{module}.bias"] = f"{stored}.bias"
    return names


def _dequantize(tensor: gguf.ReaderTensor) -> np.ndarray:
    import gguf

    try:
        weight = gguf.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError as error:
        raise GgufError(f"'{tensor.name}' is of the type {tensor.tensor_type.name}, which is not read") from error
    weight = np.array(weight, dtype=np.float32).reshape(tuple(int(size) for size in reversed(tensor.shape)))
    if not np.isfinite(weight).all():
        raise GgufError(f"'{tensor.name}' holds values that are not finite numbers")
    return weight


def _restore(name: str, weight: np.ndarray, config: dict[str, Any], family: Family) -> np.ndarray:
    if family.transposed and ".h." in name and weight.ndim == 2:
        return np.ascontiguousarray(weight.T)  # [out, in] -> Conv1D's [in, out]
    if config["model_type"] in ("llama", "mistral") and (".q_proj." in name or ".k_proj." in name):
        heads = config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"]
        half = config["head_dim"] // 2
        if weight.shape[0] != heads * half * 2:
            raise GgufError(f"'{name}' has {weight.shape[0]} rows where {heads} heads of {2 * half} are due")
        # rows of a head: (0, h, 1, h + 1, ...) for ggml's interleaved rotation -> (0, 1, ..., h, h + 1, ...)
        return np.ascontiguousarray(weight.reshape(heads, half, 2, -1).swapaxes(1, 2)).reshape(weight.shape)
    return weight


def _rope_scaling(reader: gguf.GGUFReader, kind: str, head_dim: int) -> dict[str, Any] | None:
    scaling = field(reader, f"{kind}.rope.scaling.type", str, "none")
    if scaling == "linear":
        return {"rope_type": "linear", "factor": field(reader, f"{kind}.rope.scaling.factor", float)}
    if scaling != "none":
        raise GgufError(f"its rotary scaling '{scaling}' is not none or linear")
    stored = next((tensor for tensor in reader.tensors if tensor.name == ROPE_FACTORS), None)
    if stored is None:
        return None
    # The converter keeps the factors, not the numbers they came from. Meta published one set of these, up to the
    # factor; if it gives the same factors it is the one.
    factors = np.asarray(stored.data, np.float32).reshape(-1)
    factor, low, high, window = float(factors.max()), 1.0, 4.0, 8192
    base = field(reader, f"{kind}.rope.freq_base", float, 10000.0)
    wavelength = 2 * np.pi * base ** (np.arange(0, head_dim, 2) / head_dim)
    smooth = np.clip((window / wavelength - low) / (high - low), 0, 1)
    expected = 1 / ((1 - smooth) / factor + smooth)
    if factors.shape != expected.shape or not np.allclose(factors, expected, rtol=1e-3):
        raise GgufError(f"its '{ROPE_FACTORS}' are not those of Llama 3, and no others are known")
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": window,
    }

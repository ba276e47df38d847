"""Tiny GGUF files made from tiny Transformers models, the way llama.cpp's convert_hf_to_gguf.py makes real ones."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from safetensors.numpy import load_file

from engine.weights.gguf_model import ARCHITECTURES
from tests.tiny import CHAT_TEMPLATE

Q = gguf.GGMLQuantizationType


def make_gguf(model: Path, path: Path, *, quantized: Q = Q.F32, raw: bool = False, **changes: object) -> Path:
    """Write the tiny model in folder `model` as the GGUF file `path`.

    Matrices are stored as `quantized`; with `raw` they are made-up blocks of that type, for types that the library
    reads but does not write. `changes` replaces metadata by key with "__" for "."; None leaves a key out.
    """
    config = json.loads((model / "config.json").read_text())
    kind = {"mistral": "llama"}.get(config["model_type"], config["model_type"])
    writer = gguf.GGUFWriter(path, kind)
    for key, value in {**_metadata(config, kind), **_tokenizer(model)}.items():
        value = changes.get(key.replace(".", "__"), value)
        _add(writer, key, value)
    for key, value in changes.items():
        if key.endswith("_extra"):
            _add(writer, key.removesuffix("_extra").replace("__", "."), value)
    layers = config.get("num_hidden_layers") or config["n_layer"]
    names = gguf.get_tensor_name_map(next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == kind), layers)
    draw = np.random.default_rng(0)
    for name, weight in load_file(model / "model.safetensors").items():
        if kind == "llama" and (".q_proj." in name or ".k_proj." in name):
            heads = config["num_attention_heads" if ".q_proj." in name else "num_key_value_heads"]
            half = weight.shape[0] // heads // 2
            weight = weight.reshape(heads, 2, half, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
        if kind == "gpt2" and name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")):
            weight = weight.T
        stored = np.ascontiguousarray(weight)
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert target is not None, name
        if weight.ndim == 1 or quantized == Q.F32:
            writer.add_tensor(target, stored)
        elif raw:  # low bytes, so that no 16-bit scale among them is infinite
            shape = gguf.quant_shape_to_byte_shape(weight.shape, quantized)
            writer.add_tensor(target, draw.integers(0, 0x3C, shape, dtype=np.uint8), raw_dtype=quantized)
        else:
            writer.add_tensor(target, gguf.quantize(stored, quantized), raw_dtype=quantized)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: object) -> None:
    if value is None or key == "general.architecture":
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        assert isinstance(value, list)
        writer.add_array(key, value)


def _metadata(config: dict[str, object], kind: str) -> dict[str, object]:
    assert kind in ARCHITECTURES
    if kind == "gpt2":
        keys = {"block_count": "n_layer", "context_length": "n_positions", "embedding_length": "n_embd",
                "attention.head_count": "n_head", "attention.layer_norm_epsilon": "layer_norm_epsilon"}  # fmt: skip
    else:
        keys = {"block_count": "num_hidden_layers", "context_length": "max_position_embeddings",
                "embedding_length": "hidden_size", "feed_forward_length": "intermediate_size",
                "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
                "attention.layer_norm_rms_epsilon": "rms_norm_eps"}  # fmt: skip
    found = {f"{kind}.{key}": config[name] for key, name in keys.items()}
    if kind != "gpt2":
        found[f"{kind}.rope.freq_base"] = float(config["rope_parameters"]["rope_theta"])  # type: ignore[index]
        if head_dim := config.get("head_dim"):
            found |= {f"{kind}.attention.key_length": head_dim, f"{kind}.attention.value_length": head_dim}
    return found


def _tokenizer(model: Path) -> dict[str, object]:
    inner = json.loads((model / "tokenizer.json").read_text())
    tokens = sorted(inner["model"]["vocab"], key=inner["model"]["vocab"].get)
    special = {token["content"] for token in inner["added_tokens"]}
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token in special else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in inner["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }

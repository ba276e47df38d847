"""A trained Transformer as a folder that engines read: Transformers' GPT-2 layout, with its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from engine.errors import BadModel, UserError
from engine.training.checkpoint import owned
from engine.training.transformer import EPS, Transformer
from engine.training.vocabulary import END, UNKNOWN

_PARTS = {"ln_1": "ln_1", "ln_2": "ln_2", "c_attn": "attn.c_attn", "c_proj": "attn.c_proj", "c_fc": "mlp.c_fc",
          "c_out": "mlp.c_proj"}  # fmt: skip


def gpt2_state(model: Transformer) -> dict[str, Tensor]:
    """The weights by the names of `GPT2LMHeadModel`, f32; matrices of layers transposed, as its Conv1D has them. The
    classification head, which GPT-2 has none of, is left out."""
    return owned({theirs: weight.T if turned else weight for theirs, weight, turned in _named(model)})


def load_weights(model: Transformer, folder: Path) -> None:
    """Take over the weights of a folder that `save_model` wrote; a classification head stays as it began.

    Parameters
    ----------
    model : of the sizes of what the folder holds, or with fewer positions; changed in place.
    folder : with model.safetensors.

    Raises
    ------
    BadModel : the file is missing, damaged, or of a model of other sizes.
    """
    file = folder / "model.safetensors"
    try:
        state = load_file(file)
        for theirs, weight, turned in _named(model):
            found = state[theirs].T if turned else state[theirs]
            if theirs.endswith("wpe.weight"):
                found = found[: weight.shape[0]]
            if found.shape != weight.shape:
                raise BadModel(
                    f"{file} holds a model whose {theirs.removeprefix('transformer.')} is {tuple(found.shape)}, and "
                    f"{tuple(weight.shape)} is to be trained: give it the sizes of that model."
                )
            weight.copy_(found)
    except (OSError, SafetensorError, KeyError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadModel(
            f"{file} cannot be read as a Transformer trained here ({reason}): name another folder."
        ) from error


def _named(model: Transformer) -> Iterator[tuple[str, Tensor, bool]]:
    """GPT-2's name of each weight, the weight itself, and whether it lies turned there; no classification head."""
    for name, weight in model.state_dict().items():
        parts = name.split(".")
        if parts[0] == "classify":
            continue
        turned = parts[0] == "h" and weight.ndim == 2
        if parts[0] == "h":
            parts[2] = _PARTS[parts[2]]
        yield ".".join(["transformer", *parts]), weight, turned


def save_model(model: Transformer, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write config.json, generation_config.json, model.safetensors and the tokenizer's files.

    Parameters
    ----------
    model : causal; one that sees both ways is no language model, and engines would run it as one.
    tokenizer : of `vocabulary`.
    folder : made where it is missing; files of the same names are replaced.

    Raises
    ------
    UserError : the folder cannot be written.
    ValueError : the model sees both ways.
    """
    sizes = model.sizes
    if not sizes.causal:
        raise ValueError("a model that sees both ways cannot be saved as GPT-2, which does not")
    end = tokenizer.token_to_id(END)
    config: dict[str, Any] = {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": sizes.vocabulary,
        "n_embd": sizes.embedding, "n_head": sizes.heads, "n_layer": sizes.layers, "n_inner": sizes.feed_forward,
        "n_positions": sizes.context, "activation_function": "gelu_new", "layer_norm_epsilon": EPS,
        "tie_word_embeddings": True, "bos_token_id": end, "eos_token_id": end, "dtype": "float32",
        "attn_pdrop": sizes.dropout, "embd_pdrop": sizes.dropout, "resid_pdrop": sizes.dropout,
    }  # fmt: skip
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "bos_token": END, "unk_token": UNKNOWN,
        "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    files = {
        "config.json": config,
        "generation_config.json": {"bos_token_id": end, "eos_token_id": end},
        "tokenizer_config.json": settings,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
        save_file(gpt2_state(model), folder / "model.safetensors", metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{folder} cannot be written ({reason}): make room, or name another folder.") from error
    return folder

"""Tiny random models in the Transformers folder layout, so that tests need neither a download nor minutes.

A tiny model has what a real one has: config.json, model.safetensors, a byte-level BPE tokenizer with a chat
template, generation_config.json. Its weights are random but not small, so greedy text varies from step to step.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gpt2")
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # ids 0, 1, 2, as in SmolLM2
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CORPUS = (  # where the few merges come from
    "This film was great, the acting was wonderful and the story kept me guessing until the very end.",
    "The movie was terrible: a boring plot, bad acting and an ending that made no sense at all.",
    "Overall, I thought this movie was worth seeing. The director and the cast did well.",
    "Summarize the text above. Answer the question from the text. What is the sentiment, positive or negative?",
)


def make_tiny_model(
    folder: Path,
    family: str = "llama",
    *,
    vocab: int = 384,
    layers: int = 2,
    hidden: int = 64,
    max_positions: int = 512,
    tied: bool | None = None,
    std: float = 0.2,
    seed: int = 0,
) -> Path:
    """Write a random model of `family` (one of `FAMILIES`) to `folder` and return it.

    Heads of 16 dimensions, two query heads to each key/value head (GPT-2: one to one). `vocab` >= 259 tokens: all
    256 bytes, 3 special tokens, merges for the rest (fewer where the corpus gives no more; rows of the embedding
    are then left over, as in padded vocabularies). `tied` shares input and output embeddings; None takes what the
    family usually does. Biases and norms are random too, so that a forgotten one shows.
    """
    from transformers import AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    config = _config(family, vocab, layers, hidden, max_positions, tied)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            is_norm = weight.ndim == 1 and name.endswith("weight")
            weight.copy_(1 + 0.1 * noise if is_norm else std * noise)
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 2
    model.save_pretrained(folder)
    save_tiny_tokenizer(folder, vocab)
    return folder


def save_tiny_tokenizer(folder: Path, vocab: int = 384) -> None:
    """Write tokenizer.json and tokenizer_config.json, the latter with the chat template of SmolLM2."""
    (folder / "tokenizer.json").write_text(_tokenizer_json(vocab), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")


@lru_cache
def _tokenizer_json(vocab: int) -> str:
    if vocab < 256 + len(SPECIAL_TOKENS):
        raise ValueError(f"vocab is {vocab}: all 256 bytes and {len(SPECIAL_TOKENS)} special tokens need 259")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer.to_str()


def _config(family: str, vocab: int, layers: int, hidden: int, max_positions: int, tied: bool | None) -> Any:
    from transformers import AutoConfig

    if family not in FAMILIES:
        raise ValueError(f"no tiny model of family '{family}': choose one of {', '.join(FAMILIES)}")
    heads = max(2, hidden // 16)
    usually_tied = family in ("llama", "qwen2", "gpt2")  # Llama as SmolLM2 has it
    options: dict[str, Any] = {
        "vocab_size": vocab,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "tie_word_embeddings": usually_tied if tied is None else tied,
    }
    if family == "gpt2":
        options |= {"n_layer": layers, "n_embd": hidden, "n_head": heads, "n_positions": max_positions}
        return AutoConfig.for_model(family, **options)
    options |= {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2,
        "max_position_embeddings": max_positions,
        "rms_norm_eps": 1e-5,
    }
    if family in ("mistral", "qwen3"):
        options["head_dim"] = 16
    if family == "mistral":
        options["sliding_window"] = None
    return AutoConfig.for_model(family, **options)

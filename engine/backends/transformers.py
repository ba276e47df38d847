"""Any architecture of Transformers as a backend: slower than ours, but it runs what ours does not know.

Also the reference our own decoder is held to. Causal and encoder-decoder models generate through slots; encoder
heads (classification, extractive answers) are in `encoders.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer

from engine.backends.base import JOB_SLOTS, Backend
from engine.backends.compact_linear import compact
from engine.backends.dtypes import compute_dtype, precision_name
from engine.backends.encoders import Encoder, window
from engine.backends.pretrained import kind_of, load_pretrained
from engine.cache.prefix import KVRun
from engine.config import EngineConfig
from engine.errors import BadRequest
from engine.results import log_softmax
from engine.weights import ModelFiles, load_config


@dataclass
class _Slot:
    """What one text has run: its tokens, and the cache (and the encoder's output) they left."""

    tokens: list[int] = field(default_factory=list)
    cache: Any = None
    encoded: Any = None
    decoded: int = 0  # tokens in the decoder's cache of an encoder-decoder


class TransformersBackend(Backend):
    """A model as Transformers runs it.

    Parameters
    ----------
    files : the model's folder.
    config : of it precision, kv_cache, max_context and max_batch are used.
    device : where the model is.

    Raises BadModel where Transformers cannot load the model or weights are missing, BadRequest where the config asks
    for what it cannot do.
    """

    name = "transformers"

    def __init__(self, files: ModelFiles, config: EngineConfig, device: torch.device) -> None:
        self.kind = kind_of(load_config(files.folder))
        self.notes: list[str] = []
        if self.kind == "seq2seq" and not config.kv_cache:
            raise BadRequest(f"{files.name} is an encoder-decoder: it runs with the KV cache only, switch it on.")
        dtype = compute_dtype(device, config.precision)
        loaded = load_pretrained(files, self.kind, dtype)
        model, settings, tokenizer = loaded.model, loaded.config, loaded.tokenizer
        self.kv_precision = self.prefill = precision_name(dtype)
        if config.kv_precision not in ("auto", self.kv_precision) or config.prefill not in ("auto", self.prefill):
            self.notes.append(
                f"On the Transformers backend prompts are computed, and keys and values kept, in {self.prefill}."
            )
        self.parameters = sum(p.numel() for p in model.parameters())
        if config.precision != "fp32" and device.type == "cpu":
            compact(model, config.precision)
            self.notes.append(
                f"On the Transformers backend {config.precision} weights save memory, not time: they expand at use."
            )
        self.nbytes = sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
        self._model = model.to(device).eval()
        self._device = device
        self.vocabulary = int(getattr(settings.get_text_config(), "vocab_size", 0))
        self.layers = int(getattr(settings, "num_hidden_layers", 0))
        self.width = int(getattr(settings, "hidden_size", 0) or getattr(settings, "d_model", 0))
        own = window(settings, tokenizer)
        if config.max_context > own:
            raise BadRequest(f"max_context is {config.max_context}: this model's window is {own} tokens.")
        self.max_context = config.max_context or min(own, 4096)
        # Keys and values of plain layers can be cut and joined; a sliding window, a recurrent state or an encoder's
        # output cannot.
        layers = DynamicCache(config=settings).layers if self.kind == "causal" else []
        self.reuses = bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
        if self.kind == "causal" and config.kv_cache and config.prefix_cache_mb and not self.reuses:
            self.notes.append(
                "Prompts that begin alike share nothing: this architecture's cache cannot be cut and joined."
            )
        self._slots = [_Slot() for _ in range(config.max_batch + JOB_SLOTS)]
        self._before, self._after = _framing(tokenizer) if self.kind == "seq2seq" else ([], [])
        generates = self.kind in ("causal", "seq2seq")
        self.heads = None if generates else Encoder(self._model, tokenizer, self.max_context, device)

    def warm(self) -> Generator[None, None, None]:
        """Nothing is compiled here."""
        yield from ()

    def extend(self, slot: int, start: int, tokens: Sequence[int], logits: bool = True) -> np.ndarray | None:
        held = self._slots[slot]
        if self.kind == "seq2seq":
            held.tokens = [*held.tokens[:start], *tokens]
            return self._encode(held) if logits else None
        self._rewind(held, start)
        out = self._run(held, list(tokens))
        return out[0, -1].float().cpu().numpy() if logits else None

    def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        rows = []
        for token, position, slot in zip(tokens, positions, slots, strict=True):
            held = self._slots[int(slot)]
            if self.kind == "seq2seq":
                rows.append(self._decode_one(held, int(token), int(position)))
            else:
                self._rewind(held, int(position))
                rows.append(self._run(held, [int(token)])[0, -1].float().cpu().numpy())
        return np.stack(rows)

    def rows(self, position: int) -> int:
        return 1  # tokens are decoded one after another here: a guess would save nothing

    def read(self, slot: int, start: int, end: int) -> KVRun:
        layers = self._slots[slot].cache.layers
        return KVRun(tuple(part[:, :, start:end] for layer in layers for part in (layer.keys, layer.values))).compact()

    @torch.inference_mode()
    def write(self, slot: int, start: int, run: KVRun) -> None:
        held = self._slots[slot]
        self._rewind(held, start)
        held.cache = held.cache if held.cache is not None else DynamicCache(config=self._model.config)
        for layer, (keys, values) in enumerate(zip(run.parts[::2], run.parts[1::2], strict=True)):
            held.cache.update(keys, values, layer)
        held.tokens += [-1] * run.tokens  # which ones does not matter: such a cache is cut, never run again

    def fork(self, source: int, target: int, tokens: int) -> None:
        held = copy.deepcopy(self._slots[source])
        self._slots[target] = held
        if self.kind != "seq2seq":
            self._rewind(held, tokens)

    def token_logprobs(self, slot: int, start: int, tokens: Sequence[int]) -> np.ndarray:
        self._rewind(self._slots[slot], start)
        rows = log_softmax(self._run(self._slots[slot], list(tokens[:-1]))[0].float().cpu().numpy())  # [T - 1, V]
        return rows[np.arange(len(rows)), np.asarray(tokens[1:], np.int64)]

    @torch.inference_mode()
    def hidden(self, slot: int, start: int, tokens: Sequence[int], layer: int) -> np.ndarray:
        held = self._slots[slot]
        self._rewind(held, start)
        ids = torch.tensor([list(tokens)], device=self._device)
        held.cache = held.cache if held.cache is not None else DynamicCache(config=self._model.config)
        out = self._model(input_ids=ids, past_key_values=held.cache, use_cache=True, output_hidden_states=True)
        held.cache = out.past_key_values
        held.tokens += tokens
        return out.hidden_states[layer][0].float().cpu().numpy()

    @torch.inference_mode()
    def _run(self, held: _Slot, tokens: list[int]) -> Tensor:
        """Logits [1, N, V] of new tokens after what the slot holds."""
        held.cache = held.cache if held.cache is not None else DynamicCache(config=self._model.config)
        ids = torch.tensor([tokens], device=self._device)
        out = self._model(input_ids=ids, past_key_values=held.cache, use_cache=True)
        held.cache = out.past_key_values
        held.tokens += tokens
        return out.logits

    def _rewind(self, held: _Slot, length: int) -> None:
        """Let a slot hold its first `length` tokens; a cache that cannot be cut (a recurrent state) is run again."""
        surplus = len(held.tokens) - length
        if surplus <= 0:
            return
        kept = held.tokens[:length]
        if length and held.cache is not None and getattr(held.cache, "is_croppable", False):
            held.cache.crop(-surplus)
            held.tokens = kept
            return
        held.cache, held.tokens = None, []
        if kept:
            self._run(held, kept)

    @torch.inference_mode()
    def _encode(self, held: _Slot) -> np.ndarray:
        """Run the encoder on the whole prompt and the decoder on its start token; logits [V]."""
        ids = torch.tensor([[*self._before, *held.tokens, *self._after]], device=self._device)
        held.encoded = self._model.get_encoder()(input_ids=ids)
        held.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        held.decoded = 0
        begin = self._model.config.decoder_start_token_id
        return self._decoder(held, int(self._model.config.bos_token_id if begin is None else begin))

    def _decode_one(self, held: _Slot, token: int, position: int) -> np.ndarray:
        at = position - len(held.tokens) + 1  # after the start token
        if held.decoded > at:
            held.cache.self_attention_cache.crop(at - held.decoded)
            held.decoded = at
        return self._decoder(held, token)

    @torch.inference_mode()
    def _decoder(self, held: _Slot, token: int) -> np.ndarray:
        out = self._model(
            encoder_outputs=held.encoded,
            decoder_input_ids=torch.tensor([[token]], device=self._device),
            past_key_values=held.cache,
            use_cache=True,
        )
        held.cache = out.past_key_values
        held.decoded += 1
        return out.logits[0, -1].float().cpu().numpy()


def _framing(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens this tokenizer sets before and after a text."""
    bare, framed = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    at = next(i for i in range(len(framed)) if framed[i : i + len(bare)] == bare)
    return framed[:at], framed[at + len(bare) :]

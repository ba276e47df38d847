"""Our own decoder behind the backend's face: prefill in torch, decode in the compiled step on a CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from engine.backends.base import JOB_SLOTS, MAX_ROWS
from engine.cache.run import KVRun
from engine.cache.static import StaticCache
from engine.config import EngineConfig
from engine.decoder import Decoder, Segment
from engine.decoding.sampling import log_softmax
from engine.errors import BadRequest
from engine.families import Architecture
from engine.parameters import State, build, expected_shapes
from engine.weights import ModelFiles, check_shapes

if TYPE_CHECKING:
    from engine.kernels.native import CompiledStep

log = logging.getLogger(__name__)

# Rows of logits held at once while log-probabilities are taken: 128 x 49,152 floats are 25 MB.
LOGIT_ROWS = 128


def compute_dtype(device: torch.device, precision: str) -> torch.dtype:
    """fp32 on a CPU, whose 16-bit arithmetic is slower; 16 bit on an accelerator unless fp32 was asked for."""
    if device.type == "cpu" or precision == "fp32":
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16


class NativeBackend:
    """A model of one of our families on one device. See `Backend` for what the methods promise."""

    reuses = True

    def __init__(
        self,
        arch: Architecture,
        state: State,
        files: ModelFiles,
        config: EngineConfig,
        device: torch.device,
        threads: int,
        on_layer: Callable[[float], None] | None = None,
    ) -> None:
        check_shapes(state, expected_shapes(arch, state), files.folder)
        if config.max_context > arch.context:
            raise BadRequest(f"max_context is {config.max_context}: this model's window is {arch.context} tokens.")
        self.arch = arch
        self.vocabulary = arch.vocabulary
        self.max_context = config.max_context or min(arch.context, 4096)
        self.notes: list[str] = list(arch.notes)
        dtype = compute_dtype(device, config.precision)
        self.params = build(
            arch, state, config.precision,
            context=self.max_context, device=device, compute_dtype=dtype, on_layer=on_layer,
        )  # fmt: skip
        slots = config.max_batch + JOB_SLOTS
        self.cache = StaticCache(arch.layers, slots, arch.kv_heads, self.max_context, arch.head_dim, dtype, device)
        self._decoder = Decoder(arch, self.params, self.cache)
        self._threads = threads
        self._compiled: CompiledStep | None = None
        self._use_kernels = config.kernels and device.type == "cpu"
        self._batch = config.max_batch

    def warm(self) -> None:
        """Load or compile the decode step; where it cannot run, decode stays in torch and `notes` says why."""
        if not self._use_kernels:
            return
        try:
            from engine.kernels.native import CompiledStep

            self._compiled = CompiledStep(
                self.arch, self.params, self.cache, self._threads, max(self._batch, JOB_SLOTS)
            )
            zero = np.zeros(1, np.int64)
            self._compiled(zero, zero, np.array([self.cache.keys.shape[1] - 1]))
        except (ImportError, OSError, RuntimeError) as error:
            self._compiled = None
            note = f"Decode runs in plain torch, slower: the compiled kernels could not be used here ({error})."
            log.warning(note)
            self.notes.append(note)

    def _ids(self, tokens: Sequence[int] | np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(tokens, np.int64)).to(self.cache.keys.device)

    def extend(self, slot: int, start: int, tokens: Sequence[int], logits: bool = True) -> np.ndarray | None:
        hidden = self._decoder.hidden(self._ids(tokens), [Segment(slot, start, len(tokens))], final=logits)  # [N, D]
        return self._decoder.logits(hidden[-1:])[0].cpu().numpy() if logits else None

    def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        if self._compiled is not None and len(tokens) <= max(self._batch, JOB_SLOTS) and len(set(slots)) == len(slots):
            return self._compiled(tokens, positions, slots)
        segments: list[Segment] = []
        for slot, position in zip(slots.tolist(), positions.tolist(), strict=True):
            if segments and segments[-1].slot == slot:
                segments[-1] = segments[-1]._replace(tokens=segments[-1].tokens + 1)
            else:
                segments.append(Segment(slot, position, 1))
        return self._decoder.logits(self._decoder.hidden(self._ids(tokens), segments)).cpu().numpy()

    def rows(self, position: int) -> int:
        # The compiled step splits a context between threads: each must find the positions before its own finished.
        return min(MAX_ROWS, 1 + max(0, position - 1) // max(1, self._threads - 1))

    def read(self, slot: int, start: int, end: int) -> KVRun:
        return KVRun(tuple(part[:, slot, :, start:end] for part in self.cache.parts)).compact()

    def write(self, slot: int, start: int, run: KVRun) -> None:
        for part, kept in zip(self.cache.parts, run.parts, strict=True):
            part[:, slot, :, start : start + run.tokens] = kept

    def fork(self, source: int, target: int, tokens: int) -> None:
        self.cache.copy(source, target, tokens)

    def token_logprobs(self, slot: int, start: int, tokens: Sequence[int]) -> np.ndarray:
        segment = [Segment(slot, start, len(tokens) - 1)]
        hidden = self._decoder.hidden(self._ids(tokens[:-1]), segment)  # [T - 1, D]
        found = np.empty(len(hidden), np.float32)
        for first in range(0, len(hidden), LOGIT_ROWS):
            rows = log_softmax(self._decoder.logits(hidden[first : first + LOGIT_ROWS]).cpu().numpy())
            next_ids = np.asarray(tokens[first + 1 : first + 1 + len(rows)])
            found[first : first + len(rows)] = rows[np.arange(len(rows)), next_ids]
        return found

    def hidden(self, slot: int, start: int, tokens: Sequence[int], layer: int) -> np.ndarray:
        layers = self.arch.layers if layer == -1 else layer
        final = layers == self.arch.layers  # the last entry of Transformers' hidden_states is normed too
        segment = [Segment(slot, start, len(tokens))]
        return self._decoder.hidden(self._ids(tokens), segment, layers, final=final).float().cpu().numpy()

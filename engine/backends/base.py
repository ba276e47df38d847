"""What a backend is: a model seen as token ids in, logits out. Text, sampling and batching live above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

# Slots beside those of running sequences: one for the prompt of a scoring or search job, the rest for its branches.
JOB_SLOTS = 5


class Backend(Protocol):
    """Only the scheduler's own thread calls a backend once it is loaded.

    A slot holds one sequence's keys and values; slots 0 to max_batch - 1 are for running sequences, the JOB_SLOTS
    after them for jobs. Token ids and positions are plain ints or i64 arrays; logits are f32 in CPU memory.
    """

    max_context: int
    vocabulary: int

    def extend(self, slot: int, start: int, tokens: Sequence[int], logits: bool = True) -> np.ndarray | None:
        """Run `tokens` at positions start, start + 1, ... of a slot; logits [V] after the last where asked for.

        `start` may lie before what the slot holds: what follows is forgotten.
        """
        ...

    def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """One token for each of B sequences (i64 [B]); logits [B, V], valid until the next call."""
        ...

    def fork(self, source: int, target: int, tokens: int) -> None:
        """Let slot `target` begin with the first `tokens` positions of slot `source`."""
        ...

    def token_logprobs(self, slot: int, tokens: Sequence[int]) -> np.ndarray:
        """Log-probability f32 [T - 1] of each token after those before it."""
        ...

    def hidden(self, slot: int, tokens: Sequence[int], layer: int) -> np.ndarray:
        """Residual stream f32 [T, D] after `layer` layers; after all (or -1) it has gone through the last norm."""
        ...

    def warm(self) -> None:
        """Do once, at load, what would make the first request slow."""
        ...


class EncoderHeads(Protocol):
    """What a backend offers besides where its model has such a head: see `Engine.classify` and `Engine.answer`."""

    def classify(self, text: str) -> dict[str, float]: ...

    def answer(
        self, question: str, context: str, top_k: int, max_answer_tokens: int
    ) -> tuple[list[tuple[int, int, float]], float]: ...

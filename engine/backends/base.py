"""What a backend is: a model seen as token ids in, logits out. Text, sampling and batching live above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from engine.cache.run import KVRun

# Slots beside those of running requests: one for the prompt of a scoring or search job, the rest for its branches.
JOB_SLOTS = 5

# Rows (tokens) of one decode call: the width the compiled step is made for. Weights are read once for all of them.
MAX_ROWS = 16


class Backend(Protocol):
    """Only the scheduler's own thread calls a backend once it is loaded.

    A slot holds one request's keys and values; slots 0 to max_batch - 1 are for running requests, the JOB_SLOTS
    after them for jobs. Token ids and positions are plain ints or i64 arrays; logits are f32 in CPU memory.

    Attributes
    ----------
    max_context, vocabulary : tokens in the window, and in the vocabulary.
    reuses : whether `read` and `write` work, and cheaply: prompts that begin alike can then share their prefill.
    """

    max_context: int
    vocabulary: int
    reuses: bool

    def extend(self, slot: int, start: int, tokens: Sequence[int], logits: bool = True) -> np.ndarray | None:
        """Run `tokens` at positions start, start + 1, ... of a slot; logits [V] after the last where asked for.

        `start` may lie before what the slot holds: what follows is forgotten.
        """
        ...

    def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Run B tokens (i64 [B], at most MAX_ROWS); logits [B, V], valid until the next call.

        A slot may have up to `rows(positions[first])` of them, one after another with positions ascending by one:
        each sees those before it, as if they had been decoded in turn.
        """
        ...

    def rows(self, position: int) -> int:
        """How many tokens of one slot a decode call may hold, the first of them at `position`; 1 where several in
        one call would save nothing."""
        ...

    def fork(self, source: int, target: int, tokens: int) -> None:
        """Let slot `target` begin with the first `tokens` positions of slot `source`."""
        ...

    def read(self, slot: int, start: int, end: int) -> KVRun:
        """A copy of the keys and values at positions start to end (exclusive) of a slot, as they are stored."""
        ...

    def write(self, slot: int, start: int, run: KVRun) -> None:
        """Let positions start, start + 1, ... of a slot hold `run`: the opposite of `read`."""
        ...

    def token_logprobs(self, slot: int, start: int, tokens: Sequence[int]) -> np.ndarray:
        """Run all but the last of `tokens` at positions start, ... of a slot; log-probability f32 [T - 1] of each
        token but the first after all those before it."""
        ...

    def hidden(self, slot: int, start: int, tokens: Sequence[int], layer: int) -> np.ndarray:
        """Run `tokens` at positions start, ... of a slot through `layer` layers: the residual stream f32 [T, D].

        After all of them (or -1) it has gone through the last norm.
        """
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

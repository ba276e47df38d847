"""A backend of a few lines: a model whose numbers a test can work out by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch

from engine.backends.base import MAX_ROWS, Backend
from engine.cache.prefix import KVRun


class FakeBackend(Backend):
    """The next token after t is 3 + 7 t mod (V - 3), whatever came before: never a special token.

    `gate`, where given, must be set before a forward call returns; `poison` is a token that makes a call fail; `most`
    is how many rows of one slot a decode call may hold.
    """

    name = "fake"
    kind = "causal"
    heads = None
    layers, width, parameters, nbytes = 1, 4, 0, 0
    max_context = 4096
    kv_precision = prefill = "fp32"
    reuses = False

    def __init__(
        self, vocabulary: int = 50, gate: threading.Event | None = None, poison: int | None = None, most: int = MAX_ROWS
    ) -> None:
        self.vocabulary = vocabulary
        self.notes: list[str] = []
        self.gate = gate
        self.poison = poison
        self.most = most
        self.chunks: list[tuple[int, int, int]] = []  # slot, start, tokens of each extend
        self.batches: list[int] = []  # slots of each decode
        self.rows_run: list[int] = []  # rows of each decode

    def after(self, token: int) -> np.ndarray:
        logits = np.linspace(0, 1, self.vocabulary, dtype=np.float32)
        logits[3 + 7 * token % (self.vocabulary - 3)] = 9
        return logits

    def _wait(self, tokens: Sequence[int]) -> None:
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.poison is not None and self.poison in tokens:
            raise RuntimeError("poisoned")

    def extend(self, slot: int, start: int, tokens: Sequence[int], logits: bool = True) -> np.ndarray | None:
        self._wait(tokens)
        self.chunks.append((slot, start, len(tokens)))
        return self.after(tokens[-1]) if logits else None

    def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        self._wait(tokens.tolist())
        assert 1 <= len(tokens) <= MAX_ROWS
        held: dict[int, list[int]] = {}
        for at, (slot, position) in enumerate(zip(slots.tolist(), positions.tolist(), strict=True)):
            assert slot not in held or (slots[at - 1] == slot and position == held[slot][-1] + 1)
            held.setdefault(slot, []).append(position)
        assert max(map(len, held.values())) <= self.most
        self.batches.append(len(held))
        self.rows_run.append(len(tokens))
        return np.stack([self.after(int(token)) for token in tokens])

    def rows(self, position: int) -> int:
        return self.most

    def fork(self, source: int, target: int, tokens: int) -> None:
        pass

    def read(self, slot: int, start: int, end: int) -> KVRun:
        raise NotImplementedError

    def write(self, slot: int, start: int, run: KVRun) -> None:
        raise NotImplementedError

    def token_logprobs(self, slot: int, start: int, tokens: Sequence[int]) -> np.ndarray:
        self.extend(slot, start, tokens[:-1], logits=False)
        return np.asarray(tokens[1:], np.float32)

    def hidden(self, slot: int, start: int, tokens: Sequence[int], layer: int) -> np.ndarray:
        self.extend(slot, start, tokens, logits=False)
        return np.repeat(np.asarray(tokens, np.float32)[:, None], 4, axis=1)

    def warm(self) -> Generator[None, None, None]:
        yield from ()


class RememberingBackend(FakeBackend):
    """Its logits are a fixed random function of the whole text before (or `table` of it), and that text must stand in
    the slot without a gap: a token in a wrong slot or place, or a fork that copies too little, changes the answer.

    Its keys and values are the tokens themselves, 8 bytes each.
    """

    reuses = True

    def __init__(
        self,
        vocabulary: int = 32,
        table: Callable[[tuple[int, ...]], np.ndarray] | None = None,
        gate: threading.Event | None = None,
        poison: int | None = None,
        most: int = MAX_ROWS,
    ) -> None:
        super().__init__(vocabulary, gate, poison, most)
        self.table = table or self._random
        self.held: dict[int, list[int]] = {}

    def _random(self, text: tuple[int, ...]) -> np.ndarray:
        return (np.random.default_rng(text).standard_normal(self.vocabulary) * 3).astype(np.float32)

    def _add(self, slot: int, start: int, tokens: Sequence[int]) -> tuple[int, ...]:
        held = self.held.setdefault(slot, [])
        assert len(held) >= start, f"slot {slot} holds {len(held)} tokens, the next stands at {start}"
        held[start:] = tokens
        return tuple(held)

    def extend(self, slot: int, start: int, tokens: Sequence[int], logits: bool = True) -> np.ndarray | None:
        super().extend(slot, start, tokens, logits=False)
        text = self._add(slot, start, tokens)
        return self.table(text) if logits else None

    def decode(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        super().decode(tokens, positions, slots)
        rows = zip(slots.tolist(), positions.tolist(), tokens.tolist(), strict=True)
        return np.stack([self.table(self._add(slot, position, [token])) for slot, position, token in rows])

    def fork(self, source: int, target: int, tokens: int) -> None:
        assert len(self.held[source]) >= tokens
        self.held[target] = self.held[source][:tokens]

    def read(self, slot: int, start: int, end: int) -> KVRun:
        assert len(self.held[slot]) >= end
        return KVRun((torch.tensor(self.held[slot][start:end])[None, None],))

    def write(self, slot: int, start: int, run: KVRun) -> None:
        self._add(slot, start, run.parts[0][0, 0].tolist())

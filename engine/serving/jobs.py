"""Work that is not generation: scoring, span search, features, log-probabilities.

Each is a job for the scheduler: a generator that yields between its steps, so that streams go on beside it. One job
runs at a time, in the slots after those of requests.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from engine.backends.base import JOB_SLOTS, MAX_ROWS, Backend
from engine.decoding import spans as span_search
from engine.errors import BadRequest
from engine.model.adapters.pool import Block
from engine.results import Scores, SpanSearch, Timing, log_softmax
from engine.serving.prefill import PREFILL_CHUNK, Prefiller, Text
from engine.serving.scheduler import Job

Ids = Sequence[int]


class Jobs:
    """Makes jobs that run on `backend`, in slot `slot` and the JOB_SLOTS - 1 after it."""

    def __init__(self, backend: Backend, prefill: Prefiller, slot: int) -> None:
        self._backend = backend
        self._prefill = prefill
        self._slot = slot

    def score(self, ids: list[int], choices: Sequence[Ids], adapter: Block | None = None) -> Job[Scores]:
        """Log-probability of each choice after a prompt.

        Parameters
        ----------
        ids : tokens of the prompt.
        choices : tokens of each choice.
        adapter : that both are read with.

        Raises
        ------
        BadRequest : there is no choice.
        """
        if not choices:
            raise BadRequest("There are no choices to score: give at least one.")
        return self._score(ids, choices, adapter)

    def _score(self, ids: list[int], choices: Sequence[Ids], adapter: Block | None) -> Job[Scores]:
        logits, timing = yield from self._prompt(ids, adapter)
        found = yield from self._continuations(len(ids), logits, choices)
        sums = [sum(found[tuple(choice[:i])][choice[i]] for i in range(len(choice))) for choice in choices]
        return Scores(tuple(sums), tuple(map(len, choices)), timing)

    def search(
        self, ids: list[int], allowed: list[int], ends: set[int], top_k: int, most: int, adapter: Block | None = None
    ) -> Job[SpanSearch]:
        """The likeliest runs of given tokens after a prompt (see `decoding.spans`).

        Parameters
        ----------
        ids : tokens of the prompt.
        allowed : tokens of the text that answers are runs of.
        ends : tokens any of which ends an answer.
        top_k : most answers to give.
        most : tokens of the longest answer.
        adapter : that the prompt and its answers are read with.

        Raises
        ------
        BadRequest : a count below 1.
        """
        if top_k < 1 or most < 1:
            raise BadRequest(f"top_k is {top_k} and max_tokens {most}: give 1 or more of each.")
        return self._search(ids, allowed, ends, top_k, most, adapter)

    def _search(
        self, ids: list[int], allowed: list[int], ends: set[int], top_k: int, most: int, adapter: Block | None
    ) -> Job[SpanSearch]:
        logits, timing = yield from self._prompt(ids, adapter)
        found = yield from span_search.search(self._backend, self._slot, len(ids), logits, allowed, ends, top_k, most)
        return SpanSearch(tuple(found), timing)

    def keys_values(self, ids: list[int]) -> Job[tuple[Tensor, Tensor]]:
        """Keys and values f32 [L, G, n, E] of a prompt, as the bare model reads it. Nothing that was read before is
        reused: the same prompt gives the same bits, whatever came before it."""
        self._backend.adapt(self._slot, None, 0)
        for start in range(0, len(ids), PREFILL_CHUNK):
            if start:
                yield
            self._backend.extend(self._slot, start, ids[start : start + PREFILL_CHUNK], logits=False)
        return self._backend.keys_values(self._slot, len(ids))

    def features(self, ids: list[int], layer: int, pooling: str) -> Job[np.ndarray]:
        """One vector of a text, f32 [D].

        Parameters
        ----------
        ids : tokens of the text.
        layer : layers to run, 0 to all; -1 is all.
        pooling : "mean" of all tokens' hidden states, or "last".

        Raises
        ------
        BadRequest : there is no such layer or pooling.
        """
        if not -1 <= layer <= self._backend.layers:
            raise BadRequest(f"Layer {layer} does not exist: give 0 to {self._backend.layers}, or -1 for the last.")
        if pooling not in ("mean", "last"):
            raise BadRequest(f"Pooling '{pooling}' is unknown: choose mean or last.")
        return self._features(ids, layer, pooling)

    def _features(self, ids: list[int], layer: int, pooling: str) -> Job[np.ndarray]:
        total = last = np.zeros(0)
        self._backend.adapt(self._slot, None, 0)
        for start in range(0, len(ids), PREFILL_CHUNK):
            if start:
                yield
            rows = self._backend.hidden(self._slot, start, ids[start : start + PREFILL_CHUNK], layer)  # [n, D]
            last, part = rows[-1], rows.sum(0, dtype=np.float64)
            total = total + part if start else part
        return (total / len(ids) if pooling == "mean" else last).astype(np.float32)

    def logprobs(self, ids: list[int]) -> Job[np.ndarray]:
        """Log-probability f32 [T - 1] of each token of a text but the first."""
        found = [np.zeros(0, np.float32)]
        self._backend.adapt(self._slot, None, 0)
        for start in range(0, len(ids) - 1, PREFILL_CHUNK):
            if start:
                yield
            found.append(self._backend.token_logprobs(self._slot, start, ids[start : start + PREFILL_CHUNK + 1]))
        return np.concatenate(found)

    def _prompt(self, ids: list[int], adapter: Block | None) -> Job[tuple[np.ndarray, Timing]]:
        """Run a prompt into the job's slot; logits f32 [V] after its last token."""
        began = time.perf_counter()
        text = Text(ids, self._slot, adapter)
        try:
            while (logits := self._prefill.chunk(text)) is None:
                self._prefill.keep(text)
                yield
            logits = logits.copy()  # it is the backend's own until its next call
            self._prefill.keep(text)
        finally:
            self._prefill.leave(text)
        return logits, Timing(
            prompt_tokens=len(ids),
            reused_tokens=text.reused,
            ttft_s=time.perf_counter() - began,
            prefill_s=text.prefill_s,
        )

    def _continuations(
        self, start: int, logits: np.ndarray, choices: Sequence[Ids]
    ) -> Job[dict[tuple[int, ...], dict[int, float]]]:
        """Log-probability of each token that a choice has after each beginning of a choice, the prompt of `start`
        tokens before it; `logits` [V] are those after the prompt.

        The whole head is computed for each row: a log-probability is measured against every word of the vocabulary,
        not only against the other choices. (It is one row a prompt: less than a thousandth of its prefill.)
        """
        asked: dict[tuple[int, ...], set[int]] = {}
        for choice in choices:
            for i, token in enumerate(choice):
                asked.setdefault(tuple(choice[:i]), set()).add(token)

        def note(beginning: tuple[int, ...], row: np.ndarray) -> None:
            logprobs = log_softmax(row)
            found[beginning] = {token: float(logprobs[token]) for token in asked[beginning]}

        found: dict[tuple[int, ...], dict[int, float]] = {}
        note((), logits)
        # What must be run of the choices: each without its last token, and none that begins another. Where two part
        # after a common beginning it is run twice: a row more in a step costs less than a step more.
        bodies = sorted({tuple(choice[:-1]) for choice in choices if len(choice) > 1})
        todo = [a for a, b in zip(bodies, [*bodies[1:], ()], strict=False) if b[: len(a)] != a][::-1]
        free = list(range(self._slot, self._slot + (JOB_SLOTS if self._backend.reuses else 1)))[::-1]
        holding = {self._slot}  # slots where the prompt stands
        running: list[tuple[int, tuple[int, ...], int]] = []  # slot, tokens to run, how many have been
        while todo or running:
            yield
            while todo and free:
                slot = free.pop()
                if slot not in holding:
                    self._backend.fork(self._slot, slot, start)
                    holding.add(slot)
                running.append((slot, todo.pop(), 0))
            entries: list[tuple[int, int, int]] = []  # token, position, slot
            ran: list[tuple[int, tuple[int, ...], int, int]] = []
            for slot, body, done in running:
                room = MAX_ROWS - len(entries)
                count = min(len(body) - done, self._backend.rows(start + done), room)
                entries += [(body[i], start + i, slot) for i in range(done, done + count)]
                ran.append((slot, body, done, count))
            tokens, positions, slots = (np.array(column) for column in zip(*entries, strict=True))
            rows = iter(self._backend.decode(tokens, positions, slots))
            running = []
            for slot, body, done, count in ran:
                for i in range(done, done + count):
                    note(body[: i + 1], next(rows))
                if done + count < len(body):
                    running.append((slot, body, done + count))
                else:
                    free.append(slot)
        return found

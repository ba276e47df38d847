"""One decode step for several sequences: their last tokens, and the guesses that come with them, in one call.

A guess is right where the sequence, from the model's numbers before it and with its own random draw, takes that very
token: so greedy and sampled text, penalties, stop strings and log-probabilities are what they are without guesses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence as Several

import numpy as np

from engine.backends.base import MAX_ROWS, Backend
from engine.decoding.speculation import Speculation
from engine.serving.request import Sequence

log = logging.getLogger(__name__)


class Batch:
    """Steps sequences whose text is cached but for its last token. `calls` counts calls of the backend.

    `speculation` None decodes one token a sequence and step.
    """

    def __init__(self, backend: Backend, speculation: Speculation | None) -> None:
        self.calls = 0
        self._backend = backend
        self._speculation = speculation

    def step(self, sequences: Several[Sequence]) -> None:
        """At least one token for every sequence; those of alike lengths share a call where one call is not enough."""
        if len(sequences) > MAX_ROWS:
            sequences = sorted(sequences, key=lambda s: s.computed)
        for first in range(0, len(sequences), MAX_ROWS):
            self._step(sequences[first : first + MAX_ROWS])

    def _step(self, sequences: Several[Sequence]) -> None:
        drafts = self._drafts(sequences)
        try:
            logits = self._run(sequences, drafts)
        except Exception as error:
            if len(sequences) == 1 and not drafts[0]:
                sequences[0].fail(error)
                return
            log.warning("A decode step of %d sequences failed (%s): each is tried alone.", len(sequences), error)
            for sequence in sequences:
                self._alone(sequence)
            return
        row = 0
        for sequence, draft in zip(sequences, drafts, strict=True):
            self._take(sequence, draft, logits[row : row + 1 + len(draft)])
            row += 1 + len(draft)

    def _drafts(self, sequences: Several[Sequence]) -> list[list[int]]:
        if self._speculation is None or len(sequences) == MAX_ROWS:
            return [[] for _ in sequences]
        # The last token of a text is never run, so a guess beyond the one before it would be for nothing.
        most = [min(self._backend.rows(s.computed) - 1, s.room - 1) for s in sequences]
        return self._speculation.plan([(s.guesser, s.ids, m) for s, m in zip(sequences, most, strict=True)])

    def _run(self, sequences: Several[Sequence], drafts: Several[Several[int]]) -> np.ndarray:
        """Logits [R, V], a row for each last token and guess."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        for sequence, draft in zip(sequences, drafts, strict=True):
            tokens += [sequence.ids[-1], *draft]
            positions += range(sequence.computed, sequence.computed + 1 + len(draft))
            slots += [sequence.slot] * (1 + len(draft))
        self.calls += 1
        began = time.perf_counter()
        logits = self._backend.decode(np.array(tokens), np.array(positions), np.array(slots))
        if self._speculation is not None:
            self._speculation.costs.note(len(tokens), time.perf_counter() - began)
        return logits

    def _alone(self, sequence: Sequence) -> None:
        try:
            logits = self._run([sequence], [[]])
        except Exception as error:
            sequence.fail(error)
        else:
            self._take(sequence, [], logits)

    def _take(self, sequence: Sequence, draft: Several[int], logits: np.ndarray) -> None:
        """Let a sequence take tokens as long as its guesses are right; logits [1 + guesses, V]."""
        right = 0
        try:
            for guess, row in zip([*draft, None], logits, strict=True):
                sequence.computed += 1
                sequence.advance(row)
                if sequence.finish_reason or sequence.tokens[-1].id != guess:
                    break
                right += 1
                sequence.guessed += 1
        except Exception as error:
            sequence.fail(error)
        finally:
            sequence.guesser.note(len(draft), right)

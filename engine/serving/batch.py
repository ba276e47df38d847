"""One decode step for several requests: their last tokens, and the guesses that come with them, in one call.

A guess is right where the request, from the model's numbers before it and with its own random draw, takes that very
token: so greedy and sampled text, penalties, stop strings and log-probabilities are what they are without guesses.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np

from engine.backends.base import MAX_ROWS, Backend
from engine.decoding.speculation import Speculation
from engine.serving.request import Request

log = logging.getLogger(__name__)


class DecodeBatch:
    """Steps requests whose text is cached but for its last token. `calls` counts calls of the backend.

    `speculation` None decodes one token a request and step.
    """

    def __init__(self, backend: Backend, speculation: Speculation | None) -> None:
        self.calls = 0
        self._backend = backend
        self._speculation = speculation

    def step(self, requests: Sequence[Request]) -> None:
        """At least one token for every request; those of alike lengths share a call where one call is not enough."""
        if len(requests) > MAX_ROWS:
            requests = sorted(requests, key=lambda r: r.computed)
        for first in range(0, len(requests), MAX_ROWS):
            self._step(requests[first : first + MAX_ROWS])

    def _step(self, requests: Sequence[Request]) -> None:
        drafts = self._drafts(requests)
        try:
            logits, best = self._run(requests, drafts)
        except Exception as error:
            if len(requests) == 1 and not drafts[0]:
                requests[0].fail(error)
                return
            log.warning("A decode step of %d requests failed (%s): each is tried alone.", len(requests), error)
            for request in requests:
                self._alone(request)
            return
        row = 0
        for request, draft in zip(requests, drafts, strict=True):
            end = row + 1 + len(draft)
            self._take(request, draft, logits[row:end], best[row:end])
            row = end

    def _drafts(self, requests: Sequence[Request]) -> list[list[int]]:
        if self._speculation is None or len(requests) == MAX_ROWS:
            return [[] for _ in requests]
        # The last token of a text is never run, so a guess beyond the one before it would be for nothing.
        most = [min(self._backend.rows(r.computed) - 1, r.room - 1) for r in requests]
        return self._speculation.plan([(r.guesser, r.ids, m) for r, m in zip(requests, most, strict=True)])

    def _run(
        self, requests: Sequence[Request], drafts: Sequence[Sequence[int]]
    ) -> tuple[np.ndarray, Sequence[int | None]]:
        """Logits [R, V], a row for each last token and guess, and the likeliest token of each where it is known."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        for request, draft in zip(requests, drafts, strict=True):
            tokens += [request.ids[-1], *draft]
            positions += range(request.computed, request.computed + 1 + len(draft))
            slots += [request.slot] * (1 + len(draft))
        self.calls += 1
        began = time.perf_counter()
        logits = self._backend.decode(np.array(tokens), np.array(positions), np.array(slots))
        if self._speculation is not None:
            self._speculation.costs.note(len(tokens), time.perf_counter() - began)
        best = self._backend.likeliest()
        return logits, [None] * len(tokens) if best is None else best.tolist()

    def _alone(self, request: Request) -> None:
        try:
            logits, best = self._run([request], [[]])
        except Exception as error:
            request.fail(error)
        else:
            self._take(request, [], logits, best)

    def _take(self, request: Request, draft: Sequence[int], logits: np.ndarray, best: Sequence[int | None]) -> None:
        """Let a request take tokens as long as its guesses are right; logits [1 + guesses, V]."""
        right = 0
        try:
            for guess, row, likeliest in zip([*draft, None], logits, best, strict=True):
                request.computed += 1
                request.advance(row, likeliest)
                if request.finish_reason or request.tokens[-1].id != guess:
                    break
                right += 1
                request.guessed += 1
        except Exception as error:
            request.fail(error)
        finally:
            request.guesser.note(len(draft), right)

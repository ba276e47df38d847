"""Constrained search against brute force on a model small enough to try every span."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest

from engine.decoding.sampling import log_softmax
from engine.decoding.spans import search
from engine.results import Span
from tests.engine.fake_backend import FakeBackend


class Bigram(FakeBackend):
    """Random logits that depend on the last token only."""

    def __init__(self, seed: int, vocabulary: int = 12) -> None:
        super().__init__(vocabulary)
        self.table = np.random.default_rng(seed).standard_normal((vocabulary, vocabulary)).astype(np.float32) * 2

    def after(self, token: int) -> np.ndarray:
        return self.table[token]


def finish(job: Generator[None, None, list[Span]]) -> list[Span]:
    while True:
        try:
            next(job)
        except StopIteration as end:
            return end.value


def brute(backend: Bigram, prompt_end: int, allowed: list[int], end: int, most: int) -> dict[tuple[int, ...], float]:
    found = {}
    for start in range(len(allowed)):
        total, last = 0.0, prompt_end
        for stop in range(start, min(len(allowed), start + most)):
            total += float(log_softmax(backend.after(last))[allowed[stop]])
            last = allowed[stop]
            found[tuple(allowed[start : stop + 1])] = total + float(log_softmax(backend.after(last))[end])
    return found


@pytest.mark.parametrize("seed", range(12))
def test_the_best_span_is_the_best_of_all(seed: int) -> None:
    backend = Bigram(seed)
    allowed = np.random.default_rng(seed).integers(2, 6, 9).tolist()  # four distinct tokens: the beams hold them all
    spans = finish(search(backend, 0, 4, backend.after(1), allowed, {0}, 3, 4))
    every = brute(backend, 1, allowed, 0, 4)
    assert spans[0].logprob == pytest.approx(max(every.values()), abs=1e-4)
    for span in spans:
        assert span.end - span.start == span.tokens <= 4
        assert span.logprob == pytest.approx(every[tuple(allowed[span.start : span.end])], abs=1e-4)
    assert [s.logprob for s in spans] == sorted((s.logprob for s in spans), reverse=True)
    assert len({tuple(allowed[s.start : s.end]) for s in spans}) == len(spans)


def test_a_span_never_joins_what_does_not_stand_together() -> None:
    backend = Bigram(0)
    backend.table[:] = 0
    backend.table[1, 3] = backend.table[3, 5] = backend.table[5, 0] = 9  # the model wants 3, then 5, then the end
    spans = finish(search(backend, 0, 4, backend.after(1), [3, 4, 5], {0}, 5, 3))
    texts = [tuple([3, 4, 5][s.start : s.end]) for s in spans]
    assert (3, 5) not in texts
    assert set(texts) <= {(3,), (4,), (5,), (3, 4), (4, 5), (3, 4, 5)}

"""Constrained search on a model of a few tokens: small enough that brute force knows the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backends.base import JOB_SLOTS
from engine.decoding.spans import search
from engine.results import Span, log_softmax
from tests.engine.fake_backend import RememberingBackend

PROMPT = (1, 2, 3)
END = 0
WIDTH = JOB_SLOTS - 1  # beams
CONTEXTS = st.lists(st.integers(4, 9), min_size=1, max_size=12)


def found_by(
    backend: RememberingBackend, allowed: Sequence[int], top_k: int, most: int, ends: Sequence[int] = (END,)
) -> list[Span]:
    slot = 4
    logits = backend.extend(slot, 0, PROMPT)
    assert logits is not None
    work = search(backend, slot, len(PROMPT), logits, allowed, ends, top_k, most)
    try:
        while True:
            next(work)
    except StopIteration as end:
        return end.value


def brute_force(
    backend: RememberingBackend, allowed: Sequence[int], most: int, ends: Sequence[int] = (END,)
) -> dict[tuple[int, ...], float]:
    """Log-probability of every different run of `allowed`, ending included."""
    runs = {tuple(allowed[a:b]) for a in range(len(allowed)) for b in range(a + 1, min(a + most, len(allowed)) + 1)}
    table = {}
    for run in runs:
        text: tuple[int, ...] = PROMPT
        total = 0.0
        for token in run:
            total += float(log_softmax(backend.table(text))[token])
            text = (*text, token)
        table[run] = total + float(np.logaddexp.reduce(log_softmax(backend.table(text))[list(ends)]))
    return table


@settings(max_examples=60, deadline=None)
@given(CONTEXTS, st.integers(1, 5), st.integers(1, 6))
def test_spans_are_runs_of_what_is_allowed_with_their_true_probability(
    allowed: list[int], top_k: int, most: int
) -> None:
    backend = RememberingBackend()
    table = brute_force(backend, allowed, most)
    spans = found_by(backend, allowed, top_k, most)
    runs = [tuple(allowed[span.start : span.end]) for span in spans]
    assert 1 <= len(runs) <= top_k
    assert len(set(runs)) == len(runs)
    for run, span in zip(runs, spans, strict=True):
        assert 1 <= span.tokens == span.end - span.start <= most
        assert span.logprob == pytest.approx(table[run], abs=1e-4)
    assert [span.logprob for span in spans] == sorted((span.logprob for span in spans), reverse=True)


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(4, 4 + WIDTH)), st.integers(1, 5), st.integers(1, 6))
def test_the_best_equal_brute_force_where_the_beam_holds_all(allowed: list[int], top_k: int, most: int) -> None:
    """Different tokens throughout: each hypothesis has one continuation, so no more than the beam holds exist."""
    backend = RememberingBackend()
    table = brute_force(backend, allowed, most)
    best = sorted(table, key=lambda run: -table[run])[:top_k]
    spans = found_by(backend, allowed, top_k, most)
    assert [tuple(allowed[span.start : span.end]) for span in spans] == best


def test_a_run_that_stands_twice_may_go_on_as_either() -> None:
    """`5 6` is followed by 7 in one place and by 8 in another; the model wants `5 6 8`."""
    wanted = (5, 6, 8, END)

    def table(text: tuple[int, ...]) -> np.ndarray:
        logits = np.zeros(16, np.float32)
        at = len(text) - len(PROMPT)
        if at < len(wanted) and text[len(PROMPT) :] == wanted[:at]:
            logits[wanted[at]] = 12
        return logits

    allowed = [5, 6, 7, 9, 5, 6, 8, 10]
    (span,) = found_by(RememberingBackend(table=table, vocabulary=16), allowed, 1, 8)
    assert (span.start, span.end) == (4, 7)


def test_any_of_several_ends_ends_an_answer() -> None:
    backend = RememberingBackend()
    ends = (0, 30, 31)
    allowed = [4, 5, 6, 7]
    table = brute_force(backend, allowed, 4, ends)
    (span,) = found_by(backend, allowed, 1, 4, ends)
    assert span.logprob == pytest.approx(max(table.values()), abs=1e-4)


def test_it_yields_between_steps_and_stops_once_nothing_better_can_come() -> None:
    def ends_at_once(text: tuple[int, ...]) -> np.ndarray:
        logits = np.full(16, -20, np.float32)
        logits[5 if len(text) == len(PROMPT) else END] = 20
        return logits

    backend = RememberingBackend(table=ends_at_once, vocabulary=16)
    (span,) = found_by(backend, [5, 6, 7, 8, 9], 1, 5)
    assert (span.start, span.end) == (0, 1)
    assert len(backend.batches) == 1
    patient = RememberingBackend(table=lambda text: np.zeros(16, np.float32), vocabulary=16)
    assert len(found_by(patient, [5, 6, 7, 8], 10, 5)) == 10  # every run there is
    assert len(patient.batches) == 4

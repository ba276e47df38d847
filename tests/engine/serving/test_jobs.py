"""Scores, features and log-probabilities by steps, on a fake whose numbers brute force can work out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.backends.base import JOB_SLOTS, MAX_ROWS
from engine.cache.prefix import PrefixTree
from engine.results import log_softmax
from engine.serving.jobs import Job, Jobs
from engine.serving.prefill import PREFILL_CHUNK, Prefiller
from tests.engine.fake_backend import FakeBackend, RememberingBackend

PROMPT = [5, 6, 7, 5, 6, 9]
CHOICES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=14)


def steps(job: Job[Any]) -> tuple[Any, int]:
    """A job's result and how often it yielded."""
    count = 0
    try:
        while True:
            next(job)
            count += 1
    except StopIteration as end:
        return end.value, count


def total(backend: RememberingBackend, prompt: list[int], choice: list[int]) -> float:
    text, found = tuple(prompt), 0.0
    for token in choice:
        found += float(log_softmax(backend.table(text))[token])
        text = (*text, token)
    return found


@settings(max_examples=80, deadline=None)
@given(CHOICES, st.sampled_from([1, 2, 3, MAX_ROWS]), st.booleans())
def test_a_score_is_the_sum_over_the_choices_tokens(choices: list[list[int]], most: int, reuses: bool) -> None:
    backend = RememberingBackend(most=most)
    backend.reuses = reuses
    scores, _ = steps(Jobs(backend, Prefiller(backend, None), 3).score(PROMPT, choices))
    assert scores.logprobs == pytest.approx([total(backend, PROMPT, choice) for choice in choices], abs=1e-4)
    assert scores.tokens == tuple(map(len, choices))
    assert scores.timing.prompt_tokens == len(PROMPT)
    assert set(backend.held) <= set(range(3, 3 + (JOB_SLOTS if reuses else 1)))


@pytest.mark.parametrize(
    ("choices", "calls", "rows"),
    [
        ([[1], [2], [3]], 0, 0),  # one token each: the prompt's own logits
        ([[1, 2], [1, 3], [1, 4]], 1, 1),  # a first token shared is run once
        ([[1, 2, 3, 4], [1, 2], [5, 6], [1]], 1, 4),  # a choice that begins another is run with it
        ([[1, 2, 3], [1, 4, 3], [5, 6, 7]], 1, 6),
        ([[a, a, a, a] for a in range(JOB_SLOTS)], 1, 15),  # five slots, fifteen rows: one step
        ([[a, 9] for a in range(JOB_SLOTS + 1)], 2, 6),
        ([[1] * 40], 3, 39),
    ],
)
def test_choices_are_run_together_and_what_they_share_once(choices: list[list[int]], calls: int, rows: int) -> None:
    backend = RememberingBackend()
    steps(Jobs(backend, Prefiller(backend, None), 0).score(PROMPT, choices))
    assert (len(backend.rows_run), sum(backend.rows_run)) == (calls, rows)


def test_many_texts_with_one_template_run_the_template_once() -> None:
    backend = RememberingBackend()
    tree = PrefixTree(10**6)
    prefill = Prefiller(backend, tree)
    jobs = Jobs(backend, prefill, 0)
    template = list(range(3, 31)) * 3
    for i in range(6):
        prompt = [*template, 30, i, 4]
        scores, _ = steps(jobs.score(prompt, [[1, 2], [3]]))
        assert scores.timing.reused_tokens == (len(template) + 1 if i else 0)
        assert scores.logprobs == pytest.approx([total(backend, prompt, choice) for choice in ([1, 2], [3])], abs=1e-4)
    assert prefill.computed == len(template) + 3 + 5 * 2
    assert all(node.holders == 0 for node in tree.nodes())


def test_a_search_says_how_long_its_prompt_took() -> None:
    backend = RememberingBackend()
    jobs = Jobs(backend, Prefiller(backend, PrefixTree(10**6)), 0)
    prompt = list(range(4, 30))
    for reused in (0, len(prompt) - 1):
        found, _ = steps(jobs.search(prompt, [5, 6, 7], {0}, 2, 4))
        assert len(found.spans) == 2
        assert (found.timing.prompt_tokens, found.timing.reused_tokens) == (len(prompt), reused)
        assert found.timing.ttft_s > 0


LENGTHS = (1, 2, PREFILL_CHUNK - 1, PREFILL_CHUNK, PREFILL_CHUNK + 1, PREFILL_CHUNK + 2, 2 * PREFILL_CHUNK + 9)


@pytest.fixture
def chunks() -> Iterator[tuple[Jobs, FakeBackend]]:
    backend = FakeBackend()
    yield Jobs(backend, Prefiller(backend, None), 2), backend


@pytest.mark.parametrize("length", LENGTHS)
def test_features_come_by_chunks_and_pool_as_a_whole(chunks: tuple[Jobs, FakeBackend], length: int) -> None:
    jobs, backend = chunks
    ids = [int(token) for token in np.random.default_rng(length).integers(3, 50, length)]
    pooled: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mean": lambda x: x.mean(0), "last": lambda x: x[-1]}
    for pooling, pool in pooled.items():
        backend.chunks.clear()
        row, yielded = steps(jobs.features(ids, 1, pooling))
        np.testing.assert_allclose(row, pool(np.repeat(np.array(ids, np.float64)[:, None], 4, 1)), rtol=1e-6)
        assert row.dtype == np.float32
        assert [(start, n) for _, start, n in backend.chunks] == [
            (start, min(PREFILL_CHUNK, length - start)) for start in range(0, length, PREFILL_CHUNK)
        ]
        assert yielded == len(backend.chunks) - 1


@pytest.mark.parametrize("length", LENGTHS)
def test_logprobs_come_by_chunks_a_number_for_every_token_but_the_first(
    chunks: tuple[Jobs, FakeBackend], length: int
) -> None:
    jobs, backend = chunks
    ids = [int(token) for token in np.random.default_rng(length).integers(3, 50, length)]
    found, yielded = steps(jobs.logprobs(ids))
    assert found.dtype == np.float32
    assert found.tolist() == ids[1:]  # the fake gives each token for its own log-probability
    assert sum(n for _, _, n in backend.chunks) == length - 1
    assert max((n for _, _, n in backend.chunks), default=0) <= PREFILL_CHUNK
    assert yielded == max(0, len(backend.chunks) - 1)

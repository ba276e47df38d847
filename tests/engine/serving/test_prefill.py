"""Prompts into slots: what is copied, what is run, and that both give the same."""

from __future__ import annotations

import numpy as np
import pytest

from engine.cache.prefix import PrefixTree
from engine.serving.prefill import MIN_REUSE, PREFILL_CHUNK, Prefiller, Text
from tests.engine.fake_backend import RememberingBackend

LONG = [3 + i % 29 for i in range(PREFILL_CHUNK + 100)]


def read(prefill: Prefiller, ids: list[int], slot: int, keep: bool = True) -> tuple[Text, np.ndarray]:
    text = Text(ids, slot)
    while (logits := prefill.chunk(text)) is None:
        prefill.keep(text)
    logits = logits.copy()
    if keep:
        prefill.keep(text)
    return text, logits


@pytest.fixture
def backend() -> RememberingBackend:
    return RememberingBackend()


def test_a_prompt_seen_before_runs_its_last_token_only(backend: RememberingBackend) -> None:
    prefill = Prefiller(backend, PrefixTree(10**6))
    cold, expected = read(prefill, LONG, 0)
    assert (cold.reused, prefill.computed, prefill.reused) == (0, len(LONG), 0)
    assert backend.chunks == [(0, 0, PREFILL_CHUNK), (0, PREFILL_CHUNK, 100)]
    warm, logits = read(prefill, LONG, 1)
    assert (warm.reused, prefill.reused) == (len(LONG) - 1, len(LONG) - 1)
    assert prefill.computed == len(LONG) + 1
    assert backend.chunks[2:] == [(1, len(LONG) - 1, 1)]
    assert backend.held[1] == LONG
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.parametrize("shared", [0, MIN_REUSE - 1, MIN_REUSE, 300, PREFILL_CHUNK + 7])
@pytest.mark.parametrize("own", [1, 40])
def test_what_two_prompts_share_is_run_once(backend: RememberingBackend, shared: int, own: int) -> None:
    prefill = Prefiller(backend, PrefixTree(10**6))
    read(prefill, LONG, 0)
    other = LONG[:shared] + [1] * own
    text, logits = read(prefill, other, 1)
    assert text.reused == (shared if shared >= MIN_REUSE else 0)
    assert prefill.computed == len(LONG) + len(other) - text.reused
    np.testing.assert_array_equal(logits, backend.table(tuple(other)))
    assert backend.held[1] == other


def test_what_another_runs_meanwhile_is_taken_over_between_chunks(backend: RememberingBackend) -> None:
    prefill = Prefiller(backend, PrefixTree(10**6))
    same = LONG * 5
    first, second = Text([*same, 1], 0), Text([*same, 2], 1)
    while first.computed < len(first.ids) or second.computed < len(second.ids):
        for text in (first, second):
            if text.computed < len(text.ids) and (logits := prefill.chunk(text)) is not None:
                np.testing.assert_array_equal(logits, backend.table(tuple(text.ids)))
            prefill.keep(text)
    assert first.reused > 2 * PREFILL_CHUNK  # each ran about every other chunk
    assert second.reused > 2 * PREFILL_CHUNK
    assert prefill.computed + prefill.reused == len(first.ids) + len(second.ids)
    assert prefill.computed == len(same) + 2
    assert [backend.held[slot] for slot in (0, 1)] == [first.ids, second.ids]


def test_without_a_tree_or_with_a_short_text_nothing_is_kept(backend: RememberingBackend) -> None:
    plain = Prefiller(backend, None)
    for slot in (0, 1):
        assert read(plain, LONG, slot)[0].reused == 0
    tree = PrefixTree(10**6)
    prefill = Prefiller(backend, tree)
    read(prefill, LONG[: MIN_REUSE - 1], 0)
    assert tree.tokens == 0


def test_what_a_running_text_stands_on_is_held_until_it_leaves(backend: RememberingBackend) -> None:
    tree = PrefixTree(60 * 8)
    prefill = Prefiller(backend, tree)
    text, _ = read(prefill, LONG[:40], 0)
    for start in range(50, 58):
        other, _ = read(prefill, [start % 32] * 30, 1)
        prefill.leave(other)
    assert tree.match(LONG[:40]).tokens == 40
    prefill.leave(text)
    prefill.leave(text)  # once is enough
    read(prefill, [1] * 60, 1)
    assert tree.match(LONG[:40]).tokens == 0


def test_memory_that_runs_out_costs_reuse_and_nothing_else(
    backend: RememberingBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(slot: int, start: int, end: int) -> None:
        raise MemoryError("no more")

    monkeypatch.setattr(backend, "read", fail)
    prefill = Prefiller(backend, PrefixTree(10**6))
    text, logits = read(prefill, LONG[:50], 0)
    np.testing.assert_array_equal(logits, backend.table(tuple(LONG[:50])))
    assert text.node is None
    assert "could not be kept" in caplog.text


def test_texts_begun_before_everything_is_forgotten_leave_nothing_behind(backend: RememberingBackend) -> None:
    prefill = Prefiller(backend, PrefixTree(10**6))
    before = prefill.tree
    text, _ = read(prefill, LONG, 0)
    assert text.node is not None and before is not None
    prefill.forget()
    assert prefill.tree is not before
    prefill.keep(text)
    assert prefill.tree is not None and prefill.tree.tokens == 0
    prefill.leave(text)
    assert not any(node.holders for node in before.nodes())
    again, _ = read(prefill, LONG, 1)
    assert again.reused == 0 and prefill.tree.tokens == len(LONG)


def test_without_a_tree_there_is_nothing_to_forget(backend: RememberingBackend) -> None:
    prefill = Prefiller(backend, None)
    prefill.forget()
    assert prefill.tree is None

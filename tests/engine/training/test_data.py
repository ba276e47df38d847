"""Batches: everything once, of like lengths, in an order that depends on seed and epoch alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadRequest
from engine.training.data import POOL, Labelled, Packed, pack, padded
from engine.training.losses import IGNORED


def texts(count: int, size: int = 4, seed: int = 0) -> Labelled:
    rng = np.random.default_rng(5)
    ids = [rng.integers(0, 99, rng.integers(1, 60)).astype(np.int32) for _ in range(count)]
    return Labelled(ids, np.arange(count) % 2, [f"row {i}" for i in range(count)], size, seed)


@pytest.mark.parametrize("count", [1, 3, 4, 301])
def test_an_epoch_has_every_text_once(count: int) -> None:
    rows = np.concatenate(texts(count).epoch(0))
    assert sorted(rows) == list(range(count))


def test_the_order_is_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return np.concatenate(texts(100, seed=seed).epoch(epoch)).tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_batches_are_of_like_length() -> None:
    data = texts(4 * POOL)
    padding = [1 - len(np.concatenate([data.ids[i] for i in rows])) / max(len(data.ids[i]) for i in rows) / len(rows)
               for rows in data.epoch(0)]  # fmt: skip
    assert np.mean(padding) < 0.05


def test_a_batch() -> None:
    data = Labelled([np.array([5]), np.array([6, 7, 8])], np.array([1, 0]), ["a", "b"], 2)
    batch = data.batch(np.array([1, 0]))
    assert batch.ids.tolist() == [[6, 7, 8], [5, 0, 0]] and batch.lengths.tolist() == [3, 1]
    assert batch.targets.tolist() == [0, 1] and batch.names == ("b", "a") and batch.tokens == 4
    assert [len(data.ids[i]) for rows in data.in_order() for i in rows] == [3, 1], "the longest first"


def test_a_teachers_logits_go_with_their_texts() -> None:
    said = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
    data = Labelled([np.array([5]), np.array([6, 7])], np.array([1, IGNORED]), ["a", "b"], 2, teacher=said)
    batch = data.batch(np.array([1, 0]))
    assert batch.teacher is not None and batch.teacher.tolist() == [[2.0, 3.0], [0.0, 1.0]]
    assert batch.targets.tolist() == [IGNORED, 1] and texts(3).batch(np.array([0])).teacher is None


def test_windows_guess_every_token_but_the_first() -> None:
    stream = pack([[1, 2, 3], [4, 5]], end=0)
    assert stream.tolist() == [1, 2, 3, 0, 4, 5, 0]
    data = Packed(stream, window=4, size=2)
    batch = data.batch(np.arange(data.windows))
    assert batch.ids.tolist() == [[1, 2, 3, 0], [4, 5, 0, 0]]
    assert batch.targets.tolist() == [[2, 3, 0, 4], [5, 0, IGNORED, IGNORED]]
    assert batch.lengths.tolist() == [4, 2]


@given(st.integers(2, 60), st.integers(1, 9), st.integers(1, 4))
def test_packing_loses_nothing(tokens: int, window: int, size: int) -> None:
    data = Packed(np.arange(tokens, dtype=np.int32), window, size, seed=1)
    guessed = []
    for rows in data.epoch(3):
        targets = data.batch(rows).targets
        guessed += targets[targets != IGNORED].tolist()
    assert sorted(guessed) == list(range(1, tokens))


def test_padding() -> None:
    ids, lengths = padded([np.array([1, 2]), np.array([3])], fill=-1)
    assert ids.dtype == torch.int64 and ids.tolist() == [[1, 2], [3, -1]] and lengths.tolist() == [2, 1]


def test_bad_data_is_named() -> None:
    with pytest.raises(BadRequest, match="'b' has no token"):
        Labelled([np.array([1]), np.array([], np.int32)], np.array([0, 1]), ["a", "b"], 2)
    with pytest.raises(BadRequest, match="batch size is 0"):
        texts(3, size=0)
    with pytest.raises(BadRequest, match="two or more"):
        Packed(np.array([1], np.int32), 4, 1)

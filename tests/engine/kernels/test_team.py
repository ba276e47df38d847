"""A team's helpers: they come with it and end with it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from engine.kernels.compiled import CompiledModel
from tests.engine.kernels.filled import filled, i64

_others: set[threading.Thread] = set()  # of engines that tests of other files keep loaded


def helpers() -> set[str]:
    found = set(threading.enumerate()) - _others
    return {thread.name for thread in found if thread.name.startswith("brisk-step")}


def model(threads: int) -> CompiledModel:
    twin = filled("llama", "fp32")
    return CompiledModel(twin.arch, twin.params, twin.cache, threads, 4, 16, 16)


@pytest.fixture(autouse=True)
def _not_counted() -> Iterator[None]:
    gc.collect()
    _others.update(threading.enumerate())
    yield
    _others.clear()


def test_one_thread_has_no_helpers() -> None:
    model(1)(i64(3), i64(1), i64(0))
    assert helpers() == set()


def test_helpers_end_with_the_team() -> None:
    made = model(3)
    assert helpers() == {"brisk-step-1", "brisk-step-2"}
    made.close()
    assert helpers() == set()
    made.close()  # twice is no error


def test_helpers_end_when_the_model_is_forgotten() -> None:
    made = model(2)
    made(i64(3), i64(1), i64(0))
    assert len(helpers()) == 1
    del made
    gc.collect()
    assert helpers() == set()


def test_two_teams_do_not_hear_each_others_orders() -> None:
    one, two = model(2), model(2)
    expected = one(i64(3), i64(1), i64(0)).copy()
    for _ in range(50):
        assert np.array_equal(two(i64(3), i64(1), i64(0)), expected)
        assert np.array_equal(one(i64(3), i64(1), i64(0)), expected)


def test_more_threads_than_cores_give_the_same_logits() -> None:
    for threads in (1, 4):
        made = model(threads)
        found = made(i64(3, 4), i64(1, 30), i64(0, 1)).copy()
        for _ in range(20):
            assert np.array_equal(made(i64(3, 4), i64(1, 30), i64(0, 1)), found)
        made.close()

"""A team's helpers: they come with it and end with it."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from engine.kernels.compiled import CompiledModel
from engine.kernels.futex import SLEEPS
from engine.kernels.width import Width
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


def test_orders_for_any_number_of_threads_follow_one_another() -> None:
    """Helpers that are left out sleep, and hear the next order that is for them."""
    made = model(4)
    width = made.widths[1] = Width(4, adapts=False)
    expected = made(i64(3), i64(1), i64(0)).copy()
    random = np.random.default_rng(0)
    for width.now in random.integers(1, 5, 300).tolist():
        assert np.array_equal(made(i64(3), i64(1), i64(0)), expected)
        if random.random() < 0.05:
            time.sleep(0.002)  # longer than a helper spins
    width.now = 1
    made(i64(3), i64(1), i64(0))
    assert helpers() == {"brisk-step-1", "brisk-step-2", "brisk-step-3"}
    made.close()
    assert helpers() == set()


@pytest.mark.skipif(not SLEEPS, reason="threads cannot sleep here, so all of them walk")
def test_helpers_that_are_left_out_use_no_core() -> None:
    made = model(3)
    width = made.widths[1] = Width(3, adapts=False)
    made(i64(3), i64(1), i64(0))
    width.now = 1
    made(i64(3), i64(1), i64(0))
    time.sleep(0.05)  # until the helpers sleep
    began, own = time.process_time(), time.thread_time()
    for _ in range(2_000):
        made(i64(3), i64(1), i64(0))
    others = (time.process_time() - began) - (time.thread_time() - own)
    made.close()
    assert others < 0.1 * (time.thread_time() - own)

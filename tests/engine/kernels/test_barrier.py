"""Threads that wait for one another, and sleep where that takes long."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numba as nb
import numpy as np
import pytest

from engine.kernels import futex
from engine.kernels.barrier import LINE, barrier, wait_beyond, wake_sleepers
from engine.memory import array


@nb.njit(nogil=True)
def meet(words, threads, times, t, seen):
    """Every thread writes its number of the round, meets, reads all the others', and meets again."""
    arrivals = 0
    wrong = 0
    for at in range(1, times + 1):
        seen[t * LINE] = at
        arrivals = barrier(words, arrivals + threads)
        for other in range(threads):
            if seen[other * LINE] != at:
                wrong += 1
        arrivals = barrier(words, arrivals + threads)
    return wrong


@nb.njit(nogil=True)
def wait(words, passed):
    return wait_beyond(words, 0, passed, 1000)


@nb.njit
def raise_and_wake(words):
    words[0] += 1
    wake_sleepers(words, 0)


@pytest.mark.parametrize("threads", [1, 2, 5])  # more than there are cores, too
def test_nobody_passes_before_all_have_come(threads: int) -> None:
    words, seen = array((4 * LINE,), np.int64), array((threads * LINE,), np.int64)
    with ThreadPoolExecutor(threads) as pool:
        wrong = list(pool.map(lambda t: meet(words, threads, 2000, t, seen), range(threads)))
    assert wrong == [0] * threads
    assert words[0] == 2 * 2000 * threads
    assert words[LINE] == 0, "nobody sleeps any more"


@pytest.mark.skipif(not futex.SLEEPS, reason="threads yield here")
def test_who_waits_long_sleeps_and_is_woken() -> None:
    words = array((4 * LINE,), np.int64)
    wait(words, -1)  # compiled
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait, words, 0)
        while words[LINE] == 0:
            time.sleep(0.01)
        used = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - used < 0.1, "asleep, not spinning"
        assert not waiting.done()
        raise_and_wake(words)
        assert waiting.result(timeout=5) == 1


def test_a_word_that_has_changed_is_not_slept_on() -> None:
    @nb.njit(nogil=True)
    def sleep(words, seen):
        futex.sleep(words, 0, seen)

    words = array((LINE,), np.int64)
    words[0] = (1 << 40) + 7
    done = threading.Thread(target=sleep, args=(words, 6), daemon=True)
    done.start()
    done.join(5)
    assert not done.is_alive()

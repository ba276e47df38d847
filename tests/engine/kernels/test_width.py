"""How many threads walk a step, beside neighbours that a rule stands for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.kernels.width import LATEST, Width

Pace = Callable[[int], tuple[float, float]]  # threads -> seconds of a step, and of them with a core


def quiet(threads: int) -> tuple[float, float]:
    return 0.004 / threads, 0.004 / threads


def one_core_is_taken(threads: int) -> tuple[float, float]:
    """As measured on two cores, or on so many: one thread less has its cores for itself."""
    return (0.004 / threads, 0.004 / threads) if threads < CORES else (0.009, 0.004)


def all_are_taken_alike(threads: int) -> tuple[float, float]:
    return 0.012 / threads, 0.004 / threads


CORES = 4


def walk(width: Width, pace: Pace, seconds: float) -> dict[int, float]:
    """Seconds that were walked with so many threads."""
    spent: dict[int, float] = {}
    while sum(spent.values()) < seconds:
        now = width.now
        took, busy = pace(now)
        width.add(took, busy)
        spent[now] = spent.get(now, 0.0) + took
    return spent


def test_on_quiet_cores_nothing_is_tried() -> None:
    assert walk(Width(CORES), quiet, 20) == {CORES: pytest.approx(20, abs=0.1)}


def test_one_thread_has_nothing_to_try() -> None:
    assert list(walk(Width(1), all_are_taken_alike, 10)) == [1]


def test_where_threads_cannot_sleep_all_of_them_walk() -> None:
    assert list(walk(Width(CORES, adapts=False), one_core_is_taken, 10)) == [CORES]


def test_a_taken_core_is_left_within_a_fifth_of_a_second() -> None:
    width = Width(CORES)
    walk(width, quiet, 5)
    walk(width, one_core_is_taken, 0.2)
    assert width.kept == CORES - 1


def test_what_is_tried_in_vain_costs_little() -> None:
    spent = walk(Width(CORES), one_core_is_taken, 30)
    assert spent[CORES - 1] > 0.9 * 30


def test_where_fewer_are_slower_too_all_walk_on() -> None:
    width = Width(CORES)
    spent = walk(width, all_are_taken_alike, 30)
    assert width.kept == CORES
    assert spent[CORES] > 0.9 * 30


def test_a_core_that_is_free_again_is_taken_within_the_longest_wait() -> None:
    width = Width(CORES)
    walk(width, one_core_is_taken, 20)
    assert width.kept == CORES - 1
    walk(width, quiet, LATEST + 1)
    assert width.kept == CORES


def left(free: int) -> Pace:
    """So many cores are free; each thread beyond them makes all wait longer."""
    return lambda threads: quiet(threads) if threads <= free else (0.002 * threads, 0.001)


def test_a_gain_of_a_few_per_cent_brings_all_threads_back() -> None:
    def nearly_as_fast(threads: int) -> tuple[float, float]:
        return (0.0100, 0.0100) if threads == 2 else (0.0105, 0.0105)

    width = Width(2)
    walk(width, lambda threads: (0.02, 0.01) if threads == 2 else (0.0105, 0.0105), 10)
    assert width.kept == 1
    walk(width, nearly_as_fast, LATEST + 2)
    assert width.kept == 2


def test_trials_of_slow_steps_are_rare() -> None:
    def slow(threads: int) -> tuple[float, float]:
        return 0.5 / threads, 0.1 / threads

    spent = walk(Width(2), slow, 400)
    assert spent[2] > 0.93 * 400


def test_several_cores_are_left_and_taken_again() -> None:
    width = Width(8)
    for free, seconds in ((2, 20.0), (3, 2 * LATEST), (8, 2 * LATEST)):
        walk(width, left(free), seconds)
        assert width.kept == free

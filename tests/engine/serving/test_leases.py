"""Leases: one loaded thing for many holders, however they come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.serving.leases import Leases


class Loaded:
    """What is shared: it knows whether it is closed, and `gate` holds its closing back."""

    def __init__(self) -> None:
        self.closes = 0
        self.gate = threading.Event()
        self.gate.set()

    def close(self) -> None:
        assert self.gate.wait(10)
        self.closes += 1


@pytest.fixture
def leases() -> Leases[str, Loaded]:
    return Leases()


def never() -> Loaded:
    raise AssertionError("loaded already")


def test_it_closes_with_the_last_lease(leases: Leases[str, Loaded]) -> None:
    first, second = leases.take("a", Loaded), leases.take("a", never)
    assert first.value is second.value
    first.close()
    assert first.value.closes == 0
    second.close()
    assert second.value.closes == 1
    assert leases.take("a", Loaded).value is not first.value


def test_closing_a_lease_twice_takes_nobody_elses(leases: Leases[str, Loaded]) -> None:
    first, second = leases.take("a", Loaded), leases.take("a", never)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: first.close(), range(20)))
    assert second.value.closes == 0
    second.close()
    fresh = leases.take("a", Loaded)
    first.close()
    second.close()
    assert (fresh.value.closes, first.value.closes) == (0, 1)


def test_keys_do_not_share(leases: Leases[str, Loaded]) -> None:
    one, other = leases.take("a", Loaded), leases.take("b", Loaded)
    one.close()
    assert (one.value.closes, other.value.closes) == (1, 0)


def test_threads_that_ask_at_once_load_once(leases: Leases[str, Loaded]) -> None:
    loads: list[Loaded] = []
    ready = threading.Barrier(8)

    def load() -> Loaded:
        loads.append(Loaded())
        return loads[-1]

    def ask(i: int) -> Loaded:
        ready.wait(10)
        return leases.take("a", load).value

    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(ask, range(8)))
    assert len(loads) == 1 and set(values) == set(loads)


def test_a_failed_load_leaves_nothing_behind(leases: Leases[str, Loaded]) -> None:
    def fail() -> Loaded:
        raise MemoryError("no more")

    with pytest.raises(MemoryError):
        leases.take("a", fail)
    lease = leases.take("a", Loaded)
    lease.close()
    assert lease.value.closes == 1
    assert not leases._shared  # no public name shows that the table is empty


@pytest.mark.parametrize("load", [Loaded, None], ids=["loads", "fails too"])
def test_who_waits_for_a_load_that_fails_loads_in_turn(
    leases: Leases[str, Loaded], load: Callable[[], Loaded] | None
) -> None:
    begun, gate = threading.Event(), threading.Event()

    def fail() -> Loaded:
        begun.set()
        assert gate.wait(10)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(leases.take, "a", fail)
        assert begun.wait(10)
        waiting = pool.submit(leases.take, "a", load or fail)
        gate.set()
        with pytest.raises(KeyboardInterrupt):
            failing.result(10)
        if load is None:
            with pytest.raises(KeyboardInterrupt):
                waiting.result(10)
        else:
            waiting.result(10).close()
            assert waiting.result().value.closes == 1
    assert not leases._shared  # as above


def test_loading_one_holds_up_no_other_and_neither_does_closing(leases: Leases[str, Loaded]) -> None:
    begun, gate = threading.Event(), threading.Event()

    def slow() -> Loaded:
        begun.set()
        assert gate.wait(10)
        return Loaded()

    with ThreadPoolExecutor(2) as pool:
        held = leases.take("b", Loaded)
        loading = pool.submit(leases.take, "a", slow)
        assert begun.wait(10)
        held.close()
        assert held.value.closes == 1
        closing = leases.take("b", Loaded)
        closing.value.gate.clear()
        closed = pool.submit(closing.close)
        leases.take("c", Loaded).close()
        assert not loading.done()
        gate.set()
        closing.value.gate.set()
        closed.result(10)
        loading.result(10)

"""Ceilings: small amounts, but measured for real."""

from __future__ import annotations

import os

import numpy as np
import pytest

from engine.measure import ceilings as measure


@pytest.mark.parametrize("threads", [1, 2])
def test_reading_is_timed_over_every_byte(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if threads > (os.cpu_count() or 1):
        pytest.skip("one core here")
    clock = iter(np.arange(0.0, 100.0, 0.5))  # every pass seems to take half a second
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    nbytes = 8 * 100_003  # parts of different length
    assert measure.read_bandwidth(threads, nbytes, passes=2) == pytest.approx(nbytes / 0.5)


def test_a_read_loop_that_skips_something_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_read_loop", lambda: lambda data, threads: len(data) - 1)
    with pytest.raises(RuntimeError, match="added up"):
        measure.read_bandwidth(1, 8000, passes=1)


def test_products_are_counted_two_operations_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PRODUCTS", ((64, 32, 16),))
    clock = iter([0.0, 0.1, 0.6, 99.0])  # until, began, done, past the end
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))
    assert measure.matmul_flops(1) == pytest.approx(2 * 64 * 32 * 16 / 0.5)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core here")
def test_a_word_goes_to_another_core_and_back() -> None:
    found = measure.round_trip(passes=3, trips=100)
    assert found is not None and 1e-9 < found < 1


def test_one_core_has_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "available_threads", lambda: 1)
    assert measure.round_trip() is None

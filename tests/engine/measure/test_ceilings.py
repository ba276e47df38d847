"""Ceilings and memory: small amounts, but measured for real."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from engine.measure import ceilings as measure

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is resident")


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


def test_the_processor_has_a_name_and_only_known_vectors() -> None:
    name, vectors = measure.processor()
    assert name.strip()
    assert set(vectors) <= set(measure.VECTORS)


@linux
def test_vectors_are_those_of_the_first_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = "processor : 0\nmodel name : Some CPU @ 2 GHz\nflags : fpu avx2 sse avx512_vnni\n\nprocessor : 1\n"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding=None: info)
    assert measure.processor() == ("Some CPU @ 2 GHz", ("avx2", "avx512_vnni"))


@linux
def test_memory_grows_with_what_is_held_and_the_peak_stays_until_forgotten() -> None:
    before = measure.memory()
    held = np.ones(100 << 17, np.float64)  # 100 MiB
    during = measure.memory()
    assert during["resident"] - before["resident"] > 90 << 20
    del held
    after = measure.memory()
    assert after["peak"] + (1 << 20) > during["resident"] > after["resident"] + (50 << 20)
    if measure.forget_peak():
        assert measure.memory()["peak"] < during["resident"]


def test_processor_time_is_that_of_the_process() -> None:
    before = measure.cpu_seconds(os.getpid())
    if before is None:
        pytest.skip("this system does not tell")
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    after = measure.cpu_seconds(os.getpid())
    assert after is not None and 0.05 <= after - before < 5


def test_of_no_process_no_time_is_known() -> None:
    assert measure.cpu_seconds(2**30) is None

"""Memory and processor time of a process, measured for real."""

from __future__ import annotations

import mmap
import os
import sys
import time

import pytest

from engine.measure import process

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is resident")


@linux
def test_memory_grows_with_what_is_held_and_the_peak_stays_until_forgotten() -> None:
    before = process.memory()
    held = mmap.mmap(-1, 100 << 20)  # not of the C library's heap, which may keep what is freed
    for at in range(0, len(held), mmap.PAGESIZE):
        held[at] = 1
    during = process.memory()
    assert during["resident"] - before["resident"] > 90 << 20
    held.close()
    after = process.memory()
    assert after["peak"] + (1 << 20) > during["resident"] > after["resident"] + (50 << 20)
    if process.forget_peak():
        assert process.memory()["peak"] < during["resident"]


def test_processor_time_is_that_of_the_process() -> None:
    before = process.cpu_seconds(os.getpid())
    if before is None:
        pytest.skip("this system does not tell")
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    after = process.cpu_seconds(os.getpid())
    assert after is not None and 0.05 <= after - before < 5


def test_of_no_process_no_time_is_known() -> None:
    assert process.cpu_seconds(2**30) is None

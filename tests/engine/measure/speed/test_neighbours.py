"""Neighbours are busy while they are asked for, and gone afterwards, however the block is left."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

from engine.errors import BadRequest
from engine.measure.process import cpu_seconds
from engine.measure.speed import neighbours as room
from engine.measure.speed.neighbours import LOOP, MOST, neighbours, parse_counts
from engine.measure.worker import WorkerFailed


def gone(running: list[subprocess.Popen[bytes]]) -> bool:
    return all(process.returncode is not None for process in running)


def test_counts_are_read_once_each_in_their_order() -> None:
    assert parse_counts("0,1,2,4") == [0, 1, 2, 4]
    assert parse_counts(" 4, 0,4 ") == [4, 0] and parse_counts(str(MOST)) == [MOST]


@pytest.mark.parametrize("given", ["-1", "two", "1.5", "65", "1,,2", ",", " ", "²", "1;2", "9" * 400])
def test_what_is_no_count_is_one_sentence(given: str) -> None:
    with pytest.raises(BadRequest, match=r"^--neighbours is '.*': give counts from 0 to 64 with commas between"):
        parse_counts(given)


def test_neighbours_use_processor_time_until_the_block_ends() -> None:
    with neighbours(2) as running:
        assert len(running) == 2 and not gone(list(running))
        before = [cpu_seconds(process.pid) for process in running]
        until = time.monotonic() + 20
        if None not in before:
            while any(cpu_seconds(p.pid) <= b for p, b in zip(running, before, strict=True)):  # type: ignore[operator]
                assert time.monotonic() < until, "a neighbour does nothing"
                time.sleep(0.02)
    assert gone(list(running))


def test_none_is_nothing() -> None:
    with neighbours(0) as running:
        assert not running


@pytest.mark.parametrize("error", [ValueError, WorkerFailed, KeyboardInterrupt])
def test_neighbours_end_when_the_block_fails(error: type[BaseException]) -> None:
    with pytest.raises(error), neighbours(2) as running:
        raise error("why")
    assert len(running) == 2 and gone(list(running))


def test_one_that_ends_too_soon_fails_the_measurement_and_the_others_end() -> None:
    with pytest.raises(WorkerFailed, match="A busy neighbour ended while"), neighbours(2) as running:
        running[0].kill()
        running[0].wait()
    assert gone(list(running))


def test_one_that_cannot_be_started_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        if begun:
            raise OSError(11, "Resource temporarily unavailable")
        begun.append(really(*arguments, **options))
        return begun[0]

    really = subprocess.Popen
    monkeypatch.setattr(room.subprocess, "Popen", start)
    with pytest.raises(WorkerFailed, match=r"could not be started \(Resource temporarily unavailable\)"), neighbours(2):
        pytest.fail("it began without its neighbours")
    assert gone(begun)


def test_a_neighbour_ends_with_the_process_that_started_it() -> None:
    """The system closes our end of its stdin when we are killed."""
    with subprocess.Popen([sys.executable, "-c", LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            assert process.stdout.read(len("counting")) == b"counting" and process.poll() is None
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()

"""Everyone beside the same neighbours, round by round, and nobody left afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from engine.measure.speed import beside as room
from engine.measure.speed import rounds
from engine.measure.speed.beside import Beside, beside_sheet, measure_beside
from engine.measure.speed.compare import Field
from engine.measure.speed.figures import Shape
from engine.measure.speed.rounds import Rounds, Run
from engine.measure.worker import WorkerFailed
from tests.engine.measure.speed.fake_worker import Fake

SHAPE = Shape(prompt=20, new=4, batch=1)


class Started:
    """The neighbours of each time that some were asked for, started for real."""

    def __init__(self) -> None:
        self.all: list[Sequence[subprocess.Popen[bytes]]] = []
        self._really = room.neighbours

    @contextmanager
    def neighbours(self, count: int) -> Iterator[None]:
        with self._really(count) as running:
            self.all.append(running)
            yield

    def alive(self) -> int:
        return sum(process.poll() is None for running in self.all for process in running)


class Watching:
    """A fake worker in this process, that notes how many neighbours run while it does; its last run may fail."""

    def __init__(self, name: str, started: Started, log: list[tuple[str, int, Any]], fails: bool = False) -> None:
        self.name, self._started, self._log, self._fails = name, started, log, fails

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        self._log.append((self.name, self._started.alive(), request["prompts"]))
        if self._fails:
            raise WorkerFailed(f"{self.name} ended: exit code 1, without a word")
        answer: dict[str, Any] = getattr(Fake(), do)(**request)
        return answer

    def cpu_s(self) -> None:
        return None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    found = Started()
    monkeypatch.setattr(room, "neighbours", found.neighbours)
    monkeypatch.setattr(rounds, "REST_S", 0)
    return found


def field(*workers: Any) -> Field:
    return Field(1, {worker.name: worker for worker in workers}, ids=list(range(1, 50)))


def quiet(text: str) -> None:
    pass


def test_neighbours_run_while_everyone_is_measured_and_are_gone_afterwards(started: Started) -> None:
    log: list[tuple[str, int, Any]] = []
    said: list[str] = []
    found = measure_beside(field(*(Watching(n, started, log) for n in "ab")), SHAPE, [0, 2, 1], 2, said.append)
    assert [(name, alive) for name, alive, _ in log] == [("a", 0), ("b", 0), ("a", 2), ("b", 2), ("a", 1), ("b", 1)] * 2
    prompts = [prompts for _, _, prompts in log]
    assert all(one == prompts[0] for one in prompts[:6]) and all(one == prompts[6] for one in prompts[6:])
    assert prompts[0] != prompts[6]  # nothing kept of a round serves the next
    assert {count: [len(runs) for runs in one.runs.values()] for count, one in found.rounds.items()} == {
        0: [2, 2], 2: [2, 2], 1: [2, 2],
    }  # fmt: skip
    assert started.alive() == 0
    assert said[2] == "round 1 of 2, 2 busy neighbours: a" and said[4] == "round 1 of 2, 1 busy neighbour: a"


def test_neighbours_are_gone_after_a_failure(started: Started) -> None:
    log: list[tuple[str, int, Any]] = []
    with pytest.raises(WorkerFailed, match="b ended"):
        measure_beside(field(Watching("a", started, log), Watching("b", started, log, True)), SHAPE, [2], 3, quiet)
    assert [(name, alive) for name, alive, _ in log] == [("a", 2), ("b", 2)]
    assert started.alive() == 0


def test_only_those_named_take_part(started: Started) -> None:
    log: list[tuple[str, int, Any]] = []
    found = measure_beside(field(*(Watching(n, started, log) for n in "abc")), SHAPE, [0], 1, quiet, ["c", "a", "z"])
    assert [name for name, _, _ in log] == ["a", "c"] and found.references == ("a",)


def run(ttft: float, decode: float) -> Run:
    return Run(ttft, decode, 10, ttft + decode, ((1,),))


def measured(*counts: int) -> Beside:
    """Our engine keeps half its speed beside each further neighbour, the others a quarter; the machine slows down."""
    kept = {"Brisk int8": 0.5, "Transformers fp32": 0.25, "llama.cpp Q8_0": 0.25}
    found = {
        count: Rounds({name: [run(2 * t / k**count, t / k**count) for t in (1, 4, 8)] for name, k in kept.items()})
        for count in counts
    }
    return Beside(Shape(100, 11, 1), ("Transformers fp32", "llama.cpp Q8_0"), found)


def test_ratios_are_taken_round_by_round_to_both_and_to_ones_own_quiet_speed() -> None:
    rows = {(row.neighbours, row.name): row for row in measured(0, 1, 2).rows}
    assert len(rows) == 9
    mine = rows[2, "Brisk int8"]
    assert mine.decode_ratios == {"Transformers fp32": pytest.approx(4), "llama.cpp Q8_0": pytest.approx(4)}
    assert mine.prefill_ratios == mine.decode_ratios
    assert mine.decode_kept == pytest.approx(0.25) and mine.prefill_kept == pytest.approx(0.25)
    assert (mine.decode.median, mine.decode.most) == (10 * 0.25 / 4, 10 * 0.25)
    assert mine.prefill.median == pytest.approx(100 * 0.25 / 8)
    assert rows[2, "llama.cpp Q8_0"].decode_kept == pytest.approx(1 / 16)


def test_the_table_has_a_row_a_count_and_candidate() -> None:
    sheet = beside_sheet(measured(0, 1))
    assert tuple(column.replace("\n", " ") for column in sheet.header) == (
        "busy neighbours", "", "prefill pp100, tokens/s", "to Transformers fp32", "to llama.cpp Q8_0", "of alone",
        "decode tg11, tokens/s", "to Transformers fp32", "to llama.cpp Q8_0", "of alone",
    )  # fmt: skip
    assert sheet.rows[3] == (
        "1", "Brisk int8", "6 (3 to 25)", "2.00x", "2.00x", "50%", "1.2 (0.6 to 5.0)", "2.00x", "2.00x", "50%",
    )  # fmt: skip
    assert "of 3 rounds" in sheet.title and len(sheet.rows) == 6
    assert "of alone" not in beside_sheet(measured(1, 2)).header  # nobody was alone
    assert measured(1, 2).rows[0].decode_kept is None

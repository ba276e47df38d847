"""The machine is named once, and as the system names it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.measure import machine


def test_the_processor_has_a_name_and_only_known_vectors() -> None:
    name, vectors = machine.processor()
    assert name.strip()
    assert set(vectors) <= set(machine.VECTORS)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells")
def test_vectors_are_those_of_the_first_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = "processor : 0\nmodel name : Some CPU @ 2 GHz\nflags : fpu avx2 sse avx512_vnni\n\nprocessor : 1\n"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding=None: info)
    assert machine.processor() == ("Some CPU @ 2 GHz", ("avx2", "avx512_vnni"))


def test_a_machine_says_how_far_apart_its_cores_were() -> None:
    def ceiling(trip: float | None) -> dict[str, float | None]:
        return {"bandwidth": 1e10, "flops": 1e11, "round_trip": trip}

    [*_, said] = machine.machine_lines(machine.machine(2, {}, [ceiling(7.1e-8), ceiling(3.5e-7)]))
    assert said.startswith("A word went to another core and back in 71, 350 ns")
    assert "core and back" not in " ".join(machine.machine_lines(machine.machine(1, {}, [ceiling(None)])))
    assert "core and back" not in " ".join(machine.machine_lines(machine.machine(1, {})))

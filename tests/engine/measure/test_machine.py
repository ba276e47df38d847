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

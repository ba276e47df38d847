"""Who runs beside us, and in which environment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from engine.kernels import tiers
from engine.measure.peers.registry import PEERS, Ready, Variant
from engine.measure.speed.candidates import Candidate, ours, peers


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, folder: Path) -> Any:
        return [Ready(PEERS[name], Variant("int8"), sys.executable, folder)]

    monkeypatch.setattr("engine.measure.speed.candidates.find", find)


def gathered(names: str, folder: Path) -> list[Candidate]:
    found, absent = peers(names, folder, 2, 640, 1)
    assert not absent
    return found


def test_a_tier_that_is_played_holds_the_others_too_and_says_whom_it_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = next(iter(tiers.playable()), None)
    if tier is None:
        pytest.skip("this processor plays no tier")
    monkeypatch.setenv(tiers.VARIABLE, tier.name)
    held, free = gathered("ctranslate2,llama.cpp", tmp_path)
    (own,) = ours("m", "int8", {})
    assert held.environment == own.environment == {**tier.torch, "CT2_FORCE_CPU_ISA": "AVX2"} and not held.note
    assert free.note == f"BRISK_CPU_TIER does not hold it to the tier {tier.name!r}."


def test_without_a_tier_nobody_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tiers.VARIABLE, raising=False)
    for candidate in [*gathered("ctranslate2,llama.cpp", tmp_path), *ours("m", "int8", {})]:
        assert not candidate.environment and not candidate.note

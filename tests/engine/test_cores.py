"""How many threads a process may use, by files as Linux has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.cores import available_threads


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CPU_CORES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)


def found(folder: Path, own: str, **files: str) -> int:
    """With these files in the folder of control groups; double underscores stand for a slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("cpu_", "cpu.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "own").write_text(own)
    return available_threads(folder, folder / "own")


def test_a_space_says_how_many_cores_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPU_CORES", "3")
    assert available_threads() == 3
    monkeypatch.setenv("CPU_CORES", "many")
    assert available_threads() >= 1


def test_without_control_groups_affinity_decides(tmp_path: Path) -> None:
    assert available_threads(tmp_path, tmp_path / "nothing") == 8


@pytest.mark.parametrize(
    ("quota", "threads"),
    [("200000 100000", 2), ("150000 100000", 2), ("30000 100000", 1), ("max 100000", 8), ("1600000 100000", 8),
     ("", 8), ("nonsense", 8), ("0 0", 8)],
)  # fmt: skip
def test_a_quota_counts(tmp_path: Path, quota: str, threads: int) -> None:
    assert found(tmp_path, "0::/\n", cpu_max=quota) == threads


def test_the_least_of_a_group_and_those_that_hold_it_counts(tmp_path: Path) -> None:
    files = {"a__cpu_max": "300000 100000", "a__b__cpu_max": "max 100000", "a__b__c__cpu_max": "500000 100000"}
    assert found(tmp_path, "0::/a/b/c\n", **files) == 3


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    assert found(tmp_path, "0::/kubepods/pod-1/2\n", cpu_max="400000 100000") == 4


def test_groups_of_version_1(tmp_path: Path) -> None:
    own = "9:name=systemd:/\n2:cpuacct,cpu:/docker/1\n1:memory:/docker/1\n"
    files = {"cpu__docker__1__cpu_cfs_quota_us": "250000", "cpu__docker__1__cpu_cfs_period_us": "50000"}
    assert found(tmp_path, own, cpu__cpu_cfs_quota_us="-1", cpu__cpu_cfs_period_us="100000", **files) == 5
    assert found(tmp_path, own, cpu__cpu_cfs_quota_us="200000") == 2

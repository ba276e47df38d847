"""Options are checked where they are made, each with one sentence."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from engine.config import EngineConfig, SamplingParams, available_threads
from engine.errors import BadRequest


@pytest.mark.parametrize(
    "given",
    [
        {"max_tokens": 0}, {"max_tokens": -3}, {"min_tokens": 9, "max_tokens": 8}, {"temperature": -1},
        {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.5},
        {"top_p": math.nan}, {"min_p": -0.1}, {"repetition_penalty": 0}, {"seed": -1}, {"stop": ("",)},
        {"stop": tuple("abcdefghijklmnopqrstu")}, {"logprobs": -1},
    ],
)  # fmt: skip
def test_a_bad_sampling_option_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        SamplingParams(**given)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "given",
    [
        {"model": ""}, {"model": "a\0b"}, {"precision": "int3"}, {"backend": "magic"}, {"threads": -1},
        {"threads": 10_000}, {"max_context": -1}, {"max_batch": 0},
    ],
)  # fmt: skip
def test_a_bad_engine_option_is_named(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=r"\.$"):
        EngineConfig(**given)


def test_one_stop_string_may_stand_alone() -> None:
    assert SamplingParams(stop="END").stop == ("END",)  # type: ignore[arg-type]


# ---- how many threads, by files as Linux has them


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.usefixtures("eight_cores")
def test_a_space_says_how_many_cores_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPU_CORES", "3")
    assert available_threads() == 3
    monkeypatch.setenv("CPU_CORES", "many")
    assert available_threads() >= 1


@pytest.mark.usefixtures("eight_cores")
def test_without_control_groups_affinity_decides(tmp_path: Path) -> None:
    assert available_threads(tmp_path, tmp_path / "nothing") == 8


@pytest.mark.parametrize(
    ("quota", "threads"),
    [("200000 100000", 2), ("150000 100000", 2), ("30000 100000", 1), ("max 100000", 8), ("1600000 100000", 8),
     ("", 8), ("nonsense", 8), ("0 0", 8)],
)  # fmt: skip
@pytest.mark.usefixtures("eight_cores")
def test_a_quota_counts(tmp_path: Path, quota: str, threads: int) -> None:
    assert found(tmp_path, "0::/\n", cpu_max=quota) == threads


@pytest.mark.usefixtures("eight_cores")
def test_the_least_of_a_group_and_those_that_hold_it_counts(tmp_path: Path) -> None:
    files = {"a__cpu_max": "300000 100000", "a__b__cpu_max": "max 100000", "a__b__c__cpu_max": "500000 100000"}
    assert found(tmp_path, "0::/a/b/c\n", **files) == 3


@pytest.mark.usefixtures("eight_cores")
def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    assert found(tmp_path, "0::/kubepods/pod-1/2\n", cpu_max="400000 100000") == 4


@pytest.mark.usefixtures("eight_cores")
def test_groups_of_version_1(tmp_path: Path) -> None:
    own = "9:name=systemd:/\n2:cpuacct,cpu:/docker/1\n1:memory:/docker/1\n"
    files = {"cpu__docker__1__cpu_cfs_quota_us": "250000", "cpu__docker__1__cpu_cfs_period_us": "50000"}
    assert found(tmp_path, own, cpu__cpu_cfs_quota_us="-1", cpu__cpu_cfs_period_us="100000", **files) == 5
    assert found(tmp_path, own, cpu__cpu_cfs_quota_us="200000") == 2

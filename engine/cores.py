"""How many CPU threads a process may really use: a container often sees every core of its host."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_threads(groups: Path = GROUPS, own: Path = OWN) -> int:
    """`CPU_CORES` (set on Spaces), else the smaller of affinity and the control groups' quota, at least 1.

    Parameters
    ----------
    groups, own : where Linux has its control groups (cgroups(7), both versions), and which of them this process is in.
    """
    if (named := os.environ.get("CPU_CORES", "")).isdecimal() and int(named) > 0:
        return int(named)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(round(share) for share in _quotas(groups, own))]))


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """Cores that each group this process is in may use, where it has a quota."""
    found = [_numbers(groups / group / "cpu.max") for group in _path(own, "")]  # version 2
    for group in _path(own, "cpu"):  # version 1
        folder = groups / "cpu" / group
        found.append(_numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us"))
    for quota in found:
        if len(quota) == 2 and min(quota) > 0:
            yield quota[0] / quota[1]


def _path(own: Path, controller: str) -> list[str]:
    """The group that this process is in, those that hold it, and the root. A container may be shown its own group as
    the root and told the path that its host knows: what is not there has no quota."""
    group = PurePosixPath("/")
    with contextlib.suppress(OSError, ValueError):  # not Linux
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                group = PurePosixPath(path)
    return [str(one).lstrip("/") for one in (group, *group.parents)]


def _numbers(path: Path) -> list[int]:
    """The whole numbers of a file, none where it has something else or is not there."""
    try:
        return [int(part) for part in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):  # "max": no quota
        return []

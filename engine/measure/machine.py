"""What every figure depends on: the processor and its vector instructions, cores, threads, versions, the commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.config import available_threads

VECTORS = ("avx2", "f16c", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp")


def processor() -> tuple[str, tuple[str, ...]]:
    """The processor's model name, and those of `VECTORS` that it has (Linux tells; elsewhere none are named)."""
    name, flags = platform.processor() or platform.machine() or "unknown processor", set()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return name, ()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = set(value.split())
            break
    return name, tuple(vector for vector in VECTORS if vector in flags)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Version by package, "not installed" where it is not."""
    return {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit(folder: Path) -> str:
    """The commit of the code in `folder`, with "+changes" when files differ from it; "not in git" otherwise."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "not in git"


def machine(threads: int, versions: Mapping[str, str], ceilings: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """This machine as data for a report.

    Parameters
    ----------
    threads : CPU threads that the measured engines were given.
    versions : version by name of all that ran; Python's is put before them.
    ceilings : one a round, `bandwidth` in bytes/s and `flops` in 1/s; their medians are given, None where there are no
        ceilings. And `round_trip` in seconds, None where there is one core: all of them are given, in order.

    Returns
    -------
    JSON-able: processor, vectors, cores, usable_cores, threads, versions, bandwidth, flops, round_trips.
    """
    name, vectors = processor()
    return {
        "processor": name,
        "vectors": list(vectors),
        "cores": os.cpu_count() or 1,
        "usable_cores": available_threads(),
        "threads": threads,
        "versions": {"python": platform.python_version(), **versions},
        "bandwidth": statistics.median(c["bandwidth"] for c in ceilings) if ceilings else None,
        "flops": statistics.median(c["flops"] for c in ceilings) if ceilings else None,
        "round_trips": [c["round_trip"] for c in ceilings if c["round_trip"] is not None],
    }


def machine_lines(about: Mapping[str, Any]) -> list[str]:
    """What `machine` gives, in sentences."""
    vectors = ", ".join(about["vectors"]) or "not told by this system"
    lines = [
        f"Machine: {about['processor']}, {about['usable_cores']} of {about['cores']} cores usable, "
        f"{about['threads']} threads; vector instructions: {vectors}.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in about["versions"].items()) + ".",
    ]
    if about["bandwidth"]:
        lines.append(
            f"Ceilings measured in the same run, median: {about['bandwidth'] / 1e9:.1f} GB/s read from memory, "
            f"{about['flops'] / 1e9:.0f} GFLOP/s in fp32 matrix products."
        )
    if trips := about["round_trips"]:
        lines.append(
            "A word went to another core and back in "
            + ", ".join(f"{1e9 * trip:.0f}" for trip in trips)
            + " ns at the end of each round: under 100 where cores share a cache, several times that where they do not."
        )
    return lines

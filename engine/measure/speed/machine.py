"""What every figure depends on, for the line under a table."""

from __future__ import annotations

import os
import platform
import statistics
from typing import Any

from engine.config import available_threads
from engine.measure.ceilings import processor


def machine(threads: int, loaded: dict[str, dict[str, Any]], ceilings: list[dict[str, float]]) -> dict[str, Any]:
    """Processor, vector instructions, cores, threads, versions of all that ran, and the ceilings measured."""
    name, vectors = processor()
    versions = {"python": platform.python_version()}
    for info in loaded.values():
        versions |= info["versions"]
    return {
        "processor": name,
        "vectors": list(vectors),
        "cores": os.cpu_count() or 1,
        "usable_cores": available_threads(),
        "threads": threads,
        "versions": versions,
        "bandwidth": statistics.median(c["bandwidth"] for c in ceilings) if ceilings else None,
        "flops": statistics.median(c["flops"] for c in ceilings) if ceilings else None,
    }


def machine_lines(about: dict[str, Any]) -> list[str]:
    """The same in sentences."""
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
    return lines

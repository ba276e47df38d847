"""What this machine can do, measured: bytes read a second, fp32 products a second, memory of this process.

A speed means little alone. Beside these ceilings it says which bound holds, and how much is left to win.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

READ_BYTES = 512 << 20  # well over any last-level cache, so that a pass really reads memory
PASSES = 5
PRODUCTS = ((1024, 1024, 1024), (2048, 2048, 2048), (512, 576, 3072))  # rows, inner, columns: the best is the ceiling
VECTORS = ("avx2", "f16c", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp")


def read_bandwidth(threads: int, nbytes: int = READ_BYTES, passes: int = PASSES) -> float:
    """Bytes a second that `threads` threads read from memory together: the best of `passes`.

    Each thread adds up its own part of an array. Additions of 64-bit integers are exact in any order, so the compiler
    keeps many in flight, and the time is that of the reads. The array is numpy's, who asks for huge pages: the ceiling
    is that of the memory, not of the address tables.
    """
    import numba
    import numpy as np

    data = np.ones(max(threads, nbytes // 8), np.int64)
    total = _read_loop()
    numba.set_num_threads(threads)
    total(data[: 1 << 16], threads)  # compiles
    best = float("inf")
    for _ in range(passes):
        began = time.perf_counter()
        found = total(data, threads)
        best = min(best, time.perf_counter() - began)
        if found != len(data):  # also keeps the loop from being left out
            raise RuntimeError(f"the read loop added up {found} instead of {len(data)}")
    return data.nbytes / best


@lru_cache
def _read_loop() -> Callable[[np.ndarray, int], int]:
    """Compiled here, not at import: a worker of another engine imports this module without Numba."""
    import numba as nb
    import numpy as np

    from engine import kernels  # noqa: F401 - settles Numba's threading layer before the first parallel call

    @nb.njit(nogil=True)
    def part(data):
        total = 0
        for value in data:
            total += value
        return total

    @nb.njit(parallel=True, nogil=True)
    def total(data, threads):
        sums = np.zeros(threads, np.int64)
        for t in nb.prange(threads):
            sums[t] = part(data[len(data) * t // threads : len(data) * (t + 1) // threads])
        return sums.sum()

    return total


def matmul_flops(threads: int, seconds: float = 0.3) -> float:
    """fp32 operations a second (2 a multiply-add) of torch's matrix product: the best of all calls."""
    import torch

    torch.set_num_threads(threads)
    best = 0.0
    for rows, inner, columns in PRODUCTS:
        a, b = torch.ones(rows, inner), torch.ones(inner, columns)
        out = torch.empty(rows, columns)
        torch.mm(a, b, out=out)
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            torch.mm(a, b, out=out)
            best = max(best, 2.0 * rows * inner * columns / (time.perf_counter() - began))
    return best


# ---- what the machine is


def processor() -> tuple[str, tuple[str, ...]]:
    """The processor's model name, and those of `VECTORS` that it has (Linux tells; elsewhere none are named)."""
    name, flags = platform.processor() or platform.machine() or "unknown", set()
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


# ---- memory of this process


def memory() -> dict[str, int]:
    """Bytes this process holds in memory: `resident` now, `peak` the most so far. Where the system does not tell what
    is resident now (only Linux does), both are the most so far."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        return {"resident": _kilobytes(fields["VmRSS"]), "peak": _kilobytes(fields["VmHWM"])}
    except (OSError, KeyError, ValueError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return {"resident": most, "peak": most}


def forget_peak() -> bool:
    """Let the peak begin anew from what is resident now; False where the system cannot (see proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def cpu_seconds(pid: int) -> float | None:
    """Processor time a process has used so far, all its threads; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime, stime
    except (OSError, ValueError, IndexError):
        return None


def _kilobytes(text: str) -> int:
    return int(text.split()[0]) * 1024

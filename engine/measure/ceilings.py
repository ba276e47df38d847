"""What this machine can do, measured: bytes read a second, fp32 products a second, and how far apart two cores are.

A speed means little alone. Beside these ceilings it says which bound holds, and how much is left to win.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.config import available_threads

if TYPE_CHECKING:
    import numpy as np

READ_BYTES = 512 << 20  # well over any last-level cache, so that a pass really reads memory
PASSES = 5
TRIPS = 1000  # of a word between two cores
PRODUCTS = ((1024, 1024, 1024), (2048, 2048, 2048), (512, 576, 3072))  # rows, inner, columns: the best is the ceiling


def read_bandwidth(threads: int, nbytes: int = READ_BYTES, passes: int = PASSES) -> float:
    """Bytes a second that `threads` threads read from memory together.

    Each thread adds up its own part of an array. Additions of 64-bit integers are exact in any order, so the compiler
    keeps many in flight, and the time is that of the reads. The array is numpy's, who asks for huge pages: the ceiling
    is that of the memory, not of the address tables.

    Parameters
    ----------
    threads : 1 or more; Numba's own are set to so many.
    nbytes : size of the array, well over any last-level cache.
    passes : readings of the whole array, of which the fastest counts.

    Raises
    ------
    RuntimeError : a pass did not read everything.
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


def round_trip(passes: int = 41, trips: int = TRIPS) -> float | None:
    """Seconds that a word takes to another core and back: the median of all passes; None where there is one core.

    Cores that share a cache take less than 100 ns, others several times as long. Which of both two virtual cores are
    can change while they run, and what threads write for one another then comes at another speed.

    Parameters
    ----------
    passes : how many are timed.
    trips : there and back in each.
    """
    import numpy as np

    if available_threads() < 2:
        return None
    turns = _turns()
    turns(np.zeros(1, np.int64), 0, 0)  # compiles
    words = [np.zeros(16, np.int64) for _ in range(passes)]
    partner = threading.Thread(target=lambda: [turns(word, 1, trips) for word in words])
    partner.start()
    took = []
    for word in words:
        began = time.perf_counter()
        turns(word, 0, trips)
        took.append((time.perf_counter() - began) / trips)
    partner.join()
    return statistics.median(took)


@lru_cache
def _turns() -> Callable[[np.ndarray, int, int], None]:
    """Compiled here, as `_read_loop` is."""
    import numba as nb

    from engine.kernels.barrier import atomic_add, atomic_load

    @nb.njit(nogil=True)
    def turns(word, first, trips):
        for trip in range(trips):
            while atomic_load(word, 0) != 2 * trip + first:
                pass
            atomic_add(word, 0, 1)

    return turns

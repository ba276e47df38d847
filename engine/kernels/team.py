"""Does `prange(T)` really get T threads at once? The step's barriers would wait for ever for a missing one."""

from __future__ import annotations

import numba as nb
import numpy as np

from engine.kernels.barrier import atomic_add, atomic_load, breathe

# Yields before a missing thread is given up on: far beyond the start of a thread pool, still under a second or two.
PATIENCE = 200_000


@nb.njit(parallel=True, nogil=True, cache=True)
def _meet(threads, counter, met):
    for t in nb.prange(threads):
        atomic_add(counter, 0, 1)
        waited = 0
        while atomic_load(counter, 0) < threads and waited < PATIENCE:
            breathe()
            waited += 1
        met[t] = atomic_load(counter, 0)


def team_is_whole(threads: int) -> bool:
    """Let `threads` threads wait for one another, with bounded patience."""
    nb.set_num_threads(threads)
    met = np.zeros(threads, np.int64)
    _meet(threads, np.zeros(1, np.int64), met)
    return bool((met == threads).all())

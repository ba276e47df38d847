"""The largest of many numbers and where it stands, found by the thread that has just computed them: they are still in
its caches, and Python need not read them again."""

from __future__ import annotations

import numpy as np

from engine.kernels.inner import inner
from engine.kernels.vectors import fma, get, greater, greatest, splat, total, zeros

BLOCK = 512  # numbers whose largest is compared at once with the largest so far

LEAST = np.float32(-np.inf)


@inner()
def argmax(y, first, last):
    """The largest of y[first:last] and the first index that has it; infinity and -1 where one is not finite.

    Parameters
    ----------
    y : f32 of one axis.
    first, last : places, first a multiple of 16; where there are none it is minus infinity, at `first`.

    Returns
    -------
    top : f32.
    at : i64.
    """
    top, at = LEAST, first
    rest = zeros()  # 0 times what is not finite is NaN
    odd = np.float32(0)
    for block in range(first, last, BLOCK):
        end = min(block + BLOCK, last)
        full = block + (end - block) // 16 * 16
        tops = splat(LEAST)
        for p in range(block, full, 16):
            some = get(y, p)
            tops = greater(some, tops)
            rest = fma(some, zeros(), rest)
        most = greatest(tops)
        for p in range(full, end):
            most = max(most, y[p])
            odd += y[p] * np.float32(0)
        if most > top:
            top, at = most, block
    if total(rest) + odd != 0:
        return np.float32(np.inf), np.int64(-1)
    while at < last and y[at] != top:
        at += 1
    return top, np.int64(at)

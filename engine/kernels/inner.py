"""How the operators inside a compiled step are compiled: without counting references.

Numba counts references to an array at every call that takes it, with atomic additions. Both threads count the same
arrays, so the counters' cache lines travel between the cores at each call: measured, about 5 % of a prompt's time.
What runs inside a step allocates nothing and keeps nothing, and its caller holds every array, so nothing needs to be
counted. For the same reason an `inner` function that returns an array is called from `inner` functions only: a caller
that counts references would free the array twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numba as nb

inner = partial(nb.njit, _nrt=False)


def distinct(name: str) -> Callable[[Callable], Callable]:
    """Name a function that another function makes several of, before it is compiled.

    Numba tells compiled functions apart by module, name, types and a counter that begins anew in every process. Code
    read from disk was counted by another process: two of one name could then be taken for one another, silently.
    """

    def rename(function: Callable) -> Callable:
        function.__qualname__ = f"{function.__qualname__}.{name}"
        return function

    return rename

"""How the threads of a step wait for one another: atomic counters and a spin barrier.

Numba has no word for either: they are LLVM instructions reached through `numba.extending.intrinsic`.
"""

from __future__ import annotations

import sys

import numba as nb
from numba import types
from numba.extending import intrinsic

if sys.platform == "win32":

    @nb.njit
    def breathe():
        """Windows has no sched_yield to link against: spin."""

else:
    # libc's sched_yield, resolved in the running process: a waiting thread gives its core away, not burns it.
    _sched_yield = types.ExternalFunction("sched_yield", types.int32())

    @nb.njit
    def breathe():
        """Let another thread have this core."""
        _sched_yield()


# Spins before the first yield. About 20 us: longer than two cores ever wait for one another in a matrix row,
# shorter than a scheduler's time slice, which is what a spinning thread would cost once threads exceed cores.
SPINS = 4096


@intrinsic
def atomic_add(typing, array, index, value):
    """Add `value` to int64 `array[index]` and return what stood there before (sequentially consistent).

    Parameters
    ----------
    array : i64, of one axis.
    index : which element.
    value : i64, what is added.
    """

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [args[1]]), args[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), codegen


@intrinsic
def atomic_load(typing, array, index):
    """Read int64 `array[index]`, and everything written before it was stored (acquire).

    Parameters
    ----------
    array : i64, of one axis.
    index : which element.
    """

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load_atomic(builder.gep(data, [args[1]]), "acquire", 8)

    return types.int64(array, types.int64), codegen


@nb.njit
def barrier(counter, arrivals):
    """Return `arrivals`, once so many in all were counted: a step's n-th barrier of T threads waits for n * T."""
    atomic_add(counter, 0, 1)
    spins = 0
    while atomic_load(counter, 0) < arrivals:
        spins += 1
        if spins > SPINS:
            breathe()
    return arrivals

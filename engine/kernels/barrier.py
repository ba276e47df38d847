"""How the threads of a step wait for one another: atomic counters, a short spin, then sleep.

A thread that spins stays runnable: beside busy neighbours it uses up its share of the processor by waiting, and its
partner then waits a time slice at each meeting. One that sleeps (`kernels.futex`) keeps its share for its work. So
waits spin for about as long as an undisturbed partner takes, and sleep after that.

Numba has no word for atomic access: it is LLVM instructions reached through `numba.extending.intrinsic`.
"""

from __future__ import annotations

import numba as nb
from numba import types
from numba.extending import intrinsic

from engine.kernels.futex import sleep, wake

# Loads before a waiting thread sleeps, about 50 us: longer than two undisturbed cores wait for one another in a matrix,
# far shorter than a scheduler's time slice. `docs/operators.md` has what shorter and longer spins cost.
SPINS = 65_536

LINE = 8  # i64 of a cache line: what one thread writes and others read lies apart from what they write
ARRIVED = 0  # the word that counts who came to a barrier


def _array_place(context, builder, signature, args):
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]])


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
        return builder.atomic_rmw("add", _array_place(context, builder, signature, args), args[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), codegen


@intrinsic
def atomic_load(typing, array, index):
    """Read int64 `array[index]`, and everything written before it was stored (sequentially consistent).

    Parameters
    ----------
    array : i64, of one axis.
    index : which element.
    """

    def codegen(context, builder, signature, args):
        return builder.load_atomic(_array_place(context, builder, signature, args), "seq_cst", 8)

    return types.int64(array, types.int64), codegen


@nb.njit
def wait_beyond(words, index, passed, spins):
    """Return int64 words[index] once it is greater than `passed`; words[index + LINE] counts who sleeps meanwhile.

    Parameters
    ----------
    words : i64, of one axis.
    index : of a word that only grows, on a cache line of its own, as the count of sleepers is.
    passed : i64, the value that is not waited for any more.
    spins : loads before this thread sleeps, i64.
    """
    while True:
        found = atomic_load(words, index)
        if found > passed:
            return found
        spins -= 1
        if spins < 0:
            # Announced first, then looked at again: whoever raises the word after that look sees the announcement.
            atomic_add(words, index + LINE, 1)
            found = atomic_load(words, index)
            if found <= passed:
                sleep(words, index, found)
            atomic_add(words, index + LINE, -1)


@nb.njit
def wake_sleepers(words, index):
    """Wake who sleeps in `wait_beyond`, where anyone does.

    Parameters
    ----------
    words, index : as `wait_beyond` takes them.
    """
    if atomic_load(words, index + LINE) > 0:
        wake(words, index)


@nb.njit
def arrive(words, arrivals):
    """Be counted, without waiting; what was written before is seen by whoever comes back from `meet`.

    Parameters
    ----------
    words : as `wait_beyond` takes them; words[ARRIVED] counts arrivals and is never set back.
    arrivals : i64, how many in all are waited for: the last of them wakes who sleeps.
    """
    if atomic_add(words, ARRIVED, 1) + 1 == arrivals:
        wake_sleepers(words, ARRIVED)


@nb.njit
def meet(words, arrivals):
    """Return `arrivals`, once so many in all were counted.

    Parameters
    ----------
    words, arrivals : as `arrive` takes them.
    """
    if atomic_load(words, ARRIVED) < arrivals:
        wait_beyond(words, ARRIVED, arrivals - 1, SPINS)
    return arrivals


@nb.njit
def barrier(words, arrivals):
    """Return `arrivals`, once so many in all were counted: the n-th barrier of T threads waits for n * T.

    Parameters
    ----------
    words : as `wait_beyond` takes them; words[ARRIVED] counts arrivals and is never set back.
    arrivals : i64.
    """
    arrive(words, arrivals)
    return meet(words, arrivals)

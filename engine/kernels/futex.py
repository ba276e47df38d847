"""Sleep until another thread changes a word of memory: Linux's futex; elsewhere a thread gives its core away and looks
again.

The kernel compares the word with what the caller saw and sleeps only where it is the same, so no wake is missed
(Franke, Russell, Kirkwood, "Fuss, Futexes and Furwocks", 2002; futex(2)).
"""

from __future__ import annotations

import platform
import sys

import numba as nb
from numba import types
from numba.extending import intrinsic

# The number of the system call, by machine; 0 where there is none that we know.
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0) if sys.platform == "linux" else 0
_WAIT, _WAKE = 128, 129  # FUTEX_WAIT and FUTEX_WAKE, both with FUTEX_PRIVATE_FLAG: threads of one process
_EVERYONE = 2**31 - 1

SLEEPS = _FUTEX != 0  # else a waiting thread yields


@intrinsic
def _address(typing, array, index):
    """The address of int64 array[index], whose first four bytes are its low ones."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(builder.gep(data, [args[1]]), context.get_value_type(types.int64))

    return types.int64(array, types.int64), codegen


if SLEEPS:
    # libc's wrapper of any system call, resolved in the running process.
    _syscall = types.ExternalFunction("syscall", types.int64(*[types.int64] * 5))

    @nb.njit
    def sleep(words, index, seen):
        """Sleep until `wake`, unless the low 32 bits of int64 words[index] are no longer those of `seen`; may return
        early.

        Parameters
        ----------
        words : i64, of one axis.
        index : which element.
        seen : i64.
        """
        _syscall(_FUTEX, _address(words, index), _WAIT, seen & 0xFFFFFFFF, 0)

    @nb.njit
    def wake(words, index):
        """Wake every thread that sleeps on int64 words[index].

        Parameters
        ----------
        words : i64, of one axis.
        index : which element.
        """
        _syscall(_FUTEX, _address(words, index), _WAKE, _EVERYONE, 0)

else:
    if sys.platform == "win32":

        @nb.njit
        def _yield():
            """Windows has no sched_yield to link against: spin."""

    else:
        _sched_yield = types.ExternalFunction("sched_yield", types.int32())

        @nb.njit
        def _yield():
            """Let another thread have this core."""
            _sched_yield()

    @nb.njit
    def sleep(words, index, seen):
        """Give this core away once.

        Parameters
        ----------
        words, index, seen : what a machine with futexes would compare.
        """
        _yield()

    @nb.njit
    def wake(words, index):
        """Nobody sleeps."""

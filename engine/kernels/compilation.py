"""Compile a model's operators in another process, while this one does other things.

A thread would be as quick, because LLVM works without Python's lock. But a process gives back the memory that compiling
takes (measured, 340 MB), can be ended at any moment, and keeps Numba's own lock from whoever loads another model.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numba

from engine.kernels import team

ROOT = Path(__file__).resolve().parents[2]
LONGEST_REASON = 300  # characters
YIELDING = 10  # the niceness of the other process: whoever asks meanwhile is answered in plain torch, on the same cores


def types_of(given: Sequence[Any]) -> tuple[numba.types.Type, ...]:
    """What `team.work` is compiled for where it takes a thread's number and such arguments (`compiled.Arguments`)."""
    return tuple(numba.typeof(one) for one in (0, *given))


def is_kept(types: Sequence[numba.types.Type]) -> bool:
    """Whether the code for those types is on disk. Where Numba's index names a file that is gone, whoever calls the
    code compiles it."""
    cache = team.work._cache  # private, as its parts are: Numba tells of it nowhere else
    return cache._index_key(types, team.work.targetctx.codegen()) in cache._cache_file._load_index()


class Compilation:
    """A process that compiles `team.work` and keeps the code on disk. It ends with this one. Any thread may call.

    Parameters
    ----------
    types : what it is compiled for.

    Raises OSError where no process can be started.
    """

    def __init__(self, types: Sequence[numba.types.Type]) -> None:
        self._types = types
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        folder = Path(team.work.stats.cache_path).resolve().parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=self._said, env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        )  # fmt: skip
        with contextlib.suppress(OSError):  # it has ended already, and `check` says why
            self._pipe().write(pickle.dumps(types))
            self._pipe().flush()

    def wait(self) -> None:
        """Until the process has ended, which `stop` makes it do at once."""
        self._process.wait()

    def check(self) -> None:
        """Raises RuntimeError with the reason where the process, which has ended, left no compiled code."""
        if code := self._process.wait():
            raise RuntimeError(f"the process that compiles them ended with {code}: {self._last_line()}")
        if not is_kept(self._types):
            raise RuntimeError(f"compiled code cannot be kept in {team.work.stats.cache_path}")

    def stop(self) -> None:
        """End the process, if it has not ended."""
        self._process.kill()

    def close(self) -> None:
        """Stop, and free what it holds; nothing may be called after."""
        self.stop()
        self._process.wait()
        with contextlib.suppress(OSError):  # what the process has not read
            self._pipe().close()
        self._said.close()

    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _last_line(self) -> str:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:LONGEST_REASON] if lines else "it said nothing"


def _end_with_asker() -> None:
    """End when the standard input does: whoever asked has ended, however that came."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    """The other process: compile for the types that come by standard input."""
    types = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_asker, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(YIELDING)
    team.work.compile(types)


if __name__ == "__main__":
    main()

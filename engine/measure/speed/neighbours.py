"""Busy neighbours: processes of our own that use a core each for as long as something is measured beside them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from engine.errors import BadRequest
from engine.measure.worker import WorkerFailed

MOST = 64  # that can be asked for

# Counts without an end. A thread of it waits for the end of stdin, so that it ends even when we are killed.
LOOP = """
import os, signal, threading
def wait():
    os.read(0, 1)
    os._exit(0)
signal.signal(signal.SIGINT, signal.SIG_IGN)
threading.Thread(target=wait, daemon=True).start()
os.write(1, b"counting")
while True:
    pass
"""


def parse_counts(given: str) -> list[int]:
    """The counts in a comma-separated list, each once, in the order given. Raises `BadRequest` where it is none."""
    words = [word.strip() for word in given.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) <= MOST for word in words):
        raise BadRequest(
            f"--neighbours is '{given}': give counts from 0 to {MOST} with commas between, such as 0,1,2,4."
        )
    return list(dict.fromkeys(map(int, words)))


@contextmanager
def neighbours(count: int) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """`count` processes that all count when the block begins; all have ended when it is left, however it is left.

    Raises `WorkerFailed` where one cannot be started, or ended before the block did: what was measured is then not what
    was asked for.
    """
    running: list[subprocess.Popen[bytes]] = []
    with ExitStack() as ending:
        for _ in range(count):
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", LOOP],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )  # fmt: skip
            except OSError as error:
                raise WorkerFailed(f"A busy neighbour could not be started ({error.strerror}).") from error
            running.append(process)
            ending.callback(_end, process)
        for process in running:
            assert process.stdout is not None
            process.stdout.read(len("counting"))
        yield running
        codes = [process.poll() for process in running]
        if any(code is not None for code in codes):
            raise WorkerFailed(f"A busy neighbour ended while others were measured (exit codes {codes}).")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()

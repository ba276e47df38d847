"""From nothing to the first token: a fresh process with model and kernels in the cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from engine.measure.speed.candidates import quiet
from engine.measure.speed.figures import Spread
from engine.measure.speed.rounds import REST_S
from engine.measure.suite.targets import BOUNDS, Target
from engine.measure.worker import ROOT, WorkerFailed

LONGEST_S = 300.0
SCRIPT = """
import sys
from engine import Engine, EngineConfig, SamplingParams
engine = Engine(EngineConfig(sys.argv[1], precision="int8", threads=int(sys.argv[2])))
print(next(engine.stream("The film begins with", SamplingParams(max_tokens=1))).id, flush=True)
"""


def start_target(model: str, threads: int, repeat: int, say: Callable[[str], None]) -> Target:
    """Seconds from the start of a Python process to the first token.

    Parameters
    ----------
    model : registry name, folder, .gguf file or Hub id.
    threads : CPU threads of the engine.
    repeat : starts that count, after one that does not; the median is taken.
    say : told which start it is.

    Raises
    ------
    WorkerFailed : a process gave no token.
    """
    seconds = []
    for round_ in range(repeat + 1):  # the first fills the disk's cache, and compiles what is not compiled yet
        say(f"start {round_} of {repeat}" if round_ else "start, not counted")
        time.sleep(REST_S)
        seconds.append(start_once(model, threads))
    spread = Spread.of(seconds[1:])
    return Target(BOUNDS["start"], spread.median, f"{spread.text(2)} s", "a process that has not imported anything yet")


def start_once(model: str, threads: int) -> float:
    given = {**os.environ, "PYTHONPATH": str(ROOT), **quiet(threads)}
    environment = {key: value for key, value in given.items() if value is not None}
    command = [sys.executable, "-c", SCRIPT, model, str(threads)]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert process.stdout is not None
        guard = threading.Timer(LONGEST_S, process.kill)
        guard.start()
        token = process.stdout.readline()
        took = time.perf_counter() - began
        process.stdout.close()
        process.wait()
        guard.cancel()
        log.seek(0)
        last = (log.read().strip().splitlines() or ["no message"])[-1][:300]
    if not token.strip().isdigit():
        raise WorkerFailed(f"A fresh engine gave no token within {LONGEST_S:.0f} s: {last}")
    return took

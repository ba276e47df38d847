"""A candidate in a process of its own: requests go in as lines of JSON, answers come back as lines of JSON.

Peers run in their own virtual environments, so this module needs nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from engine.errors import UserError
from engine.measure.process import cpu_seconds, forget_peak, memory

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 1800.0  # of one request: a slow engine is waited for, a stuck one is not


class WorkerFailed(UserError):
    """A worker ended, or said that it could not do what was asked; the text names it and says why."""


# ---- in the worker


class Server(Protocol):
    """What a worker script offers. `start` imports its libraries, so that the memory of an empty process is known."""

    def start(self) -> None: ...

    def load(self, **request: Any) -> dict[str, Any]:
        """Load the model that the request names, with the options it has.

        Returns
        -------
        `versions` by name, `dtype` and `kv` as they are shown, `weight_bytes` (None where it is not known how many a
        step reads), and what else is to be shown.
        """
        ...

    def run(self, prompts: list[list[int]], new: int) -> dict[str, Any]:
        """Greedy continuation of every prompt by exactly `new` tokens. See `Run` in `rounds`."""
        ...


def serve(server: Any) -> None:
    """Answer requests until stdin closes. `{"do": name, ...}` calls the server's method of that name.

    Around `load` time and memory are taken; `memory` is answered here. Whatever a library prints goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server.start()
    empty = memory()["resident"]
    for line in sys.stdin:
        request = json.loads(line)
        name = request.pop("do")
        answer: dict[str, Any]
        try:
            if name == "memory":
                answer = {**memory(), "empty": empty}
            elif name == "load":
                began = time.perf_counter()
                answer = server.load(**request)
                answer |= {"load_s": time.perf_counter() - began, "load_peak": memory()["peak"] - empty}
                forget_peak()
            else:
                answer = getattr(server, name)(**request)
        except UserError as error:
            answer = {"error": str(error)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


# ---- in the benchmark


def module_command(module: ModuleType, python: str = sys.executable) -> tuple[str, ...]:
    """The command that runs a module of this project as a process, with another Python where it needs one."""
    return python, "-m", module.__name__


class Worker:
    """A running worker. Use it in a `with` block, or `close` it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str | None] | None = None) -> None:
        """Start `command`; `environment` is laid over this process's own, None takes a variable away."""
        given = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self.name = name
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - closed below
        try:
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
                encoding="utf-8", env={key: value for key, value in given.items() if value is not None},
            )  # fmt: skip
        except OSError as error:
            self._log.close()
            raise WorkerFailed(f"{name} could not be started ({error.strerror}: {command[0]}).") from error
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def ask(self, do: str, *, within: float = LONGEST_S, **request: Any) -> dict[str, Any]:
        """The answer to one request. Raises `WorkerFailed` where the worker ends, refuses, or takes over `within` s."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise WorkerFailed(f"{self.name} ended: {self._last_words()}") from None
        try:
            line = self._answers.get(timeout=within)
        except queue.Empty:
            self.close(kill=True)
            raise WorkerFailed(f"{self.name} did not answer '{do}' in {within:.0f} s and was stopped.") from None
        if line is None:
            raise WorkerFailed(f"{self.name} ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self.name}: {answer['error']}")
        return answer

    def cpu_s(self) -> float | None:
        """Processor seconds used so far, to see that it rests while others run."""
        return cpu_seconds(self._process.pid)

    def _last_words(self) -> str:
        code = self._process.wait(10)
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        return f"exit code {code}, {lines[-1][:300] if lines else 'without a word'}"

    def close(self, kill: bool = False) -> None:
        """End the process: by closing its stdin, by force where that does not suffice."""
        if self._process.poll() is None:
            if kill:
                self._process.kill()
            elif self._process.stdin is not None and not self._process.stdin.closed:
                self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()

"""The app as a user starts it: `python app.py` in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import restore_users_cache

START_S = 120.0  # a slow machine imports torch and compiles the kernels at the same time
END_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(folder: Path, log: Path, host_variable: str = "HOST", port_variable: str = "PORT") -> Iterator[str]:
    """Address of `folder`/app.py, up and answering. Nothing outside `folder` is importable but installed packages.

    What it prints goes to `log`. The two variables are how it is told where to listen. It takes the default model
    from the user's cache, as tests marked `model` do.
    """
    port = free_port()
    ours = ("PYTHONPATH", "HOST", "PORT", "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT")
    with pytest.MonkeyPatch.context() as patch:
        restore_users_cache(patch)
        env = {name: value for name, value in os.environ.items() if name not in ours}
    env |= {host_variable: "127.0.0.1", port_variable: str(port)}
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            _wait_for(url, process, log)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"app.py ended with {process.returncode}: {log.read_text(errors='replace')}"
        try:
            with urllib.request.urlopen(url, timeout=5) as page:
                assert page.status == 200
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no answer from {url} in {START_S:.0f} s: {log.read_text(errors='replace')}")

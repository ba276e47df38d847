"""Builds the peers: an environment each, and the default model's weights in each one's own format."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UserError
from engine.measure.peers import convert
from engine.measure.peers.registry import PEERS, STAMP, converted, fingerprint, home, python_of
from engine.measure.worker import ROOT, module_command

Say = Callable[[str], None]
INSTALL_S = 3600.0  # llama.cpp is compiled: about ten minutes on two cores
CONVERT_S = 1800.0


class BuildFailed(UserError):
    """One peer could not be had here; the text says why."""


@dataclass(frozen=True)
class Outcome:
    name: str
    problem: str = ""  # "" where it is ready


def build(names: Sequence[str], folder: Path, say: Say) -> list[Outcome]:
    """Build each peer for the model in `folder`; one that fails does not keep the others from being built.

    Parameters
    ----------
    names : keys of `PEERS`.
    folder : holds a model's safetensors and tokenizer.
    say : told what takes long.
    """
    outcomes = []
    for name in names:
        try:
            _install(name, say)
            _convert(name, folder, say)
            outcomes.append(Outcome(name))
        except BuildFailed as error:
            outcomes.append(Outcome(name, str(error)))
    return outcomes


def _install(name: str, say: Say) -> None:
    """The environment, unless it already has exactly what the table asks for."""
    peer = PEERS[name]
    if not peer.requirements:
        return
    python, asked = python_of(name), "\n".join([*peer.requirements, *peer.bare])
    done = home() / name / "installed.txt"
    if python.is_file() and done.is_file() and done.read_text(encoding="utf-8") == asked:
        return
    say(f"{name}: installing {', '.join(peer.requirements)}")
    if not python.is_file():
        venv.create(home() / name, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--prefer-binary"]
    index = ["--extra-index-url", os.environ["TORCH_INDEX"]] if os.environ.get("TORCH_INDEX") else []
    torch = [requirement for requirement in peer.requirements if requirement.startswith("torch==")]
    if torch and index:  # first and alone, from the index of builds for CPUs, as `make run` does
        _run([*pip, "--no-deps", "--retries", "1", *index, *torch], INSTALL_S, f"{name}'s torch")
    _run([*pip, *peer.requirements], INSTALL_S, f"{name}'s packages")
    if peer.bare:
        _run([*pip, "--no-deps", *peer.bare], INSTALL_S, f"{name}'s packages")
    done.write_text(asked, encoding="utf-8")


def _convert(name: str, folder: Path, say: Say) -> None:
    """The converted weights, unless they are there and of these weights; whole or not at all."""
    files = [variant.files for variant in PEERS[name].variants if variant.files]
    if not files:
        return
    target = converted(folder)
    target.mkdir(parents=True, exist_ok=True)
    weights = fingerprint(folder)
    stamp = target / STAMP
    if not stamp.is_file() or stamp.read_text(encoding="ascii").strip() != weights:
        for stale in target.iterdir():  # made of other weights, all of them
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        stamp.write_text(weights, encoding="ascii")
    if all((target / file).exists() for file in files):
        return
    say(f"{name}: converting the weights to {', '.join(files)}")
    python = sys.executable if name == "llama.cpp" else str(python_of(name))  # `gguf` is among our own requirements
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        command = [*module_command(convert, python), name, str(folder), work]
        _run(command, CONVERT_S, f"{name}'s conversion")
        for file in files:
            if not (Path(work) / file).exists():
                raise BuildFailed(f"{name}'s conversion made no {file}.")
            if (target / file).is_dir():
                shutil.rmtree(target / file)
            os.replace(Path(work) / file, target / file)


def _run(command: list[str], seconds: float, what: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds, env=environment)
    except subprocess.CalledProcessError as error:
        said = [line.strip() for line in (error.stderr or error.stdout).splitlines() if line.strip()] or ["no message"]
        raise BuildFailed(f"{what} could not be made ({said[-1][:300]}).") from error
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"{what} took over {seconds:.0f} s and was stopped.") from error
    except OSError as error:
        raise BuildFailed(f"{what} could not be made ({error.strerror}).") from error

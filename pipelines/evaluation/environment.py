"""What a reader needs to know to run an evaluation again: machine, versions, commit, settings, wording."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import available_threads
from pipelines.evaluation.data import Sample

if TYPE_CHECKING:
    from engine.engine import Engine

PACKAGES = ("torch", "transformers", "tokenizers", "numba", "numpy", "scipy", "scikit-learn", "datasets", "pandas")


def environment(engine: Engine, task: str, prompt: str, sample: Sample, seed: int, command: str) -> dict[str, Any]:
    """The environment block of a report, JSON-able."""
    return {
        "task": task,
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(Path(__file__).parent),
        "machine": f"{platform.platform()}, {_processor()}, {available_threads()} CPUs usable",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "engine": {**asdict(engine.info), "notes": list(engine.info.notes)},
        "kv_cache": engine.config.kv_cache,
        "prompt": prompt,
        "sample": {
            "source": sample.source,
            "split": sample.split,
            "reviews": len(sample.reviews),
            "positive": sum(review.label for review in sample.reviews),
            "seed": seed,
            "rows_published": sample.rows,
            "duplicates_removed": sample.duplicates,
            "found_in_train_removed": sample.in_train,
        },
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit(folder: Path) -> str:
    """The commit of the code that ran, with "+changes" when files differ from it; "not in git" otherwise."""
    try:
        run = {"cwd": folder, "capture_output": True, "text": True, "timeout": 10, "check": True}
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **run).stdout.strip()  # type: ignore[call-overload]
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], **run).stdout.strip()  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError):
        return "not in git"
    return commit + ("+changes" if changed else "")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or "unknown processor"

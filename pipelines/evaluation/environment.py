"""What a reader needs to know to run an evaluation again: machine, versions, commit, settings, wording."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import EngineConfig, available_threads
from pipelines.evaluation.data import Review, Sample
from pipelines.evaluation.runner import Options

if TYPE_CHECKING:
    from engine.engine import Engine

PACKAGES = ("torch", "transformers", "tokenizers", "numba", "numpy", "scipy", "scikit-learn", "datasets", "pandas")


def environment(
    config: EngineConfig,
    precisions: Sequence[str],
    task: str,
    prompt: str,
    sample: Sample,
    reviews: Sequence[Review],
    options: Options,
    command: str,
) -> dict[str, Any]:
    """The environment block of a report, JSON-able: everything that is known before an engine is loaded. `reviews` are
    those of the sample, and texts beside it."""
    settings = asdict(config)
    del settings["precision"]
    return {
        "task": task,
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(Path(__file__).parent),
        "machine": f"{platform.platform()}, {_processor()}, {available_threads()} CPUs usable",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "precisions": list(precisions),
        "settings": settings,
        "options": options.to_dict(),
        "engines": {},
        "prompt": prompt,
        "sample": {
            "source": sample.source,
            "split": sample.split,
            "reviews": len(sample.reviews),
            "positive": sum(review.label for review in sample.reviews),
            "beside": len(reviews) - len(sample.reviews),
            "seed": options.seed,
            "rows_published": sample.rows,
            "duplicates_removed": sample.duplicates,
            "found_in_train_removed": sample.in_train,
            "ids": [review.id for review in reviews],
        },
    }


def engine_facts(engine: Engine) -> dict[str, Any]:
    """What the environment block says of an engine that ran."""
    return {**asdict(engine.info), "notes": list(engine.info.notes)}


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

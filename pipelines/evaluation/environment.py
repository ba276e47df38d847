"""What a reader needs to know to run an evaluation again: machine, versions, commit, settings, wording."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import EngineConfig, available_threads
from engine.measure.machine import commit, processor, versions
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
        "commit": commit(Path(__file__).parent),
        "machine": f"{platform.platform()}, {processor()[0]}, {available_threads()} CPUs usable",
        "python": platform.python_version(),
        "versions": versions(PACKAGES),
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

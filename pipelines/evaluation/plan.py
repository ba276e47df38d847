"""What is to be evaluated, and all that a reader needs to do it again: machine, versions, commit, settings, wording."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import EngineConfig, available_threads
from engine.measure.machine import commit, processor, versions
from pipelines.evaluation.data import Review, Sample
from pipelines.evaluation.options import Options

if TYPE_CHECKING:
    from engine.engine import Engine

PACKAGES = ("torch", "transformers", "tokenizers", "numba", "numpy", "scipy", "scikit-learn", "datasets", "pandas")


@dataclass(frozen=True)
class Plan:
    """One task in several precisions on one sample.

    Attributes
    ----------
    task : its name.
    config : the engine's settings, whose precision is not used.
    precisions : in this order; the others are compared with the first.
    options : what the evaluation is told.
    sample : the reviews.
    folder : where the results are written.
    command : what a reader may type to run it again.
    """

    task: str
    config: EngineConfig
    precisions: tuple[str, ...]
    options: Options
    sample: Sample
    folder: Path
    command: str

    def environment(self, prompt: str, reviews: Sequence[Review]) -> dict[str, Any]:
        """The environment block of a report, JSON-able: everything that is known before an engine is loaded.

        Parameters
        ----------
        prompt : the wording that the model is shown.
        reviews : those of the sample, and texts beside it.
        """
        settings = asdict(self.config)
        del settings["precision"]
        sample = self.sample
        return {
            "task": self.task,
            "command": self.command,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "commit": commit(Path(__file__).parent),
            "machine": f"{platform.platform()}, {processor()[0]}, {available_threads()} CPUs usable",
            "python": platform.python_version(),
            "versions": versions(PACKAGES),
            "precisions": list(self.precisions),
            "settings": settings,
            "options": self.options.to_dict(),
            "engines": {},
            "prompt": prompt,
            "sample": {
                "source": sample.source,
                "split": sample.split,
                "reviews": len(sample.reviews),
                "positive": sum(review.label for review in sample.reviews),
                "beside": len(reviews) - len(sample.reviews),
                "seed": self.options.seed,
                "rows_published": sample.rows,
                "duplicates_removed": sample.duplicates,
                "found_in_train_removed": sample.in_train,
                "ids": [review.id for review in reviews],
            },
        }


def engine_facts(engine: Engine) -> dict[str, Any]:
    """What the environment block says of an engine that ran."""
    return {**asdict(engine.info), "notes": list(engine.info.notes)}

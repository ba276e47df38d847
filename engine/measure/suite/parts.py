"""Targets that other packages bring: the engine knows no task, so what tasks gain is measured by their own code.

A distribution registers a tuple of `Part`s under the entry point group `brisk.suite`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from engine.measure.suite.targets import Bound, Target

if TYPE_CHECKING:
    from engine.measure.speed.compare import Field

GROUP = "brisk.suite"
NONE = (
    "What the tasks gain is not measured: no installed package registers it (`pip install -e .` in the checkout "
    "registers that of this project)."
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """Targets that are measured together.

    Attributes
    ----------
    bounds : what its targets ask for; each is a row that says why where `measure` fails as a whole.
    measure : called with the loaded candidates, the model's name, the number of rounds and where to say what is being
        done; gives a target for each bound. Raises WorkerFailed.
    """

    bounds: tuple[Bound, ...]
    measure: Callable[[Field, str, int, Say], list[Target]]


def registered() -> list[Part]:
    """The parts of all installed packages, in order of their names."""
    found: list[Part] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        found += point.load()
    return found

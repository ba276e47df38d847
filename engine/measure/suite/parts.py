"""Targets that other packages bring: the engine knows no task, so what tasks gain is measured by their own code.

A distribution registers a tuple of `Part`s under the entry point group `brisk.suite`; a checkout that is not installed
is read for what its pyproject.toml would register.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from engine.measure.suite.targets import Bound, Target
from engine.measure.worker import ROOT

if TYPE_CHECKING:
    from engine.measure.speed.compare import Field

GROUP = "brisk.suite"
NONE = f"What the tasks gain is not measured: no package registers it under the entry point group {GROUP}."

_HEAD = rf'^\[project\.entry-points\."{re.escape(GROUP)}"\][^\n]*\n'
_SECTION = re.compile(_HEAD + r'((?:\w+ = "[^"]+"[^\n]*\n)*)', re.MULTILINE)
_LINE = re.compile(r'^(\w+) = "([^"]+)"', re.MULTILINE)

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
    """The parts of all installed packages and of this checkout, each once, in order of their names."""
    points = {point.value: point for point in (*declared(ROOT / "pyproject.toml"), *entry_points(group=GROUP))}
    found: list[Part] = []
    for point in sorted(points.values(), key=lambda point: point.name):
        found += point.load()
    return found


def declared(project: Path) -> list[EntryPoint]:
    """What a pyproject.toml registers; nothing where there is none. Python 3.10 has no reader of TOML, so the section
    is expected to be lines of `name = "module:attribute"`."""
    try:
        section = _SECTION.search(project.read_text(encoding="utf-8"))
    except OSError:
        return []
    return [EntryPoint(name, value, GROUP) for name, value in _LINE.findall(section[1])] if section else []

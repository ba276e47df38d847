"""`--suite`: every target of the project in one table, from one run.

`targets` holds the bounds and those rows that the plain comparison already answers, `streams` measures contexts and
streams side by side, `beside` measures beside busy neighbours, `start` a fresh process, and `parts` finds what other
packages bring: what the tasks gain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.measure.sheet import Sheet
from engine.measure.speed.beside import Beside
from engine.measure.speed.compare import Field, Result
from engine.measure.suite.beside import beside_targets, measure_short
from engine.measure.suite.parts import Part
from engine.measure.suite.start import start_target
from engine.measure.suite.streams import context_targets, stream_targets
from engine.measure.suite.targets import BESIDE_BOUNDS, BOUNDS, CONTEXT_BOUNDS, Target, comparison_targets, failed
from engine.measure.worker import WorkerFailed

if TYPE_CHECKING:
    from engine.model.families import Architecture

Say = Callable[[str], None]


@dataclass(frozen=True)
class Suite:
    """All targets, and the measurement beside neighbours, None where it failed."""

    targets: list[Target]
    beside: Beside | None


def run_suite(
    stand: Field,
    result: Result,
    arch: Architecture | None,
    model: str,
    repeat: int,
    say: Say,
    others: Sequence[Part] = (),
) -> Suite:
    """All targets. A measurement that fails is a row that says so; the others are still made.

    Parameters
    ----------
    stand : the loaded candidates.
    result : their comparison, which answers some targets by itself.
    arch : the model's architecture, None where we do not know it.
    model : its name.
    repeat : rounds of each measurement.
    say : told what is being done.
    others : what other packages measure (see `parts.registered`).
    """
    found = comparison_targets(result, stand.absent)
    measured: list[Beside] = []

    def beside(stand: Field, model: str, repeat: int, say: Say) -> list[Target]:
        measured.append(measure_short(stand, result.shape, repeat, say))
        return beside_targets(measured[0], stand)

    parts = [
        Part(CONTEXT_BOUNDS, lambda stand, model, repeat, say: context_targets(stand, arch, repeat, say)),
        Part(
            (BOUNDS["streams"], BOUNDS["streams_peer"]),
            lambda stand, model, repeat, say: stream_targets(stand, result.shape, min(repeat, 3), say),
        ),
        Part(BESIDE_BOUNDS, beside),
        *others,
        Part((BOUNDS["start"],), lambda stand, model, repeat, say: [start_target(model, stand.threads, repeat, say)]),
    ]
    for part in parts:
        try:
            found += part.measure(stand, model, repeat, say)
        except WorkerFailed as error:
            found += [failed(bound, str(error)) for bound in part.bounds]
    return Suite(found, measured[0] if measured else None)


def target_sheet(targets: Sequence[Target]) -> Sheet:
    """A row a target."""
    header = ("what", "target", "reached", "holds", "measured as", "baseline and its figure")
    rows = tuple((t.bound.what, t.bound.text(), t.reached_text(), t.verdict(), t.figure, t.baseline) for t in targets)
    return Sheet("Targets", header, rows)

"""`--suite`: every target of the project in one table, from one run.

`targets` holds the bounds and those rows that the plain comparison already answers, `streams` measures contexts and
streams side by side, `tasks` what the four tasks gain, `start` a fresh process.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.measure.speed.compare import Field, Result
from engine.measure.speed.show import Sheet
from engine.measure.speed.worker import WorkerFailed
from engine.measure.suite.start import start_target
from engine.measure.suite.streams import context_target, stream_targets
from engine.measure.suite.targets import Target, comparison_targets, failed
from engine.measure.suite.tasks import task_targets

Say = Callable[[str], None]


def run_suite(stand: Field, result: Result, model: str, repeat: int, say: Say) -> list[Target]:
    """All targets. A measurement that fails is a row that says so; the others are still made."""
    found = comparison_targets(result, stand.absent)
    parts: list[tuple[tuple[str, ...], Callable[[], list[Target]]]] = [
        (("context",), lambda: [context_target(stand, repeat, say)]),
        (("streams", "streams_peer"), lambda: stream_targets(stand, result.shape, min(repeat, 3), say)),
        (("scoring", "head", "four_tasks", "lookup"), lambda: task_targets(stand, model, repeat, say)),
        (("start",), lambda: [start_target(model, stand.threads, repeat, say)]),
    ]
    for keys, measure in parts:
        try:
            found += measure()
        except WorkerFailed as error:
            found += [failed(key, str(error)) for key in keys]
    return found


def target_sheet(targets: list[Target]) -> Sheet:
    header = ("what", "target", "reached", "holds", "measured as", "baseline and its figure")
    rows = tuple((t.bound.what, t.bound.text(), t.reached_text(), t.verdict(), t.figure, t.baseline) for t in targets)
    return Sheet("Targets", header, rows)


__all__ = ["Target", "run_suite", "target_sheet"]

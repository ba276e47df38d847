"""Our int8 engine beside busy neighbours, against the two best-known engines beside the same ones."""

from __future__ import annotations

from collections.abc import Callable

from engine.measure.speed.beside import LLAMA, REFERENCES, Beside, BesideRow, measure_beside
from engine.measure.speed.candidates import BASELINE
from engine.measure.speed.compare import Field
from engine.measure.speed.figures import Shape
from engine.measure.suite.streams import brisk_int8
from engine.measure.suite.targets import BESIDE, BOUNDS, Target, failed

SHAPE = Shape(prompt=128, new=48, batch=1)  # less than in the plain comparison: everyone is slow here
ROUNDS = 3  # at most
COUNTS = (0, *BESIDE)


def measure_short(stand: Field, shape: Shape, repeat: int, say: Callable[[str], None]) -> Beside:
    """Our int8 engine and the two peers beside no, 1, 2 and 4 neighbours.

    Parameters
    ----------
    stand : everyone, loaded.
    shape : tokens of the plain comparison, which everyone has room for; at most those of `SHAPE` are taken.
    repeat : rounds of the other measurements; at most `ROUNDS` are run.
    say : told who runs.

    Raises
    ------
    WorkerFailed : our int8 engine is not among them, or a process ended.
    """
    short = Shape(min(shape.prompt, SHAPE.prompt), min(shape.new, SHAPE.new), SHAPE.batch)
    names = (brisk_int8(stand).name, *REFERENCES)
    return measure_beside(stand, short, COUNTS, min(repeat, ROUNDS), say, names)


def beside_targets(beside: Beside, stand: Field) -> list[Target]:
    """Three targets for each count; a peer that did not run is named with its cause."""
    own = brisk_int8(stand).name
    reasons = {one.name: one.reason for one in stand.absent}
    rows = {(row.neighbours, row.name): row for row in beside.rows}
    missing = {
        name: f"{name} did not run ({reasons.get(name, 'not asked for')})"
        for name in REFERENCES
        if (COUNTS[0], name) not in rows
    }

    def target(key: str, count: int, other: str, reached: float | None, show: Callable[[BesideRow], str]) -> Target:
        mine, theirs = rows[count, own], rows[count, other]
        return Target(BOUNDS[key], reached, f"{own}: {show(mine)}", f"{other}: {show(theirs)}")

    found = []
    for count in BESIDE:
        for kind, other in (("llama", LLAMA), ("transformers", BASELINE)):
            key = f"beside_{count}_{kind}"
            if other in missing:
                found.append(failed(BOUNDS[key], missing[other]))
                continue
            reached = beside.decode_ratio((count, own), (count, other))
            found.append(target(key, count, other, reached, lambda row: f"{row.decode.text()} tokens/s"))
        key = f"beside_{count}_prefill"
        if missing:
            found.append(failed(BOUNDS[key], next(iter(missing.values()))))
            continue
        ratios = rows[count, own].prefill_ratios
        least = min(ratios, key=lambda name: ratios[name])
        found.append(target(key, count, least, ratios[least], lambda row: f"{row.prefill.text(0)} tokens/s"))
    return found

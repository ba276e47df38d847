"""The comparison beside busy neighbours: everyone in turn for each count of them, and the counts in turn too.

A round goes through all counts before the next begins, so that a machine whose speed drifts is equally unkind to the
candidates and to the counts. Everyone is loaded before the first neighbour starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.measure.sheet import Sheet
from engine.measure.speed.candidates import BASELINE
from engine.measure.speed.compare import Field, Say
from engine.measure.speed.figures import Shape, Spread, ratio
from engine.measure.speed.neighbours import neighbours
from engine.measure.speed.rounds import Rounds, Run, make_prompts, take_turns

LLAMA = "llama.cpp Q8_0"
REFERENCES = (BASELINE, LLAMA)  # whom everyone is divided by, where they run


@dataclass(frozen=True)
class BesideRow:
    """One candidate beside one count of neighbours.

    Attributes
    ----------
    neighbours : how many.
    name : of the candidate.
    prefill, decode : tokens/s.
    prefill_ratios, decode_ratios : by name of who it is divided by, medians of round-by-round ratios.
    prefill_kept, decode_kept : share of its own speed without neighbours, round by round; None where that was not
        asked for.
    """

    neighbours: int
    name: str
    prefill: Spread
    decode: Spread
    prefill_ratios: dict[str, float]
    decode_ratios: dict[str, float]
    prefill_kept: float | None
    decode_kept: float | None


@dataclass(frozen=True)
class Beside:
    """One measurement: `rounds` by count of neighbours; `references` are those of `REFERENCES` that ran, else the first
    candidate."""

    shape: Shape
    references: tuple[str, ...]
    rounds: dict[int, Rounds]

    @property
    def rows(self) -> list[BesideRow]:
        """By count, and in the order the candidates ran."""
        return [self._row(count, name) for count, rounds in self.rounds.items() for name in rounds.runs]

    def prefill_ratio(self, mine: tuple[int, str], other: tuple[int, str]) -> float | None:
        """Median over the rounds of one's prefill speed over the other's, each named by count and candidate; None where
        one was not measured."""
        return ratio(b.ttft_s / a.ttft_s for a, b in self._pairs(mine, other))

    def decode_ratio(self, mine: tuple[int, str], other: tuple[int, str]) -> float | None:
        """The same of decode speeds."""
        return ratio(a.decode / b.decode for a, b in self._pairs(mine, other))

    def data(self) -> list[dict[str, Any]]:
        """JSON-able, a row each."""
        return [asdict(row) for row in self.rows]

    def _pairs(self, mine: tuple[int, str], other: tuple[int, str]) -> Iterator[tuple[Run, Run]]:
        runs = [self.rounds[count].runs.get(name, []) if count in self.rounds else [] for count, name in (mine, other)]
        return iter(list(zip(*runs, strict=True)) if all(runs) else [])

    def _row(self, count: int, name: str) -> BesideRow:
        runs, total = self.rounds[count].runs[name], self.shape.prompt * self.shape.batch
        prefills = {other: self.prefill_ratio((count, name), (count, other)) for other in self.references}
        decodes = {other: self.decode_ratio((count, name), (count, other)) for other in self.references}
        return BesideRow(
            neighbours=count,
            name=name,
            prefill=Spread.of(run.prefill(total) for run in runs),
            decode=Spread.of(run.decode for run in runs),
            prefill_ratios={other: value for other, value in prefills.items() if value is not None},
            decode_ratios={other: value for other, value in decodes.items() if value is not None},
            prefill_kept=self.prefill_ratio((count, name), (0, name)),
            decode_kept=self.decode_ratio((count, name), (0, name)),
        )


def measure_beside(
    stand: Field, shape: Shape, counts: Sequence[int], repeat: int, say: Say, only: Sequence[str] = ()
) -> Beside:
    """Rounds of everyone in turn beside each count of busy neighbours.

    Parameters
    ----------
    stand : everyone, loaded.
    shape : tokens asked for.
    counts : of neighbours, one or more.
    repeat : rounds, 1 or more.
    say : told who runs beside how many.
    only : names of the candidates that take part; all of them unless given.

    Raises
    ------
    WorkerFailed : a candidate or a neighbour ended.
    """
    workers = {name: worker for name, worker in stand.workers.items() if not only or name in only}
    found = {count: Rounds({name: [] for name in workers}) for count in counts}
    for round_ in range(repeat):
        prompts = make_prompts(stand.ids, shape.prompt, shape.batch, round_)
        for count in counts:
            with neighbours(count):
                what = f"round {round_ + 1} of {repeat}, {count} busy neighbour{'' if count == 1 else 's'}"
                take_turns(found[count], workers, prompts, shape.new, what, say)
    references = tuple(name for name in REFERENCES if name in workers) or tuple(workers)[:1]
    return Beside(shape, references, found)


def beside_sheet(beside: Beside) -> Sheet:
    """A row a count and candidate; the share of the speed without neighbours where that was measured beside another."""
    kept = 0 in beside.rounds and len(beside.rounds) > 1
    ratios = ["to " + name.replace(" ", "\n") for name in beside.references]  # narrow enough for a terminal
    shares = ["of alone"] if kept else []
    shape = beside.shape
    header = (
        "busy\nneighbours", "", f"prefill pp{shape.prompt},\ntokens/s", *ratios, *shares,
        f"decode tg{shape.new},\ntokens/s", *ratios, *shares,
    )  # fmt: skip

    def cells(speed: str, ratios: dict[str, float], share: float | None) -> list[str]:
        found = [f"{ratios[name]:.2f}x" if name in ratios else "-" for name in beside.references]
        return [speed, *found, *(["-" if share is None else f"{share:.0%}"] if kept else [])]

    rows = tuple(
        (
            str(row.neighbours), row.name,
            *cells(row.prefill.text(0), row.prefill_ratios, row.prefill_kept),
            *cells(row.decode.text(), row.decode_ratios, row.decode_kept),
        )
        for row in beside.rows
    )  # fmt: skip
    repeat = len(next(iter(beside.rounds[next(iter(beside.rounds))].runs.values())))
    title = f"Beside busy neighbours: median (least to most) of {repeat} round{'' if repeat == 1 else 's'}"
    return Sheet(title, header, rows)

"""The main comparison: start every candidate, run the rounds, and put the figures together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.measure.peers.registry import Absent
from engine.measure.speed.candidates import BASELINE, Candidate
from engine.measure.speed.figures import Row, Shape, make_rows
from engine.measure.speed.rounds import WARM_TOKENS, Rounds, make_prompts, run_rounds
from engine.measure.worker import Worker, WorkerFailed

if TYPE_CHECKING:
    from engine.model.families import Architecture

Say = Callable[[str], None]

# English of an ordinary kind; rotated and repeated to the length asked for.
TEXT = (
    "The old cinema at the end of the street had not changed in forty years. Its seats were worn, its screen was "
    "patched, and on Fridays it still showed two films for the price of one. "
)
STRAY_FROM = 0.05  # of one core: a resting process that uses more is named


@dataclass
class Field:
    """Everyone who takes part, loaded: workers by name, what each said on loading, who is absent, and the meter."""

    threads: int
    workers: dict[str, Worker] = field(default_factory=dict)
    loaded: dict[str, dict[str, Any]] = field(default_factory=dict)
    absent: list[Absent] = field(default_factory=list)
    meter: Worker | None = None
    ids: list[int] = field(default_factory=list)  # of `TEXT`, in the model's own tokens

    def versions(self) -> dict[str, str]:
        """Version by name of all that everyone runs on."""
        return {name: version for info in self.loaded.values() for name, version in info["versions"].items()}


@dataclass(frozen=True)
class Result:
    """One comparison. `baseline` is the candidate that ratios are taken to."""

    shape: Shape
    baseline: str
    rows: list[Row]
    rounds: Rounds

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)


@contextmanager
def gathered(
    own: Sequence[Candidate], peers: Sequence[Candidate], absent: Sequence[Absent], shape: Shape, threads: int, say: Say
) -> Iterator[Field]:
    """Start and load everyone and let each run once. Who fails then is absent with the cause.

    Parameters
    ----------
    own : our engine's candidates, one or more.
    peers : others.
    absent : who cannot run here, known before.
    shape : tokens asked for; each runs it once, with at most `WARM_TOKENS` new ones.
    threads : CPU threads of each.
    say : told who is being loaded.

    Raises
    ------
    WorkerFailed : none of ours could be loaded.
    """
    stand = Field(threads, absent=list(absent))
    try:
        for candidate in [*own, *peers]:
            say(f"loading {candidate.name}")
            try:
                if candidate in own:  # compiles, once a machine, what would else count as its load time and memory
                    with candidate.start(threads) as first:
                        first.ask("load", **candidate.load)
                worker = stand.workers[candidate.name] = candidate.start(threads)
                info = stand.loaded[candidate.name] = worker.ask("load", **candidate.load)
                info["notes"] = [*info.get("notes", ()), *([candidate.note] if candidate.note else ())]
                stand.ids = stand.ids or worker.ask("encode", text=TEXT)["ids"]
                worker.ask(
                    "run",
                    prompts=make_prompts(stand.ids, shape.prompt, shape.batch, -1),
                    new=min(shape.new, WARM_TOKENS),
                )
            except WorkerFailed as error:
                if candidate.name in stand.workers:
                    stand.workers.pop(candidate.name).close()
                stand.loaded.pop(candidate.name, None)
                if candidate == own[-1] and not stand.workers:
                    raise
                stand.absent.append(Absent(candidate.name, f"it failed: {error}"))
        stand.meter = Candidate("the ceilings", own[0].command).start(threads)
        stand.meter.ask("ceilings", threads=threads)  # its start would disturb whoever is timed first
        yield stand
    finally:
        for worker in [*stand.workers.values(), *([stand.meter] if stand.meter else [])]:
            worker.close()


def compare(stand: Field, shape: Shape, repeat: int, arch: Architecture | None, say: Say) -> Result:
    """Rounds of everyone in turn. Ratios are to Transformers in fp32 where it runs, else to the first.

    Parameters
    ----------
    stand : everyone, loaded.
    shape : tokens asked for.
    repeat : interleaved rounds, 1 or more.
    arch : the model's architecture, None where we do not know it; what bounds a speed is then not said.
    say : told who runs.
    """
    rounds = run_rounds(
        stand.workers, stand.ids, shape.prompt, shape.new, shape.batch, repeat, say, stand.meter, stand.threads
    )
    memory = {name: worker.ask("memory") for name, worker in stand.workers.items()}
    baseline = BASELINE if BASELINE in stand.workers else next(iter(stand.workers))
    rows = make_rows(rounds, stand.loaded, memory, shape, arch, baseline)
    return Result(shape, baseline, rows, rounds)


def remarks(stand: Field, rounds: Iterable[Rounds]) -> list[str]:
    """What a reader must know beside the tables that are made of `rounds`, in sentences."""
    lines = [f"Absent: {one.name} ({one.reason})." for one in stand.absent]
    lines += [f"{name}: {note}" for name, info in stand.loaded.items() for note in info.get("notes", ())]
    most = max(rounds, key=lambda one: one.stray)
    if most.stray > STRAY_FROM:
        lines.append(f"{most.stray_of} used {most.stray:.0%} of a core while another was timed: run it again.")
    return lines

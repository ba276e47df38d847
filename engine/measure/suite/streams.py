"""Our int8 engine at long and short context, and with eight streams at once beside Transformers with a batch of 8."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.measure.speed import roofline
from engine.measure.speed.candidates import BASELINE
from engine.measure.speed.compare import Field
from engine.measure.speed.figures import Shape, Spread, ratio
from engine.measure.speed.rounds import REST_S, Run, make_prompts
from engine.measure.suite.targets import BOUNDS, Target, failed
from engine.measure.worker import Worker, WorkerFailed

if TYPE_CHECKING:
    from engine.model.families import Architecture

Say = Callable[[str], None]

SHORT, LONG = 128, (2048, 4096)  # tokens of context
CONTEXT_NEW = 64  # tokens decoded at each
STREAMS = 8


def in_turn(rounds: int, turns: dict[str, Callable[[int], float]], say: Say) -> dict[str, list[float]]:
    """Rounds of all turns, A B C A B C, each after a rest; the figures by name.

    Parameters
    ----------
    rounds : how many.
    turns : by name, each called with the round's number; gives a figure.
    say : told whose turn it is.
    """
    found: dict[str, list[float]] = {name: [] for name in turns}
    for round_ in range(rounds):
        for name, turn in turns.items():
            say(f"round {round_ + 1} of {rounds}: {name}")
            time.sleep(REST_S)
            found[name].append(turn(round_))
    return found


def ratios(found: dict[str, list[float]], mine: str, other: str) -> float:
    """Median of the round-by-round ratios.

    Parameters
    ----------
    found : figures by name, one a round.
    mine, other : names, of what is divided and what it is divided by.
    """
    value = ratio(a / b for a, b in zip(found[mine], found[other], strict=True))
    assert value is not None
    return value


def brisk_int8(stand: Field) -> Worker:
    """Our int8 candidate of the plain comparison."""
    for name, worker in stand.workers.items():
        if name.startswith("Brisk int8"):
            return worker
    raise WorkerFailed("Brisk int8 did not run: it is not among --precision.")


def _decode(worker: Worker, stand: Field, length: int, new: int, batch: int) -> Callable[[int], float]:
    def turn(round_: int) -> float:
        prompts = make_prompts(stand.ids, length, batch, round_)
        return Run.of(worker.ask("run", prompts=prompts, new=new)).decode

    return turn


def context_targets(stand: Field, arch: Architecture | None, repeat: int, say: Say) -> list[Target]:
    """Decode speed after prompts of 2,048 and 4,096 tokens, as a share of what that after one of 128 predicts where
    steps take as long as their bytes: all weights, and the keys and values of the context.

    Parameters
    ----------
    stand : everyone, loaded.
    arch : the model's architecture, None where we do not know it.
    repeat : rounds.
    say : told what runs.

    Raises
    ------
    WorkerFailed : our int8 engine is not among them.
    """
    worker = brisk_int8(stand)
    info = stand.loaded[worker.name]
    if arch is None:
        return [failed(BOUNDS[f"context_{length}"], "an architecture whose bytes are not known") for length in LONG]
    lengths = [length for length in (SHORT, *LONG) if length + CONTEXT_NEW <= info["max_context"]]
    turns = {f"context {length}": _decode(worker, stand, length, CONTEXT_NEW, 1) for length in lengths}
    found = in_turn(repeat, turns, say)
    nbytes = {
        length: roofline.decode(arch, length + CONTEXT_NEW / 2, 1, info["weight_bytes"], info["kv"]).nbytes
        for length in lengths
    }
    targets = []
    for length in LONG:
        bound = BOUNDS[f"context_{length}"]
        if length not in lengths:
            targets.append(failed(bound, f"the model's window is {info['max_context']} tokens"))
            continue
        less = ratios(found, f"context {length}", f"context {SHORT}")
        figure = f"{worker.name}: {Spread.of(found[f'context {length}']).text()} tokens/s"
        short = f"context {SHORT}: {Spread.of(found[f'context {SHORT}']).text()} tokens/s"
        times = nbytes[length] / nbytes[SHORT]
        targets.append(Target(bound, less * times, figure, f"{short}; {times:.2f} times its bytes a step"))
    return targets


def stream_targets(stand: Field, shape: Shape, rounds: int, say: Say) -> list[Target]:
    """Total decode of eight streams while all eight decode.

    Parameters
    ----------
    stand : everyone, loaded.
    shape : tokens of a stream.
    rounds : how many.
    say : told what runs.

    Raises
    ------
    WorkerFailed : our int8 engine is not among them.
    """
    worker = brisk_int8(stand)
    turns = {
        "one stream": _decode(worker, stand, shape.prompt, shape.new, 1),
        "eight streams": _decode(worker, stand, shape.prompt, shape.new, STREAMS),
    }
    if BASELINE in stand.workers:
        turns[BASELINE] = _decode(stand.workers[BASELINE], stand, shape.prompt, shape.new, STREAMS)
    found = in_turn(rounds, turns, say)
    speeds = {name: f"{Spread.of(values).text()} tokens/s" for name, values in found.items()}
    figure = f"{worker.name}: {speeds['eight streams']}"
    reached = ratios(found, "eight streams", "one stream")
    targets = [Target(BOUNDS["streams"], reached, figure, f"one stream: {speeds['one stream']}")]
    if BASELINE not in found:
        return [*targets, failed(BOUNDS["streams_peer"], f"{BASELINE} did not run")]
    reached = ratios(found, "eight streams", BASELINE)
    base = f"{BASELINE}, batch {STREAMS}: {speeds[BASELINE]}"
    return [*targets, Target(BOUNDS["streams_peer"], reached, figure, base)]

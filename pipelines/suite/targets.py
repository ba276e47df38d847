"""What the four tasks gain: labels scored, prompts shared, and text guessed from the prompt.

The prompts are the tasks' own, on IMDB reviews; `pipelines.suite.worker` gives them, in a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from engine.measure.speed import brisk
from engine.measure.speed.candidates import BASELINE, Candidate
from engine.measure.speed.compare import Field
from engine.measure.speed.figures import Spread
from engine.measure.suite.parts import Part
from engine.measure.suite.streams import in_turn, ratios
from engine.measure.suite.targets import Bound, Target, failed
from engine.measure.worker import Worker, WorkerFailed, module_command
from pipelines.suite import worker

Say = Callable[[str], None]

SCORED = 200  # reviews
WRITTEN = 50  # summaries and answers
WRITTEN_TOKENS = 128
SHARED = 10  # reviews that go through all four tasks
BATCH = 8  # of Transformers when it scores
BLOCKS = 5  # a long job is cut in so many, so that sides take turns

SCORING = Bound("scoring", "label scoring of IMDB reviews, reviews/s, against Transformers fp32 batched", 2.0)
HEAD = Bound(
    "head", "a trained head on IMDB reviews, reviews/s, against labels scored by Transformers fp32 batched", 2.0
)
FOUR_TASKS = Bound("four_tasks", "four tasks on one review: prompt tokens computed, against one task", 1.4, most=True)
LOOKUP = Bound("lookup", "prompt lookup on answers and summaries, decode, on against off", 1.2)


def task_targets(stand: Field, model: str, repeat: int, say: Say) -> list[Target]:
    """All targets of the tasks; one that fails is a row that says so, and the others are still measured.

    Parameters
    ----------
    stand : the loaded candidates; Transformers among them is the baseline of scoring.
    model : name of the model that our engine runs.
    repeat : rounds; below `BLOCKS`, so many blocks of each job only are measured.
    say : told what is being done.

    Raises
    ------
    WorkerFailed : neither of our engines could be started or loaded.
    """
    blocks = min(repeat, BLOCKS)
    threads = stand.threads
    config = {"model": model, "precision": "int8", "threads": threads}
    online = {"HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE")}  # where there is no IMDB_DIR, reviews are fetched
    tasks = Candidate("Brisk int8, as users have it", module_command(worker), config, online)
    unguessed = {**config, "speculation": False, "prefix_cache_mb": 256}
    plain = Candidate("Brisk int8 without speculation", module_command(brisk), unguessed)
    say(f"loading {tasks.name}")
    with tasks.start(threads) as own, plain.start(threads) as off:
        own.ask("load", **tasks.load)
        off.ask("load", **plain.load)
        measures: dict[tuple[Bound, ...], Callable[[], list[Target]]] = {
            (SCORING, HEAD): lambda: scoring(stand, own, blocks, say),
            (FOUR_TASKS,): lambda: [four_tasks(own, max(1, SHARED * blocks // BLOCKS), say)],
            (LOOKUP,): lambda: [lookup(own, off, blocks, say)],
        }
        found = []
        for bounds, measure in measures.items():
            try:
                found += measure()
            except WorkerFailed as error:
                found += [failed(bound, str(error)) for bound in bounds]
        return found


PARTS = (Part((SCORING, HEAD, FOUR_TASKS, LOOKUP), task_targets),)


def _cut(items: list[Any], count: int) -> list[list[Any]]:
    return [items[i::BLOCKS] for i in range(count)]


def scoring(stand: Field, own: Worker, count: int, say: Say) -> list[Target]:
    """Reviews a second through the classification template, all labels of each scored; and by the model's trained head,
    which reads the same reviews and stops at its layer.

    Parameters
    ----------
    stand : the loaded candidates, for the baseline.
    own : our engine with the tasks.
    count : blocks of reviews, 1 to `BLOCKS`.
    say : told what is being done.

    Returns
    -------
    Two targets, `SCORING` and `HEAD`, in reviews a second.
    """
    if BASELINE not in stand.workers:
        return [failed(bound, f"{BASELINE} did not run") for bound in (SCORING, HEAD)]
    asked = own.ask("label_prompts", count=SCORED)
    blocks, choices, head = _cut(asked["prompts"], count), asked["choices"], asked["head"]
    said: dict[str, list[list[float]]] = {own.name: [], BASELINE: []}
    right = 0

    def turn(worker: Worker, **more: int) -> Callable[[int], float]:
        def score(round_: int) -> float:
            answer = worker.ask("score", prompts=blocks[round_], choices=choices, **more)
            said[worker.name] += answer["logprobs"]
            return len(blocks[round_]) / float(answer["seconds"])

        return score

    def by_head(round_: int) -> float:
        nonlocal right
        answer = own.ask("by_head", head=head, count=SCORED, part=round_, parts=BLOCKS)
        right += answer["right"]
        return len(blocks[round_]) / float(answer["seconds"])

    turns = {own.name: turn(own), BASELINE: turn(stand.workers[BASELINE], batch=BATCH)}
    if head:
        turns[head] = by_head
    found = in_turn(count, turns, say)
    best = [[row.index(max(row)) for row in said[name]] for name in (own.name, BASELINE)]
    same = sum(a == b for a, b in zip(*best, strict=True))
    many = len(best[0])
    speeds = {name: f"{Spread.of(values).text()} reviews/s" for name, values in found.items()}
    base = f"{BASELINE}, batch {BATCH} sorted by length: {speeds[BASELINE]}"
    figure = f"{own.name}: {speeds[own.name]}; same label on {same} of {many}"
    targets = [Target(SCORING, ratios(found, own.name, BASELINE), figure, base)]
    if not head:
        return [*targets, failed(HEAD, "Brisk brings no head for this model")]
    figure = f"{own.name}, {head}: {speeds[head]}, one at a time; right on {right} of {many}"
    return [*targets, Target(HEAD, ratios(found, head, BASELINE), figure, base)]


def four_tasks(own: Worker, count: int, say: Say) -> Target:
    """Tokens computed for four tasks on a review, over the tokens a task asks for on average.

    Parameters
    ----------
    own : our engine with the tasks.
    count : reviews.
    say : told what is being done.
    """
    say(f"four tasks on {count} reviews")
    answer = own.ask("four_tasks", count=count)
    one = (answer["computed"] + answer["reused"]) / 4
    figure = f"{answer['computed'] / count:.0f} tokens a review, {answer['reused'] / count:.0f} reused"
    return Target(FOUR_TASKS, answer["computed"] / one, figure, f"a task alone, on average: {one / count:.0f} tokens")


def lookup(own: Worker, off: Worker, count: int, say: Say) -> Target:
    """Decode speed with guesses from the prompt against without; where the tokens differ, no speed counts.

    Parameters
    ----------
    own : our engine with the tasks, guessing.
    off : the same without guesses.
    count : blocks of prompts, 1 to `BLOCKS`.
    say : told what is being done.
    """
    blocks = _cut(own.ask("writing_prompts", count=WRITTEN)["prompts"], count)
    written: dict[str, list[list[int]]] = {own.name: [], off.name: []}

    def turn(worker: Worker) -> Callable[[int], float]:
        def write(round_: int) -> float:
            answer = worker.ask("generate", prompts=blocks[round_], new=WRITTEN_TOKENS)
            written[worker.name] += answer["tokens"]
            return float(answer["decoded"] / answer["decode_s"])

        return write

    found = in_turn(count, {own.name: turn(own), off.name: turn(off)}, say)
    same = sum(a == b for a, b in zip(written[own.name], written[off.name], strict=True))
    figure = f"{Spread.of(found[own.name]).text()} tokens/s; {same} of {len(written[own.name])} texts the same"
    base = f"speculation off: {Spread.of(found[off.name]).text()} tokens/s"
    if same < len(written[own.name]):
        return failed(LOOKUP, f"texts differ, so no speed counts: {figure}")
    return Target(LOOKUP, ratios(found, own.name, off.name), figure, base)

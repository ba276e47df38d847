"""What the four tasks gain: labels scored, prompts shared, and text guessed from the prompt.

The prompts are the tasks' own, on IMDB reviews. They come from `pipelines.evaluation.speed`, started as a process:
the engine imports no pipeline.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from engine.measure.speed.candidates import BASELINE, Candidate
from engine.measure.speed.compare import Field
from engine.measure.speed.figures import Spread
from engine.measure.speed.worker import Worker, WorkerFailed
from engine.measure.suite.streams import in_turn, ratios
from engine.measure.suite.targets import Target, failed

Say = Callable[[str], None]

SCORED = 200  # reviews
WRITTEN = 50  # summaries and answers
WRITTEN_TOKENS = 128
SHARED = 10  # reviews that go through all four tasks
BATCH = 8  # of Transformers when it scores
PARTS = 5  # a long job is cut in so many parts, so that sides take turns


def task_targets(stand: Field, model: str, repeat: int, say: Say) -> list[Target]:
    """`repeat` below `PARTS` takes so many parts of each job only."""
    parts = min(repeat, PARTS)
    threads = stand.threads
    config = {"model": model, "precision": "int8", "threads": threads}
    online = {"HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE")}  # where there is no IMDB_DIR, reviews are fetched
    tasks = Candidate(
        "Brisk int8, as users have it", (sys.executable, "-m", "pipelines.evaluation.speed"), config, online
    )
    plain = Candidate(
        "Brisk int8 without speculation",
        (sys.executable, "-m", "engine.measure.speed.brisk"),
        {**config, "speculation": False, "prefix_cache_mb": 256},
    )
    say(f"loading {tasks.name}")
    with tasks.start(threads) as own, plain.start(threads) as off:
        own.ask("load", **tasks.load)
        off.ask("load", **plain.load)
        measures: dict[tuple[str, ...], Callable[[], list[Target]]] = {
            ("scoring", "head"): lambda: scoring(stand, own, parts, say),
            ("four_tasks",): lambda: [four_tasks(own, max(1, SHARED * parts // PARTS), say)],
            ("lookup",): lambda: [lookup(own, off, parts, say)],
        }
        found = []
        for keys, measure in measures.items():
            try:
                found += measure()
            except WorkerFailed as error:
                found += [failed(key, str(error)) for key in keys]
        return found


def _cut(items: list[Any], parts: int) -> list[list[Any]]:
    return [items[i::PARTS] for i in range(parts)]


def scoring(stand: Field, own: Worker, parts: int, say: Say) -> list[Target]:
    """Reviews a second through the classification template, all labels of each scored; and by the model's trained head,
    which reads the same reviews and stops at its layer."""
    if BASELINE not in stand.workers:
        return [failed(key, f"{BASELINE} did not run") for key in ("scoring", "head")]
    asked = own.ask("label_prompts", count=SCORED)
    blocks, choices, head = _cut(asked["prompts"], parts), asked["choices"], asked["head"]
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
        answer = own.ask("by_head", head=head, count=SCORED, part=round_, parts=PARTS)
        right += answer["right"]
        return len(blocks[round_]) / float(answer["seconds"])

    turns = {own.name: turn(own), BASELINE: turn(stand.workers[BASELINE], batch=BATCH)}
    if head:
        turns[head] = by_head
    found = in_turn(parts, turns, say)
    best = [[row.index(max(row)) for row in said[name]] for name in (own.name, BASELINE)]
    same = sum(a == b for a, b in zip(*best, strict=True))
    many = len(best[0])
    speeds = {name: f"{Spread.of(values).text()} reviews/s" for name, values in found.items()}
    base = f"{BASELINE}, batch {BATCH} sorted by length: {speeds[BASELINE]}"
    figure = f"{own.name}: {speeds[own.name]}; same label on {same} of {many}"
    targets = [Target("scoring", ratios(found, own.name, BASELINE), figure, base)]
    if not head:
        return [*targets, failed("head", "Brisk brings no head for this model")]
    figure = f"{own.name}, {head}: {speeds[head]}, one at a time; right on {right} of {many}"
    return [*targets, Target("head", ratios(found, head, BASELINE), figure, base)]


def four_tasks(own: Worker, count: int, say: Say) -> Target:
    """Tokens computed for four tasks on a review, over the tokens a task asks for on average."""
    say(f"four tasks on {count} reviews")
    answer = own.ask("four_tasks", count=count)
    one = (answer["computed"] + answer["reused"]) / 4
    figure = f"{answer['computed'] / count:.0f} tokens a review, {answer['reused'] / count:.0f} reused"
    return Target("four_tasks", answer["computed"] / one, figure, f"a task alone, on average: {one / count:.0f} tokens")


def lookup(own: Worker, off: Worker, parts: int, say: Say) -> Target:
    """Decode speed with guesses from the prompt against without; the tokens must be the same."""
    blocks = _cut(own.ask("writing_prompts", count=WRITTEN)["prompts"], parts)
    written: dict[str, list[list[int]]] = {own.name: [], off.name: []}

    def turn(worker: Worker) -> Callable[[int], float]:
        def write(round_: int) -> float:
            answer = worker.ask("generate", prompts=blocks[round_], new=WRITTEN_TOKENS)
            written[worker.name] += answer["tokens"]
            return float(answer["decoded"] / answer["decode_s"])

        return write

    found = in_turn(parts, {own.name: turn(own), off.name: turn(off)}, say)
    same = sum(a == b for a, b in zip(written[own.name], written[off.name], strict=True))
    figure = f"{Spread.of(found[own.name]).text()} tokens/s; {same} of {len(written[own.name])} texts the same"
    base = f"speculation off: {Spread.of(found[off.name]).text()} tokens/s"
    if same < len(written[own.name]):
        return failed("lookup", f"texts differ, so no speed counts: {figure}")
    return Target("lookup", ratios(found, own.name, off.name), figure, base)

"""From runs to rows: medians with least and most, ratios round by round, and which ceiling holds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.measure.speed import roofline
from engine.measure.speed.rounds import Rounds, Run

if TYPE_CHECKING:
    from engine.model.families import Architecture


@dataclass(frozen=True)
class Spread:
    """Median of the rounds, with the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        found = list(values)
        return cls(statistics.median(found), min(found), max(found))

    def text(self, digits: int = 1) -> str:
        return f"{self.median:.{digits}f} ({self.least:.{digits}f} to {self.most:.{digits}f})"


@dataclass(frozen=True)
class Bound:
    """One regime against the ceilings: speed reached (GB/s in decode, GFLOP/s in prefill), the shares of its time that
    reading alone and arithmetic alone would take, and the name of the bound."""

    reached: float
    memory_share: float
    compute_share: float
    name: str


@dataclass(frozen=True)
class Row:
    """One candidate. Speeds are tokens/s, memory is bytes over the same process without a model: `memory` the most
    while it ran, `load_peak` the most while it loaded. Ratios are None where the baseline did not run, `same_tokens`
    too; bounds are None for a model whose architecture we do not know, that of decode also where it is not known what a
    step reads."""

    name: str
    dtype: str
    kv: str
    prefill: Spread
    decode: Spread
    ttft_s: Spread
    prefill_ratio: float | None
    decode_ratio: float | None
    memory: int
    load_peak: int
    load_s: float
    prefill_bound: Bound | None
    decode_bound: Bound | None
    same_tokens: int | None  # of the first prompt's new tokens, how many agree with the baseline's from the start
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Shape:
    """What was asked for: prompt tokens, new tokens, streams at once."""

    prompt: int
    new: int
    batch: int


def make_rows(
    rounds: Rounds,
    loaded: dict[str, dict[str, Any]],
    memory: dict[str, dict[str, int]],
    shape: Shape,
    arch: Architecture | None,
    baseline: str,
) -> list[Row]:
    """One row a candidate, in the order they ran.

    Parameters
    ----------
    rounds : runs and ceilings.
    loaded, memory : the workers' answers to those requests, by candidate.
    shape : tokens asked for.
    arch : the model's architecture, None where we do not know it.
    baseline : name of the candidate that ratios are taken to; one that did not run gives none.
    """
    base = rounds.runs.get(baseline)
    rows = []
    for name, runs in rounds.runs.items():
        info = loaded[name]
        total = shape.prompt * shape.batch
        pairs = list(zip(runs, base, strict=True)) if base else []
        rows.append(
            Row(
                name=name,
                dtype=info["dtype"],
                kv=info["kv"],
                prefill=Spread.of(run.prefill(total) for run in runs),
                decode=Spread.of(run.decode for run in runs),
                ttft_s=Spread.of(run.ttft_s for run in runs),
                prefill_ratio=ratio(run.prefill(total) / other.prefill(total) for run, other in pairs),
                decode_ratio=ratio(run.decode / other.decode for run, other in pairs),
                memory=memory[name]["peak"] - memory[name]["empty"],
                load_peak=info["load_peak"],
                load_s=info["load_s"],
                prefill_bound=_prefill_bound(runs, rounds.ceilings, shape, arch, info),
                decode_bound=_decode_bound(runs, rounds.ceilings, shape, arch, info),
                same_tokens=_common(runs[0].tokens[0], base[0].tokens[0]) if base else None,
                notes=tuple(info.get("notes", ())),
            )
        )
    return rows


def ratio(values: Iterable[float]) -> float | None:
    """Median of round-by-round ratios; None where there are none."""
    found = list(values)
    return statistics.median(found) if found else None


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _prefill_bound(
    runs: list[Run], ceilings: list[dict[str, float]], shape: Shape, arch: Architecture | None, info: dict[str, Any]
) -> Bound | None:
    if arch is None or not ceilings:
        return None
    one = roofline.prefill(arch, shape.prompt, info["weight_bytes"] or 0.0)  # unknown: the arithmetic alone is counted
    work = roofline.Work(one.nbytes * shape.batch, one.flops * shape.batch)
    return _bound(work, [run.ttft_s for run in runs], ceilings, work.flops)


def _decode_bound(
    runs: list[Run], ceilings: list[dict[str, float]], shape: Shape, arch: Architecture | None, info: dict[str, Any]
) -> Bound | None:
    if arch is None or not ceilings or info["weight_bytes"] is None or info["kv"] not in roofline.KV_BYTES:
        return None
    context = shape.prompt + shape.new / 2  # on average over the steps
    work = roofline.decode(arch, context, shape.batch, info["weight_bytes"], info["kv"])
    steps = [run.decode_s / max(1.0, run.decoded / shape.batch) for run in runs]
    return _bound(work, steps, ceilings, work.nbytes)


def _bound(work: roofline.Work, seconds: list[float], ceilings: list[dict[str, float]], amount: float) -> Bound:
    """Shares are taken round by round: each round's time against the ceilings measured at that round's end."""
    shares = [work.shares(s, c["bandwidth"], c["flops"]) for s, c in zip(seconds, ceilings, strict=True)]
    memory = statistics.median(share for share, _ in shares)
    compute = statistics.median(share for _, share in shares)
    return Bound(amount / statistics.median(seconds) / 1e9, memory, compute, roofline.bound((memory, compute)))

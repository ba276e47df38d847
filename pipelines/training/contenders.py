"""Whoever judges reviews, side by side: how often each is right, what it costs, and what it does not see."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from engine.measure.sheet import Sheet
from engine.measure.statistics import Figure, share
from pipelines.classification.contrast import Pair
from pipelines.evaluation.paired import Comparison, Measure, compare
from pipelines.training.features import kept

MARGIN = 0.005  # of accuracy: a loss that still counts as the same
SLOW = "all layers"  # what speeds are multiples of
Judge = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Contender:
    """Something that tells good reviews from bad ones.

    Attributes
    ----------
    name : in the table.
    judge : log-odds of "positive" f64 [n] of texts.
    timed : texts that it is timed on in a round: a second's work or so.
    weight_bytes : of what it needs to judge, None where that is not counted.
    minutes : that making it took, None where that was elsewhere.
    key : tells it from others of its name: judgements that are kept are of one key.
    most : reviews that it is measured on at most, drawn from all; None measures it on all.
    judges : False for one that is only timed.
    """

    name: str
    judge: Judge
    timed: int
    weight_bytes: int | None
    minutes: float | None
    key: str = ""
    most: int | None = None
    judges: bool = True


@dataclass(frozen=True)
class Standing:
    """What a contender reached.

    Attributes
    ----------
    name, weight_bytes, minutes : its own.
    accuracy : on the test reviews; None where it is only timed.
    difference : against the first contender on the same reviews.
    contrast : right originals, right changed texts, both of a pair right; None without pairs.
    rates : reviews/s of each round.
    ratio : its rate over that of `SLOW`, the median over rounds.
    """

    name: str
    weight_bytes: int | None
    minutes: float | None
    accuracy: Figure | None
    difference: Comparison | None
    contrast: tuple[Figure, Figure, Figure] | None
    rates: tuple[float, ...]
    ratio: float | None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    contenders: Sequence[Contender], texts: Sequence[str], gold: Sequence[int], films: Sequence[str | None],
    pairs: Sequence[Pair], rounds: int, work: Path,
) -> list[Standing]:  # fmt: skip
    """All contenders on the same reviews, and their speeds in turn.

    Parameters
    ----------
    contenders : the first is what the others are compared with, on the reviews that both judged.
    texts, gold, films : test reviews, their labels 0 or 1, and the films they are about where these are known.
    pairs : contrast pairs.
    rounds : of timing; in each every contender judges texts once.
    work : folder where judgements are kept, so that an interrupted run goes on.
    """
    known = all(film is not None for film in films)
    rows: dict[str, list[dict[str, Any]]] = {}
    turned: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for one in contenders:
        if not one.judges:
            continue
        drawn = np.sort(np.random.default_rng(0).permutation(len(texts))[: one.most])
        found = _kept(one, [texts[i] for i in drawn], work / "test" / _folder(one))
        rows[one.name] = [
            {"id": str(i), "precision": one.name, "right": float((z > 0) == gold[i]),
             **({"film": films[i]} if known else {})}
            for i, z in zip(drawn, found, strict=True)
        ]  # fmt: skip
        if pairs:
            changed = [text for pair in pairs for text in (pair.original, pair.contrast)]
            both = _kept(one, changed, work / "pairs" / _folder(one))
            turned[one.name] = both[::2], both[1::2]
    rates = _rates(contenders, texts, rounds)
    slow = rates.get(SLOW)
    right = Measure("accuracy", lambda row: float(row["right"]), MARGIN)
    first = contenders[0].name
    return [
        Standing(
            one.name, one.weight_bytes, one.minutes,
            share("accuracy", [bool(row["right"]) for row in rows[one.name]]) if one.judges else None,
            compare(right, rows[first], rows[one.name]) if one.judges and one.name != first else None,
            _contrast(pairs, *turned[one.name]) if one.name in turned else None,
            tuple(rates[one.name]),
            median(a / b for a, b in zip(rates[one.name], slow, strict=True)) if slow else None,
        )
        for one in contenders
    ]  # fmt: skip


def table(standings: Sequence[Standing], title: str) -> Sheet:
    """One line a contender."""
    header = (
        "", "n", "accuracy", "95 % interval", "against the first", "its interval", "contrast: originals", "changed",
        "both", "reviews/s", f"x {SLOW}", "weights", "minutes",
    )  # fmt: skip
    lines = []
    for one in standings:
        compared = ("", "")
        if one.difference is not None:
            compared = one.difference.difference.signed(), one.difference.difference.interval()
        lines.append((
            one.name,
            *((f"{one.accuracy.n:,}", f"{one.accuracy.value:.2%}",
               f"{one.accuracy.low:.2%} to {one.accuracy.high:.2%}") if one.accuracy else ("", "", "")),
            *compared,
            *((figure.text() for figure in one.contrast) if one.contrast else ("", "", "")),
            f"{median(one.rates):,.1f}" if one.rates else "",
            f"{one.ratio:,.1f}" if one.ratio is not None else "",
            f"{one.weight_bytes / 1e6:,.1f} MB" if one.weight_bytes is not None else "",
            f"{one.minutes:.1f}" if one.minutes is not None else "",
        ))  # fmt: skip
    return Sheet(title, header, tuple(lines), header[1:])


def _folder(one: Contender) -> str:
    return "-".join(filter(None, (one.name.replace(" ", "-").replace("/", "-"), one.key)))


def _kept(one: Contender, texts: Sequence[str], folder: Path) -> np.ndarray:
    def read(some: Sequence[str], done: Callable[[], object]) -> np.ndarray:
        found = one.judge(some)
        for _ in some:
            done()
        return found

    # Measured on more texts or fewer, it begins anew beside what was found.
    return kept(read, texts, {"contender": one.name}, folder.with_name(f"{folder.name}-{len(texts)}"), one.name)


def _contrast(pairs: Sequence[Pair], before: np.ndarray, after: np.ndarray) -> tuple[Figure, Figure, Figure]:
    """Right originals, right changed texts, and both of a pair right (Gardner et al. 2020)."""
    first = [bool((z > 0) == pair.original_label) for z, pair in zip(before, pairs, strict=True)]
    second = [bool((z > 0) == pair.contrast_label) for z, pair in zip(after, pairs, strict=True)]
    both = [a and b for a, b in zip(first, second, strict=True)]
    return share("originals", first), share("changed", second), share("both", both)


def _rates(contenders: Sequence[Contender], texts: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Reviews/s of each round, all contenders in turn on the texts that the round draws; each is warmed up once."""
    rates: dict[str, list[float]] = {one.name: [] for one in contenders}
    for number in range(rounds):
        order = np.random.default_rng(number).permutation(len(texts))
        for one in contenders:
            some = [texts[i] for i in order[: one.timed]]
            if not number:
                one.judge(some[: max(1, len(some) // 10)])
            began = time.perf_counter()
            one.judge(some)
            rates[one.name].append(len(some) / (time.perf_counter() - began))
    return rates

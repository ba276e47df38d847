"""Two precisions on the same reviews: what one loses against the other, and what could have been seen at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from engine.measure.statistics import Figure, films, ratio, share

ALPHA, POWER = 0.05, 0.8
EXAMPLES = 5
Row = Mapping[str, Any]
Verdict = Literal["same", "no proof", "worse"]


def _one(row: Row) -> float:
    return 1.0


@dataclass(frozen=True)
class Measure:
    """What a review is worth under a precision: `value(row)`, None where the row has none. The mean is over `weight`:
    bits over bytes, for one. `margin` is the loss that still counts as the same; `higher` is better or not."""

    name: str
    value: Callable[[Row], float | None]
    margin: float
    weight: Callable[[Row], float] = _one
    higher: bool = True
    percent: bool = True


@dataclass(frozen=True)
class Comparison:
    """One measure of `precision` against `base`.

    `difference` is a gain where positive. `lost` and `won` count reviews that were right under one only, with the ids
    of some; `p` is McNemar's (1947), exact; all three only where a review is right or wrong. `seen` is the least
    loss that this many reviews show in four of five runs, `needed` how many would show the margin.

    `verdict`: "same" where the interval's lower end lies above minus the margin, else "worse" where its upper end
    lies below 0, else "no proof".
    """

    measure: str
    base: str
    precision: str
    difference: Figure
    margin: float
    verdict: Verdict
    seen: float
    needed: int
    lost: tuple[str, ...] | None = None
    won: tuple[str, ...] | None = None
    p: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "power": self.power()}

    def margin_text(self) -> str:
        """The margin in points where the measure is a share."""
        return f"{100 * self.margin:g} points" if self.difference.percent else f"{self.margin:g}"

    def power(self) -> str:
        """What such a run can show and what it cannot, in a sentence."""
        unit = (lambda x: f"{100 * x:.1f} points") if self.difference.percent else (lambda x: f"{x:.4f}")
        return (
            f"With n = {self.difference.n:,}, losses under {unit(self.seen)} cannot be shown; {self.needed:,} reviews "
            f"would show {unit(self.margin)}."
        )


def level(measure: Measure, rows: Sequence[Row]) -> Figure | None:
    """The measure's mean over the rows that have a value; None where none has."""
    found = [(value, row) for row in rows if (value := measure.value(row)) is not None]
    if not found:
        return None
    values, own = zip(*found, strict=True)
    if measure.percent and set(values) <= {0.0, 1.0}:
        return share(measure.name, [bool(value) for value in values], groups=films(own))
    weights = [measure.weight(row) for row in own]
    return ratio(measure.name, values, weights, percent=measure.percent, groups=films(own))


def compare(measure: Measure, base: Sequence[Row], other: Sequence[Row]) -> Comparison | None:
    """What `other`'s rows gain or lose against `base`'s.

    Parameters
    ----------
    measure : what a review is worth.
    base, other : rows of two precisions, one or more each.

    Returns
    -------
    The comparison over the reviews that have a value in both; None where there are none.
    """
    known = {row["id"]: row for row in base}
    triples = [(row["id"], known[row["id"]], row) for row in other if row["id"] in known]
    ids, before, after, weights, own = [], [], [], [], []
    for id, first, second in triples:
        a, b = measure.value(first), measure.value(second)
        if a is not None and b is not None:
            ids.append(id)
            before.append(float(a))
            after.append(float(b))
            weights.append(measure.weight(first))
            own.append(first)
    if not ids:
        return None
    sign = 1 if measure.higher else -1
    gains = sign * (np.array(after) - np.array(before))
    difference = ratio(measure.name, gains.tolist(), weights, percent=measure.percent, groups=films(own))
    low, high = (difference.value if x is None else x for x in (difference.low, difference.high))
    seen, needed = _power(gains, np.array(weights), measure.margin)
    verdict: Verdict = "same" if low > -measure.margin else "worse" if high < 0 else "no proof"
    names = (measure.name, str(base[0]["precision"]), str(other[0]["precision"]))
    if not set(before) | set(after) <= {0.0, 1.0}:
        return Comparison(*names, difference, measure.margin, verdict, seen, needed)
    lost = tuple(id for id, gain in zip(ids, gains, strict=True) if gain < 0)
    won = tuple(id for id, gain in zip(ids, gains, strict=True) if gain > 0)
    p = float(stats.binomtest(len(lost), len(lost) + len(won)).pvalue) if lost or won else 1.0
    return Comparison(*names, difference, measure.margin, verdict, seen, needed, lost, won, p)


def _power(gains: np.ndarray, weights: np.ndarray, margin: float) -> tuple[float, int]:
    """The least mean loss that is seen with a probability of `POWER` (two-sided, `ALPHA`), and the reviews that the
    margin takes. Where nothing differed, three of n reviews may still (the rule of three)."""
    n = len(gains)
    spread = float(np.std(gains / weights.mean())) if gains.any() else math.sqrt(3 / n)
    reach = float(stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)) * spread
    return reach / math.sqrt(n), math.ceil((reach / margin) ** 2)

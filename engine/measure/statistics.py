"""Figures with their 95 % intervals. scipy does the arithmetic.

`groups` says of each review what it is drawn together with: reviews of one film are alike, and many of them say less
than as many of different films (see `films`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2_000
BINS = 10  # of the calibration error
FILMS_FROM = 5_000  # reviews: in fewer, hardly two are of one film
BATCH = 200  # draws held in memory at once
BOOTSTRAP_SEED = 0  # of the intervals only: a report computed twice from one file is the same


@dataclass(frozen=True)
class Figure:
    """One row of a report: a value, its 95 % interval where one applies, over `n` reviews."""

    name: str
    value: float
    low: float | None
    high: float | None
    n: int
    method: str  # of the interval
    percent: bool = False
    note: str = ""

    def text(self) -> str:
        return _number(self.value, self.percent)

    def signed(self) -> str:
        """As a difference: points where the figure is a share."""
        return f"{100 * self.value:+.1f} points" if self.percent else f"{self.value:+.4f}"

    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        return f"[{_number(self.low, self.percent)}, {_number(self.high, self.percent)}]"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _number(value: float, percent: bool) -> str:
    return f"{100 * value:.1f} %" if percent else f"{value:.3f}"


Groups = Sequence[str] | None


def films(rows: Sequence[Mapping[str, Any]]) -> Groups:
    """The films of more than `FILMS_FROM` reviews, where all of them are known; else None."""
    found = [str(row["film"]) for row in rows if "film" in row]
    return found if len(found) == len(rows) > FILMS_FROM else None


def share(name: str, hits: Sequence[bool], note: str = "", groups: Groups = None) -> Figure:
    """A proportion with the interval of Wilson (1927); with `groups`, the bootstrap over these.

    Parameters
    ----------
    name, note : shown in the report.
    hits : one a review; none gives NaN.
    groups : what each review is drawn together with, None where each is drawn alone.
    """
    if groups is not None:
        return resampled(name, np.mean, [np.asarray(hits, dtype=float)], percent=True, note=note, groups=groups)
    n, k = len(hits), sum(bool(hit) for hit in hits)
    if not n:
        return Figure(name, float("nan"), None, None, 0, "Wilson", percent=True, note=note)
    interval = stats.binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
    return Figure(name, k / n, float(interval.low), float(interval.high), n, "Wilson", percent=True, note=note)


def mean(name: str, values: Sequence[float], *, percent: bool = False, note: str = "", groups: Groups = None) -> Figure:
    """A mean with the percentile bootstrap over reviews.

    Parameters
    ----------
    name, note : shown in the report.
    values : one a review; none gives NaN.
    percent : they are shares, from 0 to 1.
    groups : what each review is drawn together with, None where each is drawn alone.
    """
    return resampled(name, np.mean, [np.asarray(values, dtype=float)], percent=percent, note=note, groups=groups)


def ratio(
    name: str,
    above: Sequence[float] | np.ndarray,
    below: Sequence[float] | np.ndarray,
    *,
    percent: bool = False,
    note: str = "",
    groups: Groups = None,
) -> Figure:
    """sum(above) / sum(below), corpus-level, reviews drawn with both their numbers.

    Parameters
    ----------
    name, note : shown in the report.
    above, below : one of each a review.
    percent : it is a share, from 0 to 1.
    groups : what each review is drawn together with, None where each is drawn alone.
    """

    def statistic(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.sum(axis) / b.sum(axis)

    columns = [np.asarray(above, dtype=float), np.asarray(below, dtype=float)]
    return resampled(name, statistic, columns, percent=percent, note=note, groups=groups)


def macro_f1(name: str, gold: Sequence[int], predicted: Sequence[int], note: str = "", groups: Groups = None) -> Figure:
    """Mean of the F1 of both classes (labels 0 and 1); a class that is neither there nor predicted counts as 0.

    Parameters
    ----------
    name, note : shown in the report.
    gold, predicted : labels, 0 or 1, one of each a review.
    groups : what each review is drawn together with, None where each is drawn alone.
    """

    def statistic(g: np.ndarray, p: np.ndarray, axis: int = -1) -> np.ndarray:
        right = [((g == label) & (p == label)).sum(axis) for label in (0, 1)]
        all_ = [(g == label).sum(axis) + (p == label).sum(axis) for label in (0, 1)]
        return np.mean([2 * r / np.maximum(a, 1) for r, a in zip(right, all_, strict=True)], axis=0)

    return resampled(name, statistic, [np.asarray(gold), np.asarray(predicted)], note=note, groups=groups)


def auc(name: str, gold: Sequence[int], scores: Sequence[float], note: str = "", groups: Groups = None) -> Figure:
    """Area under the ROC curve, by the rank sum of Mann and Whitney (1947); NaN when only one class is there.

    Parameters
    ----------
    name, note : shown in the report.
    gold : labels, 0 or 1.
    scores : higher for label 1, of any scale.
    groups : what each review is drawn together with, None where each is drawn alone.
    """

    def statistic(g: np.ndarray, s: np.ndarray, axis: int = -1) -> np.ndarray:
        positive = g.sum(axis)
        pairs = positive * (g.shape[axis] - positive)
        wins = (stats.rankdata(s, axis=axis) * g).sum(axis) - positive * (positive + 1) / 2
        return np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)

    return resampled(name, statistic, [np.asarray(gold), np.asarray(scores, dtype=float)], note=note, groups=groups)


def calibration_error(
    name: str, gold: Sequence[int], scores: Sequence[float], note: str = "", groups: Groups = None
) -> Figure:
    """ECE of P(positive) over ten bins of equal mass (Nguyen and O'Connor 2015): the mean distance between what was
    said and what came. It is never 0: a perfect classifier has about 0.026 with 1,000 reviews.

    Parameters
    ----------
    name, note : shown in the report.
    gold : labels, 0 or 1.
    scores : what was said of P(1), from 0 to 1.
    groups : what each review is drawn together with, None where each is drawn alone.
    """

    def statistic(g: np.ndarray, s: np.ndarray, axis: int = -1) -> np.ndarray:
        order = np.argsort(s, axis=axis)
        bins = zip(*(np.array_split(np.take_along_axis(a, order, axis), BINS, axis=axis) for a in (g, s)), strict=True)
        return (
            sum(np.abs(b.mean(axis) - c.mean(axis)) * b.shape[axis] for b, c in bins if b.shape[axis]) / g.shape[axis]
        )

    return resampled(
        name, statistic, [np.asarray(gold, dtype=float), np.asarray(scores, dtype=float)], note=note, groups=groups
    )


def surest(name: str, hits: Sequence[bool], scores: Sequence[float], part: float, note: str = "") -> Figure:
    """Accuracy over the share `part` of reviews whose probability is furthest from a half: one point of the curve of
    risk against coverage.

    Parameters
    ----------
    name, note : shown in the report.
    hits : whether a review was judged right.
    scores : what was said of P(1), from 0 to 1.
    part : share of the reviews, over 0 and at most 1.
    """

    def statistic(h: np.ndarray, s: np.ndarray, axis: int = -1) -> np.ndarray:
        count = max(1, round(part * h.shape[axis]))
        order = np.argsort(-np.abs(s - 0.5), axis=axis, kind="stable").take(range(count), axis=axis)
        return np.take_along_axis(h, order, axis).mean(axis)

    columns = [np.asarray(hits, dtype=float), np.asarray(scores, dtype=float)]
    return resampled(name, statistic, columns, percent=True, note=note)


def rank_correlation(name: str, first: Sequence[float], second: Sequence[float], note: str = "") -> Figure:
    """Spearman's (1904) correlation of ranks.

    Parameters
    ----------
    name, note : shown in the report.
    first, second : one of each a review, of any scale; NaN where all of either are equal.
    """

    def statistic(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        ranks = [stats.rankdata(x, axis=axis) for x in (a, b)]
        a, b = (rank - rank.mean(axis, keepdims=True) for rank in ranks)
        spread = np.sqrt((a * a).sum(axis) * (b * b).sum(axis))
        return np.where(spread > 0, (a * b).sum(axis) / np.maximum(spread, 1e-12), np.nan)

    return resampled(name, statistic, [np.asarray(first, dtype=float), np.asarray(second, dtype=float)], note=note)


def resampled(
    name: str,
    statistic: Callable[..., Any],
    columns: Sequence[np.ndarray],
    *,
    percent: bool = False,
    note: str = "",
    groups: Groups = None,
) -> Figure:
    """A statistic with the percentile bootstrap interval (Efron 1979) over rows, `RESAMPLES` draws; with `groups`,
    whole groups
    of rows are drawn (Davison and Hinkley 1997, section 3.8).

    Parameters
    ----------
    name, note : shown in the report.
    statistic : called with the columns [..., n] and `axis`, many draws at once.
    columns : arrays [n]; row i of each belongs to review i, and they are drawn together.
    percent : the statistic is a share, from 0 to 1.
    groups : what each review is drawn together with, None where each is drawn alone.

    Returns
    -------
    The figure; without an interval for fewer than two reviews, and where a draw leaves the statistic undefined (an AUC
    of
    one class).
    """
    n = len(columns[0])
    method = "bootstrap" if groups is None else "bootstrap over films"
    value = float(statistic(*columns, axis=-1)) if n else float("nan")
    if n < 2 or not np.isfinite(value):
        return Figure(name, value, None, None, n, method, percent, note)
    low, high = _of_rows(statistic, columns) if groups is None else _of_groups(statistic, columns, groups)
    if not np.isfinite([low, high]).all():
        return Figure(name, value, None, None, n, method, percent, note)
    return Figure(name, value, low, high, n, method, percent, note)


def _of_rows(statistic: Callable[..., Any], columns: Sequence[np.ndarray]) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # the caller looks for undefined draws
        interval = stats.bootstrap(
            list(columns),
            statistic,
            paired=True,
            vectorized=True,
            batch=BATCH,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(BOOTSTRAP_SEED),
        ).confidence_interval
    return float(interval.low), float(interval.high)


def _of_groups(
    statistic: Callable[..., Any], columns: Sequence[np.ndarray], groups: Sequence[str]
) -> tuple[float, float]:
    _, of = np.unique(np.asarray(groups), return_inverse=True)  # group of each row
    count = int(of.max()) + 1
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    found = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        rows = np.repeat(np.arange(len(of)), times[of])
        found[i] = statistic(*(column[rows] for column in columns), axis=-1)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(found, [tail, 100 - tail])
    return float(low), float(high)

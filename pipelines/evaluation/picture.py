"""A report's picture: quality against speed with intervals, and for probabilities a reliability diagram and a confusion
matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engine.measure.statistics import BINS, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, GRID = "#0e5f4f", "#d8dee9"


@dataclass(frozen=True)
class Point:
    """A precision: what it reaches, and rows a second."""

    name: str
    level: Figure
    rows_per_s: float


@dataclass(frozen=True)
class Probabilities:
    """What was said of each row, P(second label), and what it was (0 or 1)."""

    name: str
    labels: tuple[str, str]
    gold: Sequence[int]
    scores: Sequence[float]


def draw(path: Path, title: str, points: Sequence[Point], said: Probabilities | None) -> None:
    """Writes a report's picture.

    Parameters
    ----------
    path : where the PNG is written.
    title : above it.
    points : a precision each.
    said : probabilities of the first, None where the task has none.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    count = 3 if said else 1
    canvas = Canvas(figsize=(5 * count, 4.2), layout="constrained")
    FigureCanvasAgg(canvas)  # no window, and none of pyplot's global state
    axes = np.atleast_1d(canvas.subplots(1, count))
    _quality_against_speed(axes[0], points)
    if said:
        _reliability(axes[1], said)
        _confusion(axes[2], said)
    canvas.suptitle(title, x=0.01, ha="left", fontsize=11)
    canvas.savefig(path, dpi=110)


def _quality_against_speed(axes: Axes, points: Sequence[Point]) -> None:
    for point in points:
        level = point.level
        low, high = (level.value if end is None else end for end in (level.low, level.high))
        error = [[level.value - low], [high - level.value]]
        axes.errorbar([point.rows_per_s], [level.value], yerr=error, fmt="o", color=INK, capsize=4)
        axes.annotate(point.name, (point.rows_per_s, level.value), xytext=(7, 5), textcoords="offset points")
    axes.set(xlabel="rows/s, one at a time", title=f"{points[0].level.name}, 95 % intervals" if points else "")
    axes.grid(color=GRID)
    axes.margins(x=0.25)


def _reliability(axes: Axes, said: Probabilities) -> None:
    """Bins of equal mass, as those of the calibration error."""
    order = np.argsort(said.scores)
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    scores, gold = np.asarray(said.scores, float), np.asarray(said.gold, float)
    axes.plot([0, 1], [0, 1], color=GRID)
    axes.plot([scores[part].mean() for part in bins], [gold[part].mean() for part in bins], "o-", color=INK)
    axes.set(
        xlabel=f"P({said.labels[1]}) as said, mean of a bin", ylabel=f"share {said.labels[1]}",
        title=f"Reliability, {said.name}", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02),
    )  # fmt: skip
    axes.grid(color=GRID)


def _confusion(axes: Axes, said: Probabilities) -> None:
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(said.gold, np.asarray(said.scores) >= 0.5, labels=[0, 1])
    axes.imshow(counts, cmap="Greens", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts.max() / 2
        axes.text(column, row, f"{count:,}", ha="center", va="center", color="white" if dark else "black")
    axes.set(xticks=[0, 1], yticks=[0, 1], xticklabels=said.labels, yticklabels=said.labels)
    axes.set(xlabel="said", ylabel="is", title=f"Confusion, {said.name}")

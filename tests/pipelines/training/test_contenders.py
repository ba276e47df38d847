"""The table: what is right is counted, differences are of the same reviews, judgements are kept, speeds in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.classification.contrast import Pair
from pipelines.training.contenders import SLOW, Contender, measure, table

TEXTS = [f"text {i}" for i in range(40)]
GOLD = [i % 2 for i in range(40)]
PAIRS = [Pair("a", "text 1", 1, "text 2", 0), Pair("b", "text 4", 0, "other 6", 1)]


class Counting:
    """A judge that is wrong about the numbers below `wrong`, and counts what it is asked."""

    def __init__(self, wrong: int, seconds: float = 0.0) -> None:
        self.asked, self._wrong, self._seconds = 0, wrong, seconds

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += len(texts)
        time.sleep(self._seconds * len(texts))
        numbers = [int(text.split()[1]) for text in texts]
        return np.array([(2.0 * (n % 2) - 1) * (-1 if n < self._wrong else 1) for n in numbers])


def contenders() -> list[Contender]:
    return [
        Contender("teacher", Counting(2, 2e-4), 10, 1_000_000, 3.0, "k"),
        Contender("student", Counting(6), 20, 1000, None),
        Contender(SLOW, Counting(0, 2e-3), 5, None, None, judges=False),
    ]


def test_figures_are_of_what_was_judged(tmp_path: Path) -> None:
    teacher, student, slow = measure(contenders(), TEXTS, GOLD, [None] * 40, PAIRS, 3, tmp_path)
    assert teacher.accuracy is not None and student.accuracy is not None and student.difference is not None
    assert teacher.accuracy.value == pytest.approx(38 / 40) and student.accuracy.value == pytest.approx(34 / 40)
    assert teacher.difference is None and student.difference.difference.value == pytest.approx(-4 / 40)
    assert student.difference.difference.low is not None and student.difference.difference.low < -4 / 40
    assert student.difference.lost == ("2", "3", "4", "5") and student.difference.won == ()
    assert teacher.contrast is not None and student.contrast is not None
    assert [one.value for one in teacher.contrast] == [0.5, 0.5, 0.0]
    assert [one.value for one in student.contrast] == [0.0, 0.0, 0.0]
    assert slow.accuracy is None and slow.contrast is None and slow.ratio == 1.0
    assert len(slow.rates) == 3 and teacher.ratio is not None and 2 < teacher.ratio < 30


def test_judgements_are_kept_by_their_key(tmp_path: Path) -> None:
    first = contenders()
    measure(first, TEXTS, GOLD, ["film"] * 40, [], 1, tmp_path)
    again = contenders()
    other = replace(again[0], key="another")
    measure([other, *again[1:]], TEXTS, GOLD, ["film"] * 40, [], 1, tmp_path)
    judges = [one.judge for one in (other, again[1])]
    timed = [other.timed + 1, again[1].timed + 2]  # once, and a tenth to warm up
    assert [judge.asked for judge in judges if isinstance(judge, Counting)] == [40 + timed[0], timed[1]]


def test_one_that_is_slow_is_measured_on_fewer(tmp_path: Path) -> None:
    """Of all, and against the first on those that both judged."""
    teacher, student, _ = contenders()
    first, fewer = measure([teacher, replace(student, most=20)], TEXTS, GOLD, [None] * 40, [], 1, tmp_path)
    assert first.accuracy is not None and fewer.accuracy is not None and fewer.difference is not None
    assert (first.accuracy.n, fewer.accuracy.n, fewer.difference.difference.n) == (40, 20, 20)
    assert fewer.ratio is None, "nothing is a multiple of what is not there"


def test_every_line_has_every_column(tmp_path: Path) -> None:
    sheet = table(measure(contenders(), TEXTS, GOLD, [None] * 40, PAIRS, 1, tmp_path), "T")
    assert len(sheet.rows) == 3 and all(len(row) == len(sheet.header) for row in sheet.rows)
    assert sheet.rows[0][1:3] == ("40", "95.00%") and sheet.rows[1][4] == "-10.0 points" and sheet.rows[2][10] == "1.0"

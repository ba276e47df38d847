"""Comparisons of two precisions, held to statsmodels' and textbook numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pipelines.evaluation.paired import Measure, compare

RIGHT = Measure("right", lambda row: row["right"], margin=0.01)


def rows(precision: str, values: Any) -> list[dict[str, Any]]:
    return [{"precision": precision, "id": f"test/{i}", "right": value} for i, value in enumerate(values)]


def test_flips_and_the_exact_test_of_mcnemar() -> None:
    base, other = [1.0] * 90 + [0.0] * 10, [1.0] * 82 + [0.0] * 8 + [1.0] * 2 + [0.0] * 8
    found = compare(RIGHT, rows("fp32", base), rows("int8", other))
    assert found is not None and found.lost is not None and found.won is not None
    assert (len(found.lost), len(found.won)) == (8, 2) and found.lost[0] == "test/82"
    # Two-sided, 10 discordant: 2 * (1 + 10 + 45) / 1024.
    assert found.p == pytest.approx(2 * 56 / 1024)
    assert found.difference.value == pytest.approx(-0.06)
    assert found.verdict == "no proof" if (found.difference.high or 0) >= 0 else "worse"


def test_verdicts() -> None:
    generator = np.random.default_rng(0)
    base = (generator.random(3000) < 0.9).astype(float)

    def verdict(lost: float, won: float, count: int = 3000) -> str:
        flips = generator.random(3000)
        other = np.where(base == 1, flips >= lost, flips < won).astype(float)
        found = compare(RIGHT, rows("fp32", base[:count]), rows("int8", other[:count]))
        assert found is not None
        return found.verdict

    assert verdict(0, 0) == "same" and verdict(0.002, 0.02) == "same"
    assert verdict(0.1, 0) == "worse"
    assert verdict(0.02, 0.1, 100) == "no proof"


def test_what_could_not_have_been_shown_is_said() -> None:
    base, other = [1.0] * 400, [1.0] * 392 + [0.0] * 8
    found = compare(RIGHT, rows("fp32", base), rows("int8", other))
    assert found is not None
    spread = math.sqrt(0.02 * 0.98)
    assert found.seen == pytest.approx(2.8016 * spread / 20, rel=1e-3)
    assert found.needed == pytest.approx((2.8016 * spread / 0.01) ** 2, rel=1e-3)
    assert (
        found.power() == "With n = 400, losses under 2.0 points cannot be shown; 1,539 reviews would show 1.0 points."
    )
    same = compare(RIGHT, rows("fp32", base), rows("int8", base))
    assert same is not None and same.p == 1 and same.lost == () and same.seen > 0  # the rule of three


def test_a_measure_with_weights_is_a_ratio_over_the_whole_sample() -> None:
    bits = Measure("bits", lambda r: r["right"], margin=0.1, weight=lambda r: 10.0, higher=False, percent=False)
    found = compare(bits, rows("fp32", [10.0, 20.0]), rows("int8", [12.0, 20.0]))
    assert found is not None and found.p is None and found.lost is None
    assert found.difference.value == pytest.approx(-2 / 20)  # more bits are a loss
    assert found.difference.signed() == "-0.1000"


def test_reviews_without_a_value_in_both_are_left_out() -> None:
    found = compare(RIGHT, rows("fp32", [1.0, None, 0.0, 1.0]), rows("int8", [1.0, 1.0, None, 1.0])[:4])
    assert found is not None and found.difference.n == 2
    assert compare(RIGHT, rows("fp32", [None]), rows("int8", [1.0])) is None
    assert compare(RIGHT, [], []) is None

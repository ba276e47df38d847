"""Warm-up and cosine."""

from __future__ import annotations

import itertools

import pytest

from engine.training.schedule import warmup_cosine


def test_up_and_down() -> None:
    shares = [warmup_cosine(step, 10, 110, 0.1) for step in range(120)]
    assert shares[0] == pytest.approx(0.1) and shares[9] == 1 and shares[10] == 1
    assert shares[60] == pytest.approx(0.55), "half way down"
    assert all(a >= b for a, b in itertools.pairwise(shares[10:]))
    assert shares[110] == shares[119] == pytest.approx(0.1)


def test_without_warmup_and_of_one_step() -> None:
    assert warmup_cosine(0, 0, 1) == 1
    assert warmup_cosine(0, 0, 0) == 1

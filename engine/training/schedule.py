"""The learning rate over the steps: up in a straight line, then down along half a cosine."""

from __future__ import annotations

import math


def warmup_cosine(step: int, warmup: int, total: int, floor: float = 0.0) -> float:
    """The share of the full rate at a step (Loshchilov and Hutter 2017, without restarts).

    Parameters
    ----------
    step : steps done, from 0.
    warmup : steps until the full rate; the first of them already moves.
    total : steps in all; from there on it is `floor`.
    floor : the share that is left at the end.
    """
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

"""What a request's times say, and where they say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from engine.results import Timing, log_softmax


def test_prefill_speed_counts_what_was_run() -> None:
    assert Timing(100).prefill_tokens_per_s == 0.0
    assert Timing(100, prefill_s=2.0).prefill_tokens_per_s == 50.0
    assert Timing(100, reused_tokens=60, prefill_s=2.0).prefill_tokens_per_s == 20.0


def test_decode_speed_is_of_the_tokens_after_the_first() -> None:
    assert Timing(100, new_tokens=1).decode_tokens_per_s == 0.0
    assert Timing(100, new_tokens=9, decoded_tokens=8, decode_s=2.0).decode_tokens_per_s == 4.0
    assert Timing(100, new_tokens=2, decoded_tokens=1).decode_tokens_per_s == 0.0  # too fast for the clock


def test_log_softmax_is_exact_for_large_logits() -> None:
    logits = np.array([[1000.0, 1000.0], [0.0, -1000.0]], np.float32)
    assert log_softmax(logits) == pytest.approx(np.array([[-np.log(2), -np.log(2)], [0, -1000]], np.float32))

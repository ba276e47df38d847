"""What a request's times say, and where they say nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from engine.results import COMPILING, Timing, log_softmax
from tests.pipelines.fake_engine import INFO


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


@dataclass
class Backend:
    prefill: str = "int8"
    notes: list[str] = field(default_factory=lambda: ["It warmed."])
    compiling: bool = False
    walking: int = 0


def test_what_is_loaded_is_told_as_it_is_now() -> None:
    loaded = replace(INFO, threads=4, prefill="fp32", notes=("It loaded.",))
    quiet = loaded.now(Backend())
    assert (quiet.prefill, quiet.walking, quiet.compiling) == ("int8", 4, False)
    assert quiet.notes == ("It loaded.", "It warmed.")
    busy = loaded.now(Backend(compiling=True, walking=3))
    assert busy.walking == 3 and busy.compiling
    said = "Decodes with 3 of 4 threads: others use the cores, and more would wait for each other."
    assert busy.notes == ("It loaded.", "It warmed.", COMPILING, said)
    assert replace(busy, prefill="fp32", notes=("It loaded.",), compiling=False, walking=0) == loaded

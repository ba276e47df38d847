"""Medians, ratios and bounds from runs whose numbers can be checked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.measure.speed import roofline
from engine.measure.speed.figures import Row, Shape, Spread, make_rows
from engine.measure.speed.rounds import Rounds, Run
from tests.engine.measure.speed.test_roofline import arch

SHAPE = Shape(prompt=100, new=11, batch=1)
INFO = {"dtype": "fp32", "kv": "fp32", "weight_bytes": 6000.0, "load_s": 1.5, "load_peak": 9000, "notes": ["mind this"]}
MEMORY = {"resident": 5000, "peak": 7000, "empty": 3000}


def run(ttft: float, decode: float, tokens: tuple[int, ...] = (1, 2, 3)) -> Run:
    return Run(ttft, decode, 10, ttft + decode, (tokens,))


def rows(rounds: Rounds, baseline: str = "base", shape: Shape = SHAPE) -> dict[str, Row]:
    loaded, memory = dict.fromkeys(rounds.runs, INFO), dict.fromkeys(rounds.runs, MEMORY)
    return {row.name: row for row in make_rows(rounds, loaded, memory, shape, arch(), baseline)}


def test_ratios_are_taken_round_by_round() -> None:
    # The machine slows down tenfold: the ratio of medians would say 1.0, round by round it is 2.
    mine = [run(1, 1), run(5, 5), run(10, 10)]
    base = [run(2, 2), run(10, 10), run(20, 20)]
    found = rows(Rounds({"mine": mine, "base": base}))["mine"]
    assert found.prefill_ratio == pytest.approx(2) and found.decode_ratio == pytest.approx(2)
    assert found.decode == Spread(2, 1, 10) and found.prefill == Spread(20, 10, 100)


def test_without_the_baseline_there_are_no_ratios() -> None:
    found = rows(Rounds({"mine": [run(1, 1)]}))["mine"]
    assert (found.prefill_ratio, found.decode_ratio, found.same_tokens) == (None, None, None)


def test_tokens_are_compared_from_the_start() -> None:
    mine, base = [run(1, 1, (5, 6, 7, 8))], [run(1, 1, (5, 6, 9, 8))]
    found = rows(Rounds({"mine": mine, "base": base}))
    assert found["mine"].same_tokens == 2 and found["base"].same_tokens == 4


def test_memory_is_counted_over_the_empty_process() -> None:
    found = rows(Rounds({"mine": [run(1, 1)]}))["mine"]
    assert found.memory == 4000 and found.load_peak == 9000 and found.notes == ("mind this",)


def test_shares_are_of_the_ceilings_of_the_same_round() -> None:
    work = roofline.decode(arch(), 105.5, 1, 6000.0, "fp32")
    # Ten steps in 10 s; a machine that could read exactly one step a second, then twice that while the run is twice as
    # fast: the share stays 1.
    ceilings = [{"bandwidth": work.nbytes, "flops": 1e30}, {"bandwidth": 2 * work.nbytes, "flops": 1e30}]
    found = rows(Rounds({"mine": [run(1, 10), run(1, 5)]}, ceilings))["mine"]
    bound = found.decode_bound
    assert bound is not None
    assert bound.memory_share == pytest.approx(1) and bound.name == "memory" and bound.compute_share < 1e-9
    assert bound.reached == pytest.approx(work.nbytes / 0.75 / 1e9)


def test_streams_decode_together() -> None:
    """Four streams that make 40 tokens in 10 steps read the weights 10 times, not 40."""
    shape = replace(SHAPE, batch=4)
    ceilings = [{"bandwidth": 1e4, "flops": 1e30}]
    one = rows(Rounds({"mine": [run(1, 10)]}, ceilings))["mine"].decode_bound
    four = rows(Rounds({"mine": [Run(1, 10, 40, 11, ((1,),))]}, ceilings), shape=shape)["mine"].decode_bound
    assert one is not None and four is not None
    cache = 105.5 * 2 * 3 * 2 * 2 * 4
    assert one.memory_share == pytest.approx((6000 + cache) / 1e4)
    assert four.memory_share == pytest.approx((6000 + 4 * cache) / 1e4)


def test_unknown_sizes_give_no_bound() -> None:
    rounds = Rounds({"mine": [run(1, 1)]}, [{"bandwidth": 1, "flops": 1}])
    info = {"mine": {**INFO, "kv": "?"}}
    [row] = make_rows(rounds, info, {"mine": MEMORY}, SHAPE, arch(), "base")
    assert row.decode_bound is None and row.prefill_bound is not None
    [row] = make_rows(rounds, {"mine": {**INFO, "weight_bytes": None}}, {"mine": MEMORY}, SHAPE, arch(), "base")
    assert row.decode_bound is None and row.prefill_bound is not None and row.prefill_bound.memory_share == 0
    [row] = make_rows(rounds, {"mine": INFO}, {"mine": MEMORY}, SHAPE, None, "base")
    assert row.decode_bound is None and row.prefill_bound is None

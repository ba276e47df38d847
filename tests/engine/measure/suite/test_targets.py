"""Targets hold or do not, and one that cannot be measured says why: never a figure nobody measured."""

from __future__ import annotations

import pytest

from engine.measure.peers.registry import Absent
from engine.measure.speed.compare import Result
from engine.measure.speed.figures import Shape, make_rows
from engine.measure.speed.rounds import Rounds, Run
from engine.measure.suite.table import target_sheet
from engine.measure.suite.targets import BOUNDS, Target, comparison_targets, failed, number
from tests.engine.measure.speed.test_figures import INFO, MEMORY
from tests.engine.measure.speed.test_roofline import arch

SHAPE = Shape(prompt=100, new=11, batch=1)


def result(**seconds: tuple[float, float]) -> Result:
    """Candidates by their seconds of prefill and decode, two equal rounds; `_` stands for a space in a name."""
    runs = {
        name.replace("__", ".").replace("_", " "): [Run(ttft, decode, 10, 0.0, ((1,),))] * 2
        for name, (ttft, decode) in seconds.items()
    }
    rounds = Rounds(runs, [{"bandwidth": 1e4, "flops": 1e6}] * 2)
    loaded, memory = dict.fromkeys(runs, INFO), dict.fromkeys(runs, MEMORY)
    return Result(SHAPE, "Transformers fp32", make_rows(rounds, loaded, memory, SHAPE, arch(), ""), rounds)


def by_key(found: list[Target]) -> dict[str, Target]:
    return {target.bound.key: target for target in found}


def test_each_row_compares_the_two_it_names() -> None:
    shown = result(
        Brisk_int8=(2, 1), Brisk_fp32=(1, 3), Brisk_int4=(4, 2), Transformers_fp32=(2, 9), OpenVINO_int8=(0.5, 5)
    )
    found = by_key(comparison_targets(shown, []))
    assert found["decode_int8"].reached == pytest.approx(9) and found["decode_int8"].holds is True
    assert found["decode_int4"].reached == pytest.approx(0.5) and found["decode_int4"].holds is False
    assert found["prefill"].reached == pytest.approx(2) and found["prefill"].figure.startswith("Brisk fp32")
    assert found["prefill_peer"].reached == pytest.approx(0.5)
    assert found["prefill_peer"].baseline.startswith("OpenVINO int8: 200")
    assert found["memory"].reached == pytest.approx(4000 / 1e6) and found["memory"].holds is True
    bound = shown.rows[0].decode_bound
    assert bound is not None and found["bandwidth"].reached == bound.memory_share


def test_a_peer_that_did_not_run_gives_no_figure() -> None:
    shown = result(Brisk_int8=(2, 1), Transformers_fp32=(2, 9))
    found = by_key(comparison_targets(shown, [Absent("llama.cpp Q8_0", "not installed: `make peers` builds it")]))
    missing = found["decode_llama"]
    assert missing.reached is None and missing.holds is None and "not installed" in missing.figure
    assert "not asked for" in found["decode_fp32"].figure
    sheet = target_sheet(list(found.values()))
    row = dict(zip(sheet.header, sheet.rows[1], strict=True))
    assert (row["reached"], row["holds"]) == ("-", "not measured")


def test_alone_everything_against_a_peer_is_missing() -> None:
    found = by_key(comparison_targets(result(Brisk_fp32=(1, 3)), []))
    assert {key for key, target in found.items() if target.reached is not None} == set()


def test_at_most_turns_the_bound_round() -> None:
    assert (
        Target(BOUNDS["memory"], 300.0, "", "").holds is False and Target(BOUNDS["memory"], 260.0, "", "").holds is True
    )
    assert (
        Target(BOUNDS["decode_int8"], 8.0, "", "").holds is True
        and Target(BOUNDS["decode_int8"], 7.9, "", "").holds is False
    )
    assert failed(BOUNDS["start"], "why").holds is None


def test_every_bound_is_written_as_a_reader_expects() -> None:
    assert [bound.text() for bound in BOUNDS.values()] == [
        "at least 8.00x", "at least 1.50x", "at least 65%", "at least 90%", "at least 1.00x", "at least 0.90x",
        *("at least 85%",) * 2, "at least 1.20x", "at least 0.95x", "at least 1.25x", "at least 1.50x",
        *("at least 1.00x",) * 2, "at least 0.95x", "at least 3.00x", "at least 3.50x",
        *("at least 1.30x", "at least 3.00x", "at least 1.00x") * 3, "at most 260 MB", "at most 2.00 s",
    ]  # fmt: skip
    assert number(0.655, "%") == "66%"

"""The targets as data, and those that the plain comparison answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from engine.measure.peers.registry import Absent
from engine.measure.speed.candidates import BASELINE
from engine.measure.speed.compare import Result
from engine.measure.speed.figures import Row, ratio
from engine.measure.speed.rounds import Run


@dataclass(frozen=True)
class Bound:
    """What a target asks for.

    Attributes
    ----------
    key : short name, for data.
    what : the figure in words.
    limit : what must be reached, in `unit`; a share for "%".
    most : what is reached may be at most `limit`, rather than at least.
    """

    key: str
    what: str
    limit: float
    unit: str = "x"
    most: bool = False

    def text(self) -> str:
        return f"at {'most' if self.most else 'least'} {number(self.limit, self.unit)}"


BESIDE = (1, 2, 4)  # busy neighbours


def _beside(count: int) -> tuple[Bound, ...]:
    where = f"int8 beside {count} busy neighbour{'' if count == 1 else 's'}"
    return (
        Bound(f"beside_{count}_llama", f"decode {where} against llama.cpp Q8_0", 1.3),
        Bound(f"beside_{count}_transformers", f"decode {where} against Transformers fp32", 3.0),
        Bound(f"beside_{count}_prefill", f"prefill {where} against the faster of both", 1.0),
    )


BESIDE_BOUNDS = tuple(bound for count in BESIDE for bound in _beside(count))
CONTEXT_BOUNDS = tuple(
    Bound(f"context_{length}", f"decode int8 at context {length:,}, of what bytes predict from context 128", 0.85, "%")
    for length in (2048, 4096)
)
BOUNDS: dict[str, Bound] = {
    bound.key: bound
    for bound in (
        Bound("decode_int8", "decode int8 against Transformers fp32", 8.0),
        Bound("decode_llama", "decode int8 against llama.cpp Q8_0", 1.5),
        Bound("bandwidth", "share of the measured memory bandwidth in int8 decode", 0.65, "%"),
        Bound("bandwidth_int4", "share of the measured memory bandwidth in int4 decode", 0.9, "%"),
        Bound("decode_fp32", "decode fp32 against llama.cpp F32", 1.0),
        Bound("decode_int4", "decode int4 against our int8", 0.9),
        *CONTEXT_BOUNDS,
        Bound("prefill", "prefill against Transformers fp32", 1.2),
        Bound("prefill_peer", "prefill against the best peer", 0.95),
        Bound("prefill_int8", "prefill int8 against CTranslate2 int8", 1.25),
        Bound("prefill_int8_fp32", "prefill int8 against OpenVINO fp32", 1.5),
        Bound("prefill_fp32", "prefill fp32 against OpenVINO fp32", 1.0),
        Bound("prefill_half", "prefill half against OpenVINO fp32", 1.0),
        Bound("prefill_int4", "prefill int4 against our int8", 0.95),
        Bound("streams", "8 streams at once, total decode, against our batch 1", 3.0),
        Bound("streams_peer", "8 streams at once, total decode, against Transformers batch 8", 3.5),
        *BESIDE_BOUNDS,
        Bound("memory", "memory over an empty engine, int8", 260.0, " MB", most=True),
        Bound("start", "engine start from a warm cache to first token", 2.0, " s", most=True),
    )
}


@dataclass(frozen=True)
class Target:
    """One row. `reached` is None where it could not be measured, and `figure` then says why."""

    bound: Bound
    reached: float | None
    figure: str
    baseline: str

    @property
    def holds(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached <= self.bound.limit if self.bound.most else self.reached >= self.bound.limit

    def verdict(self) -> str:
        return {True: "holds", False: "DOES NOT", None: "not measured"}[self.holds]

    def reached_text(self) -> str:
        return "-" if self.reached is None else number(self.reached, self.bound.unit)

    def data(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "key": self.bound.key,
            "reached": self.reached,
            "figure": self.figure,
            "baseline": self.baseline,
            "what": self.bound.what,
            "target": self.bound.text(),
            "holds": self.holds,
        }


def number(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.0%}"
    return f"{value:.0f}{unit}" if value >= 100 else f"{value:.2f}{unit}"


def failed(bound: Bound, reason: str) -> Target:
    """A target that could not be measured."""
    return Target(bound, None, reason, "-")


def comparison_targets(result: Result, absent: Sequence[Absent]) -> list[Target]:
    """Rows out of the interleaved rounds of the plain comparison; a side that did not run is named with its cause."""
    reasons = {one.name: one.reason for one in absent}

    def against(key: str, own: str, other: str, value: Callable[[Run], float], show: Callable[[Row], str]) -> Target:
        mine, theirs = _row(result, own), _row(result, other)
        for row, name in ((mine, own), (theirs, other)):
            if row is None:
                return failed(BOUNDS[key], f"{name} did not run ({reasons.get(name, 'not asked for')})")
        assert mine is not None and theirs is not None
        pairs = zip(result.rounds.runs[mine.name], result.rounds.runs[theirs.name], strict=True)
        reached = ratio(value(a) / value(b) for a, b in pairs)
        return Target(BOUNDS[key], reached, f"{mine.name}: {show(mine)}", f"{theirs.name}: {show(theirs)}")

    def decode(key: str, own: str, other: str) -> Target:
        return against(key, own, other, lambda run: run.decode, lambda row: f"{row.decode.text()} tokens/s")

    def prefill(key: str, own: str, other: str) -> Target:
        return against(key, own, other, lambda run: 1 / run.ttft_s, lambda row: f"{row.prefill.text(0)} tokens/s")

    mine = [row for row in result.rows if row.name.startswith("Brisk")]
    others = [row for row in result.rows if not row.name.startswith("Brisk")]
    fastest = max(mine, key=lambda row: row.prefill.median).name
    best_peer = max(others, key=lambda row: row.prefill.median).name if others else "a peer"
    return [
        decode("decode_int8", "Brisk int8", BASELINE),
        decode("decode_llama", "Brisk int8", "llama.cpp Q8_0"),
        _bandwidth(result, "bandwidth", "Brisk int8"),
        _bandwidth(result, "bandwidth_int4", "Brisk int4"),
        decode("decode_fp32", "Brisk fp32", "llama.cpp F32"),
        decode("decode_int4", "Brisk int4", "Brisk int8"),
        prefill("prefill", fastest, BASELINE),
        prefill("prefill_peer", fastest, best_peer),
        prefill("prefill_int8", "Brisk int8", "CTranslate2 int8"),
        prefill("prefill_int8_fp32", "Brisk int8", "OpenVINO fp32"),
        prefill("prefill_fp32", "Brisk fp32", "OpenVINO fp32"),
        prefill("prefill_half", "Brisk half", "OpenVINO fp32"),
        prefill("prefill_int4", "Brisk int4", "Brisk int8"),
        _memory(result),
    ]


def _row(result: Result, name: str) -> Row | None:
    """The candidate of that name; ours may have more options in its own ("Brisk int8, KV int8")."""
    return result.row(name) or next((row for row in result.rows if row.name.startswith(f"{name},")), None)


def _bandwidth(result: Result, key: str, name: str) -> Target:
    row = _row(result, name)
    if row is None or row.decode_bound is None:
        return failed(BOUNDS[key], f"{name} did not run on an architecture whose bytes are known")
    ceiling = ratio(round_["bandwidth"] for round_ in result.rounds.ceilings)
    assert ceiling is not None
    reached = row.decode_bound
    figure = f"{row.name}: {reached.reached:.1f} GB/s"
    return Target(BOUNDS[key], reached.memory_share, figure, f"{ceiling / 1e9:.1f} GB/s")


def _memory(result: Result) -> Target:
    row = _row(result, "Brisk int8")
    if row is None:
        return failed(BOUNDS["memory"], "Brisk int8 did not run")
    shape = result.shape
    figure = f"{row.name} at {shape.prompt} + {shape.new} tokens; {row.load_peak / 1e6:.0f} MB at most while loading"
    return Target(BOUNDS["memory"], row.memory / 1e6, figure, "the same process without a model")

"""The tables of a comparison: speeds, and what bounds each."""

from __future__ import annotations

from collections.abc import Sequence

from engine.measure.sheet import FORMATS as SHEET_FORMATS
from engine.measure.sheet import Sheet
from engine.measure.speed.figures import Bound, Row, Shape

FORMATS = (*SHEET_FORMATS, "csv")


def speed_sheet(rows: Sequence[Row], shape: Shape, baseline: str) -> Sheet:
    """Tokens a second and what a user waits for.

    Parameters
    ----------
    rows : a candidate each.
    shape : tokens asked for.
    baseline : name of the candidate that ratios are taken to.
    """
    header = (
        "", "weights", "KV", f"prefill pp{shape.prompt}, tokens/s", "ratio", f"decode tg{shape.new}, tokens/s", "ratio",
        "TTFT", "memory", "load", f"tokens as {baseline}",
    )  # fmt: skip
    cells = tuple(
        (
            row.name, row.dtype, row.kv, row.prefill.text(0), _times(row.prefill_ratio),
            row.decode.text(), _times(row.decode_ratio),
            f"{row.ttft_s.median:.2f} s", f"{row.memory / 1e6:.0f} MB", f"{row.load_s:.1f} s",
            "-" if row.same_tokens is None else f"{row.same_tokens} of {shape.new}",
        )
        for row in rows
    )  # fmt: skip
    return Sheet("Speed: median (least to most)", header, cells)


def bound_sheet(rows: Sequence[Row]) -> Sheet:
    """What each speed is of this machine's ceilings."""
    header = ("", "prefill GFLOP/s", "of fp32 ceiling", "bound", "decode GB/s", "of bandwidth", "bound")
    cells = tuple(
        (row.name, *_cells(row.prefill_bound, "compute"), *_cells(row.decode_bound, "memory")) for row in rows
    )
    return Sheet("What bounds it", header, cells)


def _cells(bound: Bound | None, which: str) -> tuple[str, str, str]:
    if bound is None:
        return "-", "-", "-"
    share = bound.memory_share if which == "memory" else bound.compute_share
    return f"{bound.reached:.0f}" if bound.reached >= 100 else f"{bound.reached:.1f}", f"{share:.0%}", bound.name


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"

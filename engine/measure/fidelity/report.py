"""The fidelity table: each variant's means with intervals, held to its bounds."""

from __future__ import annotations

import gc
import json
import math
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy import stats
from tqdm import tqdm

from engine.backends.native import NativeBackend
from engine.config import EngineConfig
from engine.errors import BadRequest
from engine.loading import Loaded, load
from engine.measure.fidelity import losses as measure
from engine.measure.fidelity.reviews import cut, draw, read_reviews
from engine.measure.fidelity.variants import Bounds, Variant, reference, variants
from engine.results import EngineInfo

Format = Literal["table", "md", "json"]
CONFIDENCE = 0.95
RESAMPLES = 2000
STORED_IN_INT4 = (
    "The weights of this model were stored in Q4_1, groups of 32 with a scale and a minimum, before they were widened "
    "to fp32: int4 takes them over block by block and loses nothing but what embedding and head lose in int8. It says "
    "nothing of int4 on a model that was not stored so."
)


@dataclass(frozen=True)
class Figure:
    """A mean over positions (or bytes) with its 95 % interval: percentile bootstrap, reviews drawn with replacement."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """`verdict`: "holds", "FAILS", or "" where the variant is only reported."""

    name: str
    what: str
    kl: Figure
    same: Figure
    bits_a_byte: Figure
    ratio: Figure
    verdict: str
    bounds: Bounds | None


@dataclass(frozen=True)
class Report:
    model: str
    source: str
    texts: str
    reviews: int
    positions: int
    reference_bits_a_byte: float
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    machine: str


def ratio_of_sums(above: np.ndarray, below: np.ndarray) -> Figure:
    """sum(above) / sum(below) over texts; with one text there is no interval (NaN)."""
    value = float(above.sum() / below.sum())
    if len(above) < 2:
        return Figure(value, math.nan, math.nan)
    if np.ptp(above / below) == 0:  # every draw gives the same
        return Figure(value, value, value)
    interval = stats.bootstrap(
        (above, below),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Figure(value, float(interval.low), float(interval.high))


def row(variant: Variant, found: measure.Losses, loaded: str) -> Row:
    """A line of the table; `loaded` says what really ran."""
    kl, same = ratio_of_sums(found.kl, found.positions), ratio_of_sums(found.same, found.positions)
    ratio = ratio_of_sums(found.nats, found.reference_nats)
    bits = ratio_of_sums(found.nats / math.log(2), found.bytes)
    verdict = ""
    if bounds := variant.bounds:
        holds = kl.value <= bounds.kl and same.value >= bounds.same and ratio.value <= bounds.ratio
        verdict = "holds" if holds else "FAILS"
    return Row(variant.name, f"{variant.what} ({loaded})", kl, same, bits, ratio, verdict, variant.bounds)


def run(model: str, reviews: int, tokens: int, only: str = "") -> Report:
    """Measure every variant whose name contains `only` on so many reviews of `tokens` tokens in all (0: whole ones)."""
    chosen = [variant for variant in variants(model) if only in variant.name]
    if not chosen:
        raise BadRequest(f"No precision is called '{only}': {', '.join(v.name for v in variants(model))}.")
    published, source = read_reviews()
    first, base = _open(reference(model))
    texts = cut(draw(published, reviews), first.tokenizer, tokens, base.max_context)
    positions = sum(len(text.tokens) - 1 for text in texts)
    rows, notes = [], dict.fromkeys(first.info(0).notes)
    with tqdm(
        total=positions * (1 + len(chosen)), unit=" tokens", file=sys.stderr, dynamic_ncols=True, disable=None
    ) as bar:
        bar.set_description("fp32")
        expected = measure.Reference(base, texts, bar.update)
        for variant in chosen:
            bar.set_description(variant.name)
            loaded, backend = _open(variant.config)
            way = measure.of_prompts if variant.way == "prompt" else measure.of_steps
            found = way(expected, backend, texts, bar.update)
            info = loaded.info(0)
            rows.append(
                row(variant, found, f"{info.precision} weights, {info.kv_precision} KV, {info.prefill} prefill")
            )
            notes |= dict.fromkeys(info.notes)
            reference_bits = found.reference_nats.sum() / math.log(2) / found.bytes.sum()
            del loaded, backend
            gc.collect()  # hundreds of megabytes that refer to themselves
    info = first.info(0)
    if "Q4_1" in info.source and any(variant.config.precision == "int4" for variant in chosen):
        notes[STORED_IN_INT4] = None
    return Report(
        model, info.source, source, len(texts), positions, reference_bits, tuple(rows), tuple(notes), _machine(info)
    )


def _open(config: EngineConfig) -> tuple[Loaded, NativeBackend]:
    loaded = load(config, lambda message, share: None)
    loaded.on_thread()
    backend = loaded.backend
    assert isinstance(backend, NativeBackend)  # what is compared are its weights
    backend.warm()
    return loaded, backend


def _machine(info: EngineInfo) -> str:
    return (
        f"{platform.machine()}, {info.threads} threads, torch {torch.__version__}, Python {platform.python_version()}"
    )


def _cells(row: Row, between: str) -> list[str]:
    """A row's texts; `between` stands between a figure and its interval."""

    def text(figure: Figure, form: str, unit: str = "", factor: float = 1) -> str:
        value, low, high = (format(factor * x, form) for x in (figure.value, figure.low, figure.high))
        return f"{value}{unit}{between}[{low}, {high}]"

    return [
        row.name, text(row.kl, ".2g"), text(row.same, ".2f", " %", 100), text(row.bits_a_byte, ".4f"),
        text(row.ratio, ".5f"), row.verdict or "reported",
    ]  # fmt: skip


COLUMNS = ("", "KL, nats", "same top token", "bits a byte", "ratio to fp32", "bounds")


def show(report: Report, form: Format) -> None:
    """The report on standard output."""
    if form == "json":
        print(json.dumps(_plain(asdict(report)), indent=1))
        return
    title = f"Fidelity of {report.model} to fp32 ({report.reference_bits_a_byte:.4f} bits a byte)"
    facts = [
        f"{report.positions:,} positions of {report.reviews} held-out reviews ({report.texts}); 95 % intervals by "
        "resampling reviews.",
        f"Weights: {report.source}.",
        f"Machine: {report.machine}.",
        *(f"{row.name}: {row.what}." for row in report.rows),
        *(_bounds(row) for row in report.rows if row.verdict == "FAILS"),
        *report.notes,
    ]
    if form == "md":
        lines = [COLUMNS, ["---"] * len(COLUMNS), *(_cells(row, " ") for row in report.rows)]
        print("\n".join([title, "", *("| " + " | ".join(line) + " |" for line in lines), ""]))
        print("\n".join(f"- {fact}" for fact in facts))
        return
    console = Console()
    table = Table(*COLUMNS, title=title)
    for row in report.rows:
        *cells, verdict = _cells(row, "\n")
        table.add_row(*cells, f"[{ {'holds': 'green', 'FAILS': 'red', '': 'dim'}[row.verdict] }]{verdict}[/]")
    console.print(table)
    for fact in facts:
        console.print(fact, markup=False, highlight=False)


def _bounds(row: Row) -> str:
    assert row.bounds is not None
    return (
        f"{row.name} may lose at most {row.bounds.kl:g} nats and keep at least {100 * row.bounds.same:g} % of the top "
        f"tokens, at a ratio of bits of at most {row.bounds.ratio:g}."
    )


def _plain(value: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def failed(rows: Sequence[Row]) -> bool:
    return any(row.verdict == "FAILS" for row in rows)

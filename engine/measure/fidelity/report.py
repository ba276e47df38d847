"""The fidelity table: each variant's means with intervals, held to its bounds."""

from __future__ import annotations

import gc
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tqdm import tqdm

from engine.backends.native import NativeBackend
from engine.config import EngineConfig
from engine.errors import BadRequest
from engine.loading import Loaded, load
from engine.measure.fidelity import losses as measure
from engine.measure.fidelity.excerpts import cut, held_out
from engine.measure.fidelity.variants import Bounds, Variant, reference, variants
from engine.measure.machine import machine, machine_lines, versions
from engine.measure.sheet import Sheet, show
from engine.measure.statistics import Figure, ratio

STORED_IN_INT4 = (
    "The weights of this model were stored in Q4_1, groups of 32 with a scale and a minimum, before they were widened "
    "to fp32: int4 takes them over block by block and loses nothing but what embedding and head lose in int8. It says "
    "nothing of int4 on a model that was not stored so."
)


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
    machine: dict[str, Any]


def row(variant: Variant, found: measure.Losses, loaded: str) -> Row:
    """A line of the table.

    Parameters
    ----------
    variant : what was measured, and its bounds.
    found : its losses, text by text.
    loaded : what really ran, in words.
    """
    kl = ratio("KL, nats", found.kl, found.positions)
    same = ratio("same top token", found.same, found.positions, percent=True)
    against = ratio("ratio to fp32", found.nats, found.reference_nats)
    bits = ratio("bits a byte", found.nats / math.log(2), found.bytes)
    verdict = ""
    if bounds := variant.bounds:
        holds = kl.value <= bounds.kl and same.value >= bounds.same and against.value <= bounds.ratio
        verdict = "holds" if holds else "FAILS"
    return Row(variant.name, f"{variant.what} ({loaded})", kl, same, bits, against, verdict, variant.bounds)


def run(model: str, reviews: int, tokens: int, only: str = "") -> Report:
    """Measure precisions on held-out reviews.

    Parameters
    ----------
    model : registry name, folder, .gguf file or Hub id.
    reviews : how many are drawn.
    tokens : predicted in all; 0 takes whole reviews.
    only : part of a name; variants without it are left out.

    Raises
    ------
    BadRequest : no variant has such a name.
    BadData : there are not so many reviews, or tokens in them.
    """
    chosen = [variant for variant in variants(model) if only in variant.name]
    if not chosen:
        raise BadRequest(f"No precision is called '{only}': {', '.join(v.name for v in variants(model))}.")
    chosen_texts, source = held_out(reviews)
    first, base = _open(reference(model))
    texts = cut(chosen_texts, first.tokenizer, tokens, base.max_context)
    positions = sum(len(text.tokens) - 1 for text in texts)
    rows, notes = [], dict.fromkeys(first.info.now(first.backend).notes)
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
            info = loaded.info.now(backend)
            rows.append(
                row(variant, found, f"{info.precision} weights, {info.kv_precision} KV, {info.prefill} prefill")
            )
            notes |= dict.fromkeys(info.notes)
            reference_bits = found.reference_nats.sum() / math.log(2) / found.bytes.sum()
            del loaded, backend
            gc.collect()  # hundreds of megabytes that refer to themselves
    info = first.info.now(first.backend)
    if "Q4_1" in info.source and any(variant.config.precision == "int4" for variant in chosen):
        notes[STORED_IN_INT4] = None
    return Report(
        model,
        info.source,
        source,
        len(texts),
        positions,
        reference_bits,
        tuple(rows),
        tuple(notes),
        machine(info.threads, versions(("torch", "numba"))),
    )


def _open(config: EngineConfig) -> tuple[Loaded, NativeBackend]:
    loaded = load(config, lambda message, share: None)
    loaded.on_thread()
    backend = loaded.backend
    assert isinstance(backend, NativeBackend)  # what is compared are its weights
    for _ in backend.warm():
        pass
    return loaded, backend


def _cells(row: Row) -> tuple[str, ...]:
    def text(figure: Figure, form: str, unit: str = "", factor: float = 1) -> str:
        value = f"{format(factor * figure.value, form)}{unit}"
        if figure.low is None or figure.high is None:
            return value
        return f"{value}\n[{format(factor * figure.low, form)}, {format(factor * figure.high, form)}]"

    return (
        row.name, text(row.kl, ".2g"), text(row.same, ".2f", " %", 100), text(row.bits_a_byte, ".4f"),
        text(row.ratio, ".5f"), row.verdict or "reported",
    )  # fmt: skip


COLUMNS = ("", "KL, nats", "same top token", "bits a byte", "ratio to fp32", "bounds")


def print_report(report: Report, form: str) -> None:
    """The report on standard output, in one of `engine.measure.sheet.FORMATS`."""
    title = f"Fidelity of {report.model} to fp32 ({report.reference_bits_a_byte:.4f} bits a byte)"
    facts = [
        f"{report.positions:,} positions of {report.reviews} held-out reviews ({report.texts}); 95 % intervals by "
        "resampling reviews.",
        f"Weights: {report.source}.",
        *machine_lines(report.machine),
        *(f"{row.name}: {row.what}." for row in report.rows),
        *(_bounds(row) for row in report.rows if row.verdict == "FAILS"),
        *report.notes,
    ]
    show(form, [Sheet(title, COLUMNS, tuple(_cells(row) for row in report.rows))], facts, asdict(report))


def _bounds(row: Row) -> str:
    assert row.bounds is not None
    return (
        f"{row.name} may lose at most {row.bounds.kl:g} nats and keep at least {100 * row.bounds.same:g} % of the top "
        f"tokens, at a ratio of bits of at most {row.bounds.ratio:g}."
    )


def failed(rows: Sequence[Row]) -> bool:
    return any(row.verdict == "FAILS" for row in rows)

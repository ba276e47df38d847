"""`--operators`: each compiled operator alone, on one thread, at the sizes of a model.

Products run over the matrices of all layers, one after the other, so that a single token reads its weights from memory
as a decode step does. The loops are compiled: no call from Python is in a time. Rounds take every operator in turn.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numba as nb
import numpy as np
import torch

from engine.cache.static import StaticCache
from engine.config import Precision
from engine.kernels import prefill as chunks
from engine.kernels.attention import attend
from engine.kernels.compiled import cache_views, shape_of, weight_views
from engine.kernels.linear import linear
from engine.kernels.model import Activations, Cache, Matrix
from engine.kernels.packed import many
from engine.kernels.pointwise import activate, norm
from engine.kernels.rounding import holder, quantize
from engine.kernels.sizes import BLOCK
from engine.measure.sheet import Sheet
from engine.measure.speed.compare import Say
from engine.memory import array
from engine.model.build import BuildOptions
from engine.model.families import Architecture
from engine.weights import ModelFiles
from engine.weights.converted import load_parameters

TOKENS = (1, 8, 256)
STEP = 8  # up to so many are taken as a decode step takes them, more as a prompt's chunk
POSITIONS = 512  # that a token attends to
SECONDS = 0.05  # one measurement, about
MATRICES = ("qkv", "out", "up", "down")

# How the weights are stored and what activations are rounded to: bits, 0 for not at all.
WAYS: tuple[tuple[Precision, int], ...] = (
    ("fp32", 0), ("half", 0), ("int8", 16), ("int8", 8), ("int4", 16), ("int4", 8),
)  # fmt: skip


@nb.njit(cache=True, nogil=True)
def _products(repeat, layers, a, room, y, rows, tokens, columns):
    for _ in range(repeat):
        for layer in range(layers.weight.shape[0]):
            m = Matrix(layers.weight[layer], layers.scale[layer], layers.minimum[layer], layers.bias[layer])
            if tokens <= STEP:
                linear(m, a, y, 0, rows, tokens, columns)
            else:
                for first in range(0, rows, BLOCK):
                    many(m, a, room, y, first, min(first + BLOCK, rows), tokens, columns)


@nb.njit(cache=True, nogil=True)
def _rounding(repeat, columns, a, n):
    for _ in range(repeat):
        quantize(a.x, n, columns, a, n)


@nb.njit(cache=True, nogil=True)
def _norm(repeat, x, gain, bias, shape, h):
    for _ in range(repeat):
        norm(x, gain, bias, shape.layer_norm, shape.eps, h)


@nb.njit(cache=True, nogil=True)
def _activation(repeat, up, shape, h):
    for _ in range(repeat):
        activate(up, shape.gated, shape.gelu, shape.feed_forward, h)


@nb.njit(cache=True, nogil=True)
def _attention(repeat, q, kept, scores, parts):
    for _ in range(repeat):
        for group in range(kept.keys.shape[0]):
            # Gathered here: what an inner function returns is not counted, and this function counts references.
            one = Cache(kept.keys[group], kept.values[group], kept.key_scales[group], kept.value_scales[group])
            attend(q, one, 0, POSITIONS, scores, parts, one.keys, 0)


@dataclass
class Operator:
    """`run(repeat)` does it so many times; once is `macs` multiply-adds over `nbytes` of weights, keys and values."""

    name: str
    run: Callable[[int], object]
    macs: float = 0.0
    nbytes: float = 0.0
    seconds: float = 0.0  # of one, the median


def measure_operators(arch: Architecture, files: ModelFiles, repeat: int, say: Say) -> list[dict[str, Any]]:
    """Time each operator alone, on one thread.

    Parameters
    ----------
    arch : sizes of the operators.
    files : weights of that architecture.
    repeat : interleaved rounds, of which medians are taken.
    say : told what is being measured.

    Returns
    -------
    Rows with `operator`, `microseconds`, and `gmacs` (billion multiply-adds a second) and `gbytes` (GB/s) where they
    apply.

    Raises
    ------
    BadRequest : the model cannot be held in int4.
    """
    torch.set_num_threads(1)
    found = []
    for precision, bits in WAYS:
        say(f"weights in {precision}" + (f", activations in {bits} bits" if bits else ""))
        found += _time(list(_of_weights(arch, files, precision, bits)), repeat)
    say("keys and values, and what is between the products")
    found += _time([*_of_keys(arch), *_between(arch)], repeat)
    return [
        {
            "operator": one.name,
            "microseconds": one.seconds * 1e6,
            "gmacs": one.macs / one.seconds / 1e9 if one.macs else None,
            "gbytes": one.nbytes / one.seconds / 1e9 if one.nbytes else None,
        }
        for one in found
    ]


def _time(operators: list[Operator], repeat: int) -> list[Operator]:
    counts = []
    for one in operators:
        one.run(1)  # compiles
        began = time.perf_counter()
        one.run(1)
        counts.append(max(1, round(SECONDS / max(1e-9, time.perf_counter() - began))))
    rounds: list[list[float]] = [[] for _ in operators]
    for _ in range(repeat):
        for one, count, times in zip(operators, counts, rounds, strict=True):
            began = time.perf_counter()
            one.run(count)
            times.append((time.perf_counter() - began) / count)
    for one, times in zip(operators, rounds, strict=True):
        one.seconds = statistics.median(times)
    return operators


def _of_weights(arch: Architecture, files: ModelFiles, precision: Precision, bits: int) -> Iterator[Operator]:
    params = load_parameters(arch, files, BuildOptions(precision, POSITIONS))
    shape, weights = shape_of(arch), weight_views(params)
    s = chunks.scratch(shape, weights, 1, max(TOKENS), POSITIONS, bits or 16)
    rng = np.random.default_rng(0)
    s.up[...] = rng.standard_normal(s.up.shape)
    widest = max(getattr(params, name).shape[1] for name in MATRICES)
    a = Activations(s.up, s.hq, s.hs, s.sums)
    of_step = a._replace(q=np.zeros(s.hq.shape, holder(weights.qkv.dtype, bits, packed=False)))
    for n in range(max(TOKENS)) if bits else ():
        _rounding(1, widest, a, n)
        _rounding(1, widest, of_step, n)
    parts = ("", "_scale", "_minimum", "_bias")
    matrices = [
        (Matrix(*(getattr(weights, name + part) for part in parts)), getattr(params, name).shape) for name in MATRICES
    ]
    y = np.zeros((max(TOKENS), max(rows for _, (rows, _) in matrices) + 16), np.float32)
    macs = sum(len(m.weight) * rows * wide for m, (rows, wide) in matrices)
    nbytes = sum(m.weight.nbytes + m.scale.nbytes + m.minimum.nbytes for m, _ in matrices)
    words = precision + (f", activations in {bits} bits" if bits else "")

    def multiply(repeat: int, tokens: int) -> None:
        for m, (rows, wide) in matrices:
            _products(repeat, m, of_step if tokens <= STEP else a, s.room[0], y, rows, tokens, wide)

    for tokens in TOKENS:
        name = f"products of all layers, {words}: {_tokens(tokens)}"
        yield Operator(name, partial(multiply, tokens=tokens), macs * tokens, nbytes)
    if precision == "int8":
        yield Operator(f"rounding {shape.feed_forward} activations to {bits} bits",
                       lambda repeat: _rounding(repeat, shape.feed_forward, a, 0))  # fmt: skip
    if precision == "fp32":
        x = torch.from_numpy(s.up)

        def torch_products(repeat: int, tokens: int) -> None:
            for _ in range(repeat):
                for m, (_rows, wide) in matrices:
                    for layer in torch.from_numpy(m.weight):
                        torch.nn.functional.linear(x[:tokens, :wide], layer)

        for tokens in TOKENS:
            name = f"the same in torch, fp32: {_tokens(tokens)}"
            yield Operator(name, partial(torch_products, tokens=tokens), macs * tokens, nbytes)


def _of_keys(arch: Architecture) -> Iterator[Operator]:
    """All heads of one token over `POSITIONS` positions of one layer."""
    shape = shape_of(arch)
    groups, size = shape.kv_heads, shape.head_dim
    heads = shape.heads // groups
    q = np.random.default_rng(0).standard_normal((heads, size)).astype(np.float32)
    scores, parts = array((heads, POSITIONS)), array((heads, size + 2))
    for stored in ("fp32", "half", "int8"):
        cache = StaticCache(1, 1, groups, POSITIONS, size, precision=stored)
        cache.store(0, 0, 0, torch.randn(groups, POSITIONS, size), torch.randn(groups, POSITIONS, size))
        kept = Cache(*(part[0, 0] for part in cache_views(cache)))
        yield Operator(
            f"attention of a token to {POSITIONS} positions, {stored}",
            partial(_attention, q=q, kept=kept, scores=scores, parts=parts),
            2.0 * shape.heads * size * POSITIONS,
            float(sum(part.nbytes for part in kept)),
        )


def _between(arch: Architecture) -> Iterator[Operator]:
    shape = shape_of(arch)
    rng = np.random.default_rng(0)
    up = rng.standard_normal(2 * shape.feed_forward).astype(np.float32)
    x = rng.standard_normal(arch.hidden).astype(np.float32)
    h = np.zeros(max(shape.feed_forward, arch.hidden), np.float32)
    gain, none = np.ones(arch.hidden, np.float32), np.zeros(0, np.float32)
    yield Operator(f"activation of {shape.feed_forward}", lambda repeat: _activation(repeat, up, shape, h))
    yield Operator(f"norm of {arch.hidden}", lambda repeat: _norm(repeat, x, gain, none, shape, h))


def _tokens(count: int) -> str:
    return f"{count} token{'s' * (count > 1)}"


def operators_sheet(rows: Sequence[Mapping[str, Any]]) -> Sheet:
    header = ("one thread", "microseconds", "billion multiply-adds/s", "GB/s")
    cells = tuple(
        (str(row["operator"]), f"{row['microseconds']:.{2 if row['microseconds'] < 100 else 0}f}",
         *("-" if row[key] is None else f"{row[key]:.1f}" for key in ("gmacs", "gbytes")))
        for row in rows
    )  # fmt: skip
    return Sheet("The operators alone: medians of interleaved rounds", header, cells)

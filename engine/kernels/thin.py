"""Adapters' thin products beside a step's and a prompt's matrices: y += B (A x), laid out as `model.adapters.pool` has
them.

In a step threads share A x, and have met over it by the time that the matrix itself is done, so that nobody waits. In a
prompt A x is computed once a token, where what goes into the matrix is made.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from engine.kernels.inner import inner
from engine.kernels.scalars import widen
from engine.kernels.vectors import fma, get, put, splat, total, zeros
from engine.memory import array
from engine.model.adapters.lora import MATRICES, MOST_RANK
from engine.model.adapters.pool import Pool

QKV, OUT, UP, DOWN = range(4)
MOST_PARTS = 3
NONE = -1  # the base of a token that the bare model reads


class Thin(NamedTuple):
    """The adapters' memory, and where things lie in it; the letters of `model.adapters.pool`."""

    numbers: np.ndarray  # f32, or halves as u16
    width: int  # W
    a: np.ndarray  # i64 [4] where A begins in a layer, for each of the rank
    b: np.ndarray  # i64 [4] where B does
    columns: np.ndarray  # i64 [4] K
    ends: np.ndarray  # i64 [4, 3] the row behind each part; a matrix of fewer parts has 0 for those it lacks
    between: np.ndarray  # f32 [tokens of a step, parts x most rank] their A x


def thin(pool: Pool | None, tokens: int) -> Thin:
    """A pool as the operators take it; None is one without room.

    Parameters
    ----------
    pool : the model's.
    tokens : most of a step.
    """
    columns, a, b = (np.zeros(len(MATRICES), np.int64) for _ in range(3))
    ends = np.zeros((len(MATRICES), MOST_PARTS), np.int64)
    if pool is None:
        return Thin(np.zeros(0, np.float32), 0, a, b, columns, ends, array((tokens, MOST_PARTS * MOST_RANK)))
    for i, place in enumerate(pool.places[matrix] for matrix in MATRICES):
        columns[i], a[i], b[i] = place.columns, place.a, place.b
        ends[i, : len(place.ends)] = place.ends
    numbers = pool.numbers
    return Thin(
        (numbers.view(torch.uint16) if numbers.dtype == torch.float16 else numbers).numpy(), pool.width, a, b, columns,
        ends, array((tokens, MOST_PARTS * MOST_RANK)),
    )  # fmt: skip


class Adapters(NamedTuple):
    """Which adapter each token of an order is read with."""

    bases: np.ndarray  # i64 [B or more] where its block begins, or `NONE`
    ranks: np.ndarray  # i64 [B or more]
    thin: Thin


@inner()
def into(numbers, first, columns, x, u, begin, end):
    """u[begin:end] = (A x)[begin:end]. Four rows at a time, whose sums do not wait for one another.

    Parameters
    ----------
    numbers, first : where A [rank, columns] lies.
    columns : of it.
    x : f32 [columns or wider].
    u : f32 [rank or wider], written.
    begin, end : rows of A.
    """
    full = columns // 16 * 16
    fours = begin + (end - begin) // 4 * 4
    for j in range(begin, fours, 4):
        at = first + j * columns
        s, z, v, w = zeros(), zeros(), zeros(), zeros()
        for k in range(0, full, 16):
            some = get(x, k)
            s = fma(get(numbers, at + k), some, s)
            z = fma(get(numbers, at + columns + k), some, z)
            v = fma(get(numbers, at + 2 * columns + k), some, v)
            w = fma(get(numbers, at + 3 * columns + k), some, w)
        u[j], u[j + 1], u[j + 2], u[j + 3] = total(s), total(z), total(v), total(w)
    for j in range(fours, end):
        s = zeros()
        for k in range(0, full, 16):
            s = fma(get(numbers, first + j * columns + k), get(x, k), s)
        u[j] = total(s)
    for j in range(begin, end):
        for k in range(full, columns):
            u[j] += widen(numbers[first + j * columns + k]) * x[k]


@inner()
def out_of(numbers, first, rank, u, y, begin, end):
    """y[begin:end] += (B u)[begin:end], both multiples of 16. Four panels at a time, as in `into`.

    Parameters
    ----------
    numbers, first : where B lies, in panels [rows / 16, rank, 16].
    rank : of it.
    u : f32 [rank or wider].
    y : f32, written.
    begin, end : rows.
    """
    fours = begin + (end - begin) // 64 * 64
    panel = 16 * rank
    for i in range(begin, fours, 64):
        s, z, v, w = get(y, i), get(y, i + 16), get(y, i + 32), get(y, i + 48)
        for j in range(rank):
            some, at = splat(u[j]), first + i * rank + 16 * j
            s = fma(some, get(numbers, at), s)
            z = fma(some, get(numbers, at + panel), z)
            v = fma(some, get(numbers, at + 2 * panel), v)
            w = fma(some, get(numbers, at + 3 * panel), w)
        put(y, i, s)
        put(y, i + 16, z)
        put(y, i + 32, v)
        put(y, i + 48, w)
    for i in range(fours, end, 16):
        s = get(y, i)
        for j in range(rank):
            s = fma(splat(u[j]), get(numbers, first + i * rank + 16 * j), s)
        put(y, i, s)


@inner()
def read(which, layer, base, rank, thin, x, u, t, threads):
    """Thread t's share of u[:P rank] = A x, of all parts of a matrix.

    Parameters
    ----------
    which, layer : of `QKV`, `OUT`, `UP`, `DOWN`, and the layer.
    base, rank : of the adapter's block.
    thin : `Thin`.
    x : f32 [columns or wider], what goes into the matrix.
    u : f32 [P rank or wider], written.
    t, threads : this thread and how many share; 0 and 1 for all of it.
    """
    here, columns = base + rank * (layer * thin.width + thin.a[which]), thin.columns[which]
    parts = 0
    for p in range(thin.ends.shape[1]):
        parts += thin.ends[which, p] > 0
    into(thin.numbers, here, columns, x, u, parts * rank * t // threads, parts * rank * (t + 1) // threads)


@inner()
def write(which, layer, base, rank, thin, u, y, first, last):
    """y[first:last] += B u, both multiples of 16, u as `read` leaves it.

    Parameters
    ----------
    which, layer, base, rank, thin : as `read` takes them.
    u : f32 [P rank or wider].
    y : f32 [rows], written.
    first, last : rows.
    """
    here = base + rank * (layer * thin.width + thin.b[which])
    begin = 0
    for p in range(thin.ends.shape[1]):
        end = thin.ends[which, p]
        low, high = max(first, begin), min(last, end)
        if low < high:
            out_of(thin.numbers, here, rank, u[p * rank :], y, low, high)
        begin = max(begin, end)

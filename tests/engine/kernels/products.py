"""A matrix stored in each of the ways the compiled products read, beside its numbers, and one call of a product."""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
import torch

from engine.kernels import linear, packed, rounding
from engine.kernels.model import Activations, Matrix
from engine.memory import array
from engine.model.quantize import in_panels, panels, quantize_groups, quantize_rows, widen_groups

WAYS = ("fp32", "half", "int8", "int4")
INT8 = np.dtype(np.int8)
NO_MINIMUM = np.zeros((0, 0), np.float32)


class Stored(NamedTuple):
    """`weight`, `scale` and `minimum` as the kernels read them; `numbers` f64 [rows, columns] what they mean."""

    weight: np.ndarray
    scale: np.ndarray
    minimum: np.ndarray
    numbers: np.ndarray

    @property
    def integer(self) -> bool:
        return self.weight.dtype in (np.int8, np.uint8)


def stored(way: str, rows: int, columns: int, seed: int = 0) -> Stored:
    """A random matrix."""
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    if way == "fp32":
        return Stored(weight.numpy(), np.ones(rows, np.float32), NO_MINIMUM, weight.double().numpy())
    if way == "half":
        half = weight.half()
        bits = half.view(torch.uint16).numpy()
        return Stored(bits, np.ones(rows, np.float32), NO_MINIMUM, half.double().numpy())
    if way == "int8":
        whole, scale = quantize_rows(weight)
        return in_int8(whole.to(torch.int8).numpy(), scale.numpy())
    packed, scale, minimum = quantize_groups(weight)
    numbers = widen_groups(packed, scale, minimum, torch.empty(rows, columns, dtype=torch.float64)).numpy()
    scales, minima = (in_panels(part).view(torch.uint16).numpy() for part in (scale, minimum))
    return Stored(panels(packed).numpy(), scales, minima, numbers)


def in_int8(whole: np.ndarray, scale: np.ndarray) -> Stored:
    """Whole numbers [rows, columns] with the scales of their rows."""
    packed, scales = panels(torch.from_numpy(whole)).numpy(), in_panels(torch.from_numpy(scale)).numpy()
    return Stored(packed, scales, NO_MINIMUM, whole.astype(np.float64) * scale.astype(np.float64)[:, None])


@nb.njit(cache=True)  # compiled once on a machine, not in every run
def _quantize(x, columns, a):
    for n in range(x.shape[0]):
        rounding.quantize(x, n, columns, a, n)


@nb.njit(cache=True)
def _linear(m, a, y, first, last, tokens, columns):
    linear.linear(m, a, y, first, last, tokens, columns)


@nb.njit(cache=True)
def _many(m, a, room, y, first, last, tokens, columns):
    packed.many(m, a, room, y, first, last, tokens, columns)


def plain(whole: Activations, columns: int) -> np.ndarray:
    """i64 [N, columns], a multiple of 4: the whole numbers in the order of the columns."""
    q = whole.q[:, :columns]
    if q.dtype != np.uint16:
        return q.astype(np.int64)
    halves = q.copy().view(np.int8).reshape(len(q), -1, 2, 4).astype(np.int64)  # fours of low and of high bytes
    return (halves[:, :, 0] + 256 * halves[:, :, 1]).reshape(len(q), -1)


def rounded(x: np.ndarray, columns: int, weights: np.dtype = INT8, many: bool = False) -> Activations:
    """Round x f32 [N, width], of which the first `columns` count, for weights of that type."""
    sums = np.full((len(x), 2 + columns // 32), 12345, np.int32)
    holder = rounding.holder(weights, 16, packed=many)
    out = Activations(x, np.full(x.shape, 12345, holder), np.full(len(x), np.nan, np.float32), sums)
    _quantize(x, columns, out)
    return out


def rounded_by_groups(x: np.ndarray, columns: int, weights: np.dtype) -> Activations:
    """`rounded` to 8 bits with a scale for each group of 32 columns, for weights of that type."""
    groups = -(-columns // 32)
    sums = np.full((len(x), 1 + groups), 12345, np.int32)
    scales = np.full((len(x), groups), np.nan, np.float32)
    out = Activations(x, np.full(x.shape, 99, rounding.holder(weights, 8, packed=True)), scales, sums)
    _quantize(x, columns, out)
    return out


def not_rounded(x: np.ndarray) -> Activations:
    """What a matrix of floats reads."""
    return Activations(x, np.zeros((0, 0), np.int16), np.zeros(0, np.float32), np.zeros((0, 0), np.int32))


def activations(tokens: int, columns: int, seed: int = 1, beyond: float = np.nan) -> np.ndarray:
    """f32 [tokens, columns and 16 to 31 more] in rows wider than what counts, as work space is; the rest `beyond`."""
    x = np.full((tokens, -(-columns // 16) * 16 + 16), beyond, np.float32)
    x[:, :columns] = np.random.default_rng(seed).standard_normal((tokens, columns))
    return x


def limit(columns: int) -> int:
    """The largest whole number of an activation: its products with 127 sum to an int32."""
    return min(127 * 256 + 127, (2**31 - 1) // (127 * columns))


def product(
    m: Stored,
    x: np.ndarray,
    bias: np.ndarray | None = None,
    first: int = 0,
    last: int | None = None,
    by_groups: bool = False,
    many: bool = False,
) -> np.ndarray:
    """y f32 [N, rows] of x [N, width], by `linear`, or by `packed.many`; NaN where no row was asked for."""
    rows, columns = m.numbers.shape
    a = not_rounded(x)
    if m.integer:
        a = rounded_by_groups(x, columns, m.weight.dtype) if by_groups else rounded(x, columns, m.weight.dtype, many)
    y = np.full((len(x), -(-rows // 16) * 16), np.nan, np.float32)
    matrix = Matrix(m.weight, m.scale, m.minimum, np.zeros(0, np.float32) if bias is None else bias)
    last = rows if last is None else last
    if many:
        room = array((16 * (columns + 64),), np.int16 if m.integer else np.float32)
        _many(matrix, a, room, y, first, last, len(x), columns)
    else:
        _linear(matrix, a, y, first, last, len(x), columns)
    return y[:, :rows]

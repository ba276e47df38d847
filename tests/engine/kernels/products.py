"""A matrix stored in each of the ways the compiled products read, beside its numbers, and one call of a product."""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np
import torch

from engine.kernels import int8, linear
from engine.quantize import quantize_groups, quantize_rows, widen_groups

WAYS = ("fp32", "half", "int8", "int4")
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
        numbers = (whole.double() * scale.double()[:, None]).numpy()
        return Stored(whole.to(torch.int8).numpy(), scale.numpy(), NO_MINIMUM, numbers)
    packed, scale, minimum = quantize_groups(weight)
    numbers = widen_groups(packed, scale, minimum, torch.empty(rows, columns, dtype=torch.float64)).numpy()
    return Stored(packed.numpy(), scale.view(torch.uint16).numpy(), minimum.view(torch.uint16).numpy(), numbers)


@nb.njit(cache=True)  # compiled once on a machine, not in every run
def _quantize(x, n, columns, q, qs, sums):
    int8.quantize(x, n, columns, q, qs, sums)


@nb.njit(cache=True)
def _linear(w, scale, minimum, bias, q, qs, sums, x, y, first, last, tokens, columns):
    linear.linear(w, scale, minimum, bias, q, qs, sums, x, y, first, last, tokens, columns)


class Rounded(NamedTuple):
    """What `quantize` makes of activations: q i16 [N, width], their scale f32 [N], the sums of groups."""

    q: np.ndarray
    scale: np.ndarray
    sums: np.ndarray


NOTHING_ROUNDED = Rounded(np.zeros((0, 0), np.int16), np.zeros(0, np.float32), np.zeros((0, 0), np.float32))


def rounded(x: np.ndarray, columns: int, for_int4: bool = False) -> Rounded:
    """Round x f32 [N, width], of which the first `columns` count."""
    tokens = len(x)
    sums = np.full((tokens, columns // 8 + 48 if for_int4 else 0), np.nan, np.float32)
    out = Rounded(np.full(x.shape, 12345, np.int16), np.full(tokens, np.nan, np.float32), sums)
    for n in range(tokens):
        _quantize(x, n, columns, out.q, out.scale, out.sums)
    return out


def activations(tokens: int, columns: int, seed: int = 1, beyond: float = np.nan) -> np.ndarray:
    """f32 [tokens, columns + 16] in rows wider than what counts, as work space is; the rest is `beyond`."""
    x = np.full((tokens, columns + 16), beyond, np.float32)
    x[:, :columns] = np.random.default_rng(seed).standard_normal((tokens, columns))
    return x


def limit(columns: int) -> int:
    """The largest whole number of an activation: its products with 127 sum to an int32."""
    return min(32767, (2**31 - 1) // (127 * columns))


def product(
    m: Stored, x: np.ndarray, bias: np.ndarray | None = None, first: int = 0, last: int | None = None
) -> np.ndarray:
    """y f32 [N, rows] of x [N, width]; NaN where no row was asked for."""
    rows, columns = m.numbers.shape
    whole = rounded(x, columns, m.weight.dtype == np.uint8) if m.integer else NOTHING_ROUNDED
    y = np.full((len(x), rows), np.nan, np.float32)
    _linear(m.weight, m.scale, m.minimum, np.zeros(0, np.float32) if bias is None else bias, whole.q, whole.scale,
           whole.sums, x, y, first, rows if last is None else last, len(x), columns)  # fmt: skip
    return y

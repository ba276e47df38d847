"""A token's keys and values on their way into the cache, rounded to how it stores them: float32, halves or int8."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from engine.kernels import model
from engine.kernels.inner import inner
from engine.kernels.pointwise import rotate
from engine.kernels.scalars import bits_of, float_of_bits, narrow
from engine.kernels.vectors import get, put

SMALLEST_SCALE = np.float32(1e-12)  # as in `cache.static`


def write(kept, scales, position, row):
    """kept[position] = row f32 [E], rounded to how the cache stores it.

    Parameters
    ----------
    kept : [C, E] of one slot and group, in float32, uint16 (halves) or int8.
    scales : f32 [C] beside int8, which gains the row's scale, else [0].
    position : where it goes.
    row : f32 [E]; what is not finite does not become a finite number.
    """
    raise TypeError("compiled code only")


@overload(write, jit_options={"_nrt": False})
def _write(kept, scales, position, row):
    if kept.dtype == types.int8:

        def int8(kept, scales, position, row):
            top = np.int32(0)  # magnitudes by their bits, because a maximum of floats passes over NaN
            for d in range(row.shape[0]):
                top = max(top, bits_of(row[d]) & np.int32(0x7FFFFFFF))
            scale = float_of_bits(top) / np.float32(127)
            if scale < SMALLEST_SCALE:
                scale = SMALLEST_SCALE
            scales[position] = scale
            for d in range(row.shape[0]):
                kept[position, d] = np.int8(np.rint(row[d] / scale))

        return int8

    def plain(kept, scales, position, row):
        full = row.shape[0] // 16 * 16
        place = kept[position]
        for d in range(0, full, 16):
            put(place, d, get(row, d))
        for d in range(full, row.shape[0]):
            place[d] = narrow(row[d], kept)

    return plain


@inner()
def keep(qkv, position, slot, layer, shape, w, cache, row):
    """A token's keys, rotated, and its values go to the cache.

    Parameters
    ----------
    qkv : f32 [(H + 2G)E or wider], the token's queries, keys and values.
    position, slot, layer : where they go.
    shape, w, cache : the model, as `kernels.model` describes it.
    row : f32 [E], work space.
    """
    heads, groups, size = shape.heads, shape.kv_heads, shape.head_dim
    cos = w.cos[position]
    sin = w.sin[position]
    for g in range(groups):
        kept = model.kept(cache, layer, slot, g)
        at = (heads + g) * size
        rotate(qkv[at : at + size], w.k_norm[layer], shape.eps, cos, sin, np.float32(1), row)
        write(kept.keys, kept.key_scales, position, row)
        at = (heads + groups + g) * size
        write(kept.values, kept.value_scales, position, qkv[at : at + size])

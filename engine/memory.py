"""Big arrays on huge pages.

A decode step reads every weight once. On pages of 4 KB most of that time can go into address translation: measured on a
virtual machine, two threads read 35 GB/s from ordinary pages and 58 GB/s from huge ones. NumPy asks the system for huge
pages (madvise) where an array has 4 MB or more; torch does not, and a mapped file cannot have them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor in CPU memory, on huge pages where the system gives them."""
    return _tensor(shape, dtype, np.empty)


def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros whose pages the system gives out on first use: torch.zeros would write, and so own, every one of them."""
    return _tensor(shape, dtype, np.zeros)


def _tensor(shape: tuple[int, ...], dtype: torch.dtype, make: Callable[..., np.ndarray]) -> Tensor:
    if not math.prod(shape):
        return torch.zeros(shape, dtype=dtype)
    return torch.from_numpy(make(math.prod(shape) * dtype.itemsize, np.uint8)).view(dtype).view(shape)

"""Big arrays: weights on huge pages, keys and values on small ones.

A decode step reads every weight once. On pages of 4 KB most of that time can go into address translation: measured on a
virtual machine, two threads read 35 GB/s from ordinary pages and 58 GB/s from huge ones. NumPy asks the system for huge
pages (madvise) where an array has 4 MB or more; torch does not, and a mapped file cannot have them.

Keys and values are the opposite: preallocated for long texts and used in part, each layer's beginning, where a huge
page would own 2 MB for the 64 KB used. Their kernels fetch ahead across pages, which costs them nothing measurable.
"""

from __future__ import annotations

import contextlib
import math
import mmap

import numpy as np
import torch
from torch import Tensor


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor in CPU memory, on huge pages where the system gives them."""
    if not math.prod(shape):
        return torch.zeros(shape, dtype=dtype)
    return torch.from_numpy(np.empty(math.prod(shape) * dtype.itemsize, np.uint8)).view(dtype).view(shape)


def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros on small pages, each given out by the system when it is first written."""
    if not math.prod(shape):
        return torch.zeros(shape, dtype=dtype)
    pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages has nothing to switch off
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype).view(shape)

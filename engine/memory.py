"""Arrays: all on whole cache lines, weights on huge pages, keys and values on small ones.

A vector is 64 bytes, and so is a cache line: where an array begins elsewhere, each vector is read from two lines.

A decode step reads every weight once. On pages of 4 KB most of that time can go into address translation: measured on a
virtual machine, two threads read 35 GB/s from ordinary pages and 58 GB/s from huge ones. NumPy asks the system for huge
pages (madvise) where an array has 4 MB or more; torch does not, and a mapped file cannot have them.

Keys and values are the opposite: preallocated for long texts and used in part, each layer's beginning, where a huge
page would own 2 MB for the 64 KB used. Their kernels fetch ahead across pages, which costs them nothing measurable.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

LINE = 64


def array(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """Zeros of NumPy that begin with a cache line and share none with other arrays."""
    return _on_lines(np.zeros, math.prod(shape) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)


def _on_lines(make: Callable[..., np.ndarray], nbytes: int) -> np.ndarray:
    room = make(LINE - 1 + -(-nbytes // LINE) * LINE, np.uint8)
    first = -room.ctypes.data % LINE
    return room[first : first + nbytes]


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor in CPU memory, on huge pages where the system gives them."""
    if not math.prod(shape):
        return torch.zeros(shape, dtype=dtype)
    return torch.from_numpy(_on_lines(np.empty, math.prod(shape) * dtype.itemsize)).view(dtype).view(shape)


def zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Zeros on small pages, each given out by the system when it is first written."""
    if not math.prod(shape):
        return torch.zeros(shape, dtype=dtype)
    pages = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without huge pages has nothing to switch off
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


def give_back() -> None:
    """Return to the system what was freed: glibc keeps what reading a model took (its tokenizer alone: 26 MB) for a
    later use that does not come."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library has no such call
        ctypes.CDLL(None).malloc_trim(0)

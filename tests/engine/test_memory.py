"""Memory for weights, keys and values."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import pytest
import torch

from engine import memory
from engine.measure import process as measure

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5), (1,), (), (2, 3, 1, 7), (4, 0), (0,), (0, 6)])
def test_shapes_and_dtypes_are_what_was_asked_for(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for make in (memory.empty, memory.zeros):
        tensor = make(shape, dtype)
        assert (tuple(tensor.shape), tensor.dtype, tensor.device.type) == (shape, dtype, "cpu")
        assert tensor.is_contiguous()
    assert (memory.zeros(shape, dtype) == 0).all()


def test_what_is_written_stays_after_the_array_it_came_from_is_gone() -> None:
    tensors = [memory.empty((1 << 20,), torch.float32).fill_(i) for i in range(4)]
    assert [float(t[-1]) for t in tensors] == [0, 1, 2, 3]
    assert all((t == i).all() for i, t in enumerate(tensors))


def test_numpy_sees_the_same_memory() -> None:
    tensor = memory.zeros((2, 3), torch.float32)
    tensor.numpy()[1, 2] = 5
    assert tensor.tolist() == [[0, 0, 0], [0, 0, 5]]
    assert memory.zeros((2, 3), torch.float16).view(torch.uint16).numpy().dtype == np.uint16


@pytest.mark.parametrize("size", [1, 5, 64, 100, 5 << 20])
def test_arrays_begin_with_a_cache_line_and_share_none(size: int) -> None:
    made = [memory.array((size,), np.uint8) for _ in range(5)]
    made += [memory.empty((size,), torch.uint8).numpy() for _ in range(5)]
    lines = [range(array.ctypes.data // 64, -(-(array.ctypes.data + size) // 64)) for array in made]
    assert all(array.ctypes.data % 64 == 0 for array in made)
    assert len({line for own in lines for line in own}) == sum(len(own) for own in lines)


def test_arrays_are_zeros_of_the_shape_and_dtype_asked_for() -> None:
    found = memory.array((3, 0, 5)), memory.array((2, 3), np.int16), memory.array(())
    assert [array.shape for array in found] == [(3, 0, 5), (2, 3), ()]
    assert [array.dtype.name for array in found] == ["float32", "int16", "float32"]
    assert not any(array.any() for array in found)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in found)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is resident now")
def test_what_was_freed_is_given_back() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("this C library keeps what it keeps")
    blocks = [b"x" * 100_000 for _ in range(1000)]
    last = b"y" * 100_000  # above all of them, so that freeing them does not shrink the heap by itself
    del blocks
    before = measure.memory()["resident"]
    memory.give_back()
    assert before - measure.memory()["resident"] > 50_000_000
    assert last[0] == ord("y")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is resident now")
def test_zeros_take_memory_only_where_they_are_written() -> None:
    """A long context costs nothing until tokens stand in it, and then one small page after another."""
    before = measure.memory()["resident"]
    tensor = memory.zeros((64, 4 << 20), torch.int8)  # 256 MB
    assert measure.memory()["resident"] - before < 32 << 20
    tensor[:, :1000] = 1  # the beginning of each of 64 rows: a huge page each would be 128 MB
    assert measure.memory()["resident"] - before < 32 << 20
    assert int(tensor.sum(dtype=torch.int64)) == 64_000

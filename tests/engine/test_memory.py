"""Memory for weights, keys and values."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from engine import measure, memory

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what is resident now")
def test_zeros_take_memory_only_where_they_are_written() -> None:
    """A long context costs nothing until tokens stand in it, and then one small page after another."""
    before = measure.memory()["resident"]
    tensor = memory.zeros((64, 4 << 20), torch.int8)  # 256 MB
    assert measure.memory()["resident"] - before < 32 << 20
    tensor[:, :1000] = 1  # the beginning of each of 64 rows: a huge page each would be 128 MB
    assert measure.memory()["resident"] - before < 32 << 20
    assert int(tensor.sum(dtype=torch.int64)) == 64_000

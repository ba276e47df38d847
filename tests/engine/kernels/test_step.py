"""The compiled step against its slow twin, for every precision, family, thread count and batch."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch

from engine.decoder import Decoder, Segment
from engine.kernels.native import CompiledModel
from tests.engine.random_decoders import MODELS, decoder

THREADS = [1, 2] if numba.config.NUMBA_NUM_THREADS > 1 else [1]
LENGTHS = (1, 30, 7, 90)  # tokens each of four slots holds


def filled(family: str, precision: str) -> Decoder:
    """A decoder whose slots hold random texts of `LENGTHS`."""
    twin = decoder(MODELS[family], precision)
    generator = torch.Generator().manual_seed(5)
    for slot, length in enumerate(LENGTHS):
        twin.hidden(torch.randint(300, (length,), generator=generator), [Segment(slot, 0, length)])
    return twin


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize("family", MODELS)
def test_logits_equal_the_torch_twin(family: str) -> None:
    twin = filled(family, "fp32")
    step = CompiledModel(twin.arch, twin.params, twin.cache, THREADS[-1], 4, 64)
    found = step(i64(3, 4, 5, 6), i64(*LENGTHS), i64(0, 1, 2, 3)).copy()
    segments = [Segment(slot, length, 1) for slot, length in enumerate(LENGTHS)]
    expected = twin.logits(twin.hidden(torch.tensor([3, 4, 5, 6]), segments)).numpy()
    assert np.abs(found - expected).max() < 1e-4


# Int8 weights meet activations rounded to 1 in 11,000 or finer; the others the same fp32 as torch.
@pytest.mark.parametrize(("precision", "bound"), [("half", 1e-4), ("int8", 2e-3)])
@pytest.mark.parametrize("threads", THREADS)
def test_stored_precisions_equal_the_torch_twin_of_the_same_weights(precision: str, bound: float, threads: int) -> None:
    twin = filled("llama", precision)
    step = CompiledModel(twin.arch, twin.params, twin.cache, threads, 4, 64)
    found = step(i64(9, 8), i64(30, 90), i64(1, 3)).copy()
    expected = twin.logits(twin.hidden(torch.tensor([9, 8]), [Segment(1, 30, 1), Segment(3, 90, 1)])).numpy()
    assert np.abs(found - expected).max() < bound


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_alone_or_in_any_batch_the_bits_are_the_same(precision: str) -> None:
    twin = filled("llama", precision)
    step = CompiledModel(twin.arch, twin.params, twin.cache, THREADS[-1], 4, 64)
    tokens, positions, slots = i64(3, 4, 5, 6), i64(*LENGTHS), i64(0, 1, 2, 3)
    together = step(tokens, positions, slots).copy()
    for order in ([0], [1], [2], [3], [3, 1], [2, 0, 3]):
        found = step(tokens[order], positions[order], slots[order])
        assert np.array_equal(found, together[order])


def test_the_step_leaves_the_keys_and_values_the_twin_would() -> None:
    fast, slow = filled("qwen3", "fp32"), filled("qwen3", "fp32")
    CompiledModel(fast.arch, fast.params, fast.cache, THREADS[-1], 1, 64)(i64(11), i64(30), i64(1))
    slow.hidden(torch.tensor([11]), [Segment(1, 30, 1)])
    torch.testing.assert_close(fast.cache.keys[:, 1, :, :31], slow.cache.keys[:, 1, :, :31], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(fast.cache.values[:, 1, :, :31], slow.cache.values[:, 1, :, :31], atol=1e-4, rtol=1e-4)


def test_more_threads_than_numba_has_are_refused() -> None:
    twin = filled("llama", "fp32")
    with pytest.raises(RuntimeError, match="threads asked for"):
        CompiledModel(twin.arch, twin.params, twin.cache, numba.config.NUMBA_NUM_THREADS + 1, 1, 64)

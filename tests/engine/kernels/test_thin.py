"""Adapters beside the compiled step and prompt, against the plain decoder with the same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.kernels.compiled import CompiledModel
from engine.model.adapters.lora import read_lora
from engine.model.adapters.pool import Block, Pool
from engine.model.decoder import Decoder, Segment
from tests.engine.kernels.filled import LENGTHS, PAIRS, THREADS, filled, i64, model
from tests.engine.model.adapters.folders import TARGETS, write

pytestmark = pytest.mark.slow

BOUNDS = {"fp32": 1e-4, "half": 5e-3, "int8": 2e-2, "int4": 2e-2, "int8 kv": 5e-2}
FAMILIES = ["llama", "gpt2"]


def adapted(twin: Decoder, family: str, pair: str, folder: Path) -> list[Block]:
    """Two adapters of other ranks, one of them of attention alone."""
    twin.pool = Pool(twin.arch, 1 << 22, torch.float32 if pair == "fp32" else torch.float16)
    made = model(family)
    folders = (
        write(folder / "all", made, TARGETS[family], rank=5),
        write(folder / "some", made, ("q_proj", "v_proj", "c_attn"), rank=16, seed=1),
    )
    return [twin.pool.place(read_lora(one, twin.arch)) for one in folders]


def compiled(twin: Decoder, threads: int = THREADS[-1]) -> CompiledModel:
    return CompiledModel(twin.arch, twin.params, twin.cache, threads, 16, 64, 16, twin.pool)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pair", PAIRS)
def test_a_batch_of_several_adapters_equals_the_torch_twin(family: str, pair: str, tmp_path: Path) -> None:
    twin = filled(family, pair)
    one, two = adapted(twin, family, pair, tmp_path)
    using = [one, None, two, one]
    for threads in THREADS:
        found = compiled(twin, threads)(i64(3, 4, 5, 6), i64(*LENGTHS), i64(0, 1, 2, 3), using).copy()
        segments = [Segment(slot, length, 1, using[slot]) for slot, length in enumerate(LENGTHS)]
        expected = twin.logits(twin.hidden(torch.tensor([3, 4, 5, 6]), segments)).numpy()
        assert np.abs(found - expected).max() < BOUNDS[pair], threads
        bare = compiled(twin, threads)(i64(3, 4, 5, 6), i64(*LENGTHS), i64(0, 1, 2, 3))
        changed = np.abs(found - bare).max(1)
        assert changed[1] == 0 and (changed[[0, 2, 3]] > 10 * BOUNDS["fp32"]).all()


@pytest.mark.parametrize("pair", PAIRS)
def test_with_an_adapter_a_row_has_the_bits_it_has_alone(pair: str, tmp_path: Path) -> None:
    twin = filled("llama", pair)
    one, two = adapted(twin, "llama", pair, tmp_path)
    using = [one, None, two, one]
    step = compiled(twin)
    together = step(i64(3, 4, 5, 6), i64(*LENGTHS), i64(0, 1, 2, 3), using).copy()
    for b in range(4):
        alone = step(i64(3 + b), i64(LENGTHS[b]), i64(b), [using[b]])
        assert np.array_equal(alone[0], together[b])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pair", PAIRS)
def test_a_chunk_with_an_adapter_equals_the_torch_twin(family: str, pair: str, tmp_path: Path) -> None:
    fast, slow = filled(family, pair), filled(family, pair)
    block = adapted(fast, family, pair, tmp_path / "a")[0]
    adapted(slow, family, pair, tmp_path / "b")
    text = np.random.default_rng(3).integers(0, 300, 21)
    expected = slow.hidden(torch.from_numpy(text), [Segment(1, 30, 21, block)], final=False).numpy()
    found = compiled(fast).prefill(text, 30, 1, fast.arch.layers, adapter=block)
    assert np.abs(found - expected).max() < BOUNDS[pair] * expected.std() * 4
    bare = slow.hidden(torch.from_numpy(text), [Segment(1, 30, 21)], final=False).numpy()
    assert np.abs(found - bare).max() > 0.05

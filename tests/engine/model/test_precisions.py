"""What stored precisions and 16-bit arithmetic do to the numbers; accelerator code on CPU tensors."""

from __future__ import annotations

import pytest
import torch

from engine.model.decoder import Segment
from tests.engine.random_decoders import MODELS, decoder


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(("precision", "bound"), [("half", 0.01), ("int8", 0.3)])
def test_stored_precisions_stay_near_fp32(family: str, precision: str, bound: float) -> None:
    text = torch.randint(300, (40,), generator=torch.Generator().manual_seed(2))
    full, stored = (
        d.logits(d.hidden(text, [Segment(0, 0, 40)])).log_softmax(-1)
        for d in (decoder(MODELS[family], "fp32"), decoder(MODELS[family], precision))
    )
    divergence = (full.exp() * (full - stored)).sum(-1)  # KL, nats, a position
    assert 0 < float(divergence.mean()) < bound


@pytest.mark.parametrize("precision", ["half", "int8"])
def test_sixteen_bit_arithmetic_of_an_accelerator_runs_on_cpu_tensors(precision: str) -> None:
    text = torch.randint(300, (24,), generator=torch.Generator().manual_seed(3))
    full, low = decoder(MODELS["qwen3"], "fp32"), decoder(MODELS["qwen3"], precision, torch.bfloat16)
    assert low.cache.keys.dtype == torch.bfloat16
    expected = full.logits(full.hidden(text, [Segment(0, 0, 24)])).log_softmax(-1)
    low.hidden(text[:16], [Segment(1, 0, 16)])
    rows = [low.logits(low.hidden(text[i : i + 1], [Segment(1, i, 1)])) for i in range(16, 24)]  # prefill, then decode
    found = torch.cat(rows).log_softmax(-1)
    divergence = (expected[16:].exp() * (expected[16:] - found)).sum(-1)
    assert found.dtype == torch.float32
    assert float(divergence.mean()) < 0.5

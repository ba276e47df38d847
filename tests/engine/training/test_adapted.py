"""The learning twin of adapters gives what the decoder gives that serves them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.model.adapters.lora import read_lora
from engine.model.adapters.pool import Pool
from engine.model.adapters.save import save_lora
from engine.model.decoder import Decoder, Segment
from engine.training.adapted import Adapted, Past
from tests.engine.random_decoders import MODELS, decoder

IDS = torch.tensor([[5, 9, 2, 77, 31, 8], [40, 3, 12, 0, 0, 0]])
LENGTHS = torch.tensor([6, 3])


def learnt(twin: Decoder, seed: int = 0) -> Adapted:
    model = Adapted(twin.arch, twin.params, rank=3, alpha=6.0, seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    for part in model.b.values():
        part.data = torch.randn(part.shape, generator=generator) * 0.05
    return model


@pytest.mark.parametrize("family", sorted(MODELS))
def test_without_having_learnt_it_is_the_bare_model(family: str) -> None:
    twin = decoder(MODELS[family], "fp32")
    model = Adapted(twin.arch, twin.params, rank=4, alpha=8.0).eval()
    states = model.hidden(IDS, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        expected = twin.hidden(IDS[row, :length], [Segment(0, 0, length)])
        torch.testing.assert_close(states[row, :length], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.logits(states[row, :length]), twin.logits(expected), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_behind_what_was_read_before_it_is_what_is_served(family: str, tmp_path: Path) -> None:
    """Written, read back and served from a position on, beside texts of other lengths."""
    twin = decoder(MODELS[family], "fp32")
    model = learnt(twin)
    folder = save_lora(model.lora("mine", (7, 8)), twin.arch, tmp_path / "mine", "tiny")
    twin.pool = Pool(twin.arch, 1 << 22, torch.float32)
    block = twin.pool.place(read_lora(folder, twin.arch))
    assert (block.name, block.invocation, block.rank) == ("mine", (7, 8), 3)
    before = [torch.tensor([3, 1, 4, 1, 5]), torch.tensor([2, 7])]
    expected = []
    for slot, (text, length) in enumerate(zip(before, LENGTHS.tolist(), strict=True)):
        twin.hidden(text, [Segment(slot, 0, len(text))])
        expected.append(twin.hidden(IDS[slot, :length], [Segment(slot, len(text), length, block)]))
    past = Past(twin.cache.keys[:, :2, :, :5], twin.cache.values[:, :2, :, :5], torch.tensor([5, 2]))
    states = model.hidden(IDS, LENGTHS, past)
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(states[row, :length], expected[row], atol=1e-4, rtol=1e-4)


def test_only_the_adapter_learns() -> None:
    twin = decoder(MODELS["llama"], "fp32")
    model = Adapted(twin.arch, twin.params, rank=3, alpha=6.0)
    before = [tensor.clone() for tensor in twin.params.tensors()]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        logits = model.logits(model.hidden(IDS, LENGTHS)[0, :-1])
        loss = torch.nn.functional.cross_entropy(logits, IDS[0, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(before, twin.params.tensors(), strict=True))

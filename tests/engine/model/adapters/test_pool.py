"""Adapters beside the decoder's matrices: the numbers of merged weights, room that is made, and what runs stays."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from engine.errors import BadRequest
from engine.model.adapters.lora import read_lora
from engine.model.adapters.pool import Block, Pool
from engine.model.decoder import Decoder, Segment
from tests.engine.model.adapters.folders import TARGETS, merged, write
from tests.engine.random_decoders import MODELS, decoder

IDS = torch.tensor([5, 9, 2, 77, 31, 8, 40, 3])


def with_adapter(twin: Decoder, folder: Path, nbytes: int = 1 << 22) -> Block:
    twin.pool = Pool(twin.arch, nbytes, torch.float32)
    return twin.pool.place(read_lora(folder, twin.arch))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_gives_what_merged_weights_give(family: str, tmp_path: Path) -> None:
    model = copy.deepcopy(MODELS[family])
    folder = write(tmp_path / "a", model, TARGETS[family])
    twin = decoder(MODELS[family], "fp32")
    block = with_adapter(twin, folder)
    merged(model, folder, 2.0)
    whole = decoder(model, "fp32")
    expected = whole.logits(whole.hidden(IDS, [Segment(0, 0, len(IDS))]))
    found = twin.logits(twin.hidden(IDS, [Segment(0, 0, len(IDS), block)]))
    bare = twin.logits(twin.hidden(IDS, [Segment(1, 0, len(IDS))]))
    torch.testing.assert_close(found, expected, atol=3e-5, rtol=0)
    assert (found - bare).abs().max() > 0.1


def test_what_stands_before_the_invocation_is_read_by_the_bare_model(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", MODELS["llama"], TARGETS["llama"], alora_invocation_tokens=[31, 8])
    twin = decoder(MODELS["llama"], "fp32")
    block = with_adapter(twin, folder)
    assert block.begins(IDS.tolist()) == 4 and block.begins([31, 8, 31, 8, 1]) == 2 and block.begins([8, 31]) == 2
    twin.hidden(IDS, [Segment(0, 0, 8)])
    twin.hidden(IDS[:4], [Segment(1, 0, 4)])
    twin.hidden(IDS[4:], [Segment(1, 4, 4, block)])
    for part in twin.cache.parts:
        torch.testing.assert_close(part[:, 0, :, :4], part[:, 1, :, :4])
        assert not torch.allclose(part[:, 0, :, 4:8], part[:, 1, :, 4:8])


def test_the_least_recently_used_makes_room(tmp_path: Path) -> None:
    arch = decoder(MODELS["llama"], "fp32").arch
    loras = [read_lora(write(tmp_path / f"{i}", MODELS["llama"], ("q_proj",), seed=i), arch) for i in range(3)]
    one = Pool(arch, 1 << 22, torch.float32).place(loras[0]).size * 4
    pool = Pool(arch, 2 * one + 64, torch.float32)
    first, second = pool.place(loras[0]), pool.place(loras[1])
    pool.begin(first)
    pool.end(first)
    third = pool.place(loras[2])
    assert pool.holds(first) and not pool.holds(second) and pool.holds(third) and pool.nbytes == 2 * one
    pool.begin(first)
    pool.begin(third)
    with pytest.raises(BadRequest, match="The adapter 1 takes"):
        pool.place(loras[1])

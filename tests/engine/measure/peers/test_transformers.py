"""The baseline everyone is compared with must itself be right: against the model called by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.measure.peers.transformers import Transformers


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> Transformers:
    server = Transformers()
    server.start()
    server.load(model=str(tiny_llama), dtype="fp32", threads=1, context=64, batch=1)
    return server


@torch.no_grad()
def by_hand(model: Any, prompt: list[int]) -> torch.Tensor:
    return model(torch.tensor([prompt])).logits[0, -1].clone()


def test_greedy_tokens_and_their_count(loaded: Transformers) -> None:
    prompt = list(range(10, 30))
    answer = loaded.run([prompt, prompt[::-1]], 5)
    text = list(prompt)
    for _ in range(5):
        logits = by_hand(loaded._model, text)
        logits[2] = -float("inf")  # generate's min_new_tokens keeps the end away
        text.append(int(logits.argmax()))
    assert answer["tokens"][0] == text[20:]
    assert answer["decoded"] == 8 and 0 < answer["ttft_s"] < answer["whole_s"]


def test_scores_do_not_depend_on_padding_or_order(loaded: Transformers) -> None:
    prompts = [list(range(10, 10 + n)) for n in (9, 3, 17, 5, 1)]
    answer = loaded.score(prompts, [[7], [9, 4]], batch=2)
    for prompt, found in zip(prompts, answer["logprobs"], strict=True):
        expected = by_hand(loaded._model, prompt).log_softmax(-1)[[7, 9]]
        assert torch.allclose(torch.tensor(found), expected, atol=1e-4)

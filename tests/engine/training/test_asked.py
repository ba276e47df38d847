"""Questions behind texts that were read before."""

from __future__ import annotations

import numpy as np
import torch

from engine.model.decoder import Segment
from engine.training.adapted import Adapted
from engine.training.asked import Asked, Question
from engine.training.losses import IGNORED
from tests.engine.random_decoders import MODELS, decoder

QUESTIONS = [
    Question([5, 9, 2, 77], [31, 8], [40, 3, 1], "a"),
    Question([5, 9, 2, 77], [31, 9], [7], "b"),
    Question([12, 13], [31, 8, 6], [50, 1], "c"),
    Question([], [31], [4, 1], "d"),
]


def test_a_batch_is_what_the_whole_text_gives() -> None:
    twin = decoder(MODELS["llama"], "fp32")
    reads = []

    def read(ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        reads.append(ids)
        twin.hidden(torch.tensor(ids), [Segment(0, 0, len(ids))])
        return twin.cache.keys[:, 0, :, : len(ids)].clone(), twin.cache.values[:, 0, :, : len(ids)].clone()

    batch = Asked(QUESTIONS, read, 4).batch(np.arange(4))
    assert reads == [[5, 9, 2, 77], [12, 13]]
    assert batch.tokens == 4 + 4 + 2 + 4 + 2 + 4 + 2 and batch.names == ("a", "b", "c", "d")
    model = Adapted(twin.arch, twin.params, rank=2, alpha=2.0).eval()
    states = model.hidden(batch.ids, batch.lengths, batch.past)
    for row, one in enumerate(QUESTIONS):
        whole = torch.tensor([[*one.text, *one.asked, *one.answer[:-1]]])
        expected = model.hidden(whole, torch.tensor([whole.shape[1]]))[0]
        said = batch.targets[row] != IGNORED
        assert batch.targets[row][said].tolist() == one.answer
        torch.testing.assert_close(states[row][said], expected[-len(one.answer) :], atol=1e-4, rtol=1e-4)


def test_without_texts_there_is_no_past() -> None:
    batch = Asked([QUESTIONS[3]], lambda ids: (torch.zeros(0), torch.zeros(0)), 2).batch(np.array([0]))
    assert batch.past is None and batch.ids.tolist() == [[31, 4]] and batch.targets.tolist() == [[4, 1]]


def test_questions_about_one_text_stand_together() -> None:
    many = [Question([i // 3, i % 2], [5], [6], str(i)) for i in range(60)]
    data = Asked(many, lambda ids: (torch.zeros(0), torch.zeros(0)), 4, seed=3)
    first = data.epoch(0)
    assert sorted(np.concatenate(first).tolist()) == list(range(60))
    assert [a.tolist() for a in first] == [a.tolist() for a in data.epoch(0)]
    assert [a.tolist() for a in first] != [a.tolist() for a in data.epoch(1)]
    order = np.concatenate(data.in_order())
    assert order.tolist() == list(range(60))

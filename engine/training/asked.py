"""What adapters learn from: a text that the bare model has read, what is asked about it, and what is to be answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.training.adapted import Past
from engine.training.data import POOL, padded
from engine.training.losses import IGNORED

# Token ids of a text -> its keys and values, f32 [L, G, n, E] each.
Read = Callable[[list[int]], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Question:
    """One thing to be learnt.

    Attributes
    ----------
    text : token ids that the bare model reads.
    asked : token ids behind it, from the adapter's invocation on.
    answer : token ids that are to follow.
    name : for messages.
    """

    text: list[int]
    asked: list[int]
    answer: list[int]
    name: str


class AskedBatch(NamedTuple):
    """Questions side by side.

    Attributes
    ----------
    ids, lengths : int64 [B, N] and [B]: what is asked and answered, without the answer's last token.
    targets : int64 [B, N], the answer's tokens where they are to be said, `IGNORED` elsewhere.
    past : of the texts; None where none has any.
    names : of the questions.
    """

    ids: Tensor
    lengths: Tensor
    targets: Tensor
    past: Past | None
    names: tuple[str, ...]

    @property
    def tokens(self) -> int:
        """Tokens that are no padding, of the texts too."""
        return int(self.lengths.sum()) + (int(self.past.lengths.sum()) if self.past is not None else 0)


@dataclass(frozen=True)
class Asked:
    """Questions for the loop.

    Attributes
    ----------
    questions : N of them; those about one text stand together where they are to share a batch.
    read : gives a text's keys and values.
    size : questions a batch.
    seed : of the order.
    """

    questions: Sequence[Question]
    read: Read
    size: int
    seed: int = 0

    def epoch(self, number: int) -> list[np.ndarray]:
        """Texts shuffled, sorted by length within pools of 64 batches, and the batches shuffled again; questions about
        one text share a batch as far as it holds them."""
        rng = np.random.default_rng([self.seed, number])
        texts: dict[tuple[int, ...], list[int]] = {}
        for row, question in enumerate(self.questions):
            texts.setdefault(tuple(question.text), []).append(row)
        groups = list(texts.values())
        order = rng.permutation(len(groups))
        batches: list[np.ndarray] = []
        for first in range(0, len(order), POOL * self.size):
            pool = sorted(order[first : first + POOL * self.size], key=lambda i: len(self.questions[groups[i][0]].text))
            rows = np.array([row for i in pool for row in groups[i]])
            batches += [rows[i : i + self.size] for i in range(0, len(rows), self.size)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def in_order(self) -> list[np.ndarray]:
        """All rows as they stand, for evaluation."""
        rows = np.arange(len(self.questions))
        return [rows[i : i + self.size] for i in range(0, len(rows), self.size)]

    def batch(self, rows: np.ndarray) -> AskedBatch:
        """Those questions side by side; each text is read once."""
        some = [self.questions[row] for row in rows]
        known: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        for one in some:
            if one.text and (key := tuple(one.text)) not in known:
                known[key] = self.read(one.text)
        past = None
        if known:
            lengths = torch.tensor([len(one.text) for one in some])
            found = [known.get(tuple(one.text)) for one in some]
            width = int(lengths.max())
            past = Past(_beside(found, 0, width), _beside(found, 1, width), lengths)
        ids, counts = padded([np.array([*one.asked, *one.answer[:-1]]) for one in some])
        targets, _ = padded([np.array([IGNORED] * (len(one.asked) - 1) + one.answer) for one in some], IGNORED)
        return AskedBatch(ids, counts, targets, past, tuple(one.name for one in some))


def _beside(found: Sequence[tuple[Tensor, Tensor] | None], which: int, width: int) -> Tensor:
    """Keys or values of texts side by side, f32 [L, B, G, T, E], zeros behind the shorter ones."""
    first = next(one for one in found if one is not None)
    layers, groups, _, size = first[which].shape
    out = torch.zeros(layers, len(found), groups, width, size)
    for b, one in enumerate(found):
        if one is not None:
            out[:, b, :, : one[which].shape[2]] = one[which]
    return out

"""What a variant of the engine loses against fp32, position by position, summed over each text.

Never more than a block of rows of logits is held: of the reference its last hidden states are kept, and only its head
is computed again beside every variant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from engine.backends.base import MAX_ROWS
from engine.backends.native import NativeBackend
from engine.measure.fidelity.excerpts import Excerpt

Floats = NDArray[np.float64]
Heard = Callable[[int], object]  # told how many positions more are done


@dataclass
class Losses:
    """Sums over the positions of each text [R]: `kl` in nats, `same` top tokens, `nats` of the text's own tokens by the
    variant and by the reference."""

    positions: Floats
    bytes: Floats
    kl: Floats
    same: Floats
    nats: Floats
    reference_nats: Floats

    @classmethod
    def of(cls, texts: Sequence[Excerpt]) -> Losses:
        zeros = [np.zeros(len(texts)) for _ in range(5)]
        return cls(zeros[0], np.array([float(text.bytes) for text in texts]), *zeros[1:])

    def add(self, text: int, found: np.ndarray) -> None:
        """Count what `compare` found at positions of a text."""
        columns = (self.kl, self.same, self.nats, self.reference_nats)
        for column, value in zip(columns, found.sum(0), strict=True):
            column[text] += value
        self.positions[text] += len(found)


@torch.inference_mode()
def compare(reference: np.ndarray, found: np.ndarray, next_ids: np.ndarray) -> np.ndarray:
    """What logits lose against those of the reference, position by position.

    Parameters
    ----------
    reference, found : logits, f32 [N, V].
    next_ids : token that came next, i64 [N].

    Returns
    -------
    f64 [N, 4]: KL(reference || found) in nats, 1 where the top token is the same, -log p(next) by `found` and by the
    reference.
    """
    p = torch.log_softmax(torch.from_numpy(reference), -1)  # [N, V]
    q = torch.log_softmax(torch.from_numpy(found), -1)
    kl = (p.exp() * (p - q)).sum(-1, dtype=torch.float64)
    same = p.argmax(-1) == q.argmax(-1)
    next_ = torch.from_numpy(next_ids)[:, None]
    columns = (kl, same.double(), -q.gather(1, next_)[:, 0].double(), -p.gather(1, next_)[:, 0].double())
    return torch.stack(columns, -1).numpy()


class Reference:
    """fp32's last hidden states of every text, run once; its logits of any of them when they are asked for."""

    def __init__(self, backend: NativeBackend, texts: Sequence[Excerpt], heard: Heard) -> None:
        self._head = backend.params.head.weight  # f32 [V, D]
        self._hidden: list[torch.Tensor] = []  # [T - 1, D]: all positions that a token of the text follows
        for text in texts:
            self._hidden.append(torch.from_numpy(backend.hidden(0, 0, text.tokens[:-1], -1)))
            heard(len(text.tokens) - 1)

    @torch.inference_mode()
    def logits(self, places: Sequence[tuple[int, int]]) -> np.ndarray:
        """f32 [N, V] of N places (text, position)."""
        return F.linear(torch.stack([self._hidden[text][position] for text, position in places]), self._head).numpy()


def of_prompts(reference: Reference, backend: NativeBackend, texts: Sequence[Excerpt], heard: Heard) -> Losses:
    """Losses where every text is run as a prompt is.

    Parameters
    ----------
    reference : fp32's logits of the same texts.
    backend : the variant, warm.
    texts : run one after another.
    heard : told how many positions more are done.
    """
    losses = Losses.of(texts)
    for i, text in enumerate(texts):
        position = 0
        for block in backend.logits(0, 0, text.tokens[:-1]):
            after = position + len(block)
            expected = reference.logits([(i, at) for at in range(position, after)])
            found = compare(expected, block, np.array(text.tokens[position + 1 : after + 1]))
            losses.add(i, found)
            heard(len(found))
            position = after
    return losses


def of_steps(reference: Reference, backend: NativeBackend, texts: Sequence[Excerpt], heard: Heard) -> Losses:
    """Losses where every token goes through a decode step, several texts side by side.

    Parameters
    ----------
    reference : fp32's logits of the same texts.
    backend : the variant, warm.
    texts : up to `MAX_ROWS` side by side.
    heard : told how many positions more are done.
    """
    losses = Losses.of(texts)
    for group in _groups(texts):
        for position in range(max(len(texts[i].tokens) for i in group) - 1):
            running = [(slot, i) for slot, i in enumerate(group) if position < len(texts[i].tokens) - 1]
            slots = np.array([slot for slot, _ in running])
            tokens = np.array([texts[i].tokens[position] for _, i in running])
            next_ids = np.array([texts[i].tokens[position + 1] for _, i in running])
            logits = backend.decode(tokens, np.full(len(running), position), slots)
            expected = reference.logits([(i, position) for _, i in running])
            for (_, i), row in zip(running, compare(expected, logits, next_ids), strict=True):
                losses.add(i, row[None])
            heard(len(running))
    return losses


def _groups(texts: Sequence[Excerpt]) -> Iterator[list[int]]:
    """Texts of like length side by side, so that few steps run half empty."""
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i].tokens))
    for first in range(0, len(order), MAX_ROWS):
        yield order[first : first + MAX_ROWS]

"""Texts as token ids in batches: of like length, or packed without gaps; in a seeded order to be entered anywhere.

The order of an epoch follows from its number and the seed alone, so a position is two numbers: the epoch, and how many
of its batches are done.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadRequest
from engine.training.losses import IGNORED

POOL = 64  # batches that are sorted by length together: longer pools waste less, shorter ones mix better


class Batch(NamedTuple):
    """What a step learns from.

    Attributes
    ----------
    ids : int64 [B, L], zeros after a text's end.
    lengths : int64 [B].
    targets : int64 [B], a class each, `IGNORED` for a text without one; or int64 [B, L], the next token at each
        position, `IGNORED` after the end.
    names : of the texts, for messages.
    teacher : f32 [B, C], what a teacher's logits are; None where there is none.
    """

    ids: Tensor
    lengths: Tensor
    targets: Tensor
    names: tuple[str, ...]
    teacher: Tensor | None = None

    @property
    def tokens(self) -> int:
        """Tokens that are no padding."""
        return int(self.lengths.sum())


class Learnt(Protocol):
    """What a step learns from, whatever its shape."""

    @property
    def tokens(self) -> int:
        """Tokens that are no padding."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """What the texts are called in messages."""
        ...


class Data(Protocol):
    """What the loop is given."""

    def epoch(self, number: int) -> list[np.ndarray]:
        """The rows of each batch of an epoch, in order; the same each time it is asked."""
        ...

    def batch(self, rows: np.ndarray) -> Learnt:
        """Those rows side by side."""
        ...


@dataclass(frozen=True)
class Labelled:
    """Texts with a label each.

    Attributes
    ----------
    ids : token ids of each text, int32 [n], at least one.
    labels : int64 [N], `IGNORED` for a text without one.
    names : of the texts.
    size : texts a batch.
    seed : of the order.
    teacher : logits f32 [N, C] of a teacher, for distillation.
    """

    ids: Sequence[np.ndarray]
    labels: np.ndarray
    names: Sequence[str]
    size: int
    seed: int = 0
    teacher: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise BadRequest(f"The batch size is {self.size}: give 1 or more.")
        if not len(self.ids) == len(self.labels) == len(self.names):
            raise ValueError(f"{len(self.ids)} texts, {len(self.labels)} labels and {len(self.names)} names")
        for name, ids in zip(self.names, self.ids, strict=True):
            if not len(ids):
                raise BadRequest(f"The text '{name}' has no token: leave it out.")

    def epoch(self, number: int) -> list[np.ndarray]:
        """Shuffled, sorted by length within pools of 64 batches, and the batches shuffled again."""
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(len(self.ids))
        lengths = np.array([len(ids) for ids in self.ids])
        batches: list[np.ndarray] = []
        for first in range(0, len(order), POOL * self.size):
            pool = order[first : first + POOL * self.size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches += [pool[i : i + self.size] for i in range(0, len(pool), self.size)]
        return [batches[i] for i in rng.permutation(len(batches))]

    def in_order(self) -> Iterator[np.ndarray]:
        """All rows, the longest first, for evaluation: the first batch shows whether it fits."""
        order = np.argsort([-len(ids) for ids in self.ids], kind="stable")
        yield from (order[i : i + self.size] for i in range(0, len(order), self.size))

    def batch(self, rows: np.ndarray) -> Batch:
        ids, lengths = padded([self.ids[row] for row in rows])
        names = tuple(self.names[row] for row in rows)
        teacher = None if self.teacher is None else torch.from_numpy(self.teacher[rows])
        return Batch(ids, lengths, torch.from_numpy(self.labels[rows]), names, teacher)


@dataclass(frozen=True)
class Packed:
    """A stream of tokens cut into windows, in each of which every token but the last has a next one to be guessed.

    Attributes
    ----------
    stream : int32 [T], texts one after another, each with the end-of-text token behind it.
    window : tokens that are read in one; a window's last target is the next one's first token.
    size : windows a batch.
    seed : of the order.
    """

    stream: np.ndarray
    window: int
    size: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.window < 1:
            raise BadRequest(f"The batch size is {self.size} and the window {self.window}: give 1 or more.")
        if len(self.stream) < 2:
            raise BadRequest(f"The texts have {len(self.stream)} tokens: a language model needs two or more.")

    @property
    def windows(self) -> int:
        """How many there are; the last may be shorter."""
        return -(-(len(self.stream) - 1) // self.window)

    def epoch(self, number: int) -> list[np.ndarray]:
        """All windows once, shuffled."""
        order = np.random.default_rng([self.seed, number]).permutation(self.windows)
        return [order[i : i + self.size] for i in range(0, len(order), self.size)]

    def in_order(self) -> Iterator[np.ndarray]:
        """All windows as they stand, for evaluation."""
        order = np.arange(self.windows)
        yield from (order[i : i + self.size] for i in range(0, len(order), self.size))

    def batch(self, rows: np.ndarray) -> Batch:
        pieces = [self.stream[row * self.window : (row + 1) * self.window + 1] for row in rows]
        ids, lengths = padded([piece[:-1] for piece in pieces])
        targets, _ = padded([piece[1:] for piece in pieces], IGNORED)
        return Batch(ids, lengths, targets, tuple(f"window {row}" for row in rows))


def pack(texts: Iterable[Sequence[int] | np.ndarray], end: int) -> np.ndarray:
    """Token ids of all texts in one stream int32 [T], the id `end` behind each."""
    return np.concatenate([np.zeros(0, np.int32), *(np.append(ids, end).astype(np.int32) for ids in texts)])


def padded(rows: Sequence[np.ndarray], fill: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of any lengths as int64 [B, longest], `fill` behind the shorter ones, and their lengths int64 [B]."""
    lengths = [len(row) for row in rows]
    out = np.full((len(rows), max(lengths)), fill, np.int64)
    for place, row in zip(out, rows, strict=True):
        place[: len(row)] = row
    return torch.from_numpy(out), torch.tensor(lengths)

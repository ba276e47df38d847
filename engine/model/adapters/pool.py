"""Adapters in memory: one block of numbers that torch and the compiled operators read, the least recently used dropped.

An adapter of rank r has r * W numbers a layer, W depending on the model alone. For each of `MATRICES`, of P parts, R
rows and K columns, these are A [P, r, K] and then B in panels [R / 16, r, 16], so that a lane is a row.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine import memory
from engine.errors import BadRequest
from engine.model.adapters.lora import MATRICES, LoRA, parts_of
from engine.model.families import Architecture

PANEL = 16
LINE = 32  # numbers that a block's size is a multiple of: a cache line of halves


@dataclass(frozen=True)
class Place:
    """Where a matrix's A and B begin in a layer, in numbers for each of the rank.

    Attributes
    ----------
    ends : the row behind the last of each part.
    rows : R, whole panels.
    columns : K.
    a, b : the beginnings.
    """

    ends: tuple[int, ...]
    rows: int
    columns: int
    a: int
    b: int


@dataclass(frozen=True)
class Block:
    """An adapter in the pool.

    Attributes
    ----------
    number : its own for ever: whatever is read later has another.
    name, invocation, rank : as of `LoRA`.
    base, size : where its numbers begin, and how many there are.
    """

    number: int
    name: str
    invocation: tuple[int, ...]
    rank: int
    base: int
    size: int

    def begins(self, ids: Sequence[int]) -> int:
        """From which position of a prompt on it acts; `len(ids)` where it is not invoked."""
        count = len(self.invocation)
        if not count:
            return 0
        wanted = list(self.invocation)
        for at in range(len(ids) - count, -1, -1):
            if list(ids[at : at + count]) == wanted:
                return at
        return len(ids)


class Pool:
    """Adapters of one model. Not thread-safe: it belongs to the thread that runs the model.

    Parameters
    ----------
    arch : the model. Each part of its joined matrices must have whole panels of rows.
    nbytes : that adapters may take together; the system gives memory as it is written.
    dtype : float32, or float16.

    Attributes
    ----------
    numbers : of all blocks, one after another.
    places : by matrix.
    width : W.
    """

    def __init__(self, arch: Architecture, nbytes: int, dtype: torch.dtype) -> None:
        self._layers = arch.layers
        self.numbers = memory.zeros((nbytes // dtype.itemsize,), dtype)
        self.places, self.width = _places(arch)
        self._blocks: OrderedDict[int, Block] = OrderedDict()  # the least recently used first
        self._running: Counter[int] = Counter()  # requests by the number of their block
        self._counting = threading.Lock()
        self._count = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks."""
        return sum(block.size for block in self._blocks.values()) * self.numbers.element_size()

    def place(self, lora: LoRA) -> Block:
        """Copy an adapter into the pool; those used longest ago and not running make room.

        Raises
        ------
        BadRequest : it finds no room beside those that run.
        """
        size = -(-self._layers * self.width * lora.rank // LINE) * LINE
        while (base := self._room(size)) is None:
            idle = next((number for number in self._blocks if not self._running[number]), None)
            if idle is None:
                mb = self.numbers.element_size() / 1e6
                raise BadRequest(
                    f"The adapter {lora.name} takes {size * mb:.0f} MB, and of {self.numbers.numel() * mb:.0f} MB for "
                    f"adapters {self.nbytes / 1e6:.0f} MB are running: give adapters more room, or wait."
                )
            del self._blocks[idle]
        self._count += 1
        block = Block(self._count, lora.name, lora.invocation, lora.rank, base, size)
        for layer in range(self._layers):
            for matrix in MATRICES:
                a, b = self._views(block, matrix, layer)
                a.copy_(lora.a[matrix][layer])
                b.copy_(lora.b[matrix][layer].view(-1, PANEL, lora.rank).transpose(1, 2))
        self._blocks[block.number] = block
        return block

    def holds(self, block: Block) -> bool:
        """Whether a block is still there."""
        return block.number in self._blocks

    def begin(self, block: Block) -> None:
        """A request runs with it, until `end`: it is not dropped meanwhile."""
        with self._counting:
            self._running[block.number] += 1
        self._blocks.move_to_end(block.number)

    def end(self, block: Block) -> None:
        """A request that ran with it does so no more. Any thread may call."""
        with self._counting:
            self._running[block.number] -= 1

    def add(self, y: Tensor, x: Tensor, block: Block, matrix: str, layer: int) -> None:
        """y gains B A x: the slow twin of the compiled operators' thin products.

        Parameters
        ----------
        y : f32 [N, rows], written.
        x : f32 [N, columns].
        block : of the adapter.
        matrix, layer : one of `MATRICES`, and its layer.
        """
        a, b = self._views(block, matrix, layer)
        place = self.places[matrix]
        first = 0
        for part, end in zip(a, place.ends, strict=True):
            rows = b[first // PANEL : end // PANEL].transpose(1, 2).reshape(end - first, block.rank)
            y[:, first:end] += (x @ part.to(x.dtype).T) @ rows.to(x.dtype).T
            first = end

    def _views(self, block: Block, matrix: str, layer: int) -> tuple[Tensor, Tensor]:
        """A [P, r, K] and B [R / 16, r, 16] as they lie in the pool."""
        place, r = self.places[matrix], block.rank
        first = block.base + r * (layer * self.width + place.a)
        middle = block.base + r * (layer * self.width + place.b)
        a = self.numbers[first:middle].view(len(place.ends), r, place.columns)
        return a, self.numbers[middle : middle + r * place.rows].view(-1, r, PANEL)

    def _room(self, size: int) -> int | None:
        """Where so many numbers are free in a row, or None."""
        at = 0
        for block in sorted(self._blocks.values(), key=lambda block: block.base):
            if block.base - at >= size:
                return at
            at = block.base + block.size
        return at if self.numbers.numel() - at >= size else None


def fits(arch: Architecture) -> bool:
    """Whether a model's joined matrices have parts of whole panels."""
    return all(part.rows % PANEL == 0 for parts in parts_of(arch).values() for part in parts)


def _places(arch: Architecture) -> tuple[dict[str, Place], int]:
    """Where everything lies in a layer, and W."""
    found: dict[str, Place] = {}
    at = 0
    for matrix, parts in parts_of(arch).items():
        ends = tuple(sum(part.rows for part in parts[: p + 1]) for p in range(len(parts)))
        middle = at + len(parts) * parts[0].columns
        found[matrix] = Place(ends, ends[-1], parts[0].columns, at, middle)
        at = middle + ends[-1]
    return found, at

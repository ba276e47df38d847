"""Prompts that begin alike share their keys and values: a radix tree over token ids, and the runs that it keeps.

After SGLang's RadixAttention (Zheng et al., 2024): an edge holds a run of tokens, edges split where texts part, and
what was used longest ago leaves first. Here a node owns a COPY of its run's keys and values, and a hit copies them
into the sequence's slot, so that slots stay contiguous for attention. The copy is two orders cheaper than the prefill.

Not thread-safe: it belongs to the thread that runs the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

POSITION = 2  # the axis of positions in every part


@dataclass(frozen=True)
class KVRun:
    """Keys and values of a run of tokens, taken out of a slot as they are stored there, whatever their precision.

    `parts` are tensors [L, G, n, ...]: keys, values, and scales where they are quantized. `run[a:b]` is a view of
    those positions; `compact()` copies it, so that it holds no memory but its own.
    """

    parts: tuple[Tensor, ...]

    @property
    def tokens(self) -> int:
        """Positions held (n)."""
        return self.parts[0].shape[POSITION]

    @property
    def nbytes(self) -> int:
        """Bytes of those positions, in a view too."""
        return sum(part.numel() * part.element_size() for part in self.parts)

    def __getitem__(self, positions: slice) -> KVRun:
        start, end, step = positions.indices(self.tokens)
        if step != 1:
            raise ValueError("a run is cut into runs: positions one after another")
        return KVRun(tuple(part.narrow(POSITION, start, max(0, end - start)) for part in self.parts))

    def compact(self) -> KVRun:
        """A copy that holds no memory but its own."""
        return KVRun(tuple(part.clone(memory_format=torch.contiguous_format) for part in self.parts))


class Node:
    """The end of an edge: `tokens` and their `run` come after all those of the `parent`s."""

    __slots__ = ("children", "holders", "parent", "run", "tokens", "used")

    def __init__(self, tokens: list[int], run: KVRun, parent: Node | None, used: int, holders: int = 0) -> None:
        self.tokens = tokens
        self.run = run
        self.parent = parent
        self.children: dict[int, Node] = {}  # by their first token
        self.holders = holders  # running texts that stand on this node or below it
        self.used = used  # when, in ticks of the tree's clock


@dataclass(frozen=True)
class Match:
    """The longest beginning of a text that the tree holds: `tokens` of it, as `runs` one after another (views)."""

    tokens: int
    runs: tuple[KVRun, ...]
    node: Node


class PrefixTree:
    """Keys and values by the tokens that led to them, at most `limit` bytes of them.

    Nodes that are held (`hold`) are never thrown away; where they leave too little room, only a beginning of what is
    inserted is kept, or nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.nbytes = 0
        self.root = Node([], KVRun(()), None, 0)
        self._leaves: set[Node] = set()
        self._clock = 0

    @property
    def tokens(self) -> int:
        """Positions held in all."""
        return sum(len(node.tokens) for node in self.nodes())

    def nodes(self) -> Iterator[Node]:
        """Every node but the root, parents before children."""
        todo = [self.root]
        while todo:
            for child in todo.pop().children.values():
                yield child
                todo.append(child)

    def match(self, ids: Sequence[int]) -> Match:
        """What the tree holds of the beginning of `ids`. The runs are valid until the next insert."""
        self._clock += 1
        node, at, runs = self.root, 0, []
        while at < len(ids) and (child := node.children.get(ids[at])) is not None:
            common = _common(child.tokens, ids, at)
            child.used = self._clock
            runs.append(child.run[:common])
            at += common
            node = child
            if common < len(child.tokens):
                break
        return Match(at, tuple(runs), node)

    def insert(self, ids: Sequence[int], read: Callable[[int, int], KVRun]) -> Node:
        """Hold what is not yet held of `ids`; `read(start, end)` gives a copy of those positions' keys and values.

        Returns the deepest node that stands for `ids` or its beginning, for `hold`.
        """
        self._clock += 1
        node, at = self.root, 0
        while at < len(ids) and (child := node.children.get(ids[at])) is not None:
            common = _common(child.tokens, ids, at)
            at += common
            if common < len(child.tokens) and at < len(ids):
                child = self._split(child, common)
            child.used = self._clock
            node = child
        if at == len(ids):
            return node  # nothing to add; and where `ids` end inside an edge nothing parts, so it stays whole
        self.hold(node)  # making room must not throw away what the new edge hangs on
        try:
            run = read(at, len(ids))
            room = self._make_room(run.nbytes)
            fitting = min(run.tokens, room * run.tokens // run.nbytes)
            if not fitting:
                return node
            if fitting < run.tokens:
                run = run[:fitting].compact()
            added = Node(list(ids[at : at + fitting]), run, node, self._clock)
            node.children[ids[at]] = added
            self._leaves.discard(node)
            self._leaves.add(added)
            self.nbytes += run.nbytes
            return added
        finally:
            self.release(node)

    def clear(self) -> None:
        """Throw away all that is not held."""
        self._make_room(self.limit)

    def hold(self, node: Node) -> None:
        """Keep a node and all it hangs on until `release`."""
        for held in _upwards(node):
            held.holders += 1

    def release(self, node: Node) -> None:
        """Take one `hold` of a node back."""
        for held in _upwards(node):
            held.holders -= 1

    def _split(self, node: Node, at: int) -> Node:
        """Cut an edge after `at` tokens; returns the new upper part. Both halves own their memory, so that throwing
        one away frees it."""
        assert node.parent is not None
        upper = Node(node.tokens[:at], node.run[:at].compact(), node.parent, node.used, node.holders)
        node.parent.children[upper.tokens[0]] = upper
        node.tokens, node.run, node.parent = node.tokens[at:], node.run[at:].compact(), upper
        upper.children[node.tokens[0]] = node
        return upper

    def _make_room(self, wanted: int) -> int:
        """Throw away leaves, the one used longest ago first, until `wanted` bytes are free; returns what is free."""
        while self.limit - self.nbytes < wanted:
            leaf = min((leaf for leaf in self._leaves if not leaf.holders), key=lambda leaf: leaf.used, default=None)
            if leaf is None:
                break
            assert leaf.parent is not None
            del leaf.parent.children[leaf.tokens[0]]
            self._leaves.remove(leaf)
            if not leaf.parent.children and leaf.parent is not self.root:
                self._leaves.add(leaf.parent)
            self.nbytes -= leaf.run.nbytes
        return self.limit - self.nbytes


def _common(edge: list[int], ids: Sequence[int], at: int) -> int:
    """How many tokens of `edge` stand in `ids` from `at` on."""
    part = ids[at : at + len(edge)]
    if edge == part:  # the usual case, at C's speed
        return len(edge)
    return next((i for i, (a, b) in enumerate(zip(edge, part, strict=False)) if a != b), min(len(edge), len(part)))


def _upwards(node: Node | None) -> Iterator[Node]:
    """A node, its parent, and so on to the root."""
    while node is not None:
        yield node
        node = node.parent

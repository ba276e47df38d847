"""Prompts into slots: chunk by chunk, and what the prefix tree already holds is copied instead of run.

Each prompt is run alone, so that its numbers never depend on its neighbours. Copied keys and values are those that
running the tokens would give, up to the rounding of sums taken in another order: products of other shapes where a
prompt was cut elsewhere, the decode step's where a model's own answer is read back.
"""

from __future__ import annotations

import logging
import time

import numpy as np

from engine.backends.base import Backend
from engine.cache.prefix import Node, PrefixTree
from engine.model.adapters.pool import Block

log = logging.getLogger(__name__)

# Prompt tokens run in one step. About 0.7 s of work on two AVX2 cores: what a stream beside it waits at most.
PREFILL_CHUNK = 512

# A shorter hit is not worth it: the copy, and the seam it makes in the chunk, cost as much as running the tokens.
MIN_REUSE = 16

TOKEN_BITS = 32  # of a token id, above which the number of its adapter stands in the tree


class Text:
    """A text in a slot: `ids`, of which `computed` have their keys and values there, `reused` of them copied; from
    position `begins` on it is read with `adapter`."""

    def __init__(self, ids: list[int], slot: int, adapter: Block | None = None) -> None:
        self.ids = ids
        self.slot = slot
        self.adapter = adapter
        self.begins = adapter.begins(ids) if adapter else len(ids)
        self.computed = 0
        self.reused = 0
        self.prefill_s = 0.0
        self.tree: PrefixTree | None = None  # the one that its first chunk looked into
        self.node: Node | None = None  # of that tree, held while the text runs

    def known_as(self, end: int) -> list[int]:
        """The first `end` tokens as the prefix tree knows them: what an adapter reads has other keys and values, so its
        tokens are others there. What stands before is shared by all."""
        if self.adapter is None or end <= self.begins:
            return self.ids[:end]
        own = self.adapter.number << TOKEN_BITS
        return [*self.ids[: self.begins], *(own + token for token in self.ids[self.begins : end])]


class Prefiller:
    """Runs texts into slots of a backend. Call from the thread that runs the model.

    Attributes
    ----------
    tree : the prefix tree, or None where nothing is reused.
    computed, reused : prompt tokens run and copied so far, of all texts.
    """

    def __init__(self, backend: Backend, tree: PrefixTree | None) -> None:
        self._backend = backend
        self.tree = tree
        self.computed = self.reused = 0

    def chunk(self, text: Text) -> np.ndarray | None:
        """Take a step into a text; logits f32 [V] after its last token once that has been run.

        At least the last token is always run: its logits are needed.
        """
        began = time.perf_counter()
        text.tree = text.tree or self.tree
        self._backend.adapt(text.slot, text.adapter, text.begins)
        self._reuse(text)
        start = text.computed
        chunk = text.ids[start : start + PREFILL_CHUNK]
        last = start + len(chunk) == len(text.ids)
        logits = self._backend.extend(text.slot, start, chunk, logits=last)
        text.computed += len(chunk)
        self.computed += len(chunk)
        text.prefill_s += time.perf_counter() - began
        return logits

    def keep(self, text: Text) -> None:
        """Let the tree hold all that stands in the text's slot, and hold that while the text runs; nothing where the
        text began before `forget`."""
        if self.tree is None or self.tree is not text.tree or text.computed < MIN_REUSE:
            return
        slot = text.slot
        try:
            node = self.tree.insert(
                text.known_as(text.computed), lambda start, end: self._backend.read(slot, start, end)
            )
        except (MemoryError, RuntimeError) as error:  # torch raises the latter where memory is out
            log.warning("%d tokens could not be kept for reuse: %s", text.computed, error)
            return
        self.tree.hold(node)
        self.leave(text)
        text.node = node

    def leave(self, text: Text) -> None:
        """The text no longer needs what it held."""
        if text.tree is not None and text.node is not None:
            text.tree.release(text.node)
        text.node = None

    def forget(self) -> None:
        """Begin an empty tree: what was read so far, running texts included, is no longer what reading would give."""
        if self.tree is not None:
            self.tree = PrefixTree(self.tree.limit)

    def _reuse(self, text: Text) -> None:
        """Copy what the tree holds beyond what is computed: another text may have run it since the last chunk."""
        if self.tree is None:
            return
        match = self.tree.match(text.known_as(len(text.ids) - 1))
        if match.tokens - text.computed < MIN_REUSE:
            return
        at = 0
        for run in match.runs:
            known = max(0, text.computed - at)
            if known < run.tokens:
                self._backend.write(text.slot, at + known, run[known:])
            at += run.tokens
        text.reused += match.tokens - text.computed
        self.reused += match.tokens - text.computed
        text.computed = match.tokens

"""The threads that walk the layers together: the caller and helpers of our own, which wait in compiled code.

A helper is a Python thread that calls `work` once and holds no lock of Python's in it: it sleeps until an order comes,
does its share, and meets the others. No pool of a library's is in between, so that every wait is `kernels.barrier`'s.
An order may be for the first few threads alone; the others then sleep until one is for more.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import NamedTuple

import numba as nb
import numpy as np

from engine.config import MAX_THREADS
from engine.kernels import prefill as chunks
from engine.kernels import step as steps
from engine.kernels.barrier import LINE, SPINS, atomic_add, barrier, wait_beyond, wake_sleepers
from engine.kernels.inner import inner
from engine.kernels.model import Cache, Shape, Weights
from engine.kernels.thin import Adapters, Thin
from engine.memory import array

# Words of `Orders`; `barrier.ARRIVED` and the count of its sleepers are the first two cache lines.
# `CROWD` times how many orders were given, and how many helpers the last is for; the next line counts who sleeps until
# there is another. One word says both, so that a helper that is not meant reads nothing that the caller writes then.
ORDER = 2 * LINE
WIDER = 4 * LINE  # how often an order was for more threads than the one before; the next line, who sleeps until then
KIND, COUNT, START, SLOT, LAYERS, WANTED, ARRIVALS, ACTIVE = range(6 * LINE, 7 * LINE)
WORDS = 7 * LINE
CROWD = MAX_THREADS

STEP, HEAD, PREFILL, END = range(4)  # what an order may ask for
# Loads before a helper sleeps that waits for an order, under a millisecond: more than lies between two steps.
BETWEEN = 16 * SPINS
PATIENCE_S = 10.0  # to wait for a helper's end


class Orders(NamedTuple):
    """What is asked of a team, and what it answers."""

    words: np.ndarray  # i64 [WORDS]
    tokens: np.ndarray  # i64 [most of a step or chunk]
    positions: np.ndarray  # i64 [B]
    slots: np.ndarray  # i64 [B]
    bases: np.ndarray  # i64 [B] of each token's adapter, as `thin.Adapters` has it; the first is a chunk's
    ranks: np.ndarray  # i64 [B]
    residual: np.ndarray  # f32 [B, D], what `HEAD` makes logits of
    logits: np.ndarray  # f32 [B, V or wider], written


def orders(batch: int, chunk: int, hidden: int, vocabulary: int) -> Orders:
    """Orders of up to `batch` tokens of a step, `chunk` of a prompt.

    Parameters
    ----------
    batch : B.
    chunk : most tokens of a prompt at once.
    hidden : D.
    vocabulary : V, or wider.
    """
    whole = np.int64
    return Orders(
        array((WORDS,), whole),
        array((max(batch, chunk),), whole),
        array((batch,), whole),
        array((batch,), whole),
        array((batch,), whole),
        array((batch,), whole),
        array((batch, hidden)),
        array((batch, vocabulary)),
    )


@inner()
def _share(t, threads, o, shape, weights, cache, decode, chunk, thin):
    """Thread t's share of the order that stands in `o`, which is for `threads` of them."""
    words = o.words
    kind, count, arrivals = words[KIND], words[COUNT], words[ARRIVALS]
    if kind == STEP:
        arrivals = steps.step(t, threads, words, arrivals, o.tokens[:count], o.positions[:count], o.slots[:count],
                              Adapters(o.bases, o.ranks, thin), shape, weights, cache, decode, o.logits)  # fmt: skip
    elif kind == HEAD:
        steps.head(t, threads, o.residual, count, shape, weights, decode, o.logits)
    else:
        part = chunks.Chunk(o.tokens[:count], words[START], words[SLOT], words[WANTED], o.bases[0], o.ranks[0], thin)
        arrivals = chunks.prefill(t, threads, words, arrivals, part, words[LAYERS], shape, weights, cache, chunk)
    barrier(words, arrivals + threads)


@nb.njit(nogil=True, cache=True)
def work(t, threads, o, shape, weights, cache, decode, chunk, thin):
    """As thread 0: give the order that stands in `o` to the first words[ACTIVE] threads, do a share, and return when
    all have done theirs. As any other: do a share of every order that is for it too, until one is to end.

    Parameters
    ----------
    t : this thread.
    threads : how many there are, at most `CROWD`.
    o : `Orders`.
    shape, weights, cache : the model, as `kernels.model` describes it.
    decode : `step.Scratch`.
    chunk : `prefill.Scratch`.
    thin : `thin.Thin`.
    """
    words = o.words
    if t == 0:
        active = words[ACTIVE]
        before = words[ORDER] % CROWD + 1
        words[ARRIVALS] = words[0]
        atomic_add(words, ORDER, CROWD + active - before)
        if active > before:
            atomic_add(words, WIDER, 1)
            wake_sleepers(words, WIDER)
        if active > 1:
            wake_sleepers(words, ORDER)
        if words[KIND] != END:
            _share(t, active, o, shape, weights, cache, decode, chunk, thin)
        return
    order = wider = 0
    while True:
        order = wait_beyond(words, ORDER, order, BETWEEN)
        active = order % CROWD + 1
        if t >= active:
            wider = wait_beyond(words, WIDER, wider, 0)
        elif words[KIND] == END:
            return
        else:
            _share(t, active, o, shape, weights, cache, decode, chunk, thin)


class Team:
    """Threads for one model's steps and prompts. Call from one thread only.

    The first team on a machine compiles for about a minute; later processes read the result from disk. The helpers end
    with the team, or with Python.

    Parameters
    ----------
    threads : how many walk together, the caller's among them.
    orders, shape, weights, cache, decode, chunk, thin : as `work` takes them; they are not copied.

    Raises
    ------
    RuntimeError where the system gives no more threads.
    """

    def __init__(
        self,
        threads: int,
        orders: Orders,
        shape: Shape,
        weights: Weights,
        cache: Cache,
        decode: steps.Scratch,
        chunk: chunks.Scratch,
        thin: Thin,
    ) -> None:
        self._words = orders.words
        given = (threads, orders, shape, weights, cache, decode, chunk, thin)
        self._given = given
        self._words[KIND], self._words[ACTIVE] = END, threads
        work(0, *given)  # compiled before anyone waits for it
        self._words[ORDER] = 0
        helpers = [
            threading.Thread(target=work, args=(t, *given), name=f"brisk-step-{t}", daemon=True)
            for t in range(1, threads)
        ]
        self.end = weakref.finalize(self, _end, given, helpers)
        for helper in helpers:
            helper.start()

    def __call__(
        self, kind: int, count: int, start: int = 0, slot: int = 0, layers: int = 0, wanted: int = 0, threads: int = 0
    ) -> None:
        """Carry out an order whose arrays stand in `Orders`.

        Parameters
        ----------
        kind : `STEP`, `HEAD` or `PREFILL`.
        count : tokens of the step or chunk, or rows of `residual`.
        start, slot, layers, wanted : of a chunk: the position and slot of its first token, how many layers are run, and
            of how many last tokens the result is wanted.
        threads : how many walk; 0: all.
        """
        self._words[KIND : WANTED + 1] = kind, count, start, slot, layers, wanted
        self._words[ACTIVE] = threads or self._given[0]
        work(0, *self._given)


def _end(given: tuple, helpers: Sequence[threading.Thread]) -> None:
    threads, orders = given[:2]
    orders.words[KIND], orders.words[ACTIVE] = END, threads
    work(0, *given)
    for helper in helpers:
        if helper.ident is not None:
            helper.join(PATIENCE_S)

"""The compiled operators bound to one model's weights and cache."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from engine.cache.static import StaticCache
from engine.kernels import prefill as chunks
from engine.kernels import step as steps
from engine.kernels.futex import SLEEPS
from engine.kernels.model import Cache, Shape, Weights, padded
from engine.kernels.team import HEAD, PREFILL, STEP, Orders, Team, orders
from engine.kernels.thin import NONE, Thin, thin
from engine.kernels.width import Width
from engine.model.adapters.pool import Block, Pool
from engine.model.families import Architecture
from engine.model.parameters import Parameters


def _view(tensor: torch.Tensor) -> np.ndarray:
    """The same memory as numpy; halves as their 16 bits, which is how the kernels read them."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.float16 else tensor).numpy()


def shape_of(arch: Architecture) -> Shape:
    return Shape(
        heads=arch.heads,
        kv_heads=arch.kv_heads,
        head_dim=arch.head_dim,
        feed_forward=arch.feed_forward,
        vocabulary=arch.vocabulary,
        layer_norm=arch.family.layer_norm,
        gated=arch.family.gated,
        gelu=arch.gelu,
        eps=arch.eps,
    )


def weight_views(p: Parameters) -> Weights:
    """The same memory, as the operators take it."""
    parts: dict[str, torch.Tensor] = {}
    for name in ("qkv", "out", "up", "down"):
        matrix = getattr(p, name)
        parts |= {name: matrix.weight, f"{name}_scale": matrix.scale, f"{name}_bias": matrix.bias}
        parts[f"{name}_minimum"] = matrix.minimum
    vectors = ("positions", "norm1", "norm1_bias", "q_norm", "k_norm", "norm2", "norm2_bias", "norm", "norm_bias",
               "cos", "sin")  # fmt: skip
    parts |= {name: getattr(p, name) for name in vectors}
    parts |= {"embed": p.embed.weight, "embed_scale": p.embed.scale}
    parts |= {"head": p.head.weight, "head_scale": p.head.scale}
    return Weights(**{name: _view(tensor) for name, tensor in parts.items()})


def cache_views(cache: StaticCache) -> Cache:
    """The same memory, as the operators take it."""
    none = torch.zeros((*cache.keys.shape[:3], 0))
    scales = (cache.key_scales, cache.value_scales) if cache.keys.dtype == torch.int8 else (none, none)
    return Cache(_view(cache.keys), _view(cache.values), _view(scales[0]), _view(scales[1]))


class Arguments(NamedTuple):
    """What a team's threads are given, in their order."""

    threads: int
    orders: Orders
    shape: Shape
    weights: Weights
    cache: Cache
    decode: steps.Scratch
    chunk: chunks.Scratch
    thin: Thin


def arguments(
    arch: Architecture, params: Parameters, cache: StaticCache, threads: int, batch: int, chunk: int, bits: int,
    pool: Pool | None = None,
) -> Arguments:  # fmt: skip
    """A model's memory and new work space, as `kernels.team` takes them.

    Parameters
    ----------
    arch, params, cache, threads, batch, chunk, bits, pool : as for `CompiledModel`.
    """
    shape, weights, context = shape_of(arch), weight_views(params), cache.keys.shape[3]
    return Arguments(
        threads,
        orders(batch, chunk, arch.hidden, padded(arch.vocabulary)),
        shape,
        weights,
        cache_views(cache),
        steps.scratch(shape, weights, threads, batch, context),
        chunks.scratch(shape, weights, threads, chunk, context, bits),
        thin(pool, batch),
    )


class CompiledModel:
    """Decode steps and prompts on threads of its own. Call from one thread only.

    Where others use the cores, steps are walked by fewer of the threads if that is faster (`kernels.width`); prompts by
    all, as a disturbed core takes less of them anyway.

    The first calls on a machine compile for about a minute; later processes read the result from disk.

    Parameters
    ----------
    arch, params, cache : the model and the memory of its weights, keys and values, which are not copied.
    threads : how many walk the layers together.
    batch : most tokens of a decode step, and most rows of `logits`.
    chunk : most tokens of one `prefill`.
    bits : where weights are whole numbers, 8: prompts round activations to 8 bits with a scale for each group of 32;
        else to up to 16 with one for each token, as decode steps do.
    pool : of adapters; None where tokens have none.

    Attributes
    ----------
    likeliest : i64 [B] the first of the likeliest tokens of each row of the last decode step, -1 where not all of its
        logits are finite.
    walking : threads that walk decode steps like the last, where nothing is tried.
    widths : how many threads steps are walked by; steps of alike many tokens share one, see `_alike`.

    Raises
    ------
    RuntimeError where the threads cannot be had.
    """

    def __init__(
        self,
        arch: Architecture,
        params: Parameters,
        cache: StaticCache,
        threads: int,
        batch: int,
        chunk: int,
        bits: int,
        pool: Pool | None = None,
    ) -> None:
        self._threads, self._vocabulary, self._chunk = threads, arch.vocabulary, chunk
        given = arguments(arch, params, cache, threads, batch, chunk, bits, pool)
        self._orders, self._decode_work, self._chunk_work = given.orders, given.decode, given.chunk
        self._team = Team(*given)
        self.likeliest = np.empty(0, np.int64)
        self.walking = threads
        # A thread that could not sleep would go on using the core that is to be left alone.
        self.widths: dict[int, Width] = defaultdict(lambda: Width(threads, adapts=SLEEPS))

    def close(self) -> None:
        """End the threads; nothing may be called after. Without it they end when this object is freed."""
        self._team.end()

    @property
    def chunk(self) -> int:
        """Most tokens of one `prefill`."""
        return self._chunk

    def __call__(
        self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray, adapters: Sequence[Block | None] = ()
    ) -> np.ndarray:
        """One decode step. A slot may come several times, its entries together and their positions ascending by one.

        Parameters
        ----------
        tokens, positions, slots : i64 [B], B at most the batch.
        adapters : each token's; nothing where no token has any.

        Returns
        -------
        Logits f32 [B, V], valid until the next call.
        """
        if self._too_near(positions, slots):
            logits = np.empty((len(tokens), self._vocabulary), np.float32)
            likeliest = np.empty(len(tokens), np.int64)
            for b in range(len(tokens)):
                one = slice(b, b + 1)
                logits[b] = self._step(tokens[one], positions[one], slots[one], adapters[one])[0]
                likeliest[b] = self.likeliest[0]
            self.likeliest = likeliest
            return logits
        return self._step(tokens, positions, slots, adapters)

    def prefill(
        self, tokens: np.ndarray, start: int, slot: int, layers: int, wanted: int | None = None,
        adapter: Block | None = None,
    ) -> np.ndarray:  # fmt: skip
        """Run a chunk of a prompt through the first layers; the cache gains its positions.

        Parameters
        ----------
        tokens : i64 [N], at most the chunk.
        start, slot : they are at positions start, start + 1, ... of this slot.
        layers : how many are run.
        wanted : of how many last tokens the result is wanted, W; None: of all. What only the others need is not
            computed, which is most of the last layer.
        adapter : that all of them are read with.

        Returns
        -------
        The residual stream f32 [W, D] of the last tokens, not normed, valid until the next call.
        """
        assert len(tokens) <= self._chunk
        wanted = len(tokens) if wanted is None else wanted
        self._chunk_work.tickets[:] = 0
        self._orders.tokens[: len(tokens)] = tokens
        self._adapt((adapter,))
        self._team(PREFILL, len(tokens), start, slot, layers, wanted)
        return self._chunk_work.x[len(tokens) - wanted : len(tokens)]

    def logits(self, residual: np.ndarray) -> np.ndarray:
        """Logits f32 [R, V] of residual streams f32 [R, D] after all layers, not normed; R at most the batch; valid
        until the next call."""
        self._orders.residual[: len(residual)] = residual
        self._team(HEAD, len(residual))
        return self._orders.logits[: len(residual), : self._vocabulary]

    def _adapt(self, adapters: Sequence[Block | None]) -> None:
        """Let the next order's tokens have these adapters; where none are given, none."""
        bases, ranks = self._orders.bases, self._orders.ranks
        bases[:] = NONE
        for b, adapter in enumerate(adapters):
            if adapter is not None:
                bases[b], ranks[b] = adapter.base, adapter.rank

    def _step(
        self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray, adapters: Sequence[Block | None]
    ) -> np.ndarray:
        o, count = self._orders, len(tokens)
        o.tokens[:count], o.positions[:count], o.slots[:count] = tokens, positions, slots
        self._adapt(adapters)
        width = self.widths[_alike(count)]
        threads = width.now
        began, busy = time.perf_counter(), time.thread_time()
        self._team(STEP, count, threads=threads)
        width.add(time.perf_counter() - began, time.thread_time() - busy)
        self.walking = width.kept
        found = self._decode_work
        self.likeliest = found.best[found.tops[:threads, :count].argmax(0), np.arange(count)]
        return o.logits[:count, : self._vocabulary]

    def _too_near(self, positions: np.ndarray, slots: np.ndarray) -> bool:
        """Whether a part of attention other than the last, which alone writes new positions, would have to read one of
        them."""
        for b in range(1, len(slots)):
            if slots[b] == slots[b - 1]:
                first = int(positions[np.flatnonzero(slots == slots[b])[0]])
                if (int(positions[b]) + 1) * (self._threads - 1) // self._threads > first:
                    return True
        return False


def _alike(count: int) -> int:
    """The same for steps of alike many tokens: 1, 2 to 3, 4 to 7, ... The more there are, the more a thread gives."""
    return count.bit_length()

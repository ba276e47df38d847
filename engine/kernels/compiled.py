"""The compiled operators bound to one model's weights and cache."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numba.core import config

from engine.cache.static import StaticCache
from engine.kernels import prefill as chunks
from engine.kernels import step as steps
from engine.kernels.model import Cache, Shape, Weights, padded
from engine.kernels.team import team_is_whole
from engine.memory import array
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


class CompiledModel:
    """Decode steps and, where weights are integers, prompts, on threads of its own. Call from one thread only.

    The first calls on a machine compile for about a minute; later processes read the result from disk.

    Parameters
    ----------
    arch, params, cache : the model and the memory of its weights, keys and values, which are not copied.
    threads : how many walk the layers together.
    batch : most tokens of a decode step, and most rows of `logits`.
    chunk : most tokens of one `prefill`.
    bits : 8: prompts round activations to 8 bits with a scale for each group of 32; else to up to 16 with one for each
        token, as decode steps do.

    Raises
    ------
    RuntimeError where the threads can not be had.
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
    ) -> None:
        if threads > config.NUMBA_NUM_THREADS:
            raise RuntimeError(f"{threads} threads asked for, {config.NUMBA_NUM_THREADS} can be had")
        if not team_is_whole(threads):
            raise RuntimeError(f"the {threads} threads of a step do not run at once on this machine")
        self._threads = threads
        self._shape, self._weights, self._cache = shape_of(arch), weight_views(params), cache_views(cache)
        context = cache.keys.shape[3]
        self._work = steps.scratch(self._shape, self._weights, threads, batch, context)
        self._logits = array((batch, padded(arch.vocabulary)))
        self._vocabulary = arch.vocabulary
        self._chunk = chunk
        self._chunk_work: chunks.Scratch | None = None
        if params.qkv.weight.dtype in (torch.int8, torch.uint8):
            self._chunk_work = chunks.scratch(self._shape, self._weights, threads, chunk, context, bits)

    @property
    def chunk(self) -> int:
        """Most tokens of one `prefill`."""
        return self._chunk

    @property
    def prefills(self) -> bool:
        """Whether `prefill` may be called: the weights are integers."""
        return self._chunk_work is not None

    def __call__(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """One decode step. A slot may come several times, its entries together and their positions ascending by one.

        Parameters
        ----------
        tokens, positions, slots : i64 [B], B at most the batch.

        Returns
        -------
        Logits f32 [B, V], valid until the next call.
        """
        if self._too_near(positions, slots):
            for b in range(len(tokens)):
                self._step(tokens[b : b + 1], positions[b : b + 1], slots[b : b + 1], self._logits[b : b + 1])
        else:
            self._step(tokens, positions, slots, self._logits[: len(tokens)])
        return self._logits[: len(tokens), : self._vocabulary]

    def prefill(self, tokens: np.ndarray, start: int, slot: int, layers: int) -> np.ndarray:
        """Run a chunk of a prompt through the first layers; the cache gains its positions.

        Parameters
        ----------
        tokens : i64 [N], at most the chunk.
        start, slot : they are at positions start, start + 1, ... of this slot.
        layers : how many are run.

        Returns
        -------
        The residual stream f32 [N, D], not normed, valid until the next call.
        """
        assert self._chunk_work is not None and len(tokens) <= self._chunk
        numba.set_num_threads(self._threads)
        chunks.prefill(self._threads, tokens, start, slot, layers, self._shape, self._weights, self._cache,
                       self._chunk_work)  # fmt: skip
        return self._chunk_work.x[: len(tokens)]

    def logits(self, residual: np.ndarray) -> np.ndarray:
        """Logits f32 [R, V] of residual streams f32 [R, D] after all layers, not normed; R at most the batch; valid
        until the next call."""
        numba.set_num_threads(self._threads)
        logits = self._logits[: len(residual)]
        steps.head(self._threads, residual, self._shape, self._weights, self._work, logits)
        return logits[:, : self._vocabulary]

    def _step(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray, logits: np.ndarray) -> None:
        numba.set_num_threads(self._threads)
        steps.step(self._threads, tokens, positions, slots, self._shape, self._weights, self._cache, self._work, logits)

    def _too_near(self, positions: np.ndarray, slots: np.ndarray) -> bool:
        """Whether a thread other than the last, which alone writes new positions, would have to read one of them."""
        for b in range(1, len(slots)):
            if slots[b] == slots[b - 1]:
                first = int(positions[np.flatnonzero(slots == slots[b])[0]])
                if (int(positions[b]) + 1) * (self._threads - 1) // self._threads > first:
                    return True
        return False

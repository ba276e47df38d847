"""The compiled decode step bound to one model's weights and cache."""

from __future__ import annotations

import numba
import numpy as np
import torch
from numba.core import config

from engine.cache.static import StaticCache
from engine.families import Architecture
from engine.kernels import step as kernel
from engine.kernels.team import team_is_whole
from engine.parameters import Parameters


def _view(tensor: torch.Tensor) -> np.ndarray:
    """The same memory as numpy; halves as their 16 bits, which is how the kernels read them."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.float16 else tensor).numpy()


class CompiledStep:
    """Decode up to `batch` sequences at once with `threads` threads. Call from one thread only.

    The first call on a machine compiles for about half a minute; later processes read the result from disk.
    """

    def __init__(self, arch: Architecture, params: Parameters, cache: StaticCache, threads: int, batch: int) -> None:
        p = params
        if threads > config.NUMBA_NUM_THREADS:
            raise RuntimeError(f"{threads} threads asked for, {config.NUMBA_NUM_THREADS} can be had")
        if not team_is_whole(threads):
            raise RuntimeError(f"the {threads} threads of a step do not run at once on this machine")
        self._threads = threads
        self._shape = kernel.Shape(
            heads=arch.heads,
            kv_heads=arch.kv_heads,
            head_dim=arch.head_dim,
            feed_forward=arch.feed_forward,
            layer_norm=arch.family.layer_norm,
            gated=arch.family.gated,
            gelu=arch.gelu,
            eps=arch.eps,
        )
        parts: dict[str, torch.Tensor] = {}
        for name in ("qkv", "out", "up", "down"):
            matrix = getattr(p, name)
            parts |= {name: matrix.weight, f"{name}_scale": matrix.scale, f"{name}_bias": matrix.bias}
        vectors = ("positions", "norm1", "norm1_bias", "q_norm", "k_norm", "norm2", "norm2_bias", "norm", "norm_bias",
                   "cos", "sin")  # fmt: skip
        parts |= {name: getattr(p, name) for name in vectors}
        parts |= {"embed": p.embed.weight, "embed_scale": p.embed.scale}
        parts |= {"head": p.head.weight, "head_scale": p.head.scale}
        self._weights = kernel.Weights(**{name: _view(tensor) for name, tensor in parts.items()})
        self._keys, self._values = _view(cache.keys), _view(cache.values)
        self._work = kernel.scratch(self._shape, self._weights, threads, batch, cache.keys.shape[3])
        self._logits = np.empty((batch, arch.vocabulary), np.float32)

    def __call__(self, tokens: np.ndarray, positions: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """One token each (all i64 [B]) into logits f32 [B, V], valid until the next call."""
        numba.set_num_threads(self._threads)
        logits = self._logits[: len(tokens)]
        kernel.step(self._threads, tokens, positions, slots, self._shape, self._weights, self._keys, self._values,
                    self._work, logits)  # fmt: skip
        return logits

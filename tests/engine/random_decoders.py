"""Our decoder on the small random models of `engine.measure.parity`, one of every family."""

from __future__ import annotations

from typing import Any

import torch

from engine.cache.static import StaticCache
from engine.measure.parity import random_models
from engine.model.build import BuildOptions, build_parameters
from engine.model.decoder import Decoder
from engine.model.families import describe

MODELS = dict(random_models())


def decoder(model: Any, precision: str, dtype: torch.dtype = torch.float32, kv_precision: str = "") -> Decoder:
    """Four slots of 128 tokens; `dtype` is what it computes in, and stores unless `kv_precision` says otherwise."""
    arch = describe(model.config.to_dict())
    params = build_parameters(arch, dict(model.state_dict()), BuildOptions(precision, 128, compute_dtype=dtype))
    cache = StaticCache(arch.layers, 4, arch.kv_heads, 128, arch.head_dim, dtype, precision=kv_precision)
    return Decoder(arch, params, cache)

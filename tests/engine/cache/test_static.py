"""The static cache."""

from __future__ import annotations

import torch

from engine.cache.static import StaticCache


def test_a_copy_carries_the_first_positions_only() -> None:
    cache = StaticCache(layers=2, slots=3, kv_heads=2, context=8, head_dim=4)
    cache.keys[:, 0] = 1
    cache.values[:, 0] = 2
    cache.copy(0, 2, 5)
    assert (cache.keys[:, 2, :, :5] == 1).all()
    assert (cache.values[:, 2, :, :5] == 2).all()
    assert not cache.keys[:, 2, :, 5:].any()
    assert not cache.keys[:, 1].any()


def test_it_takes_any_dtype() -> None:
    assert StaticCache(1, 1, 1, 4, 4, torch.bfloat16).keys.dtype == torch.bfloat16

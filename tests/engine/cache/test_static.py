"""The static cache: what is stored in each precision, and what is read back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cache.static import SMALLEST_SCALE, StaticCache, quantize_heads, stored_precision

PRECISIONS = ("fp32", "half", "int8")


def random_heads(seed: int, tokens: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values f32 [2, tokens, 4]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, tokens, 4, generator=generator), torch.randn(2, tokens, 4, generator=generator)


def make(precision: str = "", dtype: torch.dtype = torch.float32) -> StaticCache:
    return StaticCache(layers=2, slots=3, kv_heads=2, context=8, head_dim=4, dtype=dtype, precision=precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_copy_carries_the_first_positions_only(precision: str) -> None:
    cache = make(precision)
    k, v = random_heads(0, 8)
    for layer in range(2):
        cache.store(layer, 0, 0, k, v)
    cache.copy(0, 2, 5)
    for part in cache.parts:
        assert torch.equal(part[:, 2, :, :5], part[:, 0, :, :5])
        assert part[:, 2, :, :5].any()
        assert not part[:, 2, :, 5:].any()
        assert not part[:, 1].any()


@pytest.mark.parametrize(
    ("precision", "dtype", "stored"),
    [
        ("", torch.float32, torch.float32),
        ("", torch.bfloat16, torch.bfloat16),
        ("fp32", torch.float32, torch.float32),
        ("fp32", torch.bfloat16, torch.float32),
        ("half", torch.float32, torch.float16),
        ("half", torch.float16, torch.float16),
        ("half", torch.bfloat16, torch.bfloat16),
        ("int8", torch.float32, torch.int8),
        ("int8", torch.float16, torch.int8),
    ],
)
def test_what_is_stored_and_what_is_read(precision: str, dtype: torch.dtype, stored: torch.dtype) -> None:
    cache = make(precision, dtype)
    assert cache.keys.dtype == cache.values.dtype == stored
    assert cache.precision == {4: "fp32", 2: "half", 1: "int8"}[stored.itemsize]
    k, v = (x.to(dtype) for x in random_heads(1))
    cache.store(1, 2, 3, k, v)
    for found, given_ in zip(cache.load(1, 2, 8), (k, v), strict=True):
        assert found.dtype == dtype
        assert not found[:, :3].any()
        torch.testing.assert_close(found[:, 3:], given_, rtol=0, atol=0.02 if stored == torch.int8 else 1e-3)
    assert not cache.load(1, 1, 8)[0].any()
    assert not cache.load(0, 2, 8)[0].any()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bytes_a_position(precision: str) -> None:
    """int8: a byte a number and four for the scale of each head; nothing more than the parts is held."""
    cache = make(precision)
    held = sum(part.numel() * part.element_size() for part in cache.parts) / (2 * 3 * 8)
    assert held == 2 * 2 * {"fp32": 16, "half": 8, "int8": 4 + 4}[precision]
    assert cache.key_scales.shape == (2, 3, 2, 8 if precision == "int8" else 0)


def test_what_is_stored_as_it_is_computed_is_read_without_a_copy() -> None:
    cache = make("fp32")
    assert cache.load(0, 1, 4)[0].data_ptr() == cache.keys[0, 1].data_ptr()


def test_halves_are_rounded_to_the_nearest() -> None:
    cache = make("half")
    k, v = random_heads(2)
    cache.store(0, 0, 0, k, v)
    assert torch.equal(cache.load(0, 0, 5)[0], k.half().float())
    assert torch.equal(cache.load(0, 0, 5)[1], v.half().float())


@settings(max_examples=60, deadline=None)
@given(st.integers(-30, 30), st.integers(1, 70), st.integers(0, 2**31))
def test_int8_is_off_by_half_a_step_of_its_own_head_at_most(size: int, width: int, seed: int) -> None:
    x = torch.randn(3, 2, width, generator=torch.Generator().manual_seed(seed)) * 2.0**size
    rounded, scale = quantize_heads(x)
    assert torch.equal(rounded, rounded.round())
    assert (rounded.abs().amax(-1) == 127)[scale > SMALLEST_SCALE].all()
    assert ((rounded * scale[..., None] - x).abs() <= scale[..., None] * 0.5001).all()


def test_int8_ties_go_to_even_and_zeros_stay_zero() -> None:
    rounded, scale = quantize_heads(torch.tensor([[127.0, 0.5, 1.5, -2.5], [0.0, 0.0, 0.0, 0.0]]))
    assert rounded.tolist() == [[127, 0, 2, -2], [0, 0, 0, 0]]
    assert scale[0] == 1
    assert 0 < scale[1] < 1e-11


def test_a_loud_head_does_not_drown_a_quiet_one() -> None:
    cache = make("int8")
    k, v = random_heads(3)
    k[0] *= 1000
    cache.store(0, 0, 0, k, v)
    assert (cache.load(0, 0, 5)[0][1] - k[1]).abs().max() < 0.02


def test_auto_is_fp32_beside_fp32_weights_else_half() -> None:
    beside = [stored_precision("auto", weights) for weights in ("fp32", "half", "int8", "int4")]
    assert beside == ["fp32", "half", "half", "half"]
    assert stored_precision("int8", "fp32") == "int8"

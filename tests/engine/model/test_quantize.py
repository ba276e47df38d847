"""Weights to whole numbers and back: int8 by rows, int4 by groups."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadModel
from engine.model.quantize import GROUP, from_panels, in_panels, panels, quantize_groups, quantize_rows, widen_groups


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(-20, 20), st.integers(0, 2**31))
def test_rounding_to_int8_is_off_by_half_a_step_at_most(rows: int, columns: int, size: int, seed: int) -> None:
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 2.0**size
    rounded, scale = quantize_rows(weight)
    assert torch.equal(rounded, rounded.round())
    assert (rounded.abs().amax(-1) == 127).all()  # the whole range is used
    error = (rounded * scale[:, None] - weight).abs()
    assert (error <= scale[:, None] * 0.5001).all()


def test_a_row_of_zeros_stays_zero() -> None:
    weight = torch.tensor([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5]])
    rounded, scale = quantize_rows(weight)
    assert torch.isfinite(scale).all()
    assert (rounded[0] == 0).all()
    assert rounded[1].tolist() == [64, -127, 32]  # ties go to even


def test_a_work_buffer_gives_the_same_numbers() -> None:
    weight = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    (plain, scale), (buffered, again) = quantize_rows(weight), quantize_rows(weight, torch.full((99,), 7.0))
    assert torch.equal(plain, buffered)
    assert torch.equal(scale, again)


def q4_1(rows: int, groups: int, seed: int, size: int) -> torch.Tensor:
    """Weights as GGUF's Q4_1 stores them: fp16 scale and minimum, each group with its least and greatest nibble."""
    generator = torch.Generator().manual_seed(seed)
    nibbles = torch.randint(0, 16, (rows, groups, GROUP), generator=generator)
    places = torch.rand(rows, groups, GROUP, generator=generator).argsort(-1)
    nibbles.scatter_(-1, places[..., :1], 0).scatter_(-1, places[..., 1:2], 15)
    scale = (torch.rand(rows, groups, 1, generator=generator) * 2.0**size).half().float()
    minimum = (torch.randn(rows, groups, 1, generator=generator) * 8 * 2.0**size).half().float()
    return (nibbles * scale + minimum).flatten(1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31), st.integers(-12, 8))
def test_weights_that_were_q4_1_come_back_exactly(rows: int, groups: int, seed: int, size: int) -> None:
    weight = q4_1(rows, groups, seed, size)
    packed, scale, minimum = quantize_groups(weight)
    assert (packed.dtype, scale.dtype, minimum.dtype) == (torch.uint8, torch.float16, torch.float16)
    assert (packed.shape, scale.shape) == ((rows, groups * 16), (rows, groups))
    assert torch.equal(widen_groups(packed, scale, minimum, torch.empty_like(weight)), weight)


def test_gguf_reads_our_int4_blocks_as_we_do() -> None:
    """The bytes of a group are those of a Q4_1 block: scale, minimum, then 16 bytes of nibbles."""
    gguf = pytest.importorskip("gguf")
    weight = torch.randn(3, 64, generator=torch.Generator().manual_seed(4))
    packed, scale, minimum = quantize_groups(weight)
    heads = torch.stack([scale, minimum], -1).view(torch.uint8)  # [3, 2, 4]
    blocks = torch.cat([heads, packed.view(3, 2, 16)], -1).flatten(1).numpy()
    expected = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType.Q4_1)
    found = widen_groups(packed, scale, minimum, torch.empty_like(weight)).numpy()
    assert (found == expected).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(-8, 8), st.integers(0, 2**31))
def test_rounding_to_int4_is_off_by_half_a_step_and_the_rounding_of_its_ends(
    rows: int, groups: int, size: int, seed: int
) -> None:
    weight = torch.randn(rows, groups * GROUP, generator=torch.Generator().manual_seed(seed)) * 2.0**size
    packed, scale, minimum = quantize_groups(weight)
    error = (widen_groups(packed, scale, minimum, torch.empty_like(weight)) - weight).abs().view(rows, groups, GROUP)
    ends = weight.abs().view(rows, groups, GROUP).amax(-1, keepdim=True)
    assert (error <= 0.5 * scale.float()[..., None] + 2.0**-9 * ends + 1e-7).all()


def test_a_group_of_one_number_is_its_minimum() -> None:
    weight = torch.full((1, 64), 0.25)
    weight[0, 32:] = 0
    assert torch.equal(widen_groups(*quantize_groups(weight), torch.empty_like(weight)), weight)


def test_a_weight_beyond_int4s_range_is_refused() -> None:
    weight = torch.zeros(1, 32)
    weight[0, 3] = -70_000.0
    with pytest.raises(BadModel, match="too large for int4: load this model in fp32 or int8"):
        quantize_groups(weight)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 70))
def test_panels_hold_every_byte_once_and_zeros_beside_them(rows: int, columns: int) -> None:
    weight = torch.randint(-128, 128, (rows, columns), dtype=torch.int8, generator=torch.Generator().manual_seed(rows))
    packed = panels(weight)
    assert packed.shape == (-(-rows // 16), -(-columns // 4) * 64)
    whole = from_panels(packed).flatten(2).flatten(0, 1)
    assert torch.equal(whole[:rows, :columns], weight)
    assert not whole[rows:].any()
    assert not whole[:, columns:].any()


def test_a_panel_is_sixteen_rows_side_by_side_by_fours() -> None:
    weight = torch.arange(16)[:, None] * 8 + torch.arange(8)  # row * 8 + column
    packed = panels(weight.to(torch.int8))
    assert packed[0, :8].tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert packed[0, 64:68].tolist() == [4, 5, 6, 7]


def test_what_belongs_to_rows_lies_as_they_do() -> None:
    scales = torch.arange(20.0)
    assert in_panels(scales).tolist() == [*range(20), *[0] * 12]
    groups = scales[:, None] * 10 + torch.arange(2)
    found = in_panels(groups)
    assert found.shape == (2, 32)
    assert found[0, 16:20].tolist() == [1, 11, 21, 31]  # the second group of rows 0, 1, 2, 3
    assert found[1, 3] == 190
    assert not found[1, 4:16].any()

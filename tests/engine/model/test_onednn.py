"""oneDNN's products against torch's own."""

from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F

from engine.model import onednn


@pytest.fixture(autouse=True)
def _asked_anew() -> None:
    onednn.fastest.cache_clear()


@pytest.mark.parametrize("rows", [1, onednn.LEAST_ROWS - 1, onednn.LEAST_ROWS, 100, 257])
@pytest.mark.parametrize("biased", [False, True])
def test_products_are_those_of_torch_but_for_rounding(rows: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(rows)
    x, weight = torch.randn(rows, 96, generator=generator), torch.randn(80, 96, generator=generator)
    bias = torch.randn(80, generator=generator) if biased else None
    expected = F.linear(x.double(), weight.double(), bias if bias is None else bias.double())
    torch.testing.assert_close(onednn.linear(x, weight, bias).double(), expected, rtol=1e-5, atol=2e-5)


def test_rows_apart_in_memory_are_read_right() -> None:
    x, weight = torch.randn(64, 40)[:, ::2], torch.randn(60, 20)[::2]
    torch.testing.assert_close(onednn.linear(x, weight, None), F.linear(x, weight), rtol=1e-5, atol=1e-5)


def test_other_types_stay_with_torch() -> None:
    x, weight = torch.randn(64, 32).bfloat16(), torch.randn(16, 32).bfloat16()
    assert torch.equal(onednn.linear(x, weight, None), F.linear(x, weight))


def test_a_torch_without_the_operator_keeps_its_own_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*arguments: object) -> torch.Tensor:
        raise AttributeError("no such operator")

    monkeypatch.setattr(onednn, "linear", missing)
    with caplog.at_level(logging.WARNING):
        assert onednn.fastest() is F.linear
    assert "no such operator" in caplog.text


def test_the_operator_is_used_where_it_is() -> None:
    expected = onednn.linear if torch.backends.mkldnn.is_available() else F.linear
    assert onednn.fastest() is expected

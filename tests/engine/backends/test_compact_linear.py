"""Linear layers stored in fewer bytes: near the numbers they stand for, and as small as they promise."""

from __future__ import annotations

import pytest
import torch

from engine.backends.compact_linear import CompactLinear, compact
from engine.errors import BadRequest


@pytest.mark.parametrize(("precision", "bound"), [("half", 0.002), ("int8", 0.02), ("int4", 0.15)])
def test_a_linear_layer_of_the_transformers_backend_is_stored_smaller(precision: str, bound: float) -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 48)
    stored, x = CompactLinear(linear, precision), torch.randn(5, 64)
    with torch.inference_mode():
        error = (stored(x) - linear(x)).norm() / linear(x).norm()
    assert 0 < float(error) < bound
    assert (stored.weight - linear.weight).abs().max() < bound
    held = sum(buffer.numel() * buffer.element_size() for buffer in stored.buffers())
    assert held <= linear.weight.numel() * {"half": 2, "int8": 1.1, "int4": 0.65}[precision]


def test_a_layer_that_does_not_divide_into_groups_is_refused_in_int4() -> None:
    with pytest.raises(BadRequest, match="'0' has 48 columns, not a multiple of 32"):
        compact(torch.nn.Sequential(torch.nn.Linear(48, 8)), "int4")

"""Each activation against torch's, in value and gradient, far out too."""

from __future__ import annotations

import pytest
import torch

from engine.training.activations import ACTIVATIONS, gelu, gelu_tanh, relu, sigmoid, tanh

X = torch.cat([torch.linspace(-6, 6, 241, dtype=torch.float64), torch.tensor([-800.0, -50.0, 50.0, 800.0]).double()])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_ours_is_torchs(name: str) -> None:
    ours, torchs = ACTIVATIONS[name]
    x = X.clone().requires_grad_()
    assert torch.allclose(ours(x), torchs(x), rtol=0, atol=1e-12)
    slopes = [torch.autograd.grad(function(x).sum(), x)[0] for function in (ours, torchs)]
    assert torch.allclose(slopes[0], slopes[1], rtol=0, atol=1e-9)


def test_the_often_read_examples() -> None:
    x = torch.tensor([-2.0], dtype=torch.float64)
    assert [round(float(function(x)), 3) for function in (relu, sigmoid, tanh)] == [0, 0.119, -0.964]


def test_the_two_gelus_are_near() -> None:
    assert 1e-5 < float((gelu(X) - gelu_tanh(X)).abs().max()) < 5e-4

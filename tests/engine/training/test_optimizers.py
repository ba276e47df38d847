"""Our rules against torch.optim's, and the worked examples of docs/training.md."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import Optimizer

from engine.errors import BadRequest
from engine.training.optimizers import OPTIMIZERS, Adam, make_optimizer

STEPS = 50


def walk(optimizer_of: Any) -> list[torch.Tensor]:
    """The weights of a small two-layer net after each of 50 steps, in float64."""
    generator = torch.Generator().manual_seed(3)
    x, y = (torch.randn(32, n, generator=generator, dtype=torch.float64) for n in (6, 2))
    weights = [
        (0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_()
        for shape in ((6, 8), (8,), (8, 2))
    ]
    optimizer: Optimizer = optimizer_of(weights)
    seen = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        found = torch.tanh(x @ weights[0] + weights[1]) @ weights[2]
        ((found - y) ** 2).mean().backward()
        optimizer.step()
        seen.append(torch.cat([w.detach().flatten().clone() for w in weights]))
    return seen


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ours_is_torchs(name: str) -> None:
    decay = 0.1 if OPTIMIZERS[name].decays else 0.0
    ours = walk(lambda weights: make_optimizer(name, weights, 0.05, decay, ours=True))
    torchs = walk(lambda weights: make_optimizer(name, weights, 0.05, decay))
    assert max(float((a - b).abs().max()) for a, b in zip(ours, torchs, strict=True)) < 1e-6
    assert float((ours[-1] - ours[0]).abs().max()) > 0.01, "the net moved"


def test_rules_differ() -> None:
    ends = [walk(lambda w, name=name: make_optimizer(name, w, 0.05, ours=True))[-1] for name in OPTIMIZERS]
    differences = [float((a - b).abs().max()) for i, a in enumerate(ends) for b in ends[:i]]
    # without decay AdamW is Adam, which is one pair of the fifteen
    assert sum(difference < 1e-6 for difference in differences) == 1


def test_weight_decay_shrinks_what_has_no_gradient() -> None:
    p = torch.tensor([2.0, -4.0], requires_grad=True)
    p.grad = torch.zeros(2)
    make_optimizer("adamw", [p], 0.1, 0.5, ours=True).step()
    assert torch.allclose(p.detach(), torch.tensor([1.9, -3.8]))


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e4])
def test_adams_first_step_does_not_depend_on_the_gradients_size(size: float) -> None:
    p = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    p.grad = size * torch.tensor([0.1, -0.3, 0.5], dtype=torch.float64)
    Adam([p], lr=0.1).step()
    assert torch.allclose(p.detach(), torch.tensor([0.9, 2.1, 2.9], dtype=torch.float64), atol=1e-3)


def test_state_goes_on_where_it_was_saved() -> None:
    def weights() -> torch.Tensor:
        return torch.tensor([1.0, -2.0], requires_grad=True)

    def steps(optimizer: Optimizer, p: torch.Tensor, count: int) -> None:
        for _ in range(count):
            p.grad = p.detach() ** 2
            optimizer.step()

    for name in OPTIMIZERS:
        whole, first, second = weights(), weights(), weights()
        steps(make_optimizer(name, [whole], 0.01, ours=True), whole, 6)
        before = make_optimizer(name, [first], 0.01, ours=True)
        steps(before, first, 3)
        after = make_optimizer(name, [second], 0.01, ours=True)
        second.data.copy_(first.data)
        after.load_state_dict(before.state_dict())
        steps(after, second, 3)
        assert torch.equal(whole, second), name


def test_unknown_and_undecayable() -> None:
    p = [torch.zeros(1, requires_grad=True)]
    with pytest.raises(BadRequest, match=r"sgdd.*unknown.*adamw"):
        make_optimizer("sgdd", p, 0.1)
    with pytest.raises(BadRequest, match="takes no weight decay"):
        make_optimizer("adam", p, 0.1, 0.1)

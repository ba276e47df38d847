"""Losses against torch, in value and gradient, and the worked examples of docs/training.md."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.training.losses import IGNORED, cross_entropy, distillation, squared_error

LOGITS = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
HARD = torch.tensor([0, 4, 2, IGNORED, 1, 3, IGNORED])
SOFT = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(-1)


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(loss, of)[0]


@pytest.mark.parametrize("targets", [HARD, SOFT], ids=["classes", "soft targets"])
def test_cross_entropy_is_torchs(targets: Tensor) -> None:
    logits = LOGITS.clone().requires_grad_()
    ours, torchs = cross_entropy(logits, targets), functional.cross_entropy(logits, targets)
    assert torch.allclose(ours, torchs, rtol=0, atol=1e-12)
    assert torch.allclose(gradient(ours, logits), gradient(torchs, logits), rtol=0, atol=1e-12)


def test_cross_entropy_of_large_logits_is_finite() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    assert float(cross_entropy(logits, torch.tensor([0]))) == 0
    assert float(cross_entropy(logits, torch.tensor([1]))) == 2e4


def test_squared_error_is_torchs() -> None:
    found = LOGITS.clone().requires_grad_()
    ours, torchs = squared_error(found, SOFT), functional.mse_loss(found, SOFT)
    assert torch.allclose(ours, torchs, rtol=0, atol=1e-12)
    assert torch.allclose(gradient(ours, found), gradient(torchs, found), rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("soft", [1.0, 0.7, 0.0])
def test_distillation_is_torchs(temperature: float, soft: float) -> None:
    student, teacher = LOGITS.clone().requires_grad_(), 3 * SOFT
    targets = HARD.clamp(min=0)
    ours = distillation(student, teacher, targets, temperature, soft)
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, -1), functional.softmax(teacher / temperature, -1),
        reduction="batchmean",
    )  # fmt: skip
    torchs = soft * temperature**2 * divergence + (1 - soft) * functional.cross_entropy(student, targets)
    assert torch.allclose(ours, torchs, rtol=0, atol=1e-12)
    assert torch.allclose(gradient(ours, student), gradient(torchs, student), rtol=0, atol=1e-12)


def test_distillation_ends_at_the_teacher() -> None:
    """Zero where both agree; and at one temperature its gradient is that of cross-entropy on soft targets."""
    assert abs(float(distillation(LOGITS, LOGITS + 3, temperature=2))) < 1e-12
    student = LOGITS.clone().requires_grad_()
    ours = gradient(distillation(student, SOFT.log()), student)
    assert torch.allclose(ours, gradient(cross_entropy(student, SOFT), student), atol=1e-12)


def test_rows_without_a_label_hear_the_teacher_alone() -> None:
    targets = torch.where(torch.arange(len(LOGITS)) % 2 == 0, HARD.clamp(min=0), IGNORED)
    some, rest = targets != IGNORED, targets == IGNORED
    found = distillation(LOGITS, SOFT.log(), targets, 2.0, 0.3)
    parts = distillation(LOGITS[some], SOFT[some].log(), targets[some], 2.0, 0.3) * some.sum()
    parts += distillation(LOGITS[rest], SOFT[rest].log(), None, 2.0) * rest.sum()
    assert torch.allclose(found, parts / len(LOGITS), rtol=0, atol=1e-12)


def test_the_often_read_example() -> None:
    """y = [0.2, 0.5, 0.3] against p = [0.1, 0.9, 0.2] is 0.996, and p is no distribution."""
    y, p = (0.2, 0.5, 0.3), (0.1, 0.9, 0.2)
    assert round(-sum(a * math.log(b) for a, b in zip(y, p, strict=True)), 3) == 0.996
    assert round(sum(p), 1) == 1.2
    normal = [b / sum(p) for b in p]
    by_hand = -sum(a * math.log(b) for a, b in zip(y, normal, strict=True))
    ours = cross_entropy(torch.tensor([p], dtype=torch.float64).log(), torch.tensor([y], dtype=torch.float64))
    assert abs(float(ours) - by_hand) < 1e-12, "logits are made a distribution first"

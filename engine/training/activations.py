"""Activation functions as their formulas have them; torch's own are what training runs.

Each takes a tensor of any shape and gives one of the same shape and dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional


def relu(x: Tensor) -> Tensor:
    """max(0, x): what is negative is cut off, and passes no gradient (Nair and Hinton 2010)."""
    return torch.where(x > 0, x, torch.zeros_like(x))


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), between 0 and 1. The exponential is taken of -|x| alone, so that none overflows."""
    small = torch.exp(-x.abs())
    return torch.where(x >= 0, 1 / (1 + small), small / (1 + small))


def tanh(x: Tensor) -> Tensor:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)), between -1 and 1: a sigmoid of 2 x, stretched to both sides."""
    return 2 * sigmoid(2 * x) - 1


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x): smooth, and slightly negative below 0 (Elfwing et al. 2018; the gate of Llama's layers)."""
    return x * sigmoid(x)


def gelu(x: Tensor) -> Tensor:
    """x Phi(x), Phi being the normal distribution's share below x (Hendrycks and Gimpel 2016)."""
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU with tanh in place of the error function, as GPT-2 was trained with; within 0.0005 of `gelu`."""
    return 0.5 * x * (1 + tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


Activation = Callable[[Tensor], Tensor]

# Name -> ours, as the formula has it, and torch's, which trains.
ACTIVATIONS: dict[str, tuple[Activation, Activation]] = {
    "relu": (relu, torch.relu),
    "sigmoid": (sigmoid, torch.sigmoid),
    "tanh": (tanh, torch.tanh),
    "silu": (silu, functional.silu),
    "gelu": (gelu, functional.gelu),
    "gelu_tanh": (gelu_tanh, lambda x: functional.gelu(x, approximate="tanh")),
}

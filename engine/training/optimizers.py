"""Optimizers: how a gradient becomes a step. A few lines each, beside torch's, which are as exact and faster.

Each rule changes one parameter p (any shape) by its gradient g; `state` keeps what a rule remembers of it. All take
`lr`, which a schedule may change between steps, and are saved and restored as torch's are (`state_dict`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from engine.errors import BadRequest

State = dict[str, Any]
Group = dict[str, Any]


class Rule(Optimizer):
    """What the rules share: a step goes through all parameters that have a gradient."""

    def __init__(self, parameters: Iterable[Any], **numbers: float) -> None:
        super().__init__(parameters, dict(numbers))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of every parameter; gradients are left as they are."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, p.grad, self.state[p], group)

    def _update(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        """Change `p` in place.

        Parameters
        ----------
        p, g : a parameter and its gradient, of one shape.
        state : what is remembered of this parameter, empty at its first step.
        group : the numbers of the rule.
        """
        raise NotImplementedError


def _kept(state: State, name: str, like: Tensor) -> Tensor:
    """What a rule remembers under this name: zeros at first."""
    if name not in state:
        state[name] = torch.zeros_like(like)
    kept: Tensor = state[name]
    return kept


class Sgd(Rule):
    """p <- p - lr g: straight down where it is steepest."""

    def __init__(self, parameters: Iterable[Any], lr: float = 0.1) -> None:
        super().__init__(parameters, lr=lr)

    def _update(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        p -= group["lr"] * g


class Momentum(Rule):
    """v <- m v + g, p <- p - lr v: steps in one direction add up, those to and fro cancel (Polyak 1964)."""

    def __init__(self, parameters: Iterable[Any], lr: float = 0.1, momentum: float = 0.9) -> None:
        super().__init__(parameters, lr=lr, momentum=momentum)

    def _update(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        v = _kept(state, "velocity", p)
        v.mul_(group["momentum"]).add_(g)
        p -= group["lr"] * v


class AdaGrad(Rule):
    """s <- s + g^2, p <- p - lr g / (sqrt(s) + eps): a rate for each number, which only falls (Duchi et al. 2011)."""

    def __init__(self, parameters: Iterable[Any], lr: float = 0.01, eps: float = 1e-10) -> None:
        super().__init__(parameters, lr=lr, eps=eps)

    def _update(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        s = _kept(state, "squares", p)
        s += g * g
        p -= group["lr"] * g / (s.sqrt() + group["eps"])


class RmsProp(Rule):
    """s <- a s + (1 - a) g^2, p <- p - lr g / (sqrt(s) + eps): AdaGrad that forgets (Tieleman and Hinton 2012)."""

    def __init__(self, parameters: Iterable[Any], lr: float = 0.01, alpha: float = 0.99, eps: float = 1e-8) -> None:
        super().__init__(parameters, lr=lr, alpha=alpha, eps=eps)

    def _update(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        s = _kept(state, "squares", p)
        s.mul_(group["alpha"]).add_((1 - group["alpha"]) * g * g)
        p -= group["lr"] * g / (s.sqrt() + group["eps"])


class Adam(Rule):
    """m <- b1 m + (1 - b1) g, s <- b2 s + (1 - b2) g^2, p <- p - lr m' / (sqrt(s') + eps) (Kingma and Ba 2015).

    m' = m / (1 - b1^t) and s' = s / (1 - b2^t) undo that both began at zero: without that the first steps would be too
    small in m and too large in 1 / sqrt(s). The first step is lr times the sign of g, whatever its size.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr=lr, beta1=betas[0], beta2=betas[1], eps=eps, weight_decay=weight_decay)

    def _update(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        m, s = _kept(state, "mean", p), _kept(state, "squares", p)
        state["steps"] = t = state.get("steps", 0) + 1
        b1, b2 = group["beta1"], group["beta2"]
        m.mul_(b1).add_((1 - b1) * g)
        s.mul_(b2).add_((1 - b2) * g * g)
        p -= group["lr"] * (m / (1 - b1**t)) / ((s / (1 - b2**t)).sqrt() + group["eps"])


class AdamW(Adam):
    """p <- p - lr weight_decay p before Adam's step: weights shrink by a share that gradients' sizes do not touch
    (Loshchilov and Hutter 2019)."""

    def _update(self, p: Tensor, g: Tensor, state: State, group: Group) -> None:
        p.mul_(1 - group["lr"] * group["weight_decay"])
        super()._update(p, g, state, group)


@dataclass(frozen=True)
class Choice:
    """One optimizer by name: our class, torch's, and what torch's needs to be the same rule. `decays` where it takes
    weight decay."""

    ours: type[Rule]
    torchs: Callable[..., Optimizer]
    torch_options: tuple[tuple[str, Any], ...] = ()
    fused: bool = False
    decays: bool = False


OPTIMIZERS: dict[str, Choice] = {
    "sgd": Choice(Sgd, torch.optim.SGD, fused=True),
    "momentum": Choice(Momentum, torch.optim.SGD, (("momentum", 0.9),), fused=True),
    "adagrad": Choice(AdaGrad, torch.optim.Adagrad, fused=True),
    "rmsprop": Choice(RmsProp, torch.optim.RMSprop),
    "adam": Choice(Adam, torch.optim.Adam, fused=True),
    "adamw": Choice(AdamW, torch.optim.AdamW, fused=True, decays=True),
}


def make_optimizer(
    name: str, parameters: Iterable[Any], lr: float, weight_decay: float = 0.0, ours: bool = False
) -> Optimizer:
    """An optimizer by its name.

    Parameters
    ----------
    name : one of `OPTIMIZERS`.
    parameters : tensors, or groups of them as torch's optimizers take.
    lr : the learning rate.
    weight_decay : of "adamw".
    ours : True takes the rule of this file, False torch's, fused where it can be.

    Raises
    ------
    BadRequest : the name is unknown, or the rule has no weight decay and is asked for one.
    """
    if name not in OPTIMIZERS:
        raise BadRequest(f"The optimizer '{name}' is unknown: choose one of {', '.join(OPTIMIZERS)}.")
    choice = OPTIMIZERS[name]
    options: dict[str, Any] = {"lr": lr}
    if choice.decays:
        options["weight_decay"] = weight_decay
    elif weight_decay:
        raise BadRequest(f"The optimizer '{name}' takes no weight decay: leave it at 0, or choose adamw.")
    if ours:
        return choice.ours(parameters, **options)
    fused = {"fused": True} if choice.fused else {}
    return choice.torchs(parameters, **options, **dict(choice.torch_options), **fused)

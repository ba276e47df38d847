"""A training of seconds: telling which of two tokens a text has more of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.training.checkpoint import Position
from engine.training.data import Batch, Labelled
from engine.training.log import Log
from engine.training.loop import LoopOptions, Measured, Validation, train
from engine.training.losses import cross_entropy
from engine.training.optimizers import make_optimizer
from engine.training.transformer import Sizes, Transformer

ROWS, HELD = 96, 32


def make_data(size: int = 8) -> Labelled:
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 2, rng.choice([5, 7, 9, 11])).astype(np.int32) for _ in range(ROWS)]
    labels = np.array([int(row.mean() > 0.5) for row in ids])
    return Labelled(ids, labels, [f"row {i}" for i in range(ROWS)], size)


class TinyRun:
    """One process' share of a training in `folder`; `hook` is called with the step before each batch."""

    def __init__(
        self,
        folder: Path,
        options: LoopOptions,
        optimizer: str = "adamw",
        ours: bool = False,
        hook: Callable[[int], Any] | None = None,
        run: str = "tiny",
        log: Log | None = None,
    ) -> None:
        torch.manual_seed(11)
        self.model = Transformer(Sizes(2, 16, 2, 1, 16, 16, labels=2, dropout=0.1), seed=0)
        self.said: list[str] = []
        self.batches = 0
        self._hook = hook
        data = make_data()
        held = np.arange(HELD)

        def validate() -> Validation:
            batch = data.batch(held)
            logits = self.model(batch.ids, batch.lengths)
            return Validation(
                float(cross_entropy(logits, batch.targets)), float((logits.argmax(-1) == batch.targets).float().mean())
            )

        decay = 0.01 if optimizer == "adamw" else 0.0
        made = make_optimizer(optimizer, self.model.parameters(), options.lr, decay, ours)
        self._arguments = (
            self.model, made, self.objective, data, validate, options, folder, run,
            log or Log(self.said.append, bar=False),
        )  # fmt: skip

    def objective(self, batch: Batch) -> Measured:
        if self._hook:
            self._hook(self.batches)
        self.batches += 1
        logits = self.model(batch.ids, batch.lengths)
        right = int((logits.argmax(-1) == batch.targets).sum())
        return Measured(cross_entropy(logits, batch.targets), len(batch.targets), right)

    def train(self) -> Position:
        return train(*self._arguments)

    def weights(self) -> torch.Tensor:
        return torch.cat([weight.detach().flatten() for weight in self.model.parameters()])

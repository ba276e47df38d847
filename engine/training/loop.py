"""The loop: batches forward and backward, a step, validation after each epoch, and a checkpoint now and then."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.errors import BadModel, BadRequest, UserError
from engine.training import checkpoint
from engine.training.checkpoint import Position
from engine.training.data import Data, Learnt
from engine.training.log import Log
from engine.training.schedule import warmup_cosine

BEST = "best.safetensors"


class Measured(NamedTuple):
    """What a batch gave: its loss (a scalar with its graph), over how many targets it is the mean, and how many of them
    were right (None where that has no meaning)."""

    loss: Tensor
    targets: int
    right: int | None


Objective = Callable[[Any], Measured]  # of what its data's batches are


class Validation(NamedTuple):
    """The mean loss over a validation set in nats, and the share that is right, None where that has no meaning."""

    loss: float
    accuracy: float | None


@dataclass(frozen=True)
class LoopOptions:
    """How long and how fast.

    Attributes
    ----------
    epochs : passes over the data at most.
    lr : the full learning rate; it rises over the share `warmup` of all steps and falls along a cosine to its `floor`.
    clip : the norm that gradients are cut to; 0 leaves them.
    accumulate : batches whose gradients are averaged for a step.
    patience : epochs without a lower validation loss after which training ends; 0 never ends it early.
    save_every_s : seconds between checkpoints; one is written after each epoch too.
    bf16 : forward and backward in bfloat16; weights and steps stay fp32.
    """

    epochs: int = 3
    lr: float = 5e-4
    warmup: float = 0.06
    floor: float = 0.05
    clip: float = 1.0
    accumulate: int = 1
    patience: int = 2
    save_every_s: float = 60.0
    bf16: bool = False

    def __post_init__(self) -> None:
        rules = [
            (self.epochs >= 1, f"epochs is {self.epochs}: give 1 or more."),
            (0 < self.lr < 100, f"lr is {self.lr}: give a learning rate above 0."),
            (0 <= self.warmup <= 1, f"warmup is {self.warmup}: give a share of all steps, 0 to 1."),
            (0 <= self.floor <= 1, f"floor is {self.floor}: give a share of the rate, 0 to 1."),
            (self.clip >= 0, f"clip is {self.clip}: give a norm, or 0 to leave gradients as they are."),
            (self.accumulate >= 1, f"accumulate is {self.accumulate}: give 1 or more batches a step."),
            (self.patience >= 0, f"patience is {self.patience}: give 0 (off) or more epochs."),
            (self.save_every_s >= 0, f"save_every_s is {self.save_every_s}: give 0 (each step) or more seconds."),
        ]
        for holds, sentence in rules:
            if not holds:
                raise BadRequest(sentence)


class Interrupted(UserError):
    """Training was asked to end; its checkpoint is written."""


def train(
    model: nn.Module,
    optimizer: Optimizer,
    objective: Objective,
    data: Data,
    validate: Callable[[], Validation],
    options: LoopOptions,
    folder: Path,
    run: str,
    log: Log,
) -> Position:
    """Train until the epochs are over or validation no longer improves; the model ends with its best weights.

    Where `folder` holds a checkpoint of the same run it goes on from there, to the same weights bit for bit as without
    the interruption, on the same machine with as many threads.

    Parameters
    ----------
    model : in training mode while it learns, in evaluation mode for `validate` and at the end.
    optimizer : of its parameters.
    objective : what a batch gives.
    data : the batches of each epoch.
    validate : measures the model on what it does not learn from.
    options : how long and how fast.
    folder : of checkpoints and the best weights.
    run : names the run, see `checkpoint.save`.
    log : what is shown.

    Returns
    -------
    Where it ended; `history` has an epoch each.

    Raises
    ------
    UserError : the loss is not a finite number, a checkpoint cannot be written, or is of another run.
    BadModel : a checkpoint or the best weights are damaged.
    Interrupted : Ctrl-C or SIGTERM came; the checkpoint of the last whole step is written.
    """
    position = Position()
    if found := checkpoint.newest(folder):
        position = checkpoint.load(found, model, optimizer, run)
        log.say(
            f"Going on at step {position.step:,} (epoch {position.epoch + 1}), {position.seconds / 60:.1f} minutes in."
        )
    else:
        for group in optimizer.param_groups:
            group["full"] = group["lr"] / options.lr  # groups keep their ratio to the rate
    loop = _Loop(model, optimizer, objective, data, validate, options, folder, run, log, position)
    with _asked_to_end() as ended, log.profiling():
        while position.epoch < options.epochs and not (options.patience and position.since >= options.patience):
            loop.epoch(ended)
    best = folder / BEST
    try:
        model.load_state_dict(load_file(best))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:160]
        raise BadModel(f"{best} is missing or damaged ({reason}): remove {folder} and train again.") from error
    model.eval()
    return position


@dataclass
class _Loop:
    """What one epoch needs."""

    model: nn.Module
    optimizer: Optimizer
    objective: Objective
    data: Data
    validate: Callable[[], Validation]
    options: LoopOptions
    folder: Path
    run: str
    log: Log
    at: Position

    def epoch(self, ended: threading.Event) -> None:
        at, o = self.at, self.options
        batches = self.data.epoch(at.epoch)
        steps = math.ceil(len(batches) / o.accumulate)
        self.log.begin(at.epoch, o.epochs, len(batches), at.batch)
        began = saved = time.perf_counter()
        before = at.seconds
        self.model.train()
        while at.batch < len(batches):
            group = batches[at.batch : at.batch + o.accumulate]
            self._step(group, steps * o.epochs, began, before)
            at.batch += len(group)
            at.step += 1
            if ended.is_set():
                path = self._save()
                raise Interrupted(f"Interrupted at step {at.step:,}: the same command goes on from {path}.")
            if time.perf_counter() - saved >= o.save_every_s and at.batch < len(batches):
                self._save()
                saved = time.perf_counter()
        self._finish(began, before)

    def _step(self, group: list[Any], total: int, began: float, before: float) -> None:
        """Forward and backward of the batches of a step, and the step."""
        at, o = self.at, self.options
        share = warmup_cosine(at.step, round(o.warmup * total), total, o.floor)
        for one in self.optimizer.param_groups:
            one["lr"] = o.lr * one["full"] * share
        self.optimizer.zero_grad(set_to_none=True)
        mean = 0.0
        for rows in group:
            batch = self.data.batch(rows)
            with torch.autocast("cpu", torch.bfloat16, enabled=o.bf16):
                found = self.objective(batch)
            loss = float(found.loss.detach())
            if not math.isfinite(loss):
                raise self._not_finite(f"The loss is {loss}", batch)
            (found.loss / len(group)).backward()
            mean += loss / len(group)
            for i, value in enumerate((loss * found.targets, found.right or 0, found.targets, batch.tokens)):
                at.sums[i] += value
            accuracy = None if found.right is None else at.sums[1] / at.sums[2]
            at.seconds = before + time.perf_counter() - began
            self.log.batch(loss, accuracy, at.sums[3] / self._epoch_seconds())
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), o.clip or math.inf))
        if not math.isfinite(norm):
            raise self._not_finite(f"The gradient's norm is {norm}", batch)
        self.optimizer.step()
        values = {"train/loss": mean, "train/lr": o.lr * share, "train/gradient_norm": norm}
        self.log.step(at.step + 1, values)

    def _finish(self, began: float, before: float) -> None:
        """Validation at an epoch's end, the best weights, and a checkpoint."""
        at = self.at
        self.model.eval()
        with torch.inference_mode():
            found = self.validate()
        at.seconds = before + time.perf_counter() - began
        losses, right, count, tokens = at.sums
        record = {
            "epoch": at.epoch + 1, "step": at.step, "loss": losses / count,
            "accuracy": None if found.accuracy is None else right / count,
            "validation_loss": found.loss, "validation_accuracy": found.accuracy,
            "seconds": at.seconds, "tokens": int(tokens),
            "tokens_per_s": tokens / self._epoch_seconds(), "epoch_seconds": self._epoch_seconds(),
        }  # fmt: skip
        if not math.isfinite(found.loss):
            raise UserError(
                f"The validation loss after epoch {at.epoch + 1} is {found.loss}: lower the learning rate and begin "
                "anew in another folder; the checkpoint before this epoch's end is whole."
            )
        if at.best is None or found.loss < at.best:
            at.best, at.since = found.loss, 0
            self._keep_best()
        else:
            at.since += 1
        at.history.append(record)
        at.epoch, at.batch, at.sums = at.epoch + 1, 0, [0.0] * 4
        self.log.epoch(record)
        self._save()

    def _epoch_seconds(self) -> float:
        """Seconds spent in this epoch so far, above 0."""
        return max(1e-9, self.at.seconds - sum(record["epoch_seconds"] for record in self.at.history))

    def _keep_best(self) -> None:
        building = self.folder / f".{BEST}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(checkpoint.owned(self.model.state_dict()), building)
            building.replace(self.folder / BEST)
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{self.folder / BEST} cannot be written ({reason}): make room and start again.") from error

    def _save(self) -> Path:
        return checkpoint.save(self.folder, self.model, self.optimizer, self.at, self.run)

    def _not_finite(self, what: str, batch: Learnt) -> UserError:
        named = ", ".join(batch.names[:8]) + (f" and {len(batch.names) - 8} more" if len(batch.names) > 8 else "")
        return UserError(
            f"{what} at step {self.at.step + 1:,} (epoch {self.at.epoch + 1}), on {named}: lower the learning rate, or "
            "look at those texts; the checkpoint before is whole."
        )


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that a step is never cut; a second Ctrl-C ends at once. Only the main
    thread can be told of signals: elsewhere the event stays unset."""
    ended = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield ended
        return

    def asked(number: int, frame: object) -> None:
        if ended.is_set():
            raise KeyboardInterrupt
        ended.set()

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

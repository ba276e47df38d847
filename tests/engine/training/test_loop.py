"""The loop: it learns, ends early, goes on bit for bit after being cut anywhere, and says what went wrong."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import BadModel, BadRequest, UserError
from engine.training import checkpoint
from engine.training.loop import Interrupted, LoopOptions
from tests.engine.training.tiny_run import ROWS, TinyRun

QUICK = LoopOptions(epochs=2, lr=1e-2, patience=0, save_every_s=0)
STEPS = 2 * ROWS // 8


class Killed(BaseException):
    """Stands for a process that is gone: nothing of ours catches it."""


def kill_at(step: int) -> Any:
    def hook(batch: int) -> None:
        if batch == step:
            raise Killed

    return hook


def test_it_learns(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, LoopOptions(epochs=20, lr=2e-2, patience=0))
    history = run.train().history
    assert history[-1]["validation_accuracy"] > 0.9 > history[0]["validation_accuracy"]
    assert history[-1]["loss"] < history[0]["loss"]
    assert len(run.said) == 20 and "validation loss" in run.said[0] and "tokens/s" in run.said[0]
    assert not run.model.training


@pytest.mark.parametrize(
    ("optimizer", "ours"), [("adamw", False), ("adamw", True), ("momentum", False), ("rmsprop", True)]
)
def test_cut_three_times_it_comes_to_the_same_weights(tmp_path: Path, optimizer: str, ours: bool) -> None:
    """Before its first checkpoint, in mid-epoch, and in the second epoch; a checkpoint is written each step."""
    whole = TinyRun(tmp_path / "whole", QUICK, optimizer, ours)
    straight = whole.train()
    for step in (0, 4, 13):
        with pytest.raises(Killed):
            TinyRun(tmp_path / "cut", QUICK, optimizer, ours, kill_at(step)).train()
    torch.rand(5)
    last = TinyRun(tmp_path / "cut", QUICK, optimizer, ours)
    resumed = last.train()
    assert "Going on at step 17" in last.said[0]
    assert last.batches == STEPS - 17
    assert torch.equal(whole.weights(), last.weights())
    for ours_, theirs in zip(straight.history, resumed.history, strict=True):
        same = ("loss", "accuracy", "validation_loss", "validation_accuracy", "tokens", "step")
        assert [ours_[key] for key in same] == [theirs[key] for key in same]


def test_a_cut_between_checkpoints_goes_back_to_the_last(tmp_path: Path) -> None:
    """None is written within an epoch, so the second starts anew."""
    rare = LoopOptions(epochs=2, lr=1e-2, patience=0, save_every_s=1e9)
    whole = TinyRun(tmp_path / "whole", rare)
    whole.train()
    with pytest.raises(Killed):
        TinyRun(tmp_path / "cut", rare, hook=kill_at(STEPS // 2 + 5)).train()
    last = TinyRun(tmp_path / "cut", rare)
    last.train()
    assert last.batches == STEPS // 2 and torch.equal(whole.weights(), last.weights())


def test_asked_to_end_it_finishes_the_step_and_goes_on(tmp_path: Path) -> None:
    rare = LoopOptions(epochs=2, lr=1e-2, patience=0, save_every_s=1e9)
    whole = TinyRun(tmp_path / "whole", rare)
    whole.train()
    before = signal.getsignal(signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM):

        def ask(batch: int, number: int = number) -> None:
            if batch == 3:
                os.kill(os.getpid(), number)

        run = TinyRun(tmp_path / "cut", rare, hook=ask)
        with pytest.raises(Interrupted, match=r"Interrupted at step \d+: the same command goes on"):
            run.train()
        assert run.batches == 4
    assert signal.getsignal(signal.SIGINT) is before
    last = TinyRun(tmp_path / "cut", rare)
    last.train()
    assert last.batches == STEPS - 8 and torch.equal(whole.weights(), last.weights())


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, LoopOptions(epochs=1, accumulate=5, patience=0))
    assert run.train().step == 3, "12 batches: 5, 5 and 2"
    assert run.batches == 12


def test_it_ends_early_and_keeps_the_best(tmp_path: Path) -> None:
    """With a rate that only does harm after the first epoch."""
    run = TinyRun(tmp_path, LoopOptions(epochs=50, lr=3.0, warmup=0.5, patience=3))
    at = run.train()
    losses = [record["validation_loss"] for record in at.history]
    assert len(losses) < 50 and at.since == 3 and losses.index(min(losses)) == len(losses) - 4
    again = TinyRun(tmp_path, LoopOptions(epochs=50, lr=3.0, warmup=0.5, patience=3))
    assert again.train().epoch == at.epoch and again.batches == 0, "what has ended is not trained on"
    assert torch.equal(run.weights(), again.weights())


def test_gradients_are_clipped(tmp_path: Path) -> None:
    norms = []
    for clip in (1e-3, 0.0):
        run = TinyRun(tmp_path / str(clip), LoopOptions(epochs=1, lr=1e-2, clip=clip, patience=0), "sgd")
        start = run.weights().clone()
        run.train()
        norms.append(float((run.weights() - start).norm()))
    assert norms[0] <= 1e-3 * 1e-2 * 12 * 1.01 and norms[1] > 10 * norms[0]


def test_a_loss_that_is_not_finite_names_step_and_rows(tmp_path: Path) -> None:
    run = TinyRun(tmp_path, QUICK)
    objective = run.objective

    def spoilt(batch: Any) -> Any:
        found = objective(batch)
        return found._replace(loss=found.loss * float("nan")) if run.batches == 6 else found

    run._arguments = (*run._arguments[:2], spoilt, *run._arguments[3:])
    with pytest.raises(UserError, match=r"loss is nan at step 6 \(epoch 1\), on row \d+, row \d+.*checkpoint before"):
        run.train()
    assert checkpoint.newest(tmp_path) == tmp_path / "step-5"


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    TinyRun(tmp_path, QUICK).train()
    with pytest.raises(UserError, match="other options or texts"):
        TinyRun(tmp_path, QUICK, run="another").train()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    TinyRun(tmp_path, QUICK).train()
    found = checkpoint.newest(tmp_path)
    assert found is not None
    (found / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadModel, match=rf"{found.name} is damaged .*to begin anew"):
        TinyRun(tmp_path, QUICK).train()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TinyRun(tmp_path / "whole", QUICK)
    whole.train()
    real, calls = checkpoint.save_file, []

    def full(tensors: Any, path: Path) -> None:
        calls.append(path)
        if len(calls) == 8:  # the fourth checkpoint's second file
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        real(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match=r"step 4 cannot be written .*No space left on device.*make room"):
        TinyRun(tmp_path / "cut", QUICK).train()
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["step-3"]
    monkeypatch.undo()
    last = TinyRun(tmp_path / "cut", QUICK)
    last.train()
    assert torch.equal(whole.weights(), last.weights())


@pytest.mark.parametrize("field", ["epochs", "lr", "accumulate", "clip", "patience", "warmup"])
def test_options_out_of_range(field: str) -> None:
    with pytest.raises(BadRequest, match=rf"^{field} is -1"):
        LoopOptions(**{field: -1})  # type: ignore[arg-type]


@pytest.mark.slow
def test_bfloat16_trains_too(tmp_path: Path) -> None:
    history = TinyRun(tmp_path, LoopOptions(epochs=20, lr=2e-2, patience=0, bf16=True)).train().history
    assert history[-1]["validation_accuracy"] > 0.9


def test_asked_to_end_at_an_epochs_last_batch(tmp_path: Path) -> None:
    """That checkpoint and the one after validation are of one step: the first stays until the second is whole."""
    rare = LoopOptions(epochs=2, lr=1e-2, patience=0, save_every_s=1e9)
    whole = TinyRun(tmp_path / "whole", rare)
    whole.train()

    def ask(batch: int) -> None:
        if batch == STEPS // 2 - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        TinyRun(tmp_path / "cut", rare, hook=ask).train()
    assert checkpoint.newest(tmp_path / "cut") == tmp_path / "cut" / f"step-{STEPS // 2}"
    with pytest.raises(Killed):
        TinyRun(tmp_path / "cut", rare, hook=kill_at(0)).train()
    assert checkpoint.newest(tmp_path / "cut") == tmp_path / "cut" / f"step-{STEPS // 2}-validated"
    last = TinyRun(tmp_path / "cut", rare)
    last.train()
    assert last.batches == STEPS // 2 and torch.equal(whole.weights(), last.weights())


def test_best_weights_that_are_damaged_are_named(tmp_path: Path) -> None:
    TinyRun(tmp_path, QUICK).train()
    (tmp_path / "best.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadModel, match=r"best.safetensors is missing or damaged .*train again"):
        TinyRun(tmp_path, QUICK).train()


def test_accumulated_batches_count_in_the_speed(tmp_path: Path) -> None:
    heard: list[tuple[float, float]] = []
    run = TinyRun(tmp_path, LoopOptions(epochs=1, accumulate=6, patience=0))
    log = run._arguments[-1]
    log.batch = lambda loss, accuracy, tokens_per_s: heard.append((loss, tokens_per_s))  # type: ignore[method-assign]
    record = run.train().history[0]
    assert record["tokens_per_s"] * record["epoch_seconds"] == pytest.approx(record["tokens"])
    assert len(heard) == 12 and heard[-1][1] >= record["tokens_per_s"], "validation takes time of the epoch too"

"""What a training leaves for other programs: TensorBoard's scalars and a trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.training.log import Log
from engine.training.loop import LoopOptions
from tests.engine.training.tiny_run import TinyRun


def test_the_bar_shows_loss_accuracy_and_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    log = Log(said.append, bar=True)
    TinyRun(tmp_path, LoopOptions(epochs=1, patience=0), log=log).train()
    shown = capsys.readouterr().err
    assert "epoch 1 of 1: 100%" in shown and "loss=" in shown and "accuracy=" in shown and "tokens/s=" in shown
    assert len(said) == 1


@pytest.mark.slow
def test_scalars_can_be_read_back(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = Log(lambda sentence: None, bar=False, scalars=tmp_path / "scalars")
    position = TinyRun(tmp_path / "run", LoopOptions(epochs=2, patience=0), log=log).train()
    log.close()
    events = EventAccumulator(str(tmp_path / "scalars")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 25))
    assert max(event.value for event in events.Scalars("train/lr")) == pytest.approx(5e-4, rel=1e-5)
    found = [event.value for event in events.Scalars("epoch/validation_loss")]
    assert found == pytest.approx([record["validation_loss"] for record in position.history], rel=1e-6)


@pytest.mark.slow
def test_a_trace_names_operators(tmp_path: Path) -> None:
    said: list[str] = []
    log = Log(said.append, bar=False, trace=tmp_path / "trace.json")
    TinyRun(tmp_path / "run", LoopOptions(epochs=1, patience=0), log=log).train()
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {event.get("name") for event in events}
    assert "aten::addmm" in names and any("Backward" in str(name) for name in names)
    assert any("perfetto" in sentence for sentence in said)

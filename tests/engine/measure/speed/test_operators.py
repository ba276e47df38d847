"""Each operator alone, on a tiny model: what is listed, and that the figures are those of what ran."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.measure import benchmark as command
from engine.measure.command import run_app
from engine.measure.speed import operators
from engine.measure.speed.operators import Operator


def test_seconds_are_the_median_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.01, *(t for took in (5, 1, 2) for t in (0.0, took * 0.05))])  # 5 a round
    monkeypatch.setattr(operators.time, "perf_counter", lambda: next(clock))
    ran: list[int] = []
    [one] = operators._time([Operator("", ran.append)], 3)
    assert ran == [1, 1, 5, 5, 5]
    assert one.seconds == pytest.approx(2 * 0.05 / 5)


@pytest.mark.slow
def test_the_command_times_every_way_weights_and_keys_are_stored(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operators, "SECONDS", 0.0)
    options = ["--operators", "--model", str(tiny_llama), "--repeat", "1", "--format", "json"]
    assert run_app(command.main, options) == 0
    rows = json.loads(capsys.readouterr().out)["operators"]
    names = [row["operator"] for row in rows]
    assert len(set(names)) == len(names)
    for way in ("fp32", "half", *(f"{p}, activations in {b} bits" for p in ("int8", "int4") for b in (16, 8))):
        for tokens in ("1 token", "8 tokens", "256 tokens"):
            assert f"products of all layers, {way}: {tokens}" in names
    assert sum(name.startswith("attention of a token to 512 positions") for name in names) == 3
    assert all(row["microseconds"] > 0 for row in rows)
    one, many = (next(r for r in rows if r["operator"].endswith(f"half: {t}")) for t in ("1 token", "256 tokens"))
    macs = [row["gmacs"] * row["microseconds"] for row in (one, many)]
    assert macs[1] == pytest.approx(256 * macs[0])


def test_an_architecture_without_operators_is_one_sentence(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for path in tiny_llama.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bloom"}))
    assert run_app(command.main, ["--operators", "--model", str(folder)]) == 2
    assert "no operators of ours" in " ".join(capsys.readouterr().err.split())

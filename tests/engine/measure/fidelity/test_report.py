"""The table: intervals, verdicts, and the command from end to end on a tiny model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from engine.errors import BadRequest
from engine.measure import check
from engine.measure.fidelity import report as fidelity
from engine.measure.fidelity.losses import Losses
from engine.measure.fidelity.variants import INT8, Variant, reference, variants
from engine.measure.statistics import ratio
from tests.engine.conftest import Models


def losses(kl: float, same: float, ratio: float, texts: int = 40) -> Losses:
    """Texts of 100 positions with these means, and some spread of divergence."""
    ones = np.ones(texts)
    spread = np.linspace(0.5, 1.5, texts)
    return Losses(100 * ones, 400 * ones, 100 * kl * spread, 100 * same * ones, 300 * ratio * ones, 300 * ones)


def variant(bounded: bool = True) -> Variant:
    return Variant("int8 weights", "weights alone", reference("m"), bounds=INT8 if bounded else None)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (losses(0.0099, 0.951, 1.0049), "holds"),
        (losses(0.0101, 0.951, 1.0049), "FAILS"),
        (losses(0.0099, 0.949, 1.0049), "FAILS"),
        (losses(0.0099, 0.951, 1.0051), "FAILS"),
    ],
)
def test_every_bound_counts(found: Losses, verdict: str) -> None:
    row = fidelity.row(variant(), found, "fp32 KV")
    assert row.verdict == verdict
    assert fidelity.failed([row]) == (verdict == "FAILS")


def test_without_bounds_there_is_no_verdict() -> None:
    row = fidelity.row(variant(bounded=False), losses(5, 0.1, 3), "fp32 KV")
    assert row.verdict == "" and not fidelity.failed([row])


def test_figures_and_intervals() -> None:
    row = fidelity.row(variant(), losses(0.004, 0.97, 1.002), "fp32 KV")
    assert row.kl.value == pytest.approx(0.004) and row.ratio.value == pytest.approx(1.002)
    assert row.kl.low is not None and row.kl.high is not None
    assert row.kl.low < 0.004 < row.kl.high
    # spread 0.29 of the mean over 40 texts: a standard error of 4.6 %
    assert (row.kl.high - row.kl.low) / 0.004 == pytest.approx(2 * 1.96 * 0.0462, rel=0.15)
    assert [row.same.low, row.same.value, row.same.high] == [pytest.approx(0.97)] * 3
    assert row.bits_a_byte.value == pytest.approx(300 * 1.002 / math.log(2) / 400)


def test_long_texts_weigh_more_than_short_ones() -> None:
    figure = ratio("", np.array([1.0, 90.0]), np.array([10.0, 100.0]))
    assert figure.value == pytest.approx(91 / 110)
    alone = ratio("", np.array([1.0]), np.array([10.0]))
    assert alone.value == 0.1 and alone.low is None


def test_every_precision_and_every_default_is_measured() -> None:
    rows = variants("some-model")
    assert {row.config.precision for row in rows} == {"fp32", "half", "int8", "int4"}
    assert len({row.name for row in rows}) == len(rows)
    single = {row.name: row.config for row in rows if row.way == "prompt" and "default" not in row.name}
    assert single["int8 weights"].kv_precision == single["int8 weights"].prefill == "fp32"
    assert single["int8 prefill too"].prefill == "int8"
    assert single["int8 KV"].kv_precision == "int8"
    assert all(config.model == "some-model" for config in single.values())


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"The film was number {i}: {'great ' * (i % 5)}and the acting was wonderful." for i in range(12)]
    pq.write_table(pa.table({"text": texts, "label": [i % 2 for i in range(12)]}), tmp_path / "test.parquet")
    monkeypatch.setenv("IMDB_DIR", str(tmp_path))

    def in_torch(model: str) -> list[Variant]:  # nothing is compiled for so little
        return [replace(row, config=replace(row.config, kernels=False)) for row in variants(model)]

    monkeypatch.setattr(fidelity, "variants", in_torch)


def command(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(check.main)
    found = CliRunner().invoke(app, ["--fidelity", *arguments], catch_exceptions=False)
    return found.exit_code, found.stdout


@pytest.mark.usefixtures("reviews")
def test_the_command_as_data(models: Models) -> None:
    model = str(models("llama"))
    code, out = command(
        "--model", model, "--reviews", "6", "--tokens", "100", "--only", "fp32 decoded", "--format", "json"
    )
    found = json.loads(out)
    assert code == 0
    assert found["reviews"] == 6 and found["positions"] >= 94
    [row] = found["rows"]
    assert row["name"] == "fp32 decoded" and row["verdict"] == "holds"
    assert abs(row["kl"]["value"]) < 1e-6 and row["ratio"]["value"] == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("reviews")
def test_the_command_as_a_table(models: Models) -> None:
    model = str(models("llama"))
    code, out = command(
        "--model", model, "--reviews", "4", "--tokens", "60", "--only", "int8 weights", "--format", "md"
    )
    lines = out.splitlines()
    row = next(line for line in lines if line.startswith("| int8 weights"))
    assert len(row.split("|")) == len(fidelity.COLUMNS) + 2
    assert "int8 weights, fp32 KV, fp32 prefill" in out
    assert (code == 1) == ("FAILS" in row)


@pytest.mark.usefixtures("reviews")
def test_an_unknown_row_is_refused() -> None:
    with pytest.raises(BadRequest, match="No precision is called 'int3': half, int8 weights, "):
        fidelity.run("any", 4, 60, "int3")

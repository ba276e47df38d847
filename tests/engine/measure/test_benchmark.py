"""The command from its options to its output, with pretended engines on both sides."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.measure import benchmark as command
from engine.measure.command import run_app
from engine.measure.peers.registry import PEERS, Peer, Variant
from engine.measure.speed import rounds
from engine.measure.speed.candidates import Candidate
from engine.measure.worker import module_command
from tests.engine.measure.speed import fake_worker

FAKE = module_command(fake_worker)


def ask(*options: str) -> int:
    return run_app(command.main, options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--repeat", "0"), "--repeat is 0: give 1 round or more."),
        (("--new", "1"), "--new is 1: give 2 tokens or more"),
        (("--prompt", "0"), "--prompt is 0"),
        (("--batch", "0"), "--batch is 0: give 1 to 256."),
        (("--threads", "-1"), "threads is -1"),
        (("--format", "xml"), "The format 'xml' is unknown: choose among table, md, json, csv."),
        (
            ("--vs", "vllm"),
            "Peer 'vllm' is unknown: choose among transformers, llama.cpp, openvino, ctranslate2, onnxruntime, "
            "mistral.rs.",
        ),
        (
            ("--neighbours", "-1"),
            "--neighbours is '-1': give counts from 0 to 64 with commas between, such as 0,1,2,4.",
        ),
        (("--neighbours", "1,two"), "--neighbours is '1,two': give counts"),
        (("--neighbours", "65"), "--neighbours is '65': give counts"),
        (("--neighbours", "1", "--suite"), "--suite measures beside busy neighbours itself"),
        (("--precision", "int3"), "Precision 'int3' is unknown: choose among fp32, half, int8, int4."),
        (("--precision", ","), "No precision is named"),
        (("--kv-precision", "int2"), "'int2' is unknown"),
        (("--prompt", "500", "--new", "20"), "A prompt of 500 and 20 new tokens do not fit the model's window of 512"),
        (("--model", "/nowhere"), "There is no file or folder '/nowhere'"),
    ],
)
def test_what_cannot_be_run_is_one_sentence(
    options: tuple[str, ...],
    sentence: str,
    tiny_llama: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = options if "--model" in options else ("--model", str(tiny_llama), *options)
    assert ask(*given) == 2
    said = capsys.readouterr()
    assert sentence in " ".join(said.err.split()) and not said.out
    assert "Traceback" not in said.err


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Our engine is four times as fast as Transformers; llama.cpp is not installed; OpenVINO fails to load."""

    def ours(model: str, precisions: str, options: dict[str, Any]) -> list[Candidate]:
        return [Candidate("Brisk int8", (*FAKE, "4"), {"dtype": "int8", **options})]

    def find(name: str, folder: Path) -> Any:
        from engine.measure.peers.registry import Ready
        from engine.measure.peers.registry import find as really

        if name == "llama.cpp":
            return really(name, folder)
        model = Path("broken") if name == "openvino" else folder
        return [Ready(Peer(PEERS[name].title, fake_worker, ()), Variant("fp32"), sys.executable, model)]

    monkeypatch.setenv("BRISK_PEERS", str(tmp_path))
    monkeypatch.setattr(command, "ours", ours)
    monkeypatch.setattr("engine.measure.speed.candidates.find", find)
    monkeypatch.setattr(rounds, "REST_S", 0)


OPTIONS = ("--prompt", "40", "--new", "5", "--repeat", "2", "--vs", "transformers,llama.cpp,openvino")


def test_json_holds_every_figure_and_names_who_is_absent(
    pretended: None, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("--model", str(tiny_llama), *OPTIONS, "--format", "json") == 0
    data = json.loads(capsys.readouterr().out)
    ours, baseline = data["rows"]
    assert (ours["name"], baseline["name"], data["baseline"]) == ("Brisk int8",) + ("Transformers fp32",) * 2
    assert ours["prefill"] == {"median": 400, "least": 400, "most": 400}
    assert ours["decode_ratio"] == pytest.approx(4) and ours["same_tokens"] == 5
    assert ours["decode_bound"]["name"] and ours["memory"] >= 0 and ours["load_s"] >= 0
    absent = {one["name"]: one["reason"] for one in data["absent"]}
    assert set(absent) == {"llama.cpp F32", "llama.cpp Q8_0", "llama.cpp Q4_0", "OpenVINO fp32"}
    assert "make peers" in absent["llama.cpp F32"] and "This model is broken." in absent["OpenVINO fp32"]
    machine = data["machine"]
    assert machine["processor"] and machine["versions"]["fake"] == "1.0" and machine["bandwidth"] > 0


def test_every_format_shows_the_same(
    pretended: None, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {}
    for name in ("table", "md", "csv"):
        assert ask("--model", str(tiny_llama), *OPTIONS, "--format", name) == 0
        found[name] = capsys.readouterr().out
    for text in (found["table"], found["md"]):
        assert "Brisk int8" in text and "4.00x" in text and "400 (400 to 400)" in text
        assert "Absent: llama.cpp F32" in text and "Machine:" in text and "GB/s read from memory" in text
    first, second = csv.DictReader(io.StringIO(found["csv"]))
    assert (first["name"], float(first["decode.median"])) == ("Brisk int8", 40)
    assert (second["name"], float(second["decode_ratio"])) == ("Transformers fp32", 1)
    assert float(first["decode_bound.memory_share"]) > 0


def test_the_table_of_kernels_is_shown_without_a_run(
    pretended: None, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = pytest.importorskip("engine.kernels.choice")
    table = {
        "a": {"name": "tiny int8", "compiled": 900.0, "torch": 450.0},
        "b": {"name": "tiny int4", "compiled": 1.0, "torch": 2.0},
    }
    monkeypatch.setattr(choice, "read_table", lambda: table)
    assert ask("--kernels", "--format", "md") == 0
    said = capsys.readouterr().out
    assert "| tiny int8 | 900 | 450 | compiled |" in said and "| tiny int4 | 1 | 2 | torch |" in said
    assert ask("--kernels", "--format", "csv") == 0
    assert capsys.readouterr().out.splitlines()[1] == "tiny int8,900.0,450.0"


def test_a_precision_that_is_refused_is_named_and_all_refused_is_an_error(
    pretended: None, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = Candidate("Brisk int4", FAKE, {"model": "broken"}), Candidate("Brisk int8", FAKE, {"dtype": "int8"})
    options = ("--model", str(tiny_llama), "--prompt", "40", "--new", "5", "--repeat", "1", "--vs", "none")
    monkeypatch.setattr(command, "ours", lambda model, precisions, options: [bad, good])
    assert ask(*options, "--format", "json") == 0
    data = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in data["rows"]] == ["Brisk int8"]
    assert "This model is broken." in data["absent"][0]["reason"]
    monkeypatch.setattr(command, "ours", lambda model, precisions, options: [bad])
    assert ask(*options) == 2
    assert "Brisk int4: This model is broken." in capsys.readouterr().err


def test_without_peers_ratios_are_to_the_first(
    pretended: None, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--model", str(tiny_llama), "--prompt", "40", "--new", "5", "--repeat", "1", "--vs", "none")
    assert ask(*options, "--format", "json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["baseline"] == "Brisk int8" and len(data["rows"]) == 1 and not data["absent"]


NEIGHBOURS = (*OPTIONS, "--neighbours", "0,1")


def test_beside_neighbours_json_holds_every_figure(
    pretended: None, tiny_llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("--model", str(tiny_llama), *NEIGHBOURS, "--format", "json") == 0
    data = json.loads(capsys.readouterr().out)
    rows = {(row["neighbours"], row["name"]): row for row in data["neighbours"]}
    names = ("Brisk int8", "Transformers fp32")
    assert set(rows) == {(count, name) for count in (0, 1) for name in names}
    assert rows[1, "Brisk int8"]["prefill"] == {"median": 400, "least": 400, "most": 400}
    assert rows[1, "Brisk int8"]["decode_ratios"] == {"Transformers fp32": pytest.approx(4)}
    assert rows[1, "Brisk int8"]["decode_kept"] == 1  # the fake's times are made up
    assert data["references"] == ["Transformers fp32"] and data["prompt"] == 40 and data["stray_cpu"] >= 0
    assert {one["name"] for one in data["absent"]} == {
        "llama.cpp F32",
        "llama.cpp Q8_0",
        "llama.cpp Q4_0",
        "OpenVINO fp32",
    }
    assert data["machine"]["versions"]["fake"] == "1.0"


@pytest.mark.parametrize("form", ["table", "md", "csv"])
def test_beside_neighbours_every_format_shows_the_same(
    form: str, pretended: None, tiny_llama: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("--model", str(tiny_llama), *NEIGHBOURS, "--format", form) == 0
    out = capsys.readouterr().out
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [(row["neighbours"], row["name"]) for row in rows][2] == ("1", "Brisk int8")
        assert float(rows[2]["decode.median"]) == 40 and float(rows[2]["decode_ratios.Transformers fp32"]) == 4
    else:
        assert "Beside busy neighbours" in out and "400 (400 to 400)" in out and "4.00x" in out and "100%" in out
        assert "2 interleaved rounds through all counts" in out and "Absent: llama.cpp F32" in out and "Machine:" in out
        assert "What bounds it" not in out

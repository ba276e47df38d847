import json
import sys
from pathlib import Path
from typing import Any

import pytest

import pipelines.evaluation.__main__ as command
from engine.config import EngineConfig
from pipelines import TASKS
from pipelines.evaluation import report
from pipelines.evaluation.data import unique_reviews
from pipelines.evaluation.judge import sentiment_judge
from pipelines.evaluation.runner import read_rows
from pipelines.generation import imdb as generation
from tests.pipelines.fake_engine import FakeEngine

Out = pytest.CaptureFixture[str]


def fit(prompt: str, choice: str) -> float:
    """Knows a few words of praise, and says yes to everything."""
    praised = any(word in prompt for word in ("great", "wonderful", "moving", "funny", "superb", "clever"))
    return {" positive": -1.0 if praised else -2.0, " negative": -1.5, " Yes": -0.5, " No": -1.0}[choice]


@pytest.fixture(autouse=True)
def _setting(imdb_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unique_reviews.cache_clear()
    sentiment_judge.cache_clear()
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))
    monkeypatch.setattr(sys, "argv", ["evaluation"])
    monkeypatch.setattr(generation, "PREFIX_WORDS", 4)  # the invented reviews are short
    monkeypatch.setattr(generation, "LEAST_WORDS", 2)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine(fit=fit, reply=lambda prompt: " It is wonderful. It is wonderful. So it is.")

    def load(config: EngineConfig) -> FakeEngine:
        return fake

    monkeypatch.setattr(command, "load_engine", load)
    return fake


def run(task: str, output: Path, *more: str) -> int:
    return command.main(["--task", task, "--limit", "8", "--output", str(output), *more])


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("task", [task.name for task in TASKS])
def test_every_task_leaves_rows_and_a_report_and_prints_its_path_last(task: str, tmp_path: Path, capsys: Out) -> None:
    folder = tmp_path / "out"
    assert run(task, folder) == 0
    out, err = capsys.readouterr()
    assert out.strip().splitlines()[-1] == str(folder / "report.json")
    assert "review" in err
    rows = read_rows(folder / "rows.jsonl")
    assert len(rows) == 8 and sum(row["label"] for row in rows) == 4
    assert all({"id", "label", "timing", "shortened", "seconds"} <= row.keys() for row in rows if "error" not in row)
    assert not [row for row in rows if "error" in row]
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert found["complete"] and found["environment"]["prompt"] and found["environment"]["commit"]
    assert all(figure["n"] <= 16 for figure in found["figures"])
    again = report.build_report(folder)
    assert [figure.to_dict() for figure in again.figures] == [figure.to_dict() for figure in again.figures]


def figures(task: str, folder: Path) -> dict[str, Any]:
    assert run(task, folder) == 0
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return {figure["name"]: figure for figure in found["figures"]}


@pytest.mark.usefixtures("engine")
def test_classification_figures_are_those_of_the_rows(tmp_path: Path) -> None:
    found = figures("classification", tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    right = sum((row["raw"] >= 0.5) == bool(row["label"]) for row in rows)
    assert found["accuracy, raw"]["value"] == right / 8
    assert found["accuracy, majority"]["value"] == 0.5
    assert found["accuracy, raw"]["low"] < found["accuracy, raw"]["value"] < 1.01


@pytest.mark.usefixtures("engine")
def test_a_model_that_always_says_yes_is_found_out(tmp_path: Path) -> None:
    found = figures("question_answering", tmp_path / "out")
    assert found["yes said"]["value"] == 1.0 and found["pair consistent"]["value"] == 0.0
    assert found["liked?: right"]["value"] == found["always yes: right"]["value"] == 0.5
    assert found["answer verbatim in the review"]["value"] == 1.0


@pytest.mark.usefixtures("engine")
def test_bits_per_byte_are_of_the_whole_sample(tmp_path: Path) -> None:
    found = figures("generation", tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert all(row["bits"] == pytest.approx(2 * (row["tokens"] - 1), rel=1e-5) for row in rows)  # 1/4 a token
    assert found["bits per byte"]["value"] == pytest.approx(
        sum(r["bits"] for r in rows) / sum(r["bytes"] for r in rows)
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--task", "chess"], "chess"),
        (["--task", "classification", "--limit", "0"], "1 or more"),
        (["--task", "classification", "--limit", "999"], "at most 32"),
        (["--task", "classification", "--split", "unsup"], "unsup"),
        (["--task", "classification", "--seed", "-1"], "seed"),
    ],
)
def test_bad_requests_are_one_sentence_and_exit_code_2(arguments: list[str], word: str, capsys: Out) -> None:
    assert command.main(arguments) == 2
    out, err = capsys.readouterr()
    last = err.strip().splitlines()[-1]
    assert out == "" and last.startswith("Error: ") and word in last and "Traceback" not in err


@pytest.mark.usefixtures("engine")
def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path, capsys: Out) -> None:
    assert run("classification", tmp_path / "out") == 0
    assert run("classification", tmp_path / "out") == 2
    assert "another run" in capsys.readouterr().err


def test_rows_that_all_fail_exit_with_1(engine: FakeEngine, tmp_path: Path, capsys: Out) -> None:
    def broken(prompt: str, choice: str) -> float:
        raise RuntimeError("the kernel is broken")

    engine.fit = broken
    assert run("classification", tmp_path / "out") == 1
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert all(row["error"] == "RuntimeError: the kernel is broken" for row in rows)
    assert "Every row failed" in capsys.readouterr().err


def test_ctrl_c_writes_what_is_done_and_says_so(engine: FakeEngine, tmp_path: Path, capsys: Out) -> None:
    def fit_then_stop(prompt: str, choice: str) -> float:
        if len(engine.prompts) > 7:
            raise KeyboardInterrupt
        return fit(prompt, choice)

    engine.fit = fit_then_stop
    assert run("classification", tmp_path / "out") == 130
    out, err = capsys.readouterr()
    assert "Stopped: the report holds the 4 of 8" in err
    assert out.strip().splitlines()[-1].endswith("report.json")
    found = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert not found["complete"] and found["missing"] == 4

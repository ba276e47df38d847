import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import pipelines.evaluation.__main__ as command
from engine.config import EngineConfig
from pipelines import TASKS
from pipelines.classification.heads import Head, save_head
from pipelines.evaluation import report
from pipelines.evaluation.data import unique_reviews
from pipelines.evaluation.judge import baseline, sentiment_judge
from pipelines.evaluation.runner import TIMINGS, read_rows
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
    baseline.cache_clear()
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))
    monkeypatch.setattr(sys, "argv", ["evaluation"])
    monkeypatch.setattr(generation, "PREFIX_WORDS", 4)  # the invented reviews are short
    monkeypatch.setattr(generation, "MIN_WORDS", 2)


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
@pytest.mark.parametrize("task", list(TASKS))
def test_every_task_leaves_rows_and_a_report_and_prints_its_path_last(task: str, tmp_path: Path, capsys: Out) -> None:
    folder = tmp_path / "out"
    assert run(task, folder) == 0
    out, err = capsys.readouterr()
    assert out.strip().splitlines()[-1] == str(folder / "report.json")
    assert "review" in err
    rows = read_rows(folder / "rows.jsonl")
    # reviews that are asked for their rating, or continued
    beside = 8 if task in ("question_answering", "generation") else 0
    assert len(rows) == 8 + beside and sum(row["label"] for row in rows[:8]) == 4
    assert all({"id", "label", "timing", "shortened", "seconds"} <= row.keys() for row in rows if "error" not in row)
    assert not [row for row in rows if "error" in row]
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert found["complete"] and found["environment"]["prompt"] and found["environment"]["commit"]
    assert found["environment"]["sample"]["ids"] == [row["id"] for row in rows]
    [part] = found["precisions"]
    assert all(figure["n"] <= 16 for figure in part["figures"])
    text = (folder / "report.json").read_text(encoding="utf-8")
    assert report.main([str(folder)]) == 0
    assert (folder / "report.json").read_text(encoding="utf-8") == text


def figures(task: str, folder: Path, *more: str) -> dict[str, Any]:
    assert run(task, folder, *more) == 0
    found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return {figure["name"]: figure for figure in found["precisions"][0]["figures"]}


@pytest.mark.usefixtures("engine")
def test_classification_figures_are_those_of_the_rows(tmp_path: Path) -> None:
    found = figures("classification", tmp_path / "out")
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    right = sum((row["raw"] >= 0.5) == bool(row["label"]) for row in rows)
    assert found["accuracy, zero-shot, raw"]["value"] == right / 8
    assert found["accuracy, majority"]["value"] == 0.5
    assert found["accuracy, zero-shot, raw"]["low"] < found["accuracy, zero-shot, raw"]["value"] < 1.01


@pytest.mark.usefixtures("engine")
def test_a_trained_head_contrast_pairs_and_baselines_stand_beside_zero_shot(tmp_path: Path) -> None:
    head = Head(
        "praise", "fake", 3, 64, "last", ("negative", "positive"), np.array([[0] * 8, [2, -2, *[0] * 6]], np.float32),
        np.zeros(2, np.float32), {"drawn": 24, "seed": 0},
    )  # fmt: skip
    pairs = tmp_path / "pairs.parquet"
    pd.DataFrame(
        {
            "pair_id": [7, 8],
            "text_original": ["Superb and clever.", "A dull film."],
            "label_original": [1, 0],
            "text_contrast": ["Painful and silly.", "Not a thrilling film."],
            "label_contrast": [0, 1],
        }
    ).to_parquet(pairs)
    more = ("--head", str(save_head(head, tmp_path)), "--contrast", str(pairs))
    found = figures("classification", tmp_path / "out", *more)
    rows = read_rows(tmp_path / "out" / "rows.jsonl")
    assert len(rows) == 12 and [row["id"] for row in rows[8:10]] == ["contrast/7/original", "contrast/7/contrast"]
    accuracy = found["accuracy, trained head"]
    assert accuracy["n"] == 8 and accuracy["value"] == 1
    assert found["contrast accuracy, trained head"]["n"] == 2 and found["contrast consistency, trained head"]["value"]
    assert "TF-IDF" in " ".join(found) and found["accuracy, TF-IDF, the head's rows"]["n"] == 8
    assert found["reviews/s, trained head"]["value"] > 0
    assert found["ECE-10, trained head"]["value"] < 0.5


def test_a_threshold_is_fitted_on_train_alone(engine: FakeEngine, tmp_path: Path, capsys: Out) -> None:
    engine.fit = lambda prompt, choice: fit(prompt, choice) - 4 * (choice == " positive")  # says negative of all
    assert run("classification", tmp_path / "train", "--split", "train") == 0
    found = figures("classification", tmp_path / "test", "--fit", str(tmp_path / "train"))
    right = {kind: found[f"accuracy, zero-shot, {kind}"]["value"] for kind in ("raw", "threshold of train")}
    assert right["raw"] == 0.5 and right["threshold of train"] > 0.7
    assert found["accuracy, zero-shot, Platt of train"]["value"] > 0.7
    assert run("classification", tmp_path / "new", "--fit", str(tmp_path / "test")) == 2
    assert "does not hold zero-shot rows of the train split in int8" in capsys.readouterr().err


@pytest.mark.usefixtures("engine")
def test_a_model_that_always_says_yes_is_found_out(tmp_path: Path) -> None:
    found = figures("question_answering", tmp_path / "out")
    assert found["yes said"]["value"] == 1.0 and found["pair consistent"]["value"] == 0.0
    assert found["liked?: right"]["value"] == found["always yes: right"]["value"] == 0.5
    assert found["rating verbatim in the review"]["value"] == 1.0
    assert found["rating right, where stated"]["n"] == found["no answer, where none stated"]["n"] == 4


@pytest.mark.usefixtures("engine")
def test_bits_per_byte_are_of_the_whole_sample(tmp_path: Path) -> None:
    found = figures("generation", tmp_path / "out")
    rows = [row for row in read_rows(tmp_path / "out" / "rows.jsonl") if "bits" in row]
    assert len(rows) == 8
    assert all(row["bits"] == pytest.approx(2 * (row["tokens"] - 1), rel=1e-5) for row in rows)  # 1/4 a token
    assert found["bits per byte"]["value"] == pytest.approx(
        sum(r["bits"] for r in rows) / sum(r["bytes"] for r in rows)
    )


def test_continuations_go_on_from_the_same_words_towards_both_sides(tmp_path: Path, engine: FakeEngine) -> None:
    engine.reply = lambda prompt: " wonderful, superb" if "very positive" in prompt else " awful, dull"
    found = figures("generation", tmp_path / "out")
    rows = [row for row in read_rows(tmp_path / "out" / "rows.jsonl") if "written" in row]
    assert len(rows) == 8 and sum(row["label"] for row in rows) == 4
    asked = [prompt for prompt in engine.prompts if "very positive" in prompt]
    assert [prompt.split("assistant\n")[1] for prompt in asked] == [row["prefix"] for row in rows]
    assert all(row["written"]["positive"] == "wonderful, superb" for row in rows)
    gains = [row["judge"]["positive"] - row["judge"]["negative"] for row in rows]
    assert found["steered: judged positive, positive less negative"]["value"] == sum(gains) / 8
    assert found["steered: judged positive, positive less negative"]["n"] == 8


def test_a_yes_that_needs_no_text_is_taken_off(tmp_path: Path, engine: FakeEngine) -> None:
    engine.fit = lambda prompt, choice: fit(prompt, choice) + (5.0 if choice == " Yes" else 0.0)
    found = figures("question_answering", tmp_path / "out")
    rows = [row for row in read_rows(tmp_path / "out" / "rows.jsonl") if "liked" in row]
    assert found["yes said"]["value"] == 1.0
    assert [row["liked_calibrated"] for row in rows] == pytest.approx([row["liked"] - 5.5 for row in rows])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--task", "chess"], "chess"),
        (["--task", "classification", "--limit", "0"], "1 or more"),
        (["--task", "classification", "--limit", "999"], "at most 32"),
        (["--task", "classification", "--split", "unsup"], "unsup"),
        (["--task", "classification", "--seed", "-1"], "seed"),
        (["--task", "classification", "--precision", "fp32,fp8"], "'fp8' is unknown"),
        (["--task", "classification", "--precision", "int8,int8"], "given twice"),
        (["--task", "classification", "--format", "pdf"], "'pdf' is unknown"),
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
        if len(engine.prompts) > 8:
            raise KeyboardInterrupt
        return fit(prompt, choice)

    engine.fit = fit_then_stop
    assert run("classification", tmp_path / "out") == 130
    out, err = capsys.readouterr()
    assert "Stopped: the report holds the 4 of 8" in err
    assert out.strip().splitlines()[-1].endswith("report.json")
    found = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert not found["complete"] and found["precisions"][0]["missing"] == 4


@pytest.mark.usefixtures("engine")
def test_two_precisions_are_two_parts_and_a_comparison(tmp_path: Path, capsys: Out) -> None:
    assert run("classification", tmp_path / "out", "--precision", "fp32,int8", "--format", "json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err.strip().splitlines()[-1] == str(tmp_path / "out" / "report.json")
    assert [part["precision"] for part in found["precisions"]] == ["fp32", "int8"]
    assert found["comparisons"][0]["verdict"] and list(found["environment"]["engines"]) == ["fp32", "int8"]
    assert len(read_rows(tmp_path / "out" / "rows.jsonl")) == 16


def test_a_stopped_run_goes_on_where_it_stopped(engine: FakeEngine, tmp_path: Path, capsys: Out) -> None:
    more = ("--precision", "fp32,int8", "--resume")
    assert run("classification", tmp_path / "whole", *more) == 0  # nothing to go on with: begins
    whole = read_rows(tmp_path / "whole" / "rows.jsonl")
    asked = len(engine.prompts)

    def stop_once(prompt: str, choice: str) -> float:
        if len(engine.prompts) == asked + 19:
            engine.prompts.append("")
            raise KeyboardInterrupt
        return fit(prompt, choice)

    engine.fit = stop_once
    assert run("classification", tmp_path / "out", *more) == 130
    stopped = len(read_rows(tmp_path / "out" / "rows.jsonl"))
    assert 8 < stopped < 16 and "--resume goes on" in capsys.readouterr().err
    assert run("classification", tmp_path / "out", *more) == 0
    assert f"{stopped} rows stand in" in capsys.readouterr().err
    found = read_rows(tmp_path / "out" / "rows.jsonl")
    for rows in (whole, found):
        for row in rows:
            for name in TIMINGS:
                del row[name]
    assert found == whole
    assert run("classification", tmp_path / "out", "--seed", "1", *more) == 2
    assert "another run (its options and sample differ)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("engine")
def test_the_price_list_is_every_task_in_every_precision(tmp_path: Path, capsys: Out) -> None:
    out, docs = tmp_path / "out", tmp_path / "docs" / "evaluation.md"
    more = ("--precision", "fp32,int8", "--page", str(docs))
    assert run("all", out, *more) == 0
    shown = capsys.readouterr().out
    assert "Price list" in shown and shown.strip().splitlines()[-1] == str(out / "prices.md")
    text = docs.read_text(encoding="utf-8")
    assert text == (out / "prices.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    for name in ("classification", "summarization", "question answering", "generation"):
        own = [line for line in lines if line.startswith(f"| {name} |")]
        assert [cells.split(" | ")[1] for cells in own[:2]] == ["fp32", "int8"] and "same" in own[1]
    assert "With n = 8" in text and "fake" in text
    for name, beside in (("Classification", ""), ("Generation", " and 8 texts of their own")):
        assert re.search(
            rf"^- {name}: The reviews{beside} took \d+\.\d min in fp32, \d+\.\d min in int8\.$", text, re.M
        )
    rows = [len(read_rows(out / task.name / "rows.jsonl")) for task in TASKS.values()]
    assert rows == [16, 16, 32, 32]
    assert run("all", out, *more, "--resume", "--format", "json") == 0  # nothing is run again
    found = json.loads(capsys.readouterr().out)
    assert {line["task"] for line in found} == {task.name for task in TASKS.values()}
    assert all(line["seconds"] > 0 for line in found)
    path = out / "generation" / "rows.jsonl"
    first, rest = path.read_text(encoding="utf-8").split("\n", 1)
    failed = {key: json.loads(first)[key] for key in ("precision", "id", "label", "seconds")} | {"error": "a reason"}
    path.write_text(f"{json.dumps(failed)}\n{rest}", encoding="utf-8")
    assert run("all", out, *more, "--resume") == 0
    assert "1 of 32 rows failed" in " ".join(capsys.readouterr().out.split())  # whichever task it is of
    assert found[0]["comparison"] is None and found[1]["comparison"]["verdict"] == "same"

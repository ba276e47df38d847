import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadRequest, UserError
from pipelines.evaluation.data import Review, Sample
from pipelines.evaluation.report import build_report, write_report
from pipelines.evaluation.runner import ROWS_FILE, RUN_FILE, prepare_folder, read_rows, run_rows
from pipelines.evaluation.statistics import Figure, share

REVIEWS = tuple(Review(f"test/{i}", f"text\u2028{i}\x85", i % 2) for i in range(4))
SAMPLE = Sample("test", REVIEWS, "a test", 4, 0, 0)


class Echo:
    """Says every review is positive, and fails on the second."""

    prompt, reading = "{text}", "Nothing to read."

    def __init__(self, engine: object = None, seed: int = 0) -> None: ...

    def run(self, review: Review) -> dict[str, Any]:
        if review.id == "test/1":
            raise BadRequest("This one cannot be read.")
        return {"said": 1, "text": review.text, "shortened": None}

    @staticmethod
    def figures(rows: Sequence[Any]) -> list[Figure]:
        return [share("right", [row["said"] == row["label"] for row in rows])]

    @staticmethod
    def example(rows: Sequence[Any]) -> str:
        return str(rows[0]["text"])


def one_by_one(reviews: Sequence[Review]) -> Iterator[Review]:
    return iter(reviews)


def test_a_failing_row_is_recorded_and_the_run_goes_on(tmp_path: Path) -> None:
    outcome = run_rows(Echo(), SAMPLE, tmp_path, one_by_one)
    assert (outcome.rows, outcome.failed, outcome.interrupted) == (4, 1, False)
    rows = read_rows(tmp_path / ROWS_FILE)
    assert [row["id"] for row in rows] == [review.id for review in REVIEWS]
    assert rows[1]["error"] == "BadRequest: This one cannot be read." and rows[0]["text"] == REVIEWS[0].text


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    def stopped(reviews: Sequence[Review]) -> Iterator[Review]:
        yield from reviews[:3]
        raise KeyboardInterrupt

    outcome = run_rows(Echo(), SAMPLE, tmp_path, stopped)
    assert (outcome.rows, outcome.interrupted) == (3, True)
    assert len(read_rows(tmp_path / ROWS_FILE)) == 3


def test_another_runs_folder_is_left_alone(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "new", {"task": "x"})
    assert json.loads((tmp_path / "new" / RUN_FILE).read_text()) == {"task": "x"}
    (tmp_path / "new" / ROWS_FILE).write_text("")
    with pytest.raises(UserError, match="another run"):
        prepare_folder(tmp_path / "new", {})
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        prepare_folder(tmp_path / "file" / "deeper", {})


def environment(task: str = "echo") -> dict[str, Any]:
    sample = {
        "source": "a test", "split": "test", "reviews": 4, "positive": 2, "seed": 0,
        "rows_published": 4, "duplicates_removed": 0, "found_in_train_removed": 0,
    }  # fmt: skip
    engine = {"model": "m", "source": "s", "precision": "fp32", "device": "cpu", "threads": 1}
    return {"task": task, "sample": sample, "engine": engine, "prompt": "{text} ```"}


@pytest.fixture
def echo_task(monkeypatch: pytest.MonkeyPatch) -> None:
    import pipelines
    from pipelines.evaluation import report

    task = pipelines.Task("echo", "Echo", "echo", "/echo", "", "", f"{__name__}:Echo")
    monkeypatch.setattr(report, "TASKS", (task,))


@pytest.mark.usefixtures("echo_task")
def test_the_report_is_computed_from_the_rows_alone_and_says_what_is_missing(tmp_path: Path) -> None:
    prepare_folder(tmp_path, environment())
    run_rows(Echo(), SAMPLE, tmp_path, one_by_one)
    report = write_report(tmp_path)
    right = report.figures[0]
    assert (right.name, right.n) == ("right", 3) and right.value == pytest.approx(1 / 3)
    assert (report.rows, report.failed, report.missing) == (4, 1, 0)
    lines = (tmp_path / ROWS_FILE).read_text(encoding="utf-8").split("\n")
    (tmp_path / ROWS_FILE).write_text("\n".join([*lines[:1], lines[3], ""]), encoding="utf-8")
    report = build_report(tmp_path)
    assert (report.figures[0].value, report.figures[0].n, report.missing) == (0.5, 2, 2)
    assert any("Partial" in fact for fact in report.facts())


@pytest.mark.usefixtures("echo_task")
def test_the_files_are_valid_json_and_a_markdown_table(tmp_path: Path) -> None:
    prepare_folder(tmp_path, environment())
    run_rows(Echo(), SAMPLE, tmp_path, one_by_one)
    write_report(tmp_path)
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert found["complete"] and found["figures"][0]["n"] == 3 and found["environment"]["prompt"]
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| right | 33.3 % | [" in text and "````" in text


@pytest.mark.usefixtures("echo_task")
def test_a_run_whose_rows_all_failed_has_a_report_without_figures(tmp_path: Path) -> None:
    prepare_folder(tmp_path, environment())
    (tmp_path / ROWS_FILE).write_text('{"id": "test/0", "label": 0, "error": "x", "seconds": 0.1}\n')
    report = write_report(tmp_path)
    assert report.figures == [] and report.failed == 1


def test_damaged_or_missing_files_get_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        build_report(tmp_path)
    (tmp_path / ROWS_FILE).write_text('{"id": 1}\n{"id"')
    with pytest.raises(UserError, match="Line 2"):
        build_report(tmp_path)
    (tmp_path / ROWS_FILE).write_text("")
    with pytest.raises(UserError, match="missing or damaged"):
        build_report(tmp_path)
    (tmp_path / RUN_FILE).write_text(json.dumps(environment("chess")))
    with pytest.raises(UserError, match="chess"):
        build_report(tmp_path)

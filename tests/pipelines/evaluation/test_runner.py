import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadRequest, UserError
from engine.measure.statistics import Figure, share
from pipelines import TASKS, Task
from pipelines.evaluation.data import Review
from pipelines.evaluation.interface import Evaluation
from pipelines.evaluation.options import Options
from pipelines.evaluation.paired import Measure
from pipelines.evaluation.picture import Probabilities
from pipelines.evaluation.report import build_report, print_report, write_report
from pipelines.evaluation.runner import (
    ROWS_FILE,
    RUN_FILE,
    TIMINGS,
    prepare_folder,
    read_rows,
    read_run,
    run_rows,
)
from tests.pipelines.fake_engine import FakeEngine

REVIEWS = (
    *(Review(f"test/{i}", f"text\u2028{i}\x85", i % 2) for i in range(2)),
    *(Review(f"test/{i}", f"text {i}", i % 2, stars=9 if i == 2 else None, film=f"tt{i}") for i in range(2, 4)),
)


class Echo(Evaluation[Options]):
    """Says the same of every review, and fails on the second."""

    options = Options
    prompt, reading = "{text}", "Nothing to read."
    measures = (Measure("right", lambda row: float(row["said"] == row["label"]), margin=0.01),)

    def __init__(self, engine: object = None, options: Options | None = None, said: int = 1) -> None:
        self.said = said

    def run(self, review: Review) -> dict[str, Any]:
        if review.id == "test/1":
            raise BadRequest("This one cannot be read.")
        return {"said": self.said, "text": review.text, "shortened": None}

    @staticmethod
    def figures(rows: Sequence[Any]) -> list[Figure]:
        return [share("right", [row["said"] == row["label"] for row in rows])]

    @staticmethod
    def probabilities(rows: Sequence[Any]) -> Probabilities:
        return Probabilities("echo", ("no", "yes"), [row["label"] for row in rows], [row["said"] for row in rows])

    @staticmethod
    def example(rows: Sequence[Any]) -> str:
        return str(rows[0]["text"])


def one_by_one(reviews: Sequence[Review]) -> Iterator[Review]:
    return iter(reviews)


ENGINE: Any = FakeEngine()


def environment(task: str = "echo", precisions: Sequence[str] = ("fp32",)) -> dict[str, Any]:
    sample = {
        "source": "a test", "split": "test", "reviews": 4, "positive": 2, "beside": 0, "seed": 0, "rows_published": 4,
        "duplicates_removed": 0, "found_in_train_removed": 0, "ids": [review.id for review in REVIEWS],
    }  # fmt: skip
    engine = {"model": "m", "source": "s", "precision": "fp32", "device": "cpu", "threads": 1}
    return {
        "task": task, "sample": sample, "precisions": list(precisions), "engines": dict.fromkeys(precisions, engine),
        "settings": {}, "options": {}, "prompt": "{text} ```", "date": "today", "commit": "abc", "machine": "here",
    }  # fmt: skip


def run(folder: Path, reviews: Sequence[Review] = REVIEWS, precision: str = "fp32", said: int = 1) -> Any:
    return run_rows(Echo(said=said), ENGINE, precision, reviews, folder, one_by_one)


def untimed(path: Path) -> list[str]:
    rows = [{key: row[key] for key in row if key not in TIMINGS} for row in read_rows(path)]
    return [json.dumps(row) for row in rows]


def test_a_failing_row_is_recorded_and_the_run_goes_on(tmp_path: Path) -> None:
    outcome = run(tmp_path)
    assert (outcome.rows, outcome.failed, outcome.interrupted) == (4, 1, False)
    rows = read_rows(tmp_path / ROWS_FILE)
    assert [row["id"] for row in rows] == [review.id for review in REVIEWS]
    assert rows[1]["error"] == "BadRequest: This one cannot be read." and rows[0]["text"] == REVIEWS[0].text
    assert rows[2]["stars"] == 9 and rows[2]["film"] == "tt2" and "stars" not in rows[0]


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    def stopped(reviews: Sequence[Review]) -> Iterator[Review]:
        yield from reviews[:3]
        raise KeyboardInterrupt

    outcome = run_rows(Echo(), ENGINE, "fp32", REVIEWS, tmp_path, stopped)
    assert (outcome.rows, outcome.interrupted) == (3, True)
    assert len(read_rows(tmp_path / ROWS_FILE)) == 3


def test_another_runs_folder_is_left_alone(tmp_path: Path) -> None:
    assert prepare_folder(tmp_path / "new", environment()) == []
    assert read_run(tmp_path / "new")["task"] == "echo"
    with pytest.raises(UserError, match=r"another run: .*--resume"):
        prepare_folder(tmp_path / "new", environment())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        prepare_folder(tmp_path / "file" / "deeper", environment())


@pytest.mark.parametrize("at", [0, 1, 57, 58, 59, 200, 10_000])
def test_a_run_killed_anywhere_goes_on_to_the_same_rows(tmp_path: Path, at: int) -> None:
    given = environment(precisions=("fp32", "int8"))
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        prepare_folder(folder, dict(given))
        run(folder)
        run(folder, precision="int8", said=0)
    path = tmp_path / "killed" / ROWS_FILE
    path.write_bytes(path.read_bytes()[:at])
    taken_up = dict(given)
    rows = prepare_folder(tmp_path / "killed", taken_up, resume=True)
    assert len(rows) == path.read_bytes().count(b"\n") and taken_up["resumed"][0]["rows"] == len(rows)
    for precision, said in (("fp32", 1), ("int8", 0)):
        done = sum(row["precision"] == precision for row in rows)
        run(tmp_path / "killed", REVIEWS[done:], precision, said)
    assert untimed(path) == untimed(tmp_path / "whole" / ROWS_FILE)


def test_what_is_not_this_run_is_not_gone_on_with(tmp_path: Path) -> None:
    prepare_folder(tmp_path, environment())
    run(tmp_path, REVIEWS[:2])
    for key, value in (
        ("task", "chess"),
        ("precisions", ["int8"]),
        ("settings", {"threads": 1}),
        ("options", 9),
        ("prompt", "?"),
    ):
        with pytest.raises(UserError, match=f"another run .its {key} differ"):
            prepare_folder(tmp_path, {**environment(), key: value}, resume=True)
    lines = (tmp_path / ROWS_FILE).read_text(encoding="utf-8")
    (tmp_path / ROWS_FILE).write_text(lines + lines, encoding="utf-8")
    with pytest.raises(UserError, match="in their order: start anew"):
        prepare_folder(tmp_path, environment(), resume=True)


@pytest.fixture
def echo_task(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task("echo", "Echo", "echo", pipeline="", tab="", run="", evaluation=f"{__name__}:Echo")
    monkeypatch.setitem(TASKS, task.name, task)


@pytest.mark.usefixtures("echo_task")
def test_the_report_is_computed_from_the_rows_alone_and_says_what_is_missing(tmp_path: Path) -> None:
    prepare_folder(tmp_path, environment())
    run(tmp_path)
    report = write_report(tmp_path)
    right = report.parts[0].figures[0]
    assert (right.name, right.n) == ("right", 3) and right.value == pytest.approx(1 / 3)
    assert (report.done, report.failed, report.drawn) == (4, 1, 4)
    lines = (tmp_path / ROWS_FILE).read_text(encoding="utf-8").split("\n")
    (tmp_path / ROWS_FILE).write_text("\n".join([*lines[:1], lines[3], ""]), encoding="utf-8")
    report = build_report(tmp_path)
    right = report.parts[0].figures[0]
    assert (right.value, right.n, report.parts[0].missing) == (0.5, 2, 2)
    assert any("Partial" in fact for fact in report.facts())


@pytest.mark.usefixtures("echo_task")
def test_two_precisions_are_compared_review_by_review(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_folder(tmp_path, environment(precisions=("fp32", "int8")))
    run(tmp_path)
    run(tmp_path, precision="int8", said=0)
    report = write_report(tmp_path)
    [one] = report.comparisons
    assert one.lost == ("test/3",) and one.won == ("test/0", "test/2") and one.difference.n == 3
    for form in ("table", "md"):
        print_report(report, form)
        out = capsys.readouterr().out
        assert "no proof" in out and "lost test/3; won test/0, test/2" in out and "With n = 3" in out


@pytest.mark.usefixtures("echo_task")
def test_rows_of_two_versions_of_the_code_are_said_to_be(tmp_path: Path) -> None:
    prepare_folder(tmp_path, environment())
    run(tmp_path, REVIEWS[:1])
    prepare_folder(tmp_path, {**environment(), "commit": "def"}, resume=True)
    assert any("2 versions of the code: abc, def" in fact for fact in build_report(tmp_path).facts())


@pytest.mark.usefixtures("echo_task")
def test_the_files_are_valid_json_and_a_markdown_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_folder(tmp_path, environment())
    run(tmp_path)
    report = write_report(tmp_path)
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert found["complete"] and found["precisions"][0]["figures"][0]["n"] == 3 and found["environment"]["prompt"]
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| right | 33.3 % | [" in text and "````" in text and "](report.png)" in text
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    print_report(report, "json")
    assert json.loads(capsys.readouterr().out) == found


@pytest.mark.usefixtures("echo_task")
def test_a_run_whose_rows_all_failed_has_a_report_without_figures(tmp_path: Path) -> None:
    prepare_folder(tmp_path, environment())
    (tmp_path / ROWS_FILE).write_text(
        '{"precision": "fp32", "id": "test/0", "label": 0, "error": "x", "seconds": 0.1}\n'
    )
    report = write_report(tmp_path)
    assert report.parts[0].figures == [] and report.failed == 1


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

"""A new task is one folder and one line: a fifth one, registered, has its tab, endpoint, command and evaluation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import typer
from gradio_client import Client

import brisk.cli
import pipelines
import pipelines.evaluation.__main__ as evaluation
from brisk import app
from engine.config import EngineConfig
from pipelines import cli
from pipelines.evaluation.data import unique_reviews
from pipelines.ui import screen
from tests.fifth_task import TASK
from tests.pipelines.fake_engine import FakeEngine
from tests.pipelines.paced_engine import holding
from tests.serving import free_port

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pipelines.TASKS, TASK.name, TASK)  # the one line; it is gone again after each test


def test_it_has_a_tab_that_runs() -> None:
    holder = holding(FakeEngine())
    page = app.build(holder, EngineConfig())
    config = page.get_config_file()
    titles = [part["props"]["label"] for part in config["components"] if part["type"] == "tabitem"]
    assert titles == ["Classify", "Summarize", "Answer", "Generate", "Vowels"]
    ids = {part["props"].get("elem_id") for part in config["components"]}
    assert {f"{TASK.name}-{piece}" for piece in ("tab", "text", "run", "stop", "clear", "line", "result")} <= ids
    run = screen.run_handler(holder, pipelines.load(TASK.tab), 1)
    shown = list(run(gr.Request(session_hash="a visitor"), "Banana"))
    assert [frame[0] for frame in shown if frame[0] != gr.skip()] == [3] and "Done" in shown[-2][1]


def test_it_has_an_endpoint_that_answers() -> None:
    page = app.build(holding(FakeEngine()), EngineConfig())
    try:
        client = Client(app.serve(page, "127.0.0.1", free_port()), verbose=False)
        result = client.predict(text="Banana", api_name="/vowels")
    finally:
        page.close(verbose=False)
    assert result["vowels"] == 3 and result["timing"]["prompt_tokens"] > 0 and result["model"] == "fake"


def test_it_has_a_command(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setattr(cli, "load_engine", lambda config: FakeEngine(precision=config.precision))
    commands = typer.Typer()
    cli.add_task_commands(commands)
    assert cli.run_app(commands, ["vowels", "Banana", "--precision", "int4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["vowels"] == 3 and result["timing"]["precision"] == "int4"
    assert cli.run_app(commands, ["vowels", ""]) == 2
    assert cli.run_app(commands, ["--help"]) == 0
    assert "Count the vowels of a text." in capsys.readouterr().out


def test_it_is_evaluated(imdb_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    unique_reviews.cache_clear()
    monkeypatch.setenv("IMDB_DIR", str(imdb_dir))
    monkeypatch.setattr(evaluation, "load_engine", lambda config: FakeEngine())
    arguments = ["--task", TASK.name, "--limit", "8", "--output", str(tmp_path / "out")]
    arguments += ["--beside", "Banana"]
    assert evaluation.main(arguments) == 0
    assert "vowels a review" in capsys.readouterr().out
    report: dict[str, Any] = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    [figure] = [row for row in report["precisions"][0]["figures"] if row["name"] == "vowels a review"]
    assert report["environment"]["options"]["beside"] == "Banana"
    assert figure["n"] == 9 and figure["value"] > 10 and report["complete"]


def test_what_the_tasks_share_names_none_of_them() -> None:
    package = Path(pipelines.__file__).parent
    shared = [*(package / "ui").glob("*.py"), *(package / "evaluation").glob("*.py"), *package.glob("[a-z]*.py")]
    shared += [package / "__main__.py", Path(app.__file__), Path(brisk.cli.__file__)]
    assert len(shared) > 15
    names = "|".join(word for task in pipelines.TASKS.values() for word in (task.name, task.command))
    for file in shared:
        found = re.search(rf"pipelines[./](?:{names})\b|[\"'/](?:{names})[\"']", file.read_text(encoding="utf-8"))
        assert found is None, f"{file} knows {found}"

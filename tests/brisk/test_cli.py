"""The console command `brisk`: its sub-commands, their help, the version, and what a person may get wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command

import brisk
from brisk import cli
from engine.errors import UserError
from engine.measure.command import single
from pipelines import TASKS
from pipelines.cli import run_app

ROOT = Path(brisk.__file__).parent.parent
MORE = ("evaluate", "train", "train-adapter", "distill", "bench", "check", "space")
COMMANDS = ("serve", *(name for task in TASKS.values() for name in task.commands), *MORE)
SCREEN = 40  # lines of a tall terminal

Out = pytest.CaptureFixture[str]


def run(*arguments: str, env: dict[str, str] | None = None, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brisk", *arguments]
    given = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **(env or {})}
    return subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=60)


def test_the_version_is_said_from_any_folder(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"brisk {brisk.__version__}\n", "")


def test_help_names_every_command_in_one_screen(capsys: Out) -> None:
    assert run_app(cli.app, ["--help"]) == 0
    said = capsys.readouterr().out
    listed = [line.split()[0] for line in said.partition("Commands:")[2].splitlines() if line.strip()]
    assert tuple(listed) == COMMANDS
    assert len(said.splitlines()) <= SCREEN and "--install-completion" in said


def test_help_is_quick_and_imports_no_torch() -> None:
    code = (
        "import sys\nfrom brisk.cli import app\ntry: app(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'gradio', 'numba', 'transformers') if name in sys.modules])"
    )
    took = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
        took.append(time.perf_counter() - began)
        assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
        if took[-1] < 1:
            return
    raise AssertionError(f"the help took {took} s")


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_fits_one_screen(name: str, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_app(cli.app, [name, "--help"]) == 0
    said = capsys.readouterr().out
    assert f" {name} [OPTIONS]" in said.splitlines()[0]
    assert len(said.splitlines()) <= SCREEN, said


def test_no_command_is_a_placeholder() -> None:
    group = get_command(cli.app)
    assert isinstance(group, cli.LazyGroup)
    with group.make_context("brisk", [], resilient_parsing=True) as context:
        for name in COMMANDS:
            _, command, _ = group.resolve_command(context, [name])
            assert len(command.params) > 1, name


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("classify", ""), "The text is empty"),
        (("serve", "--port", "0"), "The port is '0'"),
        (("evaluate", "--task", "poetry"), "The task 'poetry' is unknown"),
        (("bench", "--new", "1"), "--new is 1"),
        (("check", "--tokens", "2"), "--tokens is 2"),
        (("space", "--upload", "nameless"), "'nameless' is no name of a Space"),
    ],
)
def test_a_request_that_cannot_be_run_is_one_sentence(arguments: tuple[str, ...], sentence: str, capsys: Out) -> None:
    assert run_app(cli.app, arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"Error: {sentence}") and said.err.count("\n") == 1


def test_a_command_that_does_not_exist_exits_with_2(capsys: Out) -> None:
    assert run_app(cli.app, ["clasify", "x"]) == 2
    assert "Did you mean 'classify'?" in capsys.readouterr().err


def test_a_package_of_an_extra_that_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)  # as where it is not installed

    def serve() -> None:
        import gradio  # noqa: F401

    monkeypatch.setitem(cli.LAZY, "serve", ("", lambda: single(serve)))
    assert run_app(cli.app, ["serve"]) == 2
    assert capsys.readouterr().err == "Error: This needs gradio, which is not installed: pip install 'brisk-lm[app]'.\n"


def test_other_missing_modules_stay_bugs(monkeypatch: pytest.MonkeyPatch) -> None:
    def serve() -> None:
        import engine.nowhere  # type: ignore[import-not-found]  # noqa: F401

    monkeypatch.setitem(cli.LAZY, "serve", ("", lambda: single(serve)))
    with pytest.raises(ModuleNotFoundError):
        run_app(cli.app, ["serve"])


def test_a_space_needs_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "brisk" / "cli.py"))
    with pytest.raises(UserError, match="run this in a checkout"):
        cli.LAZY["space"][1]()


def test_shells_complete_commands_and_the_options_of_lazy_ones() -> None:
    code = "import sys; sys.argv = ['brisk']; from brisk.cli import run; run()"

    def complete(words: str) -> list[str]:
        env = {"_BRISK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout.split()

    assert complete("brisk s") == ["serve", "summarize", "space"]
    assert complete("brisk serve --po") == ["--port"]

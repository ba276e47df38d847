"""The two commands and what they install: exact pins, the Makefile's sentences, `.ci/run`."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
OWN = {"app", "brisk", "engine", "pipelines", "spaces", "tests"}
CODE = ("app.py", "brisk", "engine", "pipelines", "spaces")
PACKAGE_OF = {"sklearn": "scikit-learn", "llvmlite": "numba", "yaml": "PyYAML"}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="GNU make is not installed here")


def requirements(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder: str) -> Iterator[str]:
    """Top-level modules that the code under `folder` imports, other than ours and the standard library's."""
    place = ROOT / folder
    for path in [place] if place.is_file() else sorted(place.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            yield from (name.partition(".")[0] for name in names)


# Imported only by the benchmark's workers, each in an environment of its own (`make peers`).
PEERS = {"ctranslate2", "llama-cpp", "mistralrs", "onnxruntime-genai", "openvino", "openvino-genai", "optimum"}


def third_party(*folders: str) -> set[str]:
    found = {name for folder in folders if (ROOT / folder).exists() for name in imported(folder)}
    return {canonical(PACKAGE_OF.get(name, name)) for name in found - OWN - set(sys.stdlib_module_names)}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
@pytest.mark.parametrize("python", PYTHONS)
def test_each_package_has_one_exact_version_for_each_python(name: str, python: str) -> None:
    environment: dict[str, str] = {**default_environment(), "python_version": python}  # type: ignore[dict-item]
    chosen = [row for row in requirements(name) if row.marker is None or row.marker.evaluate(environment)]
    names = [canonical(row.name) for row in chosen]
    assert len(names) == len(set(names))
    assert set(names) == {canonical(row.name) for row in requirements(name)}, "no package is missing on this Python"
    for row in chosen:
        assert [spec.operator for spec in row.specifier] == ["=="], f"{row} is not an exact pin"


def test_everything_imported_is_pinned() -> None:
    pinned = {canonical(row.name) for row in requirements("requirements.txt")}
    assert third_party(*CODE) - PEERS <= pinned
    assert not PEERS & pinned
    assert third_party("tests") <= pinned | {canonical(row.name) for row in requirements("requirements-dev.txt")}


def test_everything_pinned_is_imported() -> None:
    tools = {"import-linter", "mypy", "pytest-xdist", "ruff"}
    code = third_party(*CODE)
    # What callers of the endpoints use; what pandas reads Parquet with; what torch writes scalars with.
    unseen = {"gradio-client", "pyarrow", "tensorboard"}
    assert {canonical(row.name) for row in requirements("requirements.txt")} <= code | unseen
    assert {canonical(row.name) for row in requirements("requirements-dev.txt")} <= third_party("tests") | tools


def test_the_tests_run_on_the_pinned_versions() -> None:
    for row in [*requirements("requirements.txt"), *requirements("requirements-dev.txt")]:
        if row.marker is None or row.marker.evaluate():
            [pin] = row.specifier
            # A local label such as +cpu names another build of the same version.
            assert importlib.metadata.version(row.name).partition("+")[0] == pin.version, row.name


# ---- the Makefile, in a folder of its own


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(project: Path, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "HOST", "PORT")}
    return subprocess.run(
        ["make", *arguments],
        cwd=project,
        env={**clean, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + body, encoding="utf-8")
    path.chmod(0o755)
    return path


@needs_make
def test_help_names_the_two_commands(project: Path) -> None:
    done = make(project)
    assert done.returncode == 0
    assert "make run" in done.stdout and "make test" in done.stdout


@needs_make
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (None, "is not there"),
        ('case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac\n', "is Python 3.9.2"),
        ('case "$2" in *ensurepip*) exit 1;; esac\n', "apt-get install python3-venv"),
    ],
    ids=["missing", "too old", "without venv"],
)
def test_an_unfit_python_is_one_clear_sentence(project: Path, body: str | None, sentence: str) -> None:
    python = project / "python"
    if body is not None:
        script(python, body)
    done = make(project, "run", f"PYTHON={python}")
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode == 2
    assert len(said) == 1 and said[0].startswith("Brisk needs Python") and sentence in said[0]
    assert not (project / ".venv").exists()


@pytest.fixture
def fake_python(project: Path) -> Path:
    """A Python whose `-m venv` makes one that writes down its calls, and serves by printing where."""
    inner = f'echo "$@" >> "{project}/calls"\ncase "$1" in app.py) echo "$HOST:$PORT $*";; esac\n'
    inner_path = script(project / "inner", inner)
    made = f'mkdir -p .venv/bin && cp "{inner_path}" .venv/bin/python\n'
    return script(project / "python", f'case "$*" in "-m venv .venv") {made.strip()};; esac\n')


@needs_make
def test_run_installs_once_then_serves_at_host_and_port(project: Path, fake_python: Path) -> None:
    first = make(project, "run", f"PYTHON={fake_python}")
    assert first.stdout.splitlines()[-1] == "127.0.0.1:7860 app.py", first.stderr
    installs = (project / "calls").read_text(encoding="utf-8")
    assert "pip install" in installs and "-r requirements.txt" in installs
    (project / "calls").unlink()
    asked = {"HOST": "0.0.0.0", "PORT": "7999"}
    second = make(project, "run", f"PYTHON={fake_python}", "ARGS=--precision fp32", env=asked)
    assert second.stdout.splitlines() == ["0.0.0.0:7999 app.py --precision fp32"]
    assert "pip" not in (project / "calls").read_text(encoding="utf-8")


@needs_make
def test_a_changed_requirement_is_installed_again(project: Path, fake_python: Path) -> None:
    make(project, "run", f"PYTHON={fake_python}")
    (project / "calls").unlink()
    later = (project / ".venv/.run").stat().st_mtime + 10
    os.utime(project / "requirements.txt", (later, later))
    make(project, "run", f"PYTHON={fake_python}")
    assert "-r requirements.txt" in (project / "calls").read_text(encoding="utf-8")


@needs_make
def test_an_installation_that_fails_is_tried_again(project: Path, fake_python: Path) -> None:
    script(project / "inner", "exit 1\n")
    assert make(project, "run", f"PYTHON={fake_python}").returncode != 0
    assert not (project / ".venv/.run").exists()


@needs_make
def test_test_installs_the_tools_and_runs_pytest(project: Path, fake_python: Path) -> None:
    done = make(project, "test", f"PYTHON={fake_python}", "PYTEST_ARGS=-k engine", env={"CHROMIUM": "/a/browser"})
    assert done.returncode == 0, done.stderr
    calls = (project / "calls").read_text(encoding="utf-8").splitlines()
    assert "-r requirements-dev.txt" in calls[-2] and calls[-1] == "-m pytest -n 2 --dist loadfile -k engine"


@needs_make
def test_clean_leaves_the_sources(project: Path, fake_python: Path) -> None:
    make(project, "run", f"PYTHON={fake_python}")
    assert make(project, "clean").returncode == 0
    assert not (project / ".venv").exists() and (project / "requirements.txt").exists()


# ---- the checks of a change


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed here")
@pytest.mark.parametrize("data_is_there", [True, False])
def test_ci_lints_then_tests_and_names_the_data_only_where_it_is(tmp_path: Path, data_is_there: bool) -> None:
    clone = tmp_path / "clone"
    ci = clone / ".ci/run"
    ci.parent.mkdir(parents=True)
    shutil.copy(ROOT / ".ci/run", ci)
    source = ci.read_text(encoding="utf-8")
    [relative] = set(re.findall(r"-d (\.\./\S+)", source))
    if data_is_there:
        (clone / relative).mkdir(parents=True)
    tools = tmp_path / "bin"
    script(tools / "make", 'echo "make $1 IMDB_DIR=${IMDB_DIR:-none}"\n')
    for name in ("chromium", "python3"):
        script(tools / name, "exit 0\n")
    env = {k: v for k, v in os.environ.items() if k not in ("IMDB_DIR", "PYTHON")}
    env["PATH"] = f"{tools}:{env['PATH']}"
    done = subprocess.run(["bash", str(ci)], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["lint", "test"]
    folder = lines[-1].partition("IMDB_DIR=")[2]
    if data_is_there:
        assert Path(folder).resolve() == (clone / relative).resolve()
    else:
        assert folder == "none"


def test_ci_can_be_executed() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)

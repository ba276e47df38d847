"""The distribution: what pyproject.toml asks for beside what is pinned and imported, and what a wheel of it holds."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import brisk
from brisk.cli import DISTRIBUTION, EXTRA_OF
from tests.test_setup import PACKAGE_OF, ROOT, requirements, third_party

EXTRAS = ("app", "bench", "eval", "test")
PACKAGES = ("brisk", "engine", "pipelines")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built offline from a copy of the sources, so that nothing of an earlier build gets in."""
    folder = tmp_path_factory.mktemp("sources")
    for name in (*PACKAGES, "spaces", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("app.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    done = subprocess.run([*command, "-w", "dist", "."], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [path] = (folder / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def asked_for(metadata: Message, *extras: str) -> dict[str, Requirement]:
    """What the distribution and its extras require, by name; another extra of its own is followed."""
    found: dict[str, Requirement] = {}
    rows = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    for extra in ("", *extras):
        for row in rows:
            if (row.marker is None) if not extra else (row.marker is not None and f'"{extra}"' in str(row.marker)):
                if row.name == DISTRIBUTION:
                    found |= asked_for(metadata, *row.extras)
                else:
                    found[canonicalize_name(row.name)] = row
    return found


# ---- the wheel


def test_the_wheel_holds_the_three_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"brisk_lm-{brisk.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = [path for name in PACKAGES for path in (ROOT / name).rglob("*")]
    tracked = {
        path.relative_to(ROOT).as_posix()
        for path in ours
        if path.is_file() and "__pycache__" not in path.parts and path.name[0] != "."
    }
    assert held == tracked
    assert {f"{name}/py.typed" for name in PACKAGES} <= held
    assert {name.partition("/")[0] for name in held} == set(PACKAGES), "`spaces` above all belongs to another package"
    trained = {name for name in held if name.startswith("pipelines/classification/trained/")}
    assert {Path(name).suffix for name in trained} == {".json", ".safetensors"}


def test_the_metadata_say_what_it_is(wheel: Path, metadata: Message) -> None:
    assert metadata["Name"] == DISTRIBUTION and metadata["Version"] == brisk.__version__
    assert metadata["Requires-Python"] == ">=3.10" and metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("Provides-Extra") == list(EXTRAS)
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert [line.partition(", ")[0] for line in metadata.get_all("Project-URL", [])]
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "[console_scripts]\nbrisk = brisk.cli:run\n" in archive.read(name).decode()
        assert [name for name in archive.namelist() if name.endswith("/LICENSE")]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`bin` of an environment with the wheel in it; what it requires is looked up in the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt")
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", str(wheel)], check=True, timeout=120)
    [place] = [path for path in folder.rglob("site-packages") if path.is_dir()]
    elsewhere = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (place / "others.pth").write_text("".join(f"{path}\n" for path in elsewhere))
    yield programs


@pytest.mark.slow
def test_the_installed_command_works_from_any_folder(installed: Path, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        program, *rest = command
        return subprocess.run(
            [installed / program, *rest], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
        )

    done = run("brisk", "--version")
    assert (done.returncode, done.stdout) == (0, f"brisk {brisk.__version__}\n"), done.stderr
    code = "import brisk, engine, pipelines; from pipelines.classification.heads import head_names as heads; " + (
        "print(brisk.__file__, heads())"
    )
    said = run("python", "-c", code).stdout
    assert said.startswith(str(installed.parent)) and "imdb-sentiment" in said
    assert run("brisk", "serve", "--port", "0").returncode == 2
    done = run("brisk", "space")
    assert done.returncode == 2 and "run this in a checkout" in done.stderr and done.stderr.count("\n") == 1
    done = run("brisk", "classify", "")
    assert done.returncode == 2 and done.stderr == "Error: The text is empty: write or paste some text.\n"


# ---- what it requires


def test_every_pin_lies_in_its_range_and_both_name_the_same_packages(metadata: Message) -> None:
    pins = [*requirements("requirements.txt"), *requirements("requirements-dev.txt")]
    ranges = asked_for(metadata, *EXTRAS)
    assert {canonicalize_name(row.name) for row in pins} == set(ranges)
    for pin in pins:
        [spec] = pin.specifier
        assert ranges[canonicalize_name(pin.name)].specifier.contains(spec.version), f"{pin} is outside its range"
    for name, row in ranges.items():
        assert [spec for spec in row.specifier if spec.operator == ">="], f"{name} has no lower bound"
        assert not [spec for spec in row.specifier if spec.operator == "=="], f"{name} is pinned"


def test_what_is_imported_is_required_by_the_part_that_imports_it(metadata: Message) -> None:
    def needs(*patterns: str) -> set[str]:
        return third_party(*(path.relative_to(ROOT).as_posix() for p in patterns for path in ROOT.glob(p)))

    app = {"brisk/app.py", *(path.relative_to(ROOT).as_posix() for path in ROOT.glob("pipelines/*/tab.py"))}
    measured = re.compile(
        r"engine/(measure|benchmark|training)/|pipelines/(evaluation/|suite/|training/|ui/|overlap)"
        r"|/(imdb|train|regression|references|rows)\.py"
    )
    everything = [path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    core = [path for path in everything if path not in app and not measured.search(path)]
    assert third_party(*core) <= set(asked_for(metadata))
    assert third_party(*app) | needs("pipelines/ui/*.py") <= set(asked_for(metadata, "app"))
    evaluation = [path for path in everything if path not in app and not path.startswith("pipelines/ui/")]
    own = [path for path in evaluation if not path.startswith("engine/")]
    assert third_party(*own) <= set(asked_for(metadata, "eval"))


def test_the_sentence_about_a_missing_package_names_the_extra_that_brings_it(metadata: Message) -> None:
    core = set(asked_for(metadata))
    of_extras = {canonicalize_name(name) for extra in ("app", "bench", "eval") for name in asked_for(metadata, extra)}
    named = {canonicalize_name(PACKAGE_OF.get(name, name)): extra for name, extra in EXTRA_OF.items()}
    assert set(named) == of_extras - core
    for package, extra in named.items():
        assert package in asked_for(metadata, extra)

"""The arrows between rooms, as pyproject.toml draws them: held as in `make lint`, and broken by one that points up."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# In a process of its own, so that the imports that are looked at are those of the folder and nothing is left behind.
LINT = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", LINT], cwd=folder, capture_output=True, text=True, timeout=120)


def test_no_arrow_points_up() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kept, 0 broken" in done.stdout


def test_an_arrow_that_points_up_is_found(tmp_path: Path) -> None:
    for name in ("brisk", "engine", "pipelines", "spaces"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "engine" / "cache" / "upward.py").write_text("def f():\n    import engine.serving.batch\n")
    (tmp_path / "pipelines" / "attic").mkdir()
    (tmp_path / "pipelines" / "attic" / "__init__.py").write_text("")
    done = lint(tmp_path)
    assert done.returncode != 0 and "engine.cache.upward" in done.stdout
    assert "attic" in done.stdout, "a room without a place is found too"

"""Compiled operators are found again by another copy of the same source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba as nb
import pytest
from numba.core.caching import UserProvidedCacheLocator

from engine.kernels import scalars, team
from engine.kernels.code_cache import FOLDER, LOCATORS, OperatorsLocator

PROBE = "import numba as nb\n\n\n@nb.njit(cache=True)\ndef one():\n    return 1\n"
COMPILE = (
    "from engine.kernels import probe; "
    "assert probe.one() == 1; "
    "print(probe.__file__, sum(probe.one.stats.cache_hits.values()))"  # what Numba read from disk
)


def compiled_in(checkout: Path, cache: Path) -> tuple[str, int]:
    """The file whose code was run from a checkout, and how often compiled code was read from disk."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], cwd=checkout, env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    file, hits = done.stdout.split()
    return file, int(hits)


@pytest.mark.slow
def test_another_copy_of_the_source_finds_what_the_first_compiled(tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(FOLDER.parent, tmp_path / name / "engine", ignore=shutil.ignore_patterns("__pycache__"))
        (tmp_path / name / "engine" / "kernels" / "probe.py").write_text(PROBE, encoding="utf-8")
    found = [compiled_in(tmp_path / name, tmp_path / "cache") for name in ("one", "two")]
    assert [Path(file).parents[2].name for file, _ in found] == ["one", "two"]
    assert [hits for _, hits in found] == [0, 1]


def test_only_this_packages_code_is_kept_by_name(tmp_path: Path) -> None:
    assert OperatorsLocator.get_suitable_cache_subpath(team.__file__) == "kernels"
    assert OperatorsLocator.get_suitable_cache_subpath(scalars.__file__) == "kernels"
    foreign = str(tmp_path / "kernels" / "mine.py")
    assert OperatorsLocator.get_suitable_cache_subpath(foreign) == (
        UserProvidedCacheLocator.get_suitable_cache_subpath(foreign)
    )
    assert nb.config.CACHE_LOCATOR_CLASSES == LOCATORS

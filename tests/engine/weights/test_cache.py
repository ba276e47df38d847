"""A cache entry is whole or absent, whatever is killed and whoever else converts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import BadModel
from engine.weights import cache, load_state, resolve
from engine.weights.files import silent
from tests.engine.weights.gguf_maker import make_gguf

ROOT = Path(__file__).parents[3]
# Converts a GGUF; before the k-th report of progress (k = 0: never) it is killed as if the power had failed.
CHILD = """
import os, signal, sys
from engine.weights import resolve
seen = 0
def progress(message, fraction):
    global seen
    seen += 1
    print(message, flush=True)
    if seen == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
print(resolve(sys.argv[1], progress).folder)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRISK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    return make_gguf(tiny_llama, tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def child(path: Path, kill_at: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(path), str(kill_at)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def visible(models: Path) -> list[str]:
    return [path.name for path in models.iterdir() if not path.name.startswith(".")] if models.exists() else []


def build(folder: Path) -> cache.Built:
    (folder / "config.json").write_text("{}")
    return cache.Built("made up", ("a note",))


def test_an_entry_is_built_once(own: Path) -> None:
    first = cache.find_or_build("a", build, silent)
    again = cache.find_or_build("a", lambda folder: pytest.fail("built twice"), silent)
    assert first == again == cache.find("a") == cache.Entry(own / "a", "made up", ("a note",))
    manifest = json.loads((own / "a" / "manifest.json").read_text())
    assert manifest["files"]["config.json"]["size"] == 2


def test_the_folder_is_where_the_environment_says(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.cache_root() == own.parent
    monkeypatch.delenv("BRISK_CACHE")
    assert cache.cache_root().name == "brisk"


def test_a_failed_build_leaves_nothing(own: Path) -> None:
    def fail(folder: Path) -> cache.Built:
        (folder / "half").write_text("x")
        raise BadModel("no")

    with pytest.raises(BadModel, match="no"):
        cache.find_or_build("a", fail, silent)
    assert [path for path in own.iterdir() if path.is_dir()] == [] and cache.find("a") is None


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [1, 2, 15, -2, -1])
def test_a_killed_conversion_leaves_nothing_half_made(kill_at: int, own: Path, gguf_file: Path) -> None:
    """At the start, on the first and a later tensor, before the weights are written, before the entry appears."""
    if kill_at < 0:
        reports: list[str] = []
        resolve(str(gguf_file), lambda message, fraction: reports.append(message))
        kill_at += len(reports) + 1
        (own.parent / "models").rename(own.parent / "elsewhere")
    killed = child(gguf_file, kill_at)
    out, _ = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL and len(out.splitlines()) == kill_at
    assert visible(own) == []
    assert list(own.glob(".*.tmp-*"))  # it died in the middle, not before or after
    files = resolve(str(gguf_file))
    assert load_state(files.folder) and visible(own) == [files.folder.name]
    assert not list(own.glob(".*.tmp-*")), "what the killed one left is swept"


@pytest.mark.slow
def test_two_at_once_convert_once(own: Path, gguf_file: Path) -> None:
    children = [child(gguf_file) for _ in range(3)]
    outs = [process.communicate(timeout=60) for process in children]
    assert [process.returncode for process in children] == [0, 0, 0], outs
    assert len({out.splitlines()[-1] for out, _ in outs}) == 1
    assert sum("Writing the converted weights" in out for out, _ in outs) == 1


@pytest.mark.parametrize("damage", ["cut", "gone", "manifest"])
def test_a_damaged_entry_is_made_again_and_said_so(damage: str, own: Path, gguf_file: Path) -> None:
    folder = resolve(str(gguf_file)).folder
    if damage == "cut":
        os.truncate(folder / "model.safetensors", 1000)
    elif damage == "gone":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "manifest.json").write_text("{")
    files = resolve(str(gguf_file))
    assert files.folder == folder and len(files.notes) == 1 and "damaged" in files.notes[0]
    assert load_state(folder) and resolve(str(gguf_file)).notes == ()


def test_a_wrong_hash_in_the_cache_is_refused(own: Path, gguf_file: Path) -> None:
    path = resolve(str(gguf_file)).folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadModel, match=r"model\.safetensors .*SHA-256.*remove the folder"):
        load_state(path.parent)


def test_a_cache_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, gguf_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BRISK_CACHE", str(tmp_path / "file" / "cache"))  # a folder in a file: even root cannot
    with pytest.raises(BadModel, match=r"cannot be written .*set BRISK_CACHE"):
        resolve(str(gguf_file))

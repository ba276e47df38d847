"""The Hub, played by a server of our own: what is fetched, what is left, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from engine.errors import BadModel
from engine.text.tokenizer import Tokenizer
from engine.weights import REGISTRY, load_state, resolve
from engine.weights.registry import KnownModel, Wheel
from tests.engine.weights.fake_hub import COMMIT, REPO, fake_hub


@pytest.fixture
def repository(tiny_llama: Path, tmp_path: Path) -> Path:
    """A repository as they are: weights in several formats, code, training states, exports."""
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "repository"))
    for name in ("pytorch_model.bin", "modeling_tiny.py", "optimizer.pt", "README.md", "tf_model.h5", "vocab.pkl"):
        (folder / name).write_bytes(b"unwanted")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    return folder


@pytest.fixture(autouse=True)
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRISK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def hub(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    with fake_hub(repository) as (address, fetched):
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield fetched


def test_only_what_is_safe_and_needed_is_fetched(hub: list[str]) -> None:
    files = resolve(REPO)
    assert files.name == REPO and files.source == f"{REPO} from the Hub, commit {COMMIT[:12]}"
    expected = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(hub) == expected == sorted(path.name for path in files.folder.iterdir())
    assert load_state(files.folder) and Tokenizer.from_folder(files.folder).has_chat_template


def test_what_was_fetched_serves_without_asking_again(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve(REPO)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve(REPO) == first


def test_a_revision_is_asked_for(hub: list[str]) -> None:
    assert resolve(f"{REPO}@v1").folder.name == COMMIT
    with pytest.raises(BadModel, match="'owner/tiny' at 'v2': check the revision"):
        resolve(f"{REPO}@v2")
    with pytest.raises(BadModel, match="has no model 'owner/other', or it is private"):
        resolve("owner/other")


def test_a_repository_without_safetensors_is_refused(hub: list[str], repository: Path) -> None:
    (repository / "model.safetensors").unlink()
    with pytest.raises(BadModel, match=r"has no .*safetensors on the Hub"):
        resolve(REPO)
    assert hub == []


def test_a_download_that_arrives_damaged_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_hub(repository, damage="model.safetensors") as (address, _):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with pytest.raises(BadModel, match=r"model\.safetensors .*arrived damaged"):
            resolve(REPO)


def test_damage_in_the_hubs_cache_is_seen_at_load(hub: list[str]) -> None:
    folder = resolve(REPO).folder
    path = (folder / "model.safetensors").resolve()
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadModel, match=r"model\.safetensors .*SHA-256"):
        load_state(folder)


def test_the_hub_comes_before_the_wheel(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = Wheel("nothing", "1", "nothing/x.gguf", "0" * 64, "0" * 64, "Nothing")
    monkeypatch.setitem(REGISTRY, "tiny", KnownModel("tiny", REPO, wheel))
    monkeypatch.setenv("BRISK_WHEEL", "/nowhere.whl")  # would fail if it were looked for
    files = resolve("tiny")
    assert files.name == "tiny" and "from the Hub" in files.source

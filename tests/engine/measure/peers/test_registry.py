"""A peer is ready, or absent with its cause; and one that cannot be built does not keep others from being built."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.errors import BadModel
from engine.measure.peers import build
from engine.measure.peers import registry as peers
from engine.measure.peers.convert import CONVERTERS, GGUF_KINDS
from engine.measure.peers.registry import (
    PEERS,
    STAMP,
    Absent,
    Peer,
    Ready,
    Variant,
    converted,
    find,
    fingerprint,
)
from tests.engine.measure.speed import fake_worker

FAKE = Peer("Fake", fake_worker, (Variant("int8", "fake-int8"),), ("fake==1",), ("bare==2",))


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRISK_PEERS", str(tmp_path / "peers"))
    monkeypatch.setitem(PEERS, "fake", FAKE)


def install(name: str = "fake") -> None:
    python = peers.python_of(name)
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)


def convert(folder: Path) -> Path:
    target = converted(folder)
    (target / "fake-int8").mkdir(parents=True)
    (target / STAMP).write_text(fingerprint(folder), encoding="ascii")
    return target


def reason(folder: Path) -> str:
    [one] = find("fake", folder)
    assert isinstance(one, Absent) and one.name == "Fake int8"
    return one.reason


def test_transformers_is_in_our_own_environment(tiny_llama: Path) -> None:
    [one] = find("transformers", tiny_llama)
    assert isinstance(one, Ready)
    assert (one.python, one.model, one.variant.dtype) == (sys.executable, tiny_llama, "fp32")


def test_what_is_missing_is_named(tiny_llama: Path, tmp_path: Path) -> None:
    assert "not installed" in reason(tiny_llama)
    install()
    assert "no fake-int8" in reason(tiny_llama)
    target = convert(tiny_llama)
    [one] = find("fake", tiny_llama)
    assert isinstance(one, Ready) and one.model == target / "fake-int8"
    other = tmp_path / tiny_llama.name  # another model that has the same name
    shutil.copytree(tiny_llama, other)
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert "other weights" in reason(other)


class Shell:
    """Stands in for pip and the converters: notes commands, and makes what a conversion would."""

    def __init__(self, failing: str = "") -> None:
        self.commands: list[list[str]] = []
        self.failing = failing

    def __call__(self, command: list[str], seconds: float, what: str) -> None:
        self.commands.append(command)
        if self.failing and self.failing in what:
            raise build.BuildFailed(f"{what} could not be made (no such package).")
        if "engine.measure.peers.convert" in command:
            (Path(command[-1]) / "fake-int8").mkdir()


@pytest.fixture
def venvs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    made: list[Path] = []

    def create(folder: Path, with_pip: bool) -> None:
        made.append(folder)
        install(folder.name)

    monkeypatch.setattr(build.venv, "create", create)
    return made


def test_building_twice_builds_once(tiny_llama: Path, venvs: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell()
    monkeypatch.setattr(build, "_run", shell)
    said: list[str] = []
    assert build.build(["fake"], tiny_llama, said.append) == [build.Outcome("fake")]
    packages, bare, conversion = shell.commands
    assert packages[-1] == "fake==1" and bare[-2:] == ["--no-deps", "bare==2"]
    assert conversion[:4] == [str(peers.python_of("fake")), "-m", "engine.measure.peers.convert", "fake"]
    assert len(venvs) == 1 and len(said) == 2
    [one] = find("fake", tiny_llama)
    assert isinstance(one, Ready)
    assert build.build(["fake"], tiny_llama, said.append) == [build.Outcome("fake")]
    assert len(shell.commands) == 3


def test_files_of_other_weights_are_made_again(
    tiny_llama: Path, venvs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = convert(tiny_llama)
    (target / STAMP).write_text("0" * 64, encoding="ascii")
    (target / "fake-int8" / "stale").touch()
    monkeypatch.setattr(build, "_run", Shell())
    build.build(["fake"], tiny_llama, lambda text: None)
    assert isinstance(find("fake", tiny_llama)[0], Ready)
    assert not (target / "fake-int8" / "stale").exists()


def test_a_peer_that_cannot_be_had_is_named_and_the_rest_is_built(
    tiny_llama: Path, venvs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_run", Shell(failing="openvino"))
    bad, good = build.build(["openvino", "fake"], tiny_llama, lambda text: None)
    assert "no such package" in bad.problem and good == build.Outcome("fake")
    assert isinstance(find("openvino", tiny_llama)[0], Absent)


def test_what_pip_says_last_is_the_cause() -> None:
    command = [sys.executable, "-c", "import sys; print('noise', file=sys.stderr); sys.exit('ERROR: the cause')"]
    with pytest.raises(build.BuildFailed, match=r"x could not be made \(ERROR: the cause\)"):
        build._run(command, 60, "x")


def test_every_peer_that_needs_files_has_a_converter() -> None:
    needing = {name for name, peer in PEERS.items() if any(v.files for v in peer.variants) and peer is not FAKE}
    assert needing == set(CONVERTERS)


def test_every_gguf_that_is_asked_for_is_written() -> None:
    assert {f"llama.cpp-{kind}.gguf" for kind in GGUF_KINDS} == {v.files for v in PEERS["llama.cpp"].variants}


@pytest.mark.parametrize("name", [name for name in PEERS if name != "fake"])
def test_what_is_installed_has_one_exact_version(name: str) -> None:
    for requirement in (*PEERS[name].requirements, *PEERS[name].bare):
        assert "==" in requirement or requirement in {"requests", "huggingface_hub<1.22"}  # optimum's own bounds


@pytest.mark.parametrize(("kind", "parts"), [("F32", math.inf), ("Q8_0", 127), ("Q4_0", 8)])
def test_gguf_files_hold_the_same_weights_and_words(tiny_llama: Path, tmp_path: Path, kind: str, parts: float) -> None:
    import gguf

    from engine.measure.peers.convert import _same_weights, _write_gguf
    from engine.weights.gguf_file import field, open_gguf
    from tests.engine.weights.gguf_maker import make_gguf

    source = open_gguf(make_gguf(tiny_llama, tmp_path / "source.gguf"))
    _same_weights(source, tiny_llama)
    path = tmp_path / "written.gguf"
    _write_gguf(source, path, gguf.GGMLQuantizationType[kind])
    found = open_gguf(path)
    for key, type_ in (("general.architecture", str), ("llama.block_count", int), ("tokenizer.ggml.tokens", list)):
        assert field(found, key, type_) == field(source, key, type_)
    for old, new in zip(source.tensors, found.tensors, strict=True):
        assert (new.name, list(new.shape)) == (old.name, list(old.shape))
        matrix = len(old.shape) > 1
        assert new.tensor_type.name == (kind if matrix else "F32")
        weight = gguf.dequantize(new.data, new.tensor_type)
        error = np.abs(weight - gguf.dequantize(old.data, old.tensor_type)).max()
        assert error <= (np.abs(weight).max() / parts if matrix else 0)


def test_a_gguf_of_other_weights_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    from engine.measure.peers.convert import _same_weights
    from engine.weights.gguf_file import open_gguf
    from tests.engine.weights.gguf_maker import make_gguf
    from tests.tiny import make_tiny_model

    other = make_tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(BadModel, match="holds other weights"):
        _same_weights(open_gguf(make_gguf(other, tmp_path / "other.gguf")), tiny_llama)

"""Damaged and unsafe weights are refused with the file's name and the reason, and no code of theirs runs."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import BadModel
from engine.weights import check_shapes, load_config, load_state, resolve

NAME = "model.safetensors"


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


class Bomb:
    """A pickle of it touches the canary when loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.canary,)


def rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / NAME
        path.write_bytes(change(path.read_bytes()))

    return apply


def poison(value: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = load_file(folder / NAME)
        state["model.norm.weight"] = state["model.norm.weight"].clone()
        state["model.norm.weight"][3] = value
        save_file(state, folder / NAME)

    return apply


def pickled(protocol: int) -> Callable[[Path], None]:
    return lambda folder: rewrite(lambda content: pickle.dumps(Bomb(folder / "canary"), protocol))(folder)


def torch_saved(folder: Path) -> None:
    torch.save({"x": Bomb(folder / "canary")}, folder / NAME)


def torch_saved_long_ago(folder: Path) -> None:
    torch.save({"x": Bomb(folder / "canary")}, folder / NAME, _use_new_zipfile_serialization=False)


def header(change: Callable[[dict[str, dict[str, object]]], None]) -> Callable[[Path], None]:
    def alter(content: bytes) -> bytes:
        length = int.from_bytes(content[:8], "little")
        given = json.loads(content[8 : 8 + length])
        change(given)
        text = json.dumps(given).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return rewrite(alter)


DAMAGE = {
    "empty": (rewrite(lambda content: b""), "truncated"),
    "cut": (rewrite(lambda content: content[:-100]), "truncated"),
    "cut header": (rewrite(lambda content: content[:50]), "truncated"),
    "grown": (rewrite(lambda content: content + b"\0"), "longer than"),
    "header 2^63": (rewrite(lambda content: struct.pack("<Q", 2**63) + content[8:]), "header claims"),
    "header no JSON": (rewrite(lambda content: content[:8] + b"!" + content[9:]), "damaged header"),
    "overlap": (header(lambda given: given["model.embed_tokens.weight"].update(data_offsets=[4, 98308])), "is damaged"),
    "wrong dtype": (header(lambda given: given["model.norm.weight"].update(dtype="F16")), "is damaged"),
    "NaN": (poison(float("nan")), "not finite"),
    "infinite": (poison(float("-inf")), "not finite"),
    "pickle 2": (pickled(2), "is a pickle"),
    "pickle 5": (pickled(5), "is a pickle"),
    "pickle 0": (pickled(0), "truncated or no safetensors"),
    "torch zip": (torch_saved, "is a zip archive"),
    "torch legacy": (torch_saved_long_ago, "is a pickle"),
    "GGUF": (rewrite(lambda content: b"GGUF" + content), "is a GGUF file"),
    "LFS": (rewrite(lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0"), "Git LFS pointer"),
    "page": (rewrite(lambda content: b"<!DOCTYPE html><html>404</html>"), "a web page"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_or_unsafe_weights_are_refused(damage: str, folder: Path) -> None:
    apply, told = DAMAGE[damage]
    apply(folder)
    start = time.perf_counter()
    with pytest.raises(BadModel, match=told) as caught:
        load_state(folder)
    assert time.perf_counter() - start < 5
    assert str(caught.value).startswith(f"{NAME} ") and "\n" not in str(caught.value)
    assert str(folder.parent) not in str(caught.value)
    assert not (folder / "canary").exists()


def test_the_canary_would_sing(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


def test_sound_weights_load_as_they_are(folder: Path) -> None:
    state, expected = load_state(folder), load_file(folder / NAME)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int64])
def test_any_stored_dtype_is_kept(dtype: torch.dtype, folder: Path) -> None:
    save_file({"x": torch.arange(6).reshape(2, 3).to(dtype), "none": torch.zeros(0, dtype=dtype)}, folder / NAME)
    assert load_state(folder)["x"].dtype == dtype


def shard(folder: Path) -> dict[str, str]:
    state = load_file(folder / NAME)
    (folder / NAME).unlink()
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for file, part in parts.items():
        save_file({name: state[name] for name in part}, folder / file)
    weights = {name: file for file, part in parts.items() for name in part}
    (folder / f"{NAME}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    return weights


def test_shards_are_joined(folder: Path) -> None:
    expected = load_file(folder / NAME)
    shard(folder)
    state = load_state(folder)
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_seen_in_any_dtype(dtype: torch.dtype, value: float, folder: Path) -> None:
    tensor = torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).min, 0.0, 1e-7], dtype=torch.float64).to(dtype)
    save_file({"x": tensor}, folder / NAME)
    load_state(folder)
    tensor[2] = value
    save_file({"x": tensor}, folder / NAME)
    with pytest.raises(BadModel, match="in 'x' that are not finite"):
        load_state(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model.norm.weight": "../model/model-00001-of-00002.safetensors"}, "no plain file name"),
        ({"model.norm.weight": "other.safetensors"}, "lacks the shard other.safetensors"),
        ({"more": "model-00001-of-00002.safetensors"}, "lack 1 tensors of their index"),
    ],
)
def test_an_unsound_index_is_refused(change: dict[str, str], told: str, folder: Path) -> None:
    weights = shard(folder) | change
    (folder / f"{NAME}.index.json").write_text(json.dumps({"weight_map": weights}))
    with pytest.raises(BadModel, match=told):
        load_state(folder)


def test_a_tensor_in_two_shards_is_refused(folder: Path) -> None:
    shard(folder)
    shutil.copy(folder / "model-00001-of-00002.safetensors", folder / "model-00002-of-00002.safetensors")
    with pytest.raises(BadModel, match="repeats the tensor"):
        load_state(folder)


def test_the_hash_in_a_hub_cache_file_name_counts(folder: Path, tmp_path: Path) -> None:
    from engine.weights.files import sha256

    digest = sha256(folder / NAME)
    for name, sound in ((digest, True), ("0" * 64, False)):
        blob = tmp_path / name
        shutil.copy(tmp_path / digest if (tmp_path / digest).exists() else folder / NAME, blob)
        (folder / NAME).unlink()
        (folder / NAME).symlink_to(blob)
        if sound:
            assert load_state(folder)
        else:
            with pytest.raises(BadModel, match="SHA-256"):
                load_state(folder)


def test_shapes_are_compared(folder: Path) -> None:
    state = load_state(folder)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    check_shapes(state, shapes, folder)
    with pytest.raises(BadModel, match=r"'model.norm.weight' of 'model' has shape \(64,\), .* asks for \(65,\)"):
        check_shapes(state, shapes | {"model.norm.weight": (65,)}, folder)
    with pytest.raises(BadModel, match=r"lack 1 tensors .* 'more'"):
        check_shapes(state, shapes | {"more": (1,)}, folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_an_unsound_config_is_refused(content: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(BadModel, match=r"^config\.json of 'model'"):
        load_config(folder)
    with pytest.raises(BadModel, match=r"^config\.json of 'model'"):
        resolve(str(folder))


@pytest.mark.model
def test_the_default_model_loads_within_three_seconds(default_model_folder: Path) -> None:
    start = time.process_time()  # of this process alone: other programs share the cores
    state = load_state(default_model_folder)
    assert time.process_time() - start < 3  # checks included; measured: below 1
    assert sum(tensor.numel() for tensor in state.values()) == 134_515_008

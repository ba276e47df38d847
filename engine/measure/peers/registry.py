"""The engines we are compared with, as data: a new peer is a new row and a worker script beside this file.

Each has a virtual environment of its own under `.peers/` and the same weights in its own format under
`.peers/models/`; `make peers` builds both. What is not there is named as absent, with the cause.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from engine.measure.peers import ctranslate2, llama_cpp, mistral_rs, onnxruntime_genai, openvino, transformers
from engine.measure.worker import ROOT

STAMP = "weights.sha256"  # in a folder of converted files: the weights they were made of


@dataclass(frozen=True)
class Variant:
    """One dtype of a peer: `files` is the file or folder in the model's folder of converted weights ("" for none)."""

    dtype: str
    files: str = ""


@dataclass(frozen=True)
class Peer:
    """`title` is shown; `worker` is the module that serves it, run by the peer's own Python; `requirements` are pip's,
    with `bare` installed after them without what they ask for; `held`: a tier's environment (`kernels.tiers`) holds it
    to that tier's instructions."""

    title: str
    worker: ModuleType
    variants: tuple[Variant, ...]
    requirements: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    held: bool = True


PEERS: dict[str, Peer] = {
    "transformers": Peer("Transformers", transformers, (Variant("fp32"),)),
    "llama.cpp": Peer(
        "llama.cpp",
        llama_cpp,
        tuple(Variant(kind, f"llama.cpp-{kind}.gguf") for kind in ("F32", "Q8_0", "Q4_0")),
        ("llama-cpp-python==0.3.36",),  # compiled here for this processor: about ten minutes on two cores
        held=False,
    ),
    "openvino": Peer(
        "OpenVINO",
        openvino,
        tuple(Variant(kind, f"openvino-{kind}") for kind in ("fp32", "int8", "int4")),
        (
            "openvino==2026.4.1", "openvino-genai==2026.4.1.0", "nncf==3.4.0", "torch==2.13.0",
            "transformers==5.5.4", "optimum==2.3.0", "huggingface_hub<1.22", "requests",
        ),
        ("optimum-intel==2.2.0",),  # asks for torchvision, which only image models need
    ),
    "ctranslate2": Peer(
        "CTranslate2",
        ctranslate2,
        (Variant("float32", "ctranslate2-float32"), Variant("int8", "ctranslate2-int8")),
        ("ctranslate2==4.8.5", "torch==2.13.0", "transformers==5.23.0"),
    ),
    "onnxruntime": Peer(
        "ONNX Runtime GenAI",
        onnxruntime_genai,
        (Variant("int8", "onnxruntime-int8"), Variant("int4", "onnxruntime-int4")),
        (
            "onnxruntime-genai==0.18.0", "onnxruntime==1.32.0", "onnx==1.23.2", "onnx-ir==1.1.0", "torch==2.13.0",
            "transformers==5.23.0",
        ),
        held=False,
    ),
    "mistral.rs": Peer("mistral.rs", mistral_rs, (Variant("Q8_0"), Variant("Q4K")), ("mistralrs==0.9.5",), held=False),
}  # fmt: skip


@dataclass(frozen=True)
class Ready:
    """A peer's variant that can run: the Python it runs with and the model to load."""

    peer: Peer
    variant: Variant
    python: str
    model: Path


@dataclass(frozen=True)
class Absent:
    """A peer's variant that cannot run here, and why."""

    name: str
    reason: str


def home() -> Path:
    """Where peers live: `BRISK_PEERS`, else `.peers` beside the code."""
    return Path(os.environ.get("BRISK_PEERS") or ROOT / ".peers")


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment; Transformers is in our own."""
    if not PEERS[name].requirements:
        return Path(sys.executable)
    folder = home() / name
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def converted(folder: Path) -> Path:
    """Where the files made of the model in `folder` belong. Our cache names a folder after its weights."""
    return home() / "models" / re.sub(r"[^A-Za-z0-9._-]", "_", folder.name)


def fingerprint(folder: Path) -> str:
    """SHA-256 of a model's weights, over its safetensors in order of name."""
    digest = hashlib.sha256()
    piece = memoryview(bytearray(1 << 20))
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(piece):
                digest.update(piece[:count])
    return digest.hexdigest()


def find(name: str, folder: Path) -> list[Ready | Absent]:
    """Each variant of a peer for the model in `folder`: ready, or absent and why."""
    peer = PEERS[name]
    python = python_of(name)
    found: list[Ready | Absent] = []
    for variant in peer.variants:
        title = f"{peer.title} {variant.dtype}"
        model = converted(folder) / variant.files if variant.files else folder
        if not python.is_file():
            found.append(Absent(title, "not installed: `make peers` builds it"))
        elif not model.exists():
            found.append(Absent(title, f"no {variant.files} made of this model: `make peers` converts the default one"))
        elif variant.files and _stamp(model.parent) != fingerprint(folder):
            found.append(Absent(title, f"its {variant.files} was made of other weights: run `make peers` again"))
        else:
            found.append(Ready(peer, variant, str(python), model))
    return found


def _stamp(folder: Path) -> str:
    try:
        return (folder / STAMP).read_text(encoding="ascii").strip()
    except OSError:
        return ""

"""From a config to a loaded backend: find the weights, pick the backend, say what was decided and why."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from engine import memory
from engine.backends.base import Backend
from engine.config import MAX_THREADS, EngineConfig, available_threads
from engine.errors import BadModel, BadRequest
from engine.model.families import Unfit, describe
from engine.results import EngineInfo
from engine.text.tokenizer import Tokenizer
from engine.weights import ModelFiles, load_config, resolve

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A backend, its tokenizer, and what to say about them.

    Attributes
    ----------
    backend : the model; not warmed yet.
    tokenizer : of the same model.
    on_thread : to be called on the thread that will run the model, before it does.
    info : what is loaded in words, without what changes later; see `EngineInfo.now`.
    """

    backend: Backend
    tokenizer: Tokenizer
    on_thread: Callable[[], None]
    info: EngineInfo


def pick_device(name: str) -> torch.device:
    """ "auto" is the first accelerator torch can use, else the CPU. Raises BadRequest for one that is not there."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        float(torch.zeros(1, device=device))  # read back: "meta" can be named, but holds no numbers
    except (RuntimeError, AssertionError) as error:
        raise BadRequest(f"Device '{name}' cannot be used here: choose auto or cpu.") from error
    return device


def pick_threads(asked: int) -> tuple[int, tuple[str, ...]]:
    """CPU threads to use, and a note where fewer are used than asked for: more than cores only wait for each other."""
    there = os.cpu_count() or 1
    threads = min(asked or available_threads(), there, MAX_THREADS)
    note = f"{asked} threads were asked for; this machine has {there} cores, so {threads} are used."
    return threads, (note,) if asked > threads else ()


def load(config: EngineConfig, on_progress: Callable[[str, float | None], None]) -> Loaded:
    """Load what `config` names. Raises BadModel or BadRequest with the reason where it cannot be."""
    device = pick_device(config.device)
    threads, notes = pick_threads(config.threads)
    files = resolve(config.model, on_progress)
    raw = load_config(files.folder)
    unfit = ""
    if config.backend != "transformers":
        try:
            arch = describe(raw)
        except Unfit as reason:
            unfit = str(reason)
    if unfit and config.backend == "native":
        raise BadModel(f"{files.name} cannot run on the native backend: {unfit}. Choose backend auto or transformers.")

    def on_thread() -> None:
        torch.set_num_threads(threads)

    on_thread()  # loading quantizes on the calling thread
    if unfit or config.backend == "transformers":
        from engine.backends.transformers import TransformersBackend

        if unfit:
            notes = (*notes, f"Runs on the Transformers backend, without our kernels: {unfit}.")
            log.warning("%s: %s", files.name, notes[-1])
        on_progress(f"Loading {files.name} with Transformers", None)
        backend: Backend = TransformersBackend(files, config, device)
    else:
        from engine.backends.native import NativeBackend

        on_progress(f"Reading {files.name}", 0.0)
        backend = NativeBackend(
            arch, files, config, device, threads,
            lambda share: on_progress(f"Loading {files.name} in {config.precision}", share),
        )  # fmt: skip
    tokenizer = Tokenizer.from_folder(files.folder)
    memory.give_back()

    info = EngineInfo(
        model=files.name,
        source=files.source,
        family=str(raw.get("model_type", "unknown")),
        backend=backend.name,
        kind=backend.kind,
        precision=config.precision,
        device=str(device),
        threads=threads,
        max_context=backend.max_context,
        layers=backend.layers,
        hidden=backend.width,
        parameters=backend.parameters,
        weight_bytes=backend.nbytes,
        load_s=0.0,
        kv_precision=backend.kv_precision,
        prefill=backend.prefill,
        notes=(*files.notes, *notes),
    )
    return Loaded(backend, tokenizer, on_thread, info)


__all__ = ["Loaded", "ModelFiles", "load", "pick_device", "pick_threads"]

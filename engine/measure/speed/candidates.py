"""Who runs: our engine in each precision, and the peers asked for in each of their dtypes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.config import KV_PRECISIONS, PRECISIONS, PREFILLS
from engine.errors import BadRequest
from engine.measure.command import split
from engine.measure.peers.registry import PEERS, Absent, find
from engine.measure.speed import brisk
from engine.measure.worker import Worker, module_command

BASELINE = "Transformers fp32"


@dataclass(frozen=True)
class Candidate:
    """`load` is the request that loads it; `command` starts its worker, in `environment` over that of `quiet`. `note`
    is what a reader must know of its figures."""

    name: str
    command: tuple[str, ...]
    load: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str | None] = field(default_factory=dict)
    note: str = ""

    def start(self, threads: int) -> Worker:
        return Worker(self.name, self.command, {**quiet(threads), **self.environment})


def quiet(threads: int) -> dict[str, str | None]:
    """The environment of every worker: the same threads, no network, and no waiting policy but each library's own.

    By default idle threads spin for milliseconds (GNU's OpenMP) to 0.2 s (Intel's), then sleep. An active policy would
    let them burn the cores that others are timed on; a passive one would slow those that wake threads often.
    """
    count = str(threads)
    kept: dict[str, str | None] = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), count)
    unset = dict.fromkeys(("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "NUMBA_NUM_THREADS"))
    return {**kept, **unset, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def ours(model: str, precisions: str, options: dict[str, Any]) -> list[Candidate]:
    """Our engine, one candidate a precision.

    Parameters
    ----------
    model : registry name, folder, .gguf file or Hub id.
    precisions : with commas between, one or more.
    options : further fields of `EngineConfig`.

    Raises
    ------
    BadRequest : a precision, or another option, is unknown, or none is named.
    """
    names = split(precisions, PRECISIONS, "Precision")
    if not names:
        raise BadRequest("No precision is named: give at least one, such as int8.")
    for key, known in (("kv_precision", KV_PRECISIONS), ("prefill", PREFILLS)):
        split(options.get(key, "auto"), known, key)
    extra = "".join(
        f", {word} {options[key]}" for key, word in (("kv_precision", "KV"), ("prefill", "prefill"))
        if options.get(key, "auto") != "auto"
    )  # fmt: skip
    command = module_command(brisk)
    return [
        Candidate(f"Brisk {name}{extra}", command, {"model": model, "precision": name, **options}, _held())
        for name in names
    ]


def _held() -> dict[str, str | None]:
    """The environment that holds a worker to the tier that is played, if one is; torch reads it when it starts."""
    from engine.kernels import tiers  # imports Numba

    tier = tiers.asked()
    return dict(tier.libraries) if tier else {}


def peers(given: str, folder: Path, threads: int, context: int, batch: int) -> tuple[list[Candidate], list[Absent]]:
    """Candidates of the peers that are named, and those that cannot run here, with the cause.

    Parameters
    ----------
    given : names with commas between; "none" for none.
    folder : holds the model that they are to run.
    threads : CPU threads of each.
    context : tokens of the longest text.
    batch : texts side by side.

    Raises
    ------
    BadRequest : a peer is unknown, or `BRISK_CPU_TIER` names no tier of this processor.
    """
    from engine.kernels import tiers  # imports Numba

    names = [] if given.strip() == "none" else split(given, tuple(PEERS), "Peer")
    found: list[Candidate] = []
    absent: list[Absent] = []
    tier = tiers.asked()
    for name in names:
        for variant in find(name, folder):
            if isinstance(variant, Absent):
                absent.append(variant)
                continue
            dtype = variant.variant.dtype
            load = {"model": str(variant.model), "dtype": dtype, "threads": threads, "context": context, "batch": batch}
            command = module_command(variant.peer.worker, variant.python)
            title, held = f"{variant.peer.title} {dtype}", variant.peer.held
            note = f"{tiers.VARIABLE} does not hold it to the tier {tier.name!r}." if tier and not held else ""
            found.append(Candidate(title, command, load, _held(), note))
    return found, absent

"""Which way runs prompts faster on this machine, compiled products or torch's: measured once, kept beside the compiled
kernels."""

from __future__ import annotations

import hashlib
import json
import logging
import statistics
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
from numba.core import config

from engine.kernels import tiers

log = logging.getLogger(__name__)

TOKENS = 256  # of the prompt that is timed
ROUNDS = 3

Run = Callable[[np.ndarray], object]


def table_file() -> Path:
    """Where the choices of this machine are kept."""
    return Path(config.CACHE_DIR) / "prefill.json"


def read_table() -> dict[str, dict[str, float | str]]:
    """What was measured: for each model and setting its name and tokens/s of "compiled" and "torch"."""
    try:
        table = json.loads(table_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(table, dict):
        return {}
    return {key: row for key, row in table.items() if _is_whole(row)}


def _is_whole(row: object) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("name"), str)
        and all(isinstance(row.get(way), (int, float)) for way in ("compiled", "torch"))
    )


def choose_prefill(
    asked: str, compiled: Run, widened: Run, name: str, shape: str = "", window: int = TOKENS
) -> Generator[None, None, bool]:
    """Whether prompts run by compiled products: as asked, or what is faster here. Yields between the runs that it
    times, so that others may run meanwhile.

    Parameters
    ----------
    asked : "int8" or "int16": yes; "fp32": no; "auto": what was measured on this machine, or is measured now.
    compiled, widened : run token ids i64 [N] by compiled products, and by torch's with weights widened to fp32.
    name : model, precision and threads, for a reader of the table.
    shape : what tells models of one name apart.
    window : tokens of the longest prompt.

    Returns
    -------
    Whether compiled products are taken. What was measured as one tier of processors (`kernels.tiers`) is not used as
    another; where the table cannot be written the log says so.
    """
    if asked != "auto":
        compiled(np.zeros(1, np.int64))  # compiled here, not in the first request
        return asked != "fp32"
    key = hashlib.sha256(f"{name} {shape} {window < TOKENS} {tiers.played()}".encode()).hexdigest()[:16]
    table = read_table()
    if key not in table:
        log.info("timing two ways to run prompts (once on a machine)")
        seconds: dict[str, list[float]] = {"compiled": [], "torch": []}
        ids = np.zeros(min(TOKENS, window), np.int64)
        for run in (compiled, widened):
            run(ids)
            yield
        for _ in range(ROUNDS):
            for way, run in (("compiled", compiled), ("torch", widened)):
                began = time.perf_counter()
                run(ids)
                seconds[way].append(time.perf_counter() - began)
                yield
        row: dict[str, float | str] = {"name": name}
        row |= {way: len(ids) / statistics.median(times) for way, times in seconds.items()}
        table = read_table() | {key: row}
        try:
            table_file().parent.mkdir(parents=True, exist_ok=True)
            table_file().write_text(json.dumps(table, indent=1), encoding="utf-8")
        except OSError as error:
            log.warning("the choice of prefill is not kept (%s): it is measured at every start", error)
    return float(table[key]["compiled"]) >= float(table[key]["torch"])

"""`python -m engine.benchmark`: prefill and decode apart, each with its spread, beside Transformers on the same tokens.

Two regimes. Prefill (pp) runs a prompt through matrix products and is bound by arithmetic; decode (tg) reads every
weight once a token and is bound by memory. One number for both would hide either. Candidates run in turn, A B C A B C,
so that a machine whose speed drifts is equally unkind to all; medians are quoted, and ratios are taken round by round.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from engine.check import run
from engine.config import DEFAULT_MODEL, PRECISIONS, EngineConfig, SamplingParams, available_threads
from engine.engine import Engine
from engine.errors import BadRequest

TEXT = (
    "The old cinema at the end of the street had not changed in forty years. Its seats were worn, its screen was "
    "patched, and on Fridays it still showed two films for the price of one. "
)


@dataclass(frozen=True)
class Run:
    """One timed run: tokens a second of prefill and decode, seconds to the first token."""

    prefill: float
    decode: float
    ttft_s: float


Candidate = Callable[[list[int], int], Run]


def ours(engine: Engine) -> Candidate:
    def candidate(prompt: list[int], new: int) -> Run:
        timing = engine.generate([prompt], SamplingParams(max_tokens=new, min_tokens=new))[0].timing
        return Run(timing.prefill_tokens_per_s, timing.decode_tokens_per_s, timing.ttft_s)

    return candidate


def transformers_fp32(engine: Engine, threads: int) -> Candidate:
    """Transformers' `generate` on the same weights in fp32 with its own KV cache: the dtype is stated because its
    default is the checkpoint's, which may be a slow one on this machine."""
    from transformers import AutoModelForCausalLM
    from transformers.generation.streamers import BaseStreamer

    from engine.weights import resolve

    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(resolve(engine.config.model).folder, dtype=torch.float32).eval()

    class Clock(BaseStreamer):
        """Hears of the prompt once, then of every token."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: Any) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None:
            pass

    def candidate(prompt: list[int], new: int) -> Run:
        clock = Clock()
        began = time.perf_counter()
        model.generate(
            torch.tensor([prompt]),
            max_new_tokens=new,
            min_new_tokens=new,
            do_sample=False,
            streamer=clock,
            pad_token_id=0,
        )
        first, *rest = clock.times[1:]  # after the prompt itself
        return Run(len(prompt) / (first - began), len(rest) / (rest[-1] - first), first - began)

    return candidate


def machine(threads: int) -> dict[str, Any]:
    """What a figure depends on, for the line under a table."""
    name = platform.processor() or "unknown"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    versions = {package: version(package) for package in ("torch", "transformers", "numba")}
    return {
        "cpu": name,
        "cores": available_threads(),
        "threads": threads,
        "python": platform.python_version(),
        **versions,
    }


def measure(
    candidates: dict[str, Candidate], prompt: list[int], new: int, repeat: int, console: Console
) -> dict[str, list[Run]]:
    """Run every candidate once to warm it, then `repeat` rounds in turn."""
    runs: dict[str, list[Run]] = {name: [] for name in candidates}
    for name, candidate in candidates.items():
        console.print(f"warming {name}", highlight=False)
        candidate(prompt, min(new, 8))
    for round_ in range(repeat):
        for name, candidate in candidates.items():
            console.print(f"round {round_ + 1} of {repeat}: {name}", highlight=False)
            runs[name].append(candidate(prompt, new))
    return runs


def rows(runs: dict[str, list[Run]], baseline: str) -> list[dict[str, Any]]:
    """One row a candidate: medians, the range, and the median of the round-by-round ratios to `baseline`."""

    def spread(values: list[float]) -> dict[str, float]:
        return {"median": statistics.median(values), "min": min(values), "max": max(values)}

    found = []
    for name, own in runs.items():
        pairs = list(zip(own, runs[baseline], strict=True))
        found.append(
            {
                "name": name,
                "prefill": spread([r.prefill for r in own]),
                "decode": spread([r.decode for r in own]),
                "ttft_s": spread([r.ttft_s for r in own]),
                "prefill_ratio": statistics.median(a.prefill / b.prefill for a, b in pairs),
                "decode_ratio": statistics.median(a.decode / b.decode for a, b in pairs),
                "runs": [asdict(r) for r in own],
            }
        )
    return found


def _cells(row: dict[str, Any]) -> list[str]:
    def speed(part: dict[str, float]) -> str:
        return f"{part['median']:.1f} ({part['min']:.1f} to {part['max']:.1f})"

    return [
        row["name"], speed(row["prefill"]), f"{row['prefill_ratio']:.2f}x",
        speed(row["decode"]), f"{row['decode_ratio']:.2f}x", f"{row['ttft_s']['median']:.2f} s",
    ]  # fmt: skip


def main(
    model: Annotated[str, typer.Option(help="Registry name, folder, .gguf file or Hub id.")] = DEFAULT_MODEL,
    precision: Annotated[str, typer.Option(help="Comma-separated: fp32, half, int8.")] = "int8,half,fp32",
    prompt: Annotated[int, typer.Option(min=1, help="Prompt tokens.")] = 512,
    new: Annotated[int, typer.Option(min=2, help="New tokens.")] = 128,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes what this process may use.")] = 0,
    repeat: Annotated[int, typer.Option(min=1, help="Counted rounds.")] = 5,
    vs: Annotated[str, typer.Option(help="transformers, or none.")] = "transformers",
    format: Annotated[str, typer.Option(help="table, md or json.")] = "table",
) -> None:
    """Tokens a second of prefill and decode, medians of interleaved rounds, beside Transformers in fp32."""
    console, err = Console(), Console(stderr=True)
    precisions = [name.strip() for name in precision.split(",") if name.strip()]
    for name in precisions:
        if name not in PRECISIONS:
            raise BadRequest(f"Precision '{name}' is unknown: choose among {', '.join(PRECISIONS)}.")
    if vs not in ("transformers", "none") or format not in ("table", "md", "json"):
        raise BadRequest("--vs takes transformers or none, --format table, md or json.")
    engines = {name: Engine(EngineConfig(model, precision=name, threads=threads, max_batch=1)) for name in precisions}  # type: ignore[arg-type]
    any_engine = next(iter(engines.values()))
    used = any_engine.info.threads
    ids = (any_engine.tokenizer.encode(TEXT) * (prompt // 30 + 1))[:prompt]
    candidates = {f"Brisk {name}": ours(engine) for name, engine in engines.items()}
    baseline = next(iter(candidates))
    if vs == "transformers":
        baseline = "Transformers fp32"
        candidates[baseline] = transformers_fp32(any_engine, used)
    found = rows(measure(candidates, ids, new, repeat, err), baseline)

    about = machine(used)
    caption = (
        f"{model}, {prompt} prompt and {new} new tokens, batch 1, {repeat} interleaved rounds: median (least to most) "
        f"tokens/s; ratios to {baseline}, round by round. {about['cpu']}, {used} threads, torch {about['torch']}, "
        f"transformers {about['transformers']}, numba {about['numba']}."
    )
    header = ["", f"prefill (pp{prompt})", "", f"decode (tg{new})", "", "TTFT"]
    if format == "json":
        print(json.dumps({"model": model, "prompt": prompt, "new": new, "machine": about, "rows": found}, indent=1))
    elif format == "md":
        lines = [header, ["---"] * len(header), *(_cells(row) for row in found)]
        print("\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{caption}")
    else:
        table = Table(*header, caption=caption)
        for row in found:
            table.add_row(*_cells(row))
        console.print(table)


if __name__ == "__main__":
    run(main)

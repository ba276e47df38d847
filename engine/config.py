"""Every switch of the engine, by name: `EngineConfig` chooses the machine, `SamplingParams` one request."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from engine.errors import BadRequest

Precision = Literal["fp32", "half", "int8", "int4"]
KvPrecision = Literal["auto", "fp32", "half", "int8"]
PrefillArithmetic = Literal["auto", "fp32", "int16", "int8"]
Backend = Literal["auto", "native", "transformers"]

PRECISIONS: tuple[str, ...] = get_args(Precision)
KV_PRECISIONS: tuple[str, ...] = get_args(KvPrecision)
PREFILLS: tuple[str, ...] = get_args(PrefillArithmetic)
DEFAULT_MODEL = "smollm2-135m-instruct"
MAX_STOP_STRINGS = 16
MAX_THREADS = 256
GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")  # Linux' control groups, and which of them we are in
MAX_BATCH = 256  # each request has its place in the cache, whether it is used or not


@dataclass(frozen=True)
class EngineConfig:
    """What an engine is loaded with. `shared_engine` gives those who ask with equal configs one engine.

    Parameters
    ----------
    model : registry name, local folder, `.gguf` file, or Hub id with an optional `@revision`.
    precision : how weights are stored. "fp32"; "half" (fp16 stored; computed in fp32 on a CPU, in 16 bit on an
        accelerator); "int8" (one scale a row); "int4" (groups of 32 with a scale and a minimum; embeddings and head as
        in int8). On a CPU the kernels multiply int8 and int4 by activations in whole numbers of up to 15 bits.
    device : "auto" (an accelerator where torch sees one, else "cpu"), "cpu", "cuda", "cuda:1", "mps", ...
    threads : CPU threads; 0 takes what this process may use (`CPU_CORES`, cgroup quota, affinity).
    kv_cache : False runs the whole text again for every token: the same tokens, slower; it shows what a cache buys.
    kernels : False keeps everything in plain torch: the slow twin of the compiled operators.
    kv_precision : how keys and values are stored. "auto" is fp32 beside fp32 weights, else half; "int8" has one scale
        for each head and position.
    prefill : arithmetic of prompts where weights are int8 or int4: "fp32" (weights widened), "int16" (integer products,
        activations rounded to up to 16 bits, as in decode), "int8" (to 8 bits, with a scale for each 32 of them).
        "auto" takes the fastest on this machine: int8 only where the processor multiplies bytes (VNNI; with int4
        weights AVX2 too).
    prefix_cache_mb : megabytes of keys and values kept for prompts that begin alike; 0 switches reuse off.
    adapter_mb : megabytes that task adapters may take together; those used longest ago make room. 0 loads none.
    speculation : guess tokens that stand in the prompt (prompt lookup) where that pays: the same tokens, sooner.
    max_context : longest prompt + output in tokens; 0 takes the model's own window, at most 4096.
    max_batch : how many requests may decode together.
    backend : "native" is ours; "transformers" runs any architecture; "auto" picks native where a family fits.
    """

    model: str = DEFAULT_MODEL
    precision: Precision = "int8"
    device: str = "auto"
    threads: int = 0
    kv_cache: bool = True
    kernels: bool = True
    max_context: int = 0
    max_batch: int = 8
    backend: Backend = "auto"
    kv_precision: KvPrecision = "auto"
    prefill: PrefillArithmetic = "auto"
    prefix_cache_mb: int = 256
    adapter_mb: int = 64
    speculation: bool = True

    def __post_init__(self) -> None:
        if not self.model or "\0" in self.model:
            raise BadRequest(
                "The model name is empty or holds a NUL character: give a name, a folder, a .gguf file or a Hub id."
            )
        if self.precision not in PRECISIONS:
            raise BadRequest(f"Precision '{self.precision}' is unknown: choose one of {', '.join(PRECISIONS)}.")
        if self.backend not in get_args(Backend):
            raise BadRequest(f"Backend '{self.backend}' is unknown: choose one of {', '.join(get_args(Backend))}.")
        if self.kv_precision not in KV_PRECISIONS:
            raise BadRequest(
                f"KV precision '{self.kv_precision}' is unknown: choose one of {', '.join(KV_PRECISIONS)}."
            )
        if self.prefill not in PREFILLS:
            raise BadRequest(f"Prefill '{self.prefill}' is unknown: choose one of {', '.join(PREFILLS)}.")
        if not 0 <= self.prefix_cache_mb <= 1_000_000:
            raise BadRequest(f"prefix_cache_mb is {self.prefix_cache_mb}: give 0 (no reuse) to 1,000,000.")
        if not 0 <= self.threads <= MAX_THREADS:
            raise BadRequest(f"threads is {self.threads}: give 0 (automatic) to {MAX_THREADS}.")
        if self.max_context < 0:
            raise BadRequest(f"max_context is {self.max_context}: give 0 (the model's own) or more.")
        if not 1 <= self.max_batch <= MAX_BATCH:
            raise BadRequest(f"max_batch is {self.max_batch}: give 1 to {MAX_BATCH}.")


@dataclass(frozen=True)
class SamplingParams:
    """How one request picks its tokens. The defaults are greedy.

    Parameters
    ----------
    max_tokens : most tokens to generate, at least 1.
    min_tokens : no end-of-text before this many tokens.
    temperature : 0 is greedy; above 0 divides the logits.
    top_k : keep the k most likely tokens; 0 keeps all.
    top_p : keep the smallest set of tokens with this much probability (nucleus, Holtzman et al. 2020).
    min_p : drop tokens less likely than this share of the most likely one (Nguyen et al. 2024).
    repetition_penalty : above 1 makes tokens already in prompt or output less likely (Keskar et al. 2019).
    no_repeat_ngram_size : n above 0 lets no run of n tokens come twice in the output; 0 is off. Unlike Transformers'
        option of that name it leaves the prompt's own runs alone, so that a text can still be quoted.
    seed : of the random draw; None draws one, and the result says which.
    stop : strings that end the text; the text returned does not hold them.
    logprobs : how many of the most likely tokens to report at each step; 0 reports only the chosen one's
        log-probability; None reports nothing.
    """

    max_tokens: int = 128
    min_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        else:
            object.__setattr__(self, "stop", tuple(self.stop))
        rules = [
            (self.max_tokens >= 1, f"max_tokens is {self.max_tokens}: give 1 or more."),
            (0 <= self.min_tokens <= self.max_tokens, f"min_tokens is {self.min_tokens}: give 0 to max_tokens."),
            (0 <= self.temperature <= 100, f"temperature is {self.temperature}: give 0 (greedy) to 100."),
            (self.top_k >= 0, f"top_k is {self.top_k}: give 0 (off) or more."),
            (0 < self.top_p <= 1, f"top_p is {self.top_p}: give a share above 0, at most 1."),
            (0 <= self.min_p <= 1, f"min_p is {self.min_p}: give 0 (off) to 1."),
            (0.1 <= self.repetition_penalty <= 10, f"repetition_penalty is {self.repetition_penalty}: give 0.1 to 10."),
            (
                self.no_repeat_ngram_size >= 0,
                f"no_repeat_ngram_size is {self.no_repeat_ngram_size}: give 0 (off) or more.",
            ),
            (self.seed is None or 0 <= self.seed < 2**63, f"seed is {self.seed}: give 0 or more."),
            (
                len(self.stop) <= MAX_STOP_STRINGS,
                f"There are {len(self.stop)} stop strings: give at most {MAX_STOP_STRINGS}.",
            ),
            (all(self.stop), "A stop string is empty: remove it."),
            (self.logprobs is None or 0 <= self.logprobs <= 100, f"logprobs is {self.logprobs}: give 0 to 100."),
        ]
        for holds, sentence in rules:  # a NaN fails every comparison, so it is refused here too
            if not holds:
                raise BadRequest(sentence)


def available_threads(groups: Path = GROUPS, own: Path = OWN) -> int:
    """CPU threads this process may really use: `CPU_CORES` (set on Spaces), else the smaller of affinity and the
    control groups' quota, at least 1. A container often sees every core of its host.

    Parameters
    ----------
    groups, own : where Linux has its control groups (cgroups(7), both versions), and which of them this process is in.
    """
    if (named := os.environ.get("CPU_CORES", "")).isdecimal() and int(named) > 0:
        return int(named)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(round(share) for share in _quotas(groups, own))]))


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """Cores that each group this process is in may use, where it has a quota."""
    found = [_numbers(groups / group / "cpu.max") for group in _path(own, "")]  # version 2
    for group in _path(own, "cpu"):  # version 1
        folder = groups / "cpu" / group
        found.append(_numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us"))
    for quota in found:
        if len(quota) == 2 and min(quota) > 0:
            yield quota[0] / quota[1]


def _path(own: Path, controller: str) -> list[str]:
    """The group that this process is in, those that hold it, and the root. A container may be shown its own group as
    the root and told the path that its host knows: what is not there has no quota."""
    group = PurePosixPath("/")
    with contextlib.suppress(OSError, ValueError):  # not Linux
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                group = PurePosixPath(path)
    return [str(one).lstrip("/") for one in (group, *group.parents)]


def _numbers(path: Path) -> list[int]:
    """The whole numbers of a file, none where it has something else or is not there."""
    try:
        return [int(part) for part in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):  # "max": no quota
        return []

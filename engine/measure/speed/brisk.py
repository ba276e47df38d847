"""The worker of our own engine."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from engine.measure.worker import serve

if TYPE_CHECKING:
    from engine.engine import Engine


class Brisk:
    """Serves one engine. A benchmark's prompts must be computed each time, so what reuses or guesses is off unless the
    request says otherwise."""

    engine: Engine

    def start(self) -> None:
        import torch

        import engine.backends.native
        import engine.engine
        import engine.kernels.compiled  # noqa: F401

        self._versions = {"torch": str(torch.__version__)}

    def load(self, **config: Any) -> dict[str, Any]:
        from importlib.metadata import version

        import numba

        from engine.config import EngineConfig
        from engine.engine import Engine

        config = {"prefix_cache_mb": 0, "speculation": False, **config}
        self.engine = Engine(EngineConfig(**config))
        info = self.engine.info
        prompts = f", prompts {info.prefill}" if info.prefill != "fp32" else ""
        return {
            "versions": {**self._versions, "numba": numba.__version__, "transformers": version("transformers")},
            "dtype": info.precision + prompts,
            "kv": info.kv_precision,
            "weight_bytes": info.weight_bytes,
            "max_context": info.max_context,
            "threads": info.threads,
            "notes": list(info.notes),
        }

    def run(self, prompts: list[list[int]], new: int) -> dict[str, Any]:
        """All prompts at once, each a stream read by a thread of its own, as callers do."""
        from engine.config import SamplingParams

        params = SamplingParams(max_tokens=new, min_tokens=new)
        times: list[list[float]] = [[] for _ in prompts]
        tokens: list[list[int]] = [[] for _ in prompts]
        failed: list[BaseException] = []

        def read(index: int) -> None:
            try:
                for token in self.engine.stream(prompts[index], params):
                    times[index].append(time.perf_counter())
                    tokens[index].append(token.id)
            except BaseException as error:
                failed.append(error)

        readers = [threading.Thread(target=read, args=(index,)) for index in range(len(prompts))]
        began = time.perf_counter()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        if failed:
            raise failed[0]
        first, last = max(t[0] for t in times), min(t[-1] for t in times)  # while all of them decode
        made = sum(first < t <= last for stream in times for t in stream)
        return {
            "ttft_s": first - began,
            "decode_s": last - first,
            "decoded": made,
            "whole_s": max(t[-1] for t in times) - began,
            "tokens": tokens,
        }

    # ---- for the suite

    def generate(self, prompts: list[list[int]], new: int) -> dict[str, Any]:
        """One prompt after another, ending where the model ends; decode alone: seconds and tokens after the first."""
        from engine.config import SamplingParams

        seconds, decoded, tokens = 0.0, 0, []
        for prompt in prompts:
            [done] = self.engine.generate([prompt], SamplingParams(max_tokens=new))
            decoded += done.timing.decoded_tokens
            seconds += done.timing.decode_s
            tokens.append(list(done.token_ids))
        return {"decode_s": seconds, "decoded": decoded, "tokens": tokens}

    def score(self, prompts: list[list[int]], choices: list[list[int]]) -> dict[str, Any]:
        began = time.perf_counter()
        scores = self.engine.score(prompts, choices)
        return {"seconds": time.perf_counter() - began, "logprobs": [list(s.logprobs) for s in scores]}

    def encode(self, text: str) -> dict[str, Any]:
        return {"ids": self.engine.tokenizer.encode(text)}

    def ceilings(self, threads: int) -> dict[str, Any]:
        """This machine's own, measured in a process that runs nothing else."""
        from engine.measure.ceilings import matmul_flops, read_bandwidth, round_trip

        return {"bandwidth": read_bandwidth(threads), "flops": matmul_flops(threads), "round_trip": round_trip()}


if __name__ == "__main__":
    serve(Brisk())

"""A candidate that only pretends: it counts up from the last token of a prompt, and its times are made up.

`python -m tests.engine.measure.speed.fake_worker SPEED` is SPEED times as fast as one of speed 1: 100 prompt
tokens and 10 new tokens a second. Its `load` takes every option, notes them, and prints
to stdout as noisy libraries do.
"""

from __future__ import annotations

import sys
from typing import Any

from engine.errors import BadRequest
from engine.measure.worker import serve


class Fake:
    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self.loaded: dict[str, Any] = {}

    def start(self) -> None:
        print("a banner nobody asked for")

    def load(self, **request: Any) -> dict[str, Any]:
        print("loading noise")
        if request.get("model") == "broken":
            raise BadRequest("This model is broken.")
        self.loaded = request
        return {"versions": {"fake": "1.0"}, "dtype": request.get("dtype", "fp32"), "kv": "fp32", "weight_bytes": 4000}

    def run(self, prompts: list[list[int]], new: int) -> dict[str, Any]:
        ttft, decode = sum(map(len, prompts)) / (100 * self.speed), (new - 1) / (10 * self.speed)
        tokens = [[prompt[-1] + 1 + i for i in range(new)] for prompt in prompts]
        decoded = len(prompts) * (new - 1)
        return {"ttft_s": ttft, "decode_s": decode, "decoded": decoded, "whole_s": ttft + decode, "tokens": tokens}

    def encode(self, text: str) -> dict[str, Any]:
        return {"ids": list(range(1, 1 + len(text.split())))}

    def ceilings(self, threads: int) -> dict[str, Any]:
        return {"bandwidth": 1e6 * threads, "flops": 1e9 * threads, "round_trip": 8e-8}

    def die(self) -> dict[str, Any]:
        print("the last word", file=sys.stderr, flush=True)
        raise SystemExit(3)

    def fail(self) -> dict[str, Any]:
        raise ValueError("first line\nsecond line")

    def sleep(self) -> dict[str, Any]:
        import time

        time.sleep(60)
        return {}

    def environment(self, name: str) -> dict[str, Any]:
        import os

        return {"value": os.environ.get(name)}


if __name__ == "__main__":
    serve(Fake(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))

"""CTranslate2's Generator. Its int8 quantizes activations too, a scale a row; its KV cache is float32 either way."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from engine.measure.worker import serve


class CTranslate2:
    def start(self) -> None:
        import ctranslate2

        self._ct2 = ctranslate2

    def load(self, model: str, dtype: str, threads: int, **_: Any) -> dict[str, Any]:
        """See `engine.measure.worker.Server`.

        Parameters
        ----------
        model : folder of the converted weights.
        dtype : "float32" or "int8".
        threads : CPU threads of the one replica.
        """
        self._generator = self._ct2.Generator(
            model, device="cpu", compute_type=dtype, intra_threads=threads, inter_threads=1
        )
        self._words = json.loads((Path(model) / "vocabulary.json").read_text(encoding="utf-8"))
        return {
            "versions": {"ctranslate2": self._ct2.__version__},
            "dtype": self._generator.compute_type,
            "kv": "fp32",
            "weight_bytes": (Path(model) / "model.bin").stat().st_size,
        }

    def run(self, prompts: list[list[int]], new: int) -> dict[str, Any]:
        times: list[float] = []

        def step(result: Any) -> bool:
            times.append(time.perf_counter())
            return False

        words = [[self._words[i] for i in prompt] for prompt in prompts]  # it takes no ids
        began = time.perf_counter()
        done = self._generator.generate_batch(
            words, max_length=new, min_length=new, sampling_topk=1, include_prompt_in_result=False, callback=step
        )
        streams = len(prompts)
        first, last = times[streams - 1], times[-1]  # called once a stream and step
        return {
            "ttft_s": first - began,
            "decode_s": last - first,
            "decoded": len(times) - streams,
            "whole_s": last - began,
            "tokens": [result.sequences_ids[0] for result in done],
        }


if __name__ == "__main__":
    serve(CTranslate2())

"""ONNX Runtime GenAI's Generator. Weights are int4 or int8, activations are quantized to int8 a block for each product
(the builder's default for CPUs), keys and values are float32."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from engine.measure.worker import serve


class OnnxRuntimeGenAI:
    def start(self) -> None:
        import numpy
        import onnxruntime_genai

        onnxruntime_genai.disable_telemetry_events()
        self._np, self._genai = numpy, onnxruntime_genai

    def load(self, model: str, dtype: str, threads: int, **_: Any) -> dict[str, Any]:
        """See `engine.measure.worker.Server`.

        Parameters
        ----------
        model : folder of the converted weights.
        dtype : "int8" or "int4".
        threads : CPU threads of inference.
        """
        config = self._genai.Config(model)
        options = {"intra_op_num_threads": threads, "inter_op_num_threads": 1}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self._model = self._genai.Model(config)
        return {
            "versions": {"onnxruntime-genai": self._genai.__version__},
            "dtype": dtype,
            "kv": "fp32",
            "weight_bytes": read_bytes(Path(model), dtype),
        }

    def run(self, prompts: list[list[int]], new: int) -> dict[str, Any]:
        """One batch of prompts of equal length."""
        length, streams = len(prompts[0]), len(prompts)
        params = self._genai.GeneratorParams(self._model)
        whole = length + new
        params.set_search_options(batch_size=streams, do_sample=False, min_length=whole, max_length=whole)
        ids = self._np.array(prompts, self._np.int32)
        times: list[float] = []
        began = time.perf_counter()
        generator = self._genai.Generator(self._model, params)
        generator.append_tokens(ids)
        for _ in range(new):
            generator.generate_next_token()
            times.append(time.perf_counter())
        return {
            "ttft_s": times[0] - began,
            "decode_s": times[-1] - times[0],
            "decoded": streams * (new - 1),
            "whole_s": times[-1] - began,
            "tokens": [[int(t) for t in generator.get_sequence(i)[length:]] for i in range(streams)],
        }


def read_bytes(folder: Path, dtype: str) -> int:
    """Bytes of the weights without the float32 embedding that int8 keeps beside its head; int4 shares one table."""
    stored = (folder / "model.onnx.data").stat().st_size
    if dtype != "int8":
        return stored
    config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
    return stored - 4 * int(config["vocab_size"]) * int(config["decoder"]["hidden_size"])


if __name__ == "__main__":
    serve(OnnxRuntimeGenAI())

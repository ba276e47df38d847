"""OpenVINO GenAI's LLMPipeline. In "fp32" its arithmetic is held to f32 (its default on newer processors is bf16); in
"int8" and "int4" (weight-only) it computes and keeps its cache as it chooses, and both are stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.measure.worker import serve


class OpenVino:
    def start(self) -> None:
        import numpy
        import openvino
        import openvino_genai

        self._np, self._ov, self._genai = numpy, openvino, openvino_genai

    def load(self, model: str, dtype: str, threads: int, context: int, batch: int, **_: Any) -> dict[str, Any]:
        """See `engine.measure.worker.Server`.

        Parameters
        ----------
        model : folder of the converted weights.
        dtype : "fp32", "int8" or "int4".
        threads : CPU threads of inference.
        context : tokens of the longest text.
        batch : texts side by side.
        """
        genai, core = self._genai, self._ov.Core()
        options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
        if dtype == "fp32":
            options |= {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
            arithmetic = kv = "fp32"
        else:
            arithmetic = self._name(core.get_property("CPU", "INFERENCE_PRECISION_HINT"))
            kv = self._name(core.get_property("CPU", "KV_CACHE_PRECISION"))
        if batch > 1:
            options["ATTENTION_BACKEND"] = "SDPA"  # its other backend takes no batch in one call
        else:
            # Its default keeps the prompts it has seen: every round would be timed without its prefill.
            plan = genai.SchedulerConfig()
            plan.enable_prefix_caching = False
            plan.max_num_batched_tokens = context
            plan.num_kv_blocks = context // 16 + 8  # of 16 tokens at least
            options["scheduler_config"] = plan
        self._pipeline = genai.LLMPipeline(model, "CPU", **options)
        weights = sum(path.stat().st_size for path in Path(model).glob("*.bin"))
        return {
            "versions": {"openvino": genai.__version__.partition("-")[0]},
            "dtype": dtype if arithmetic == "fp32" else f"{dtype}, {arithmetic} arithmetic",
            "kv": kv,
            "weight_bytes": weights,
        }

    @staticmethod
    def _name(kind: Any) -> str:
        found = str(kind.get_type_name() if hasattr(kind, "get_type_name") else kind)
        return {"bf16": "bf16", "f32": "fp32", "f16": "half", "u8": "u8"}.get(found, found)

    def run(self, prompts: list[list[int]], new: int) -> dict[str, Any]:
        plan = self._genai.GenerationConfig()
        plan.max_new_tokens, plan.ignore_eos, plan.do_sample = new, True, False
        done = self._pipeline.generate(self._ov.Tensor(self._np.array(prompts, self._np.int64)), plan)
        metrics = done.perf_metrics
        times = metrics.raw_metrics.m_new_token_times  # milliseconds
        ttft, decode = metrics.get_ttft().mean / 1000, (times[-1] - times[0]) / 1000
        return {
            "ttft_s": ttft,
            "decode_s": decode,
            "decoded": len(prompts) * (len(times) - 1),
            "whole_s": ttft + decode,
            "tokens": [list(tokens) for tokens in done.tokens],
        }


if __name__ == "__main__":
    serve(OpenVino())

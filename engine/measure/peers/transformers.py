"""Transformers' own `generate` with its own KV cache, eager. The dtype is stated because its default is the
checkpoint's, which may be a slow one on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from engine.measure.worker import serve


class Transformers:
    def start(self) -> None:
        import torch
        import transformers
        from transformers import AutoModelForCausalLM

        self._torch, self._loader = torch, AutoModelForCausalLM
        self._versions = {"torch": str(torch.__version__), "transformers": transformers.__version__}

    def load(self, model: str, dtype: str, threads: int, **_: Any) -> dict[str, Any]:
        """See `engine.measure.worker.Server`.

        Parameters
        ----------
        model : folder of the weights.
        dtype : "fp32".
        threads : torch's own.
        """
        self._torch.set_num_threads(threads)
        self._model = self._loader.from_pretrained(Path(model), dtype=self._torch.float32).eval()
        weights = sum(p.numel() * p.element_size() for p in self._model.parameters())
        return {"versions": self._versions, "dtype": dtype, "kv": "fp32", "weight_bytes": weights}

    def run(self, prompts: list[list[int]], new: int) -> dict[str, Any]:
        """One batch of prompts of equal length."""
        clock = Clock()
        ids = self._torch.tensor(prompts)
        began = time.perf_counter()
        out = self._model.generate(
            ids, attention_mask=self._torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False,
            streamer=clock, pad_token_id=0,
        )  # fmt: skip
        first, *rest = clock.times[1:]  # after the prompt itself
        return {
            "ttft_s": first - began,
            "decode_s": rest[-1] - first,
            "decoded": len(prompts) * len(rest),
            "whole_s": rest[-1] - began,
            "tokens": out[:, ids.shape[1] :].tolist(),
        }

    def score(self, prompts: list[list[int]], choices: list[list[int]], batch: int) -> dict[str, Any]:
        """First-token log-probabilities of the choices after each prompt, the fair way to do it with this library:
        sorted by length, padded on the left, `batch` at a time, and the head computed for the last row alone.

        Parameters
        ----------
        prompts : token ids.
        choices : token ids of each choice, of which the first counts.
        batch : prompts at a time.

        Returns
        -------
        `seconds` of all of them, and `logprobs`, one a choice, for each prompt.
        """
        torch = self._torch
        firsts = torch.tensor([choice[0] for choice in choices])
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found: list[list[float]] = [[] for _ in prompts]
        began = time.perf_counter()
        with torch.inference_mode():
            for start in range(0, len(order), batch):
                part = order[start : start + batch]
                width = max(len(prompts[i]) for i in part)
                ids = torch.zeros(len(part), width, dtype=torch.long)
                mask = torch.zeros(len(part), width, dtype=torch.long)
                for row, i in enumerate(part):
                    ids[row, width - len(prompts[i]) :] = torch.tensor(prompts[i])
                    mask[row, width - len(prompts[i]) :] = 1
                positions = (mask.cumsum(-1) - 1).clamp_min(0)
                logits = self._model(
                    input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1
                ).logits[:, -1]
                for row, i in enumerate(part):
                    found[i] = logits[row].log_softmax(-1)[firsts].tolist()
        return {"seconds": time.perf_counter() - began, "logprobs": found}


class Clock:
    """A streamer (see `transformers.generation.streamers.BaseStreamer`): hears of the prompt once, then each token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


if __name__ == "__main__":
    serve(Transformers())

"""llama.cpp through the C interface that llama-cpp-python binds: batches of token ids in, logits out, no text.

Flash attention is on, as llama.cpp's own choice for CPUs is too; matrices in Q4_0 are repacked as they are loaded.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any

from engine.measure.worker import serve

MICRO_BATCH = 512  # tokens of a prompt run at once, llama.cpp's own default


class LlamaCpp:
    def start(self) -> None:
        import llama_cpp
        import numpy

        self._np, self._lib = numpy, llama_cpp
        self._quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()

    def load(self, model: str, dtype: str, threads: int, context: int, batch: int, **_: Any) -> dict[str, Any]:
        """See `engine.measure.worker.Server`.

        Parameters
        ----------
        model : GGUF file.
        dtype : how its matrices are stored, as it is shown.
        threads : CPU threads of prompts and steps.
        context : tokens of the longest text.
        batch : texts side by side.

        Raises
        ------
        RuntimeError : the file cannot be loaded.
        """
        lib = self._lib
        options = lib.llama_model_default_params()
        options.n_gpu_layers = 0
        self._model = lib.llama_model_load_from_file(model.encode(), options)
        plan = lib.llama_context_default_params()
        plan.n_ctx, plan.n_seq_max = context * batch, batch
        plan.n_batch, plan.n_ubatch = max(MICRO_BATCH, batch), MICRO_BATCH
        plan.n_threads = plan.n_threads_batch = threads
        plan.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        self._context = lib.llama_init_from_model(self._model, plan) if self._model else None
        if not self._context:
            raise RuntimeError(f"llama.cpp could not load {model}")
        self._vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        self._batch = lib.llama_batch_init(max(MICRO_BATCH, batch), 0, 1)
        return {
            "versions": {"llama-cpp-python": lib.__version__},
            "dtype": dtype,
            "kv": "half",  # type_k and type_v of the default parameters are F16
            "weight_bytes": int(lib.llama_model_size(self._model)),
        }

    def _decode(self, entries: list[tuple[int, int, int, bool]]) -> None:
        """Run (token, position, sequence, wants logits) entries."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = wanted
        if code := self._lib.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode returned {code}")

    def _best(self, entry: int) -> int:
        """The most likely token after the entry of that index in the last batch."""
        logits = self._lib.llama_get_logits_ith(self._context, entry)
        return int(self._np.ctypeslib.as_array(logits, (self._vocabulary,)).argmax())

    def run(self, prompts: list[list[int]], new: int) -> dict[str, Any]:
        lib = self._lib
        lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        tokens: list[list[int]] = []
        began = time.perf_counter()
        for sequence, prompt in enumerate(prompts):
            for start in range(0, len(prompt), MICRO_BATCH):
                part = prompt[start : start + MICRO_BATCH]
                last = len(prompt) - 1
                self._decode([(t, start + i, sequence, start + i == last) for i, t in enumerate(part)])
            tokens.append([self._best(len(part) - 1)])
        first = time.perf_counter()
        for step in range(new - 1):
            self._decode([(own[-1], len(prompts[s]) + step, s, True) for s, own in enumerate(tokens)])
            for s, own in enumerate(tokens):
                own.append(self._best(s))
        last_s = time.perf_counter()
        return {
            "ttft_s": first - began,
            "decode_s": last_s - first,
            "decoded": len(prompts) * (new - 1),
            "whole_s": last_s - began,
            "tokens": tokens,
        }


if __name__ == "__main__":
    serve(LlamaCpp())

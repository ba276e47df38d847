"""Encoder heads of Transformers models: a whole text to labels, and a question with its context to spans."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from engine.backends.base import EncoderHeads
from engine.errors import BadRequest

# Tokens that neighbouring windows of a long context share, so that an answer on a border is whole in one of them.
STRIDE = 128


def window(config: Any, tokenizer: Any) -> int:
    """The longest text in tokens: the smaller of the position table and what the tokenizer declares."""
    positions = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 4096
    # RoBERTa's table begins after its padding index: two rows are never used.
    if str(getattr(config, "model_type", "")) in ("roberta", "xlm-roberta", "camembert"):
        positions -= 2
    return int(min(positions, tokenizer.model_max_length))


class Encoder(EncoderHeads):
    """A sequence-classification model, or an extractive question-answering model (Devlin et al. 2019): start and end
    logits over a context.

    Parameters
    ----------
    model, tokenizer : of Transformers, the model on `device` and in evaluation mode.
    limit : the window in tokens.
    device : where the model is.
    """

    def __init__(self, model: Any, tokenizer: Any, limit: int, device: torch.device) -> None:
        self._model, self._tokenizer, self._limit, self._device = model, tokenizer, limit, device

    @torch.inference_mode()
    def classify(self, text: str) -> dict[str, float]:
        """Softmax over labels, or a sigmoid each where the model is multi-label. Raises BadRequest when over-long."""
        inputs = self._tokenizer(text, return_tensors="pt", verbose=False)
        count = inputs["input_ids"].shape[1]
        if count > self._limit:
            raise BadRequest(f"The text has {count} tokens, but the window is {self._limit}: shorten the text.")
        logits = self._model(**inputs.to(self._device)).logits[0].float()
        config = self._model.config
        many = config.problem_type == "multi_label_classification" or logits.shape[0] == 1
        shares = logits.sigmoid() if many else logits.softmax(-1)
        return {str(config.id2label[i]): float(share) for i, share in enumerate(shares)}

    def answer(
        self, question: str, context: str, top_k: int, max_answer_tokens: int
    ) -> tuple[list[tuple[int, int, float]], float]:
        """The probability of no answer is the smallest over the windows a long context is read in, since one window
        with the answer is enough."""
        stride = min(STRIDE, self._limit // 4)
        parts = self._tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=self._limit,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        best: dict[tuple[int, int], float] = {}
        none = 1.0
        for i in range(len(parts["input_ids"])):
            spans, missing = self._window(parts, i, top_k, max_answer_tokens)
            none = min(none, missing)
            for start, end, score in spans:
                best[start, end] = max(score, best.get((start, end), 0.0))
        ranked = sorted(((start, end, score) for (start, end), score in best.items()), key=lambda s: -s[2])
        return ranked[:top_k], none

    @torch.inference_mode()
    def _window(
        self, parts: Any, i: int, top_k: int, max_answer_tokens: int
    ) -> tuple[list[tuple[int, int, float]], float]:
        names = [n for n in ("input_ids", "attention_mask", "token_type_ids") if n in parts]
        inputs = {n: torch.tensor([parts[n][i]], device=self._device) for n in names}
        out = self._model(**inputs)
        inside = np.array([s == 1 for s in parts.sequence_ids(i)])
        usable = inside.copy()
        usable[0] = True  # the first token (CLS) stands for "no answer"
        begin, finish = (_softmax(x[0].float().cpu().numpy(), usable) for x in (out.start_logits, out.end_logits))
        joint = np.triu(np.outer(begin * inside, finish * inside))
        joint -= np.triu(joint, max_answer_tokens)
        offsets = parts["offset_mapping"][i]
        spans = []
        for flat in np.argsort(-joint, axis=None)[:top_k]:
            first, last = np.unravel_index(flat, joint.shape)
            if joint[first, last] > 0:
                spans.append((offsets[first][0], offsets[last][1], float(joint[first, last])))
        return spans, float(begin[0] * finish[0])


def _softmax(logits: np.ndarray, usable: np.ndarray) -> np.ndarray:
    shares = np.where(usable, np.exp(logits - logits[usable].max()), 0.0)
    return shares / shares.sum()

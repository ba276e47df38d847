"""What the engine gives back: plain frozen data, the same from every backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

FinishReason = Literal["stop", "length", "stop_string", "cancelled", "error"]
ModelKind = Literal["causal", "seq2seq", "classification", "question-answering"]


@dataclass(frozen=True)
class Timing:
    """Where the time of one request went: counts and seconds, from which the speeds follow.

    Attributes
    ----------
    prompt_tokens : tokens of the prompt.
    reused_tokens : those of them that were copied from the prefix tree instead of run.
    new_tokens : tokens generated.
    ttft_s : seconds from the moment the request was accepted to its first token.
    prefill_s : seconds of running the prompt, without those of waiting for a turn.
    decode_s : seconds from the first new token to the last.
    finish_reason : "stop" (end-of-text token), "length" (max_tokens or the window), "stop_string", "cancelled",
        "error"; None while the request still runs.
    guessed_tokens : new tokens that stood ready as right guesses when their step came (speculation), so that they cost
        no step of their own.
    decoded_tokens : new tokens that `decode_s` counts: all but the first, which the prompt's last chunk gives.
    """

    prompt_tokens: int
    reused_tokens: int = 0
    new_tokens: int = 0
    ttft_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    finish_reason: FinishReason | None = None
    guessed_tokens: int = 0
    decoded_tokens: int = 0

    @property
    def prefill_tokens_per_s(self) -> float:
        """Prompt tokens run a second, the reused ones not counted; 0 where none was run."""
        return (self.prompt_tokens - self.reused_tokens) / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def decode_tokens_per_s(self) -> float:
        """Tokens generated a second after the first; 0 until a second one exists."""
        return self.decoded_tokens / self.decode_s if self.decode_s > 0 else 0.0


@dataclass(frozen=True)
class Token:
    """One step of a stream: `text` is what became readable with it (may be empty inside an emoji)."""

    id: int
    text: str
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()  # (token id, log-probability), most likely first
    timing: Timing | None = None


@dataclass(frozen=True)
class Completion:
    """The whole answer to one prompt. `token_ids` may hold more than `text` shows when a stop string cut it."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] | None
    seed: int
    timing: Timing


@dataclass(frozen=True)
class Scores:
    """`logprobs[c]`: natural-log probability of choice c after the prompt, summed over its `tokens[c]` tokens."""

    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]
    timing: Timing


@dataclass(frozen=True)
class Span:
    """A run of allowed tokens found by constrained search: tokens `start` to `end` (exclusive) of the allowed text."""

    start: int
    end: int
    logprob: float  # of the tokens and of stopping after them, given the prompt
    tokens: int


@dataclass(frozen=True)
class SpanSearch:
    """The most likely spans, best first; `timing` is of reading the prompt, not of the search."""

    spans: tuple[Span, ...]
    timing: Timing


@dataclass(frozen=True)
class TokenLogprobs:
    """`logprobs[i]` (float32, natural log) is of `token_ids[i + 1]` given `token_ids[: i + 1]`."""

    token_ids: np.ndarray  # int64 [T]
    logprobs: np.ndarray  # float32 [T - 1]


@dataclass(frozen=True)
class EngineInfo:
    """What is loaded, in words fit for a screen. `notes` are sentences on anything that is not as one might expect:
    a fallback and its cause, a shortened window.

    `kv_precision` is what keys and values are stored in, `prefill` what prompts are computed in: "fp32", "half"
    (16 bit) or "int8".
    """

    model: str
    source: str
    family: str
    backend: str
    kind: ModelKind
    precision: str
    device: str
    threads: int
    max_context: int
    layers: int
    hidden: int
    parameters: int
    weight_bytes: int
    load_s: float
    kv_precision: str
    prefill: str
    notes: tuple[str, ...] = ()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural-log probabilities f32 of the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True, dtype=np.float64)).astype(np.float32)

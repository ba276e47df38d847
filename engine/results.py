"""What the engine gives back: plain frozen data, the same from every backend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

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
    """One step of a stream.

    Attributes
    ----------
    id : the token.
    text : what became readable with it; may be empty inside an emoji.
    logprob : natural logarithm of its probability, before penalties and filters; None where it was not asked for.
    top : (token id, log-probability) of the likeliest, best first, as many as were asked for.
    timing : where the time went so far.
    """

    id: int
    text: str
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    timing: Timing | None = None


@dataclass(frozen=True)
class Completion:
    """The whole answer to one prompt.

    Attributes
    ----------
    text : what was written, up to a stop string.
    token_ids : every token made; more than `text` shows where a stop string cut it.
    logprobs, top_logprobs : as in `Token`, one for each token; None where they were not asked for.
    seed : repeats the draw.
    timing : where the time went, and why it ended.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] | None
    seed: int
    timing: Timing


@dataclass(frozen=True)
class Scores:
    """How likely each choice is after a prompt.

    Attributes
    ----------
    logprobs : natural logarithm of each choice's probability, summed over its tokens.
    tokens : how many tokens each choice has.
    timing : of reading the prompt.
    """

    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]
    timing: Timing


@dataclass(frozen=True)
class Span:
    """A run of allowed tokens found by constrained search.

    Attributes
    ----------
    start, end : first token, and the one after the last, in the allowed text.
    logprob : natural logarithm of the probability of the tokens and of stopping after them, given the prompt.
    tokens : how many there are.
    """

    start: int
    end: int
    logprob: float
    tokens: int


@dataclass(frozen=True)
class SpanSearch:
    """What a constrained search found.

    Attributes
    ----------
    spans : the likeliest, best first.
    timing : of reading the prompt, not of the search.
    """

    spans: tuple[Span, ...]
    timing: Timing


@dataclass(frozen=True)
class TokenLogprobs:
    """How likely each token of a text is after those before it.

    Attributes
    ----------
    token_ids : i64 [T].
    logprobs : f32 [T - 1]; entry i is the natural logarithm of the probability of token i + 1.
    """

    token_ids: np.ndarray
    logprobs: np.ndarray


DISTURBED = "Decodes with {walking} of {threads} threads: others use the cores, and more would wait for each other."
COMPILING = (
    "The operators are being compiled for this machine (once, about a minute); until then plain PyTorch answers, "
    "slower."
)


class Changing(Protocol):
    """What of a backend changes after it is loaded, as `engine.backends.base.Backend` has it."""

    prefill: str
    notes: list[str]
    compiling: bool
    walking: int


@dataclass(frozen=True)
class EngineInfo:
    """What is loaded, in words fit for a screen.

    Attributes
    ----------
    model, source : its name, and where its weights come from.
    family : architecture, as the model's own config names it.
    backend : "native" or "transformers".
    kind : what it is made for.
    precision : how weights are stored, as in `EngineConfig`.
    device, threads : where it runs, and with how many CPU threads.
    max_context : tokens in the window.
    layers, hidden : layers, and numbers of the residual stream.
    parameters : numbers the model is made of.
    weight_bytes : bytes its weights take.
    load_s : seconds that loading took.
    kv_precision : what keys and values are stored in.
    prefill : what prompts are computed in: "fp32", "half" (16 bit), "int16" or "int8".
    notes : sentences on anything that is not as one might expect: a fallback and its cause, a shortened window.
    compiling : whether plain PyTorch answers until the operators are compiled; a note says so too.
    walking : threads that walk decode steps: fewer than `threads` where that is faster because others use the cores.
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
    compiling: bool = False
    walking: int = 0

    def now(self, backend: Changing) -> EngineInfo:
        """The same as its backend is at this moment, whose notes come after those of loading."""
        walking, compiling = backend.walking or self.threads, backend.compiling  # read once: another thread writes them
        notes = [*self.notes, *backend.notes]
        if compiling:
            notes.append(COMPILING)
        if walking < self.threads:
            notes.append(DISTURBED.format(walking=walking, threads=self.threads))
        return replace(self, prefill=backend.prefill, notes=tuple(notes), compiling=compiling, walking=walking)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Natural-log probabilities f32 of the last axis."""
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True, dtype=np.float64)).astype(np.float32)

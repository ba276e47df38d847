"""What the results of all tasks share: how a request went, and what was left out of its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.results import Timing


@dataclass(frozen=True)
class Shortened:
    """A text that did not fit: `used_tokens` of `original_tokens` were read, its head and its tail."""

    original_tokens: int
    used_tokens: int

    def sentence(self) -> str:
        left_out = self.original_tokens - self.used_tokens
        return (
            f"The text was shortened from {self.original_tokens:,} to {self.used_tokens:,} tokens: its beginning "
            f"and end "
            f"were read, {left_out:,} tokens ({left_out / self.original_tokens:.0%}) of its middle were left out."
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sentence": self.sentence()}


@dataclass(frozen=True)
class RunInfo:
    """How an answer came about. `notes` are sentences the user should see, such as an option a model cannot honour."""

    timing: Timing
    model: str
    precision: str
    device: str
    shortened: Shortened | None = None
    notes: tuple[str, ...] = ()

    def line(self) -> str:
        """One line of speed for a screen; what does not apply (no token generated, still running) is left out."""
        timing = self.timing
        parts = [f"TTFT {timing.ttft_s:.2f} s"] if timing.new_tokens else []
        parts.append(
            f"prompt {timing.prompt_tokens:,} tokens at {timing.prefill_tokens_per_s:,.0f}/s "
            f"({timing.reused_tokens:,} reused)"
        )
        if timing.new_tokens:
            speed = f" at {timing.decode_tokens_per_s:,.0f}/s" if timing.decode_tokens_per_s else ""
            parts.append(f"{timing.new_tokens:,} token{'s' if timing.new_tokens != 1 else ''}{speed}")
        if timing.finish_reason:
            parts.append(timing.finish_reason)
        return " · ".join([*parts, self.precision, self.device])

    def to_dict(self) -> dict[str, Any]:
        speeds = {name: getattr(self.timing, name) for name in ("prefill_tokens_per_s", "decode_tokens_per_s")}
        return {
            "timing": {**asdict(self.timing), **speeds, "precision": self.precision, "device": self.device},
            "model": self.model,
            "shortened": self.shortened.to_dict() if self.shortened else None,
            "notes": list(self.notes),
        }


def total_timing(timings: Sequence[Timing]) -> Timing:
    """The work of several requests, one after another, as one: counts and seconds add up, the first token is the
    first request's and the end the last one's."""
    if not timings:
        return Timing(prompt_tokens=0)
    return Timing(
        prompt_tokens=sum(t.prompt_tokens for t in timings),
        reused_tokens=sum(t.reused_tokens for t in timings),
        new_tokens=sum(t.new_tokens for t in timings),
        ttft_s=timings[0].ttft_s,
        prefill_s=sum(t.prefill_s for t in timings),
        decode_s=sum(t.decode_s for t in timings),
        finish_reason=timings[-1].finish_reason,
        guessed_tokens=sum(t.guessed_tokens for t in timings),
        decoded_tokens=sum(t.decoded_tokens for t in timings),
    )

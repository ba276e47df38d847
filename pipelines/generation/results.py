"""What text generation gives back, with the JSON shapes a Hugging Face user knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.results import RunInfo


@dataclass(frozen=True)
class GenerationResult:
    """A written text.

    Attributes
    ----------
    generated_text : what the model wrote, without the prompt.
    prompt_tokens, new_tokens : how many tokens were read and written.
    seed : repeats the draw: the same prompt, parameters and seed give the same text.
    info : how the request went.
    """

    generated_text: str
    prompt_tokens: int
    new_tokens: int
    seed: int
    info: RunInfo

    def to_dict(self) -> dict[str, Any]:
        details = {
            "finish_reason": self.info.timing.finish_reason,
            "generated_tokens": self.new_tokens,
            "prompt_tokens": self.prompt_tokens,
            "seed": self.seed,
        }
        return {"generated_text": self.generated_text, "details": details, **self.info.to_dict()}


@dataclass(frozen=True)
class GenerationUpdate:
    """The text so far; `seed` is known from the first update on."""

    generated_text: str
    info: RunInfo
    seed: int = 0

"""Vowels counted, and what that gives."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from engine.results import Timing
from pipelines.results import RunInfo
from pipelines.text import check_text, run_info


@dataclass(frozen=True)
class VowelResult:
    """`vowels`: how many letters of the text are one of aeiou."""

    vowels: int
    info: RunInfo

    def to_dict(self) -> dict[str, Any]:
        return {"vowels": self.vowels, **self.info.to_dict()}


class VowelPipeline:
    """Counts the vowels of a text.

    Parameters
    ----------
    engine : its tokenizer says how long the text is.
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def __call__(self, text: str) -> VowelResult:
        """The count. BadRequest for an empty or unreadable text."""
        text = check_text(text)
        timing = Timing(len(self.engine.tokenizer.encode(text)))
        return VowelResult(len(re.findall("[aeiou]", text.lower())), run_info(self.engine, timing))

"""What summarization gives back, with the JSON shapes a Hugging Face user knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.results import RunInfo


@dataclass(frozen=True)
class SummaryResult:
    """A finished summary.

    Attributes
    ----------
    summary_text : the summary, one paragraph or lines that start with "- ".
    compression : words of the text for each word of the summary.
    chunks : parts the text was read in.
    info : how the request went.
    draft : the model's own words, where the summary is sentences of the text in their place, else None.
    """

    summary_text: str
    compression: float
    chunks: int
    info: RunInfo
    draft: str | None = None

    def to_dict(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in ("summary_text", "compression", "chunks", "draft")}
        return {**fields, **self.info.to_dict()}


@dataclass(frozen=True)
class SummaryUpdate:
    """A summary on its way.

    Attributes
    ----------
    summary_text : what is written so far.
    stage : what is being done, in words: "reading", "part 2 of 3", "merging", "checking", "done".
    fraction : share of the work that is behind us, 0 to 1.
    info : how the request goes, None before its first token.
    result : the finished summary, on the last update only.
    """

    summary_text: str
    stage: str
    fraction: float
    info: RunInfo | None = None
    result: SummaryResult | None = None

"""What the summarizer asks for: lengths and instructions, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LengthName = Literal["short", "medium", "long"]
Style = Literal["prose", "bullets"]


@dataclass(frozen=True)
class Length:
    """How long a summary is.

    Attributes
    ----------
    words : what is aimed at.
    sentences : what prose is asked for, in words for the instruction.
    extracted : sentences of the text that stand in for prose where the model's own words do not hold.
    points : most bullets.
    min_tokens, max_tokens : bounds that hold whatever comes.
    """

    words: int
    sentences: str
    extracted: int
    points: int
    min_tokens: int
    max_tokens: int


LENGTHS: dict[LengthName, Length] = {
    "short": Length(words=25, sentences="one sentence", extracted=1, points=3, min_tokens=8, max_tokens=64),
    "medium": Length(words=60, sentences="three sentences", extracted=3, points=5, min_tokens=24, max_tokens=128),
    "long": Length(words=120, sentences="six sentences", extracted=6, points=8, min_tokens=48, max_tokens=256),
}

# Instructions after the text, at the end of the user's turn of a chat model (see `pipelines.prompt`); docs/prompts.md
# has what they were chosen among.
PROSE = "\n\nSummarize in {length.sentences} in the words of its writer."
BULLETS = "\n\nList the {length.points} main points of the text above, one short sentence each."
# A base model has no chat; "TL;DR:" is how the web announces a summary (Radford et al. 2019).
PLAIN = {"prose": "\n\nTL;DR:", "bullets": "\n\nThe main points are:\n-"}
# Encoder-decoder models were trained on the text alone, T5 with a word before it (Raffel et al. 2020).
SEQ2SEQ_PREFIX = {"t5": "summarize: "}
# Without it the default model loops in 61 % of its drafts, with it in none. A repetition penalty would weigh on the
# words of the text too, and drive the model to invent others.
NO_REPEAT_NGRAM_SIZE = 4

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

# Words after the text, at the end of the user's turn of a chat model (see `pipelines.prompt`). Of some thirty ways
# tried on seeded IMDB train reviews over 150 words (int8, medium length), these words keep the sentiment in 79 % of
# 300 drafts. "Say the same in three sentences, with the same opinion." keeps as much (79 % of 150), but speaks of
# itself ("I'm sorry for the confusion", "I've rephrased") in 14 %. Naming the tone that the text was found to have
# keeps no more of it (75 % to 78 %), and of four draws at temperature 0.7 each keeps less (73 % to 77 %): what does
# not hold is found and replaced instead (see `check`).
PROSE = "\n\nSummarize in {length.sentences} in the words of its writer."
BULLETS = "\n\nList the {length.points} main points of the text above, one short sentence each."
# A base model has no chat; "TL;DR:" is how the web announces a summary (Radford et al. 2019).
PLAIN = {"prose": "\n\nTL;DR:", "bullets": "\n\nThe main points are:\n-"}
# Encoder-decoder models were trained on the text alone, T5 with a word before it (Raffel et al. 2020).
SEQ2SEQ_PREFIX = {"t5": "summarize: "}
# The default model began to loop in 61 % of 300 such drafts; where no run of four tokens may come twice, in none. A
# repetition penalty weighs on the words of the text too, and drives a small model to invent others: 1.1 raised the
# share of summaries with invented names from 29 % to 42 %.
NO_REPEAT_NGRAM_SIZE = 4

"""What the summarizer asks for: lengths and instructions, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LengthName = Literal["short", "medium", "long"]
Style = Literal["prose", "bullets"]


@dataclass(frozen=True)
class Length:
    """`words` is what is aimed at, `sentences` and `points` what is asked for; the token bounds hold whatever comes."""

    words: int
    sentences: str
    points: int
    min_tokens: int
    max_tokens: int


LENGTHS: dict[LengthName, Length] = {
    "short": Length(words=25, sentences="one sentence", points=3, min_tokens=8, max_tokens=64),
    "medium": Length(words=60, sentences="three sentences", points=5, min_tokens=24, max_tokens=128),
    "long": Length(words=120, sentences="six sentences", points=8, min_tokens=48, max_tokens=256),
}

# Words after the text, at the end of the user's turn of a chat model (see `pipelines.prompt`). Of some two dozen ways
# tried on 40 seeded IMDB train reviews over 150 words (int8, medium length), two were compared on 63: this one keeps
# the sentiment in 78 % [66 %, 86 %] of its summaries, "In three sentences, what does this text say, and what does its
# writer think?" in 76 % [64 %, 85 %]. They differ in what they talk about: that one of "this text" and "the writer" in
# 98 % (the model at times takes itself for the writer), this one of the content (2 % do not). Names or numbers of their
# own stood in 19 % and 21 %; without the sentences that `tidy.invented` finds, in 2 % of both. The review's first three
# sentences keep the sentiment in 87 %, the whole reviews in 92 %: a small model's wording loses some. Continuations of
# the bare text ("TL;DR:", "In short,", "Summary in three sentences:") kept 60 % to 75 % in 12 to 20 words (n = 40):
# more than half of them began to loop at once.
PROSE = "\n\nSay the same in {length.sentences}, with the same opinion."
BULLETS = "\n\nList the {length.points} main points of the text above, one short sentence each."
# A base model has no chat; "TL;DR:" is how the web announces a summary (Radford et al. 2019).
PLAIN = {"prose": "\n\nTL;DR:", "bullets": "\n\nThe main points are:\n-"}
# Encoder-decoder models were trained on the text alone, T5 with a word before it (Raffel et al. 2020).
SEQ2SEQ_PREFIX = {"t5": "summarize: "}
# The engine's penalty weighs on the words of the text too, and drives a small model to invent others: 1.1 raised the
# share of summaries with invented names from 29 % to 42 %. Loops are stopped as they begin instead (`tidy.is_looping`).
REPETITION_PENALTY = 1.0

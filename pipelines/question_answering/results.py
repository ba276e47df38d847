"""What question answering gives back, with the JSON shapes a Hugging Face user knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from pipelines.results import RunInfo


@dataclass(frozen=True)
class AnswerResult:
    """The answers to a question. `to_dict()` has the best one at its top, and all of them in `answers`.

    Attributes
    ----------
    answers : best first. An empty one (start = end = 0) means: not in the text.
    no_answer : probability that the context holds no answer, 0 to 1.
    info : how the request went.
    """

    answers: list[Answer]
    no_answer: float
    info: RunInfo

    def to_dict(self) -> dict[str, Any]:
        best = {**self.answers[0]}
        return {
            **best,
            "answers": [dict(row) for row in self.answers],
            "no_answer": self.no_answer,
            **self.info.to_dict(),
        }


class Answer(TypedDict):
    """`answer == context[start:end]`, and its probability `score`, 0 to 1."""

    answer: str
    score: float
    start: int
    end: int

"""What question answering gives back, with the JSON shapes a Hugging Face user knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from pipelines.results import RunInfo


class Answer(TypedDict):
    answer: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class AnswerResult:
    """The answers to a question.

    Attributes
    ----------
    answers : one `{"answer", "score", "start", "end"}` each, best first, with `answer == context[start:end]`. An empty
        answer (start = end = 0) means: not in the text.
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

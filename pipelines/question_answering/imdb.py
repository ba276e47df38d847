"""Question answering measured on IMDB: a yes/no question and its opposite, and the rating a review states."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines.evaluation.data import LABELS, Review
from pipelines.evaluation.runner import Row, info_fields
from pipelines.evaluation.statistics import Figure, auc, mean, share
from pipelines.prompt import text_prompt
from pipelines.question_answering.pipeline import QuestionAnsweringPipeline
from pipelines.question_answering.prompts import WORDS
from pipelines.text import room_for_text, shorten_text

if TYPE_CHECKING:
    from engine.engine import Engine

LIKED, DISLIKED = "Did the reviewer like the movie?", "Did the reviewer dislike the movie?"
PLAIN = "\n\nQuestion: {question}\nAnswer:"
YES_NO = (" Yes", " No")
RATING = "What rating out of 10 did the reviewer give?"
_RATING = re.compile(r"(?<![\d./])(10|\d(?:\.\d+)?)\s?(?:/|out of)\s?10(?![\d/])", re.IGNORECASE)


def stated_rating(text: str) -> float | None:
    """The last "n/10" or "n out of 10" a review states, n from 0 to 10; None if it states none.

    On test the last one equals the stars of the page for about four in five of the reviews that state one.
    """
    found = _RATING.findall(text)
    return float(found[-1]) if found else None


class QuestionAnsweringEvaluation:
    """See `pipelines.evaluation.runner.Evaluation`."""

    prompt = (
        f"{{context}}{PLAIN}\n\nwith {LIKED} / {DISLIKED}, scored:{' or'.join(YES_NO)}\n\n"
        f"{{context}}{WORDS}\n\nwith {RATING}, a span of the review"
    )
    reading = (
        "Yes/no: 'liked' and 'disliked' are asked apart; a pair is consistent when the two answers differ, and 50 "
        "% yes would "
        "be no bias. Rating: the gold is the last n/10 (or n out of 10) in the review, by a rule; reviews without "
        "one have no answer."
    )

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine = engine
        self.pipeline = QuestionAnsweringPipeline(engine)

    def run(self, review: Review) -> dict[str, Any]:
        row: dict[str, Any] = {"review": review.text}
        if self.engine.info.kind == "causal":
            row |= self._yes_no(review.text)
        result = self.pipeline(RATING, review.text)
        best = result.answers[0]
        found = re.search(r"\d+(?:\.\d+)?", best["answer"])
        row |= {
            "gold_rating": stated_rating(review.text),
            "answer": best["answer"],
            "answer_score": best["score"],
            "no_answer": result.no_answer,
            "verbatim": review.text[best["start"] : best["end"]] == best["answer"],
            "answer_rating": float(found.group()) if found else None,
        }
        shortened = row.get("shortened")
        return {**row, **info_fields(result.info), "shortened": shortened}

    def _yes_no(self, text: str) -> dict[str, Any]:
        beside = len(text_prompt(self.engine, "", PLAIN.format(question=DISLIKED))) + 2  # two seams may split anew
        text, shortened = shorten_text(
            self.engine.tokenizer, text, room_for_text(self.engine, beside=beside, max_tokens=2)
        )
        asked = [text_prompt(self.engine, text, PLAIN.format(question=q)) for q in (LIKED, DISLIKED)]
        choices = [self.engine.tokenizer.encode(word, add_bos=False) for word in YES_NO]
        liked, disliked = self.engine.score(asked, choices)
        return {
            "liked": liked.logprobs[0] - liked.logprobs[1],
            "disliked": disliked.logprobs[0] - disliked.logprobs[1],
            "shortened": shortened.to_dict() if shortened else None,
        }

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        figures = []
        asked = [row for row in rows if "liked" in row]
        if asked:
            gold = [row["label"] for row in asked]
            said = [(row["liked"] > 0, row["disliked"] > 0) for row in asked]
            figures += [
                share("liked?: right", [yes == bool(y) for (yes, _), y in zip(said, gold, strict=True)]),
                share("disliked?: right", [yes != bool(y) for (_, yes), y in zip(said, gold, strict=True)]),
                share("pair consistent", [a != b for a, b in said]),
                mean("yes said", [sum(pair) / 2 for pair in said], percent=True, note="of both; 50 % is no bias"),
                auc("liked?: AUC", gold, [row["liked"] for row in asked]),
                auc("liked - disliked: AUC", gold, [row["liked"] - row["disliked"] for row in asked]),
                share("always yes: right", [bool(y) for y in gold], note="baseline of the first line"),
            ]
        stated = [row for row in rows if row["gold_rating"] is not None]
        unstated = [row for row in rows if row["gold_rating"] is None]
        return [
            *figures,
            share("rating right, where stated", [row["answer_rating"] == row["gold_rating"] for row in stated]),
            share("no answer, where stated", [not row["answer"] for row in stated], note="should be 0"),
            share("no answer, where none stated", [not row["answer"] for row in unstated], note="should be 100 %"),
            share(
                "number given, where none stated",
                [row["answer_rating"] is not None for row in unstated],
                note="should be 0",
            ),
            share("answer verbatim in the review", [row["verbatim"] for row in rows]),
        ]

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        row = next((row for row in rows if row["gold_rating"] is not None), rows[0])
        lines = [f"{row['id']} ({LABELS[row['label']]}): {row['review']}", ""]
        if "liked" in row:
            lines += [f"{LIKED} {_said(row['liked'])}", f"{DISLIKED} {_said(row['disliked'])}"]
        return "\n".join([*lines, f"{RATING} {row['answer'] or '(no answer)'} (stated: {row['gold_rating']})"])


def _said(log_odds: float) -> str:
    return f"{'yes' if log_odds > 0 else 'no'} (log-odds {log_odds:+.2f})"

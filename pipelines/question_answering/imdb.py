"""Question answering measured on IMDB: a yes/no question and its opposite, the rating a review states, and spans of
texts where a file has questions with answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.measure.reviews import draw
from engine.measure.statistics import Figure, auc, mean, share
from pipelines.classification.templates import CONTENT_FREE
from pipelines.evaluation.data import LABELS, Review, unique_reviews
from pipelines.evaluation.interface import Evaluation, Row, info_fields
from pipelines.evaluation.options import Options, option
from pipelines.evaluation.paired import Measure
from pipelines.prompt import text_prompt
from pipelines.question_answering import spans
from pipelines.question_answering.pipeline import QuestionAnsweringPipeline
from pipelines.question_answering.prompts import INSTRUCTION
from pipelines.results import Shortened
from pipelines.text import room_for_text, shorten_text

if TYPE_CHECKING:
    from engine.engine import Engine

LIKED, DISLIKED = "Did the reviewer like the movie?", "Did the reviewer dislike the movie?"
PLAIN = "\n\nQuestion: {question}\nAnswer:"
YES_NO = (" Yes", " No")
RATING = "What rating out of 10 did the reviewer give?"
RATED = "rated/"  # of the ids of reviews that are asked for the rating only
_RATING = re.compile(r"(?<![\d./])(10|\d(?:\.\d+)?)\s?(?:/|out of)\s?10(?![\d/])", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def stated_ratings(text: str) -> list[re.Match[str]]:
    """Every "n/10" or "n out of 10" a review states, n from 0 to 10."""
    return list(_RATING.finditer(text))


def stated_rating(text: str) -> float | None:
    """The last rating a review states; None if it states none.

    On test the last one equals the stars of the page for about four in five of the reviews that state one.
    """
    found = stated_ratings(text)
    return float(found[-1][1]) if found else None


def first_number(text: str) -> float | None:
    """What needs no model: the first number of a review that could be a rating."""
    return next((float(m.group()) for m in _NUMBER.finditer(text) if 0 <= float(m.group()) <= 10), None)


def _kind(row: Row) -> str:
    """What a row is of: "sample", "rated" or "span"."""
    prefix = str(row["id"]).split("/")[0] + "/"
    return {RATED: "rated", spans.PREFIX: "span"}.get(prefix, "sample")


def _only(kind: str, value: Callable[[Row], float | None]) -> Callable[[Row], float | None]:
    return lambda row: value(row) if _kind(row) == kind else None


def _rating_right(row: Row) -> float | None:
    return float(row["answer_rating"] == row["gold_rating"]) if row["gold_rating"] is not None else None


def _both_right(row: Row) -> float | None:
    if "liked" not in row:
        return None
    liked, disliked = row["liked_calibrated"] > 0, row["disliked_calibrated"] > 0
    return float(liked == bool(row["label"]) and disliked != bool(row["label"]))


@dataclass(frozen=True)
class QuestionAnsweringOptions(Options):
    """Beside the usual ones, `questions`: Parquet files of questions with their texts and answers, as SQuAD's."""

    questions: tuple[Path, ...] = field(default=(), metadata=option("Parquet, as SQuAD; repeat it.", many=True))


class QuestionAnsweringEvaluation(Evaluation[QuestionAnsweringOptions]):
    """The sample is asked for yes or no; reviews drawn apart for their rating, and files for their own questions."""

    options = QuestionAnsweringOptions

    prompt = (
        f"{{context}}{PLAIN}\n\nwith {LIKED} / {DISLIKED}, scored:{' or'.join(YES_NO)}; "
        f"content-free: {CONTENT_FREE!r}\n\n"
        f"{{context}}{INSTRUCTION}\n\nwith {RATING}, a span of the review"
    )
    reading = (
        "Yes/no: 'liked' and 'disliked' are asked apart; a pair is consistent when the two answers differ, and 50 % "
        "yes would be no bias; calibrated, the log-odds of yes about nothing (the mean of those after content-free "
        "texts, Zhao et al. 2021) are taken off. Rating: asked of reviews that state one and of as many that state "
        "none, drawn apart; the gold is the last n/10 (or n out of 10, n from 0 to 10) in the review, by a rule, and a "
        "rating counts as right if it is that number. The rule itself is no fair baseline, for it is the gold: the "
        "first number up to 10 is."
    )

    measures = (
        Measure(
            "liked?: right",
            _only("sample", lambda row: float((row["liked"] > 0) == bool(row["label"])) if "liked" in row else None),
            margin=0.02,
        ),
        Measure("pair consistent and right, calibrated", _only("sample", _both_right), margin=0.02),
        Measure("rating right, where stated", _only("rated", _rating_right), margin=0.02),
        Measure("F1 of spans", _only("span", lambda row: spans.f1(row["answer"], row["gold"])), margin=0.02),
    )

    def __init__(self, engine: Engine, options: QuestionAnsweringOptions) -> None:
        self.engine = engine
        self.pipeline = QuestionAnsweringPipeline(engine)
        self.priors: list[float] | None = None  # log-odds of yes of both questions, about nothing

    @staticmethod
    def more(options: QuestionAnsweringOptions) -> list[Review]:
        """Reviews that state a rating and as many that do not, `limit` in all where there are so many; and questions of
        the files given."""
        everything = unique_reviews(options.split).reviews
        stating = [review for review in everything if stated_ratings(review.text)]
        others = [review for review in everything if not stated_ratings(review.text)]
        each = min(max(1, options.limit // 2), len(stating), len(others))
        drawn = [*draw(stating, each, options.seed), *draw(others, each, options.seed)]
        rated = [Review(f"{RATED}{review.id}", review.text, review.label) for review in drawn]
        return rated + [
            q for file in options.questions for q in spans.read_questions(file, options.limit, options.seed)
        ]

    def run(self, review: Review) -> dict[str, Any]:
        kind = _kind({"id": review.id})
        if kind == "sample":
            found = self._yes_no(review.text) if self.engine.info.kind == "causal" else {"shortened": None}
            return {"review": review.text, "timing": {}, **found}
        question = review.about.get("question", RATING)
        result = self.pipeline(question, review.text, top_k=2)
        best = result.answers[0]
        row: dict[str, Any] = {
            "question": question,
            "answer": best["answer"],
            "answer_score": best["score"],
            "answered": next((answer["answer"] for answer in result.answers if answer["answer"]), ""),
            "no_answer": result.no_answer,
            "verbatim": review.text[best["start"] : best["end"]] == best["answer"],
            "review": review.text,
            **info_fields(result.info),
        }
        if kind == "span":
            return {**row, "gold": review.about["answers"]}
        number = _NUMBER.search(best["answer"])
        row["answer_rating"] = float(number.group()) if number else None
        gold = stated_ratings(review.text)
        row |= {"gold_rating": stated_rating(review.text), "gold": [gold[-1].group()] if gold else []}
        return {**row, "first_number": first_number(review.text)}

    def _yes_no(self, text: str) -> dict[str, Any]:
        if self.priors is None:
            odds = [self._log_odds(nothing)[0] for nothing in CONTENT_FREE]
            self.priors = [sum(pair) / len(odds) for pair in zip(*odds, strict=True)]
            self.engine.reset_prefix_cache()  # a first row is read like any other
        (liked, disliked), shortened = self._log_odds(text)
        return {
            "liked": liked,
            "disliked": disliked,
            "liked_calibrated": liked - self.priors[0],
            "disliked_calibrated": disliked - self.priors[1],
            "shortened": shortened.to_dict() if shortened else None,
        }

    def _log_odds(self, text: str) -> tuple[list[float], Shortened | None]:
        """The log-odds of yes against no for both questions, and what was left out of the text."""
        beside = len(text_prompt(self.engine, "", PLAIN.format(question=DISLIKED))) + 2  # two seams may split anew
        text, shortened = shorten_text(
            self.engine.tokenizer, text, room_for_text(self.engine, beside=beside, max_tokens=2)
        )
        asked = [text_prompt(self.engine, text, PLAIN.format(question=q)) for q in (LIKED, DISLIKED)]
        choices = [self.engine.tokenizer.encode(word, add_bos=False) for word in YES_NO]
        return [scores.logprobs[0] - scores.logprobs[1] for scores in self.engine.score(asked, choices)], shortened

    @staticmethod
    def figures(rows: Sequence[Row]) -> list[Figure]:
        figures = _yes_no_figures([row for row in rows if "liked" in row])
        rated = [row for row in rows if _kind(row) == "rated"]
        stated = [row for row in rated if row["gold_rating"] is not None]
        unstated = [row for row in rated if row["gold_rating"] is None]
        figures += [
            share("rating right, where stated", [row["answer_rating"] == row["gold_rating"] for row in stated]),
            mean("rating: F1 of the span, where stated", [spans.f1(row["answer"], row["gold"]) for row in stated],
                 percent=True),
            share("rating right, the first number", [row["first_number"] == row["gold_rating"] for row in stated],
                  note="baseline"),
            share("no answer, where stated", [not row["answer"] for row in stated], note="should be 0"),
            share("no answer, where none stated", [not row["answer"] for row in unstated], note="should be 100 %"),
            share("number given, where none stated", [row["answer_rating"] is not None for row in unstated],
                  note="should be 0"),
            share("rating verbatim in the review", [row["verbatim"] for row in rated]),
        ]  # fmt: skip
        return figures + spans.figures([row for row in rows if _kind(row) == "span"])

    @staticmethod
    def example(rows: Sequence[Row]) -> str:
        lines = []
        for row in rows:
            if _kind(row) == "sample" and "liked" in row:
                lines += [f"{row['id']} ({LABELS[row['label']]}): {row['review']}", ""]
                lines += [f"{LIKED} {_said(row['liked'])}", f"{DISLIKED} {_said(row['disliked'])}", ""]
                break
        stated = next((row for row in rows if _kind(row) == "rated" and row["gold_rating"] is not None), None)
        if stated:
            lines += [f"{stated['id']}: {stated['review']}", ""]
            lines.append(f"{RATING} {stated['answer'] or '(no answer)'} (stated: {stated['gold_rating']:g})")
        return "\n".join(lines)


def _yes_no_figures(rows: Sequence[Row]) -> list[Figure]:
    if not rows:
        return []
    gold = [row["label"] for row in rows]
    figures = []
    for suffix, name in (("", ""), ("_calibrated", ", calibrated")):
        said = [(row[f"liked{suffix}"] > 0, row[f"disliked{suffix}"] > 0) for row in rows]
        figures += [
            share(f"liked?{name}: right", [yes == bool(y) for (yes, _), y in zip(said, gold, strict=True)]),
            share(f"disliked?{name}: right", [yes != bool(y) for (_, yes), y in zip(said, gold, strict=True)]),
            share(f"pair consistent{name}", [a != b for a, b in said]),
            share(f"pair consistent and right{name}",
                  [a != b and a == bool(y) for (a, b), y in zip(said, gold, strict=True)]),
            mean(f"yes said{name}", [sum(pair) / 2 for pair in said], percent=True, note="of both; 50 % is no bias"),
        ]  # fmt: skip
    return [
        *figures,
        auc("liked?: AUC", gold, [row["liked"] for row in rows]),
        auc("liked - disliked: AUC", gold, [row["liked"] - row["disliked"] for row in rows]),
        share("always yes: right", [bool(y) for y in gold], note="baseline of the first line"),
    ]


def _said(log_odds: float) -> str:
    return f"{'yes' if log_odds > 0 else 'no'} (log-odds {log_odds:+.2f})"

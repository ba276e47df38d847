"""Questions with answers that are spans of a text, or with none: SQuAD 2.0 (Rajpurkar et al. 2018) and its like."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.measure.reviews import BadData, draw, read_columns
from engine.measure.statistics import Figure, auc, mean, share
from pipelines.evaluation.data import Review

PREFIX = "span/"  # of the ids
_COLUMNS = ("context", "question", "answers")

Row = Mapping[str, Any]


def read_questions(file: Path, limit: int, seed: int) -> list[Review]:
    """Questions of a file, with what the gold answers are.

    Parameters
    ----------
    file : Parquet with the columns context, question and answers (SQuAD's {text, answer_start}, or a list of texts).
    limit : most questions.
    seed : draws them.

    Returns
    -------
    A review for each, whose text is the context; `about` has the question and the answers, none where the text holds
    none.

    Raises
    ------
    BadData : the file is missing or of another shape.
    """
    frame = read_columns(file, _COLUMNS)
    found = []
    for i in draw(range(len(frame)), limit, seed):
        context, question, given = (frame[column].iloc[i] for column in _COLUMNS)
        if not (isinstance(context, str) and context.strip() and isinstance(question, str) and question.strip()):
            raise BadData(f"Row {i:,} of {file} has no context or no question: leave it out.")
        texts = given["text"] if isinstance(given, Mapping) else given
        answers = [str(text) for text in texts if str(text).strip()]
        about = {"question": question.strip(), "answers": answers}
        found.append(Review(f"{PREFIX}{file.parent.name}/{i}", context, 0, about=about))
    return found


def normal(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no articles, single spaces."""
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact(answer: str, gold: Sequence[str]) -> float:
    """1 where the answer is one of the gold ones in normal form; no answer is right where there is none."""
    return float(any(normal(answer) == normal(one) for one in gold) if gold else not answer)


def f1(answer: str, gold: Sequence[str]) -> float:
    """Best F1 of words in normal form over the gold answers."""
    if not gold or not answer:
        return float(not gold and not answer)
    return max(_f1(normal(answer).split(), normal(one).split()) for one in gold)


def _f1(answer: list[str], gold: list[str]) -> float:
    common = sum((Counter(answer) & Counter(gold)).values())
    if not answer or not gold:
        return float(answer == gold)
    return 2 * common / (len(answer) + len(gold))


def figures(rows: Sequence[Row]) -> list[Figure]:
    """The figures of every file: with an answer, without, and all.

    Rows have `answer` ("" for none), `answered` (the best one whatever the threshold), `no_answer` (how sure it is that
    there is none), `gold` (texts) and `verbatim`.
    """
    found: list[Figure] = []
    for name in sorted({str(row["id"]).split("/")[1] for row in rows}):
        own = [row for row in rows if str(row["id"]).split("/")[1] == name]
        with_, without = ([row for row in own if bool(row["gold"]) == has] for has in (True, False))
        found += [
            mean(f"{name}: F1, answerable", _each(f1, with_), percent=True),
            mean(f"{name}: exact, answerable", _each(exact, with_), percent=True),
            mean(f"{name}: F1, answerable, always answering",
                 [f1(row["answered"], row["gold"]) for row in with_], percent=True),
            share(f"{name}: none given, answerable", [not row["answer"] for row in with_], note="should be 0"),
            share(f"{name}: none given, unanswerable", [not row["answer"] for row in without], note="should be 100 %"),
            auc(f"{name}: AUC of no answer", [int(not row["gold"]) for row in own], [row["no_answer"] for row in own]),
            mean(f"{name}: F1, all", _each(f1, own), percent=True),
            mean(f"{name}: F1, all, never answering", [float(not row["gold"]) for row in own], percent=True,
                 note="baseline"),
            share(f"{name}: answer verbatim in the text", [bool(row["verbatim"]) for row in own]),
        ]  # fmt: skip
    return [figure for figure in found if figure.n and math.isfinite(figure.value)]  # no AUC of one class


def _each(measure: Callable[[str, Sequence[str]], float], rows: Sequence[Row]) -> list[float]:
    return [measure(row["answer"], row["gold"]) for row in rows]

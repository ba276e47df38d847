"""Questions that a text does not answer, made of those that it does: what SQuAD 2.0 (Rajpurkar et al. 2018) had people
write. Some belong to another text on the same subject, some have a name, a number or the sense exchanged."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from pipelines.training.lessons import Lesson

_NAME = re.compile(r"\b(?:[A-Z][a-z]+|\d{2,4})\b")
_TURNED = (
    (" did ", " did not "), (" was ", " was not "), (" is ", " is not "), (" were ", " were never "),
    (" are ", " are not "), (" most ", " least "), (" first ", " last "),
)  # fmt: skip
_OFF = (-20, -10, -3, -1, 1, 2, 5, 10)  # a year near the right one misleads most


def unanswered(lessons: Sequence[Lesson], seed: int) -> list[Lesson]:
    """Lessons without an answer.

    Parameters
    ----------
    lessons : of question answering; texts of one subject lend each other questions and names.
    seed : of what is drawn.

    Returns
    -------
    About five for each eight lessons; their answer is "".
    """
    rng = random.Random(seed)
    made: list[Lesson] = []
    by_subject: dict[str, dict[str, list[Lesson]]] = {}
    for lesson in lessons:
        by_subject.setdefault(lesson.subject, {}).setdefault(lesson.text, []).append(lesson)
    for texts in by_subject.values():
        names = sorted({name for text in texts for name in _NAME.findall(text)})
        for text, own in texts.items():
            for _ in range(max(1, len(own) // 3)):
                other = rng.choice(list(texts))
                strange = rng.choice(texts[other])
                if other != text and not (strange.answer and strange.answer.lower() in text.lower()):
                    made.append(Lesson(text, strange.question, "", f"{strange.name}, of another text", text))
            answered = [lesson for lesson in own if lesson.answer]
            for lesson in rng.sample(answered, min(len(answered), max(1, len(answered) // 2))):
                if question := _changed(lesson.question, names, rng):
                    made.append(Lesson(text, question, "", f"{lesson.name}, changed", text))
    return made


def _changed(question: str, names: Sequence[str], rng: random.Random) -> str:
    """The question about something else; "" where nothing in it can be exchanged."""
    found = [match for match in _NAME.finditer(question) if match.start() > 0]
    if not found or rng.random() < 0.2:
        return next((question.replace(old, new, 1) for old, new in _TURNED if old in question), "")
    match = rng.choice(found)
    number = match.group().isdigit()
    pool = [name for name in names if name.isdigit() == number and name not in question]
    other = rng.choice(pool) if pool else ""
    if number and rng.random() < 0.5:
        other = str(int(match.group()) + rng.choice(_OFF))
    return question[: match.start()] + other + question[match.end() :] if other else ""

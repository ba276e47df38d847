"""Questions that are made up: of another text, or with something exchanged, never one that the text answers."""

from __future__ import annotations

from pipelines.training.lessons import Lesson
from pipelines.training.unanswered import unanswered

LESSONS = [
    Lesson(f"In {year} the city of {town} built its mill.", f"When did the city of {town} build its first mill?",
           str(year), f"row {i}", subject="mills")
    for i, (year, town) in enumerate([(1820, "Rome"), (1911, "Paris"), (1755, "Lisbon"), (1666, "London")] * 5)
]  # fmt: skip


def test_none_is_answered_by_its_text() -> None:
    made = unanswered(LESSONS, 0)
    assert made == unanswered(LESSONS, 0) != unanswered(LESSONS, 1)
    assert len(made) >= len(LESSONS) // 2 and {lesson.answer for lesson in made} == {""}
    asked = {(lesson.text, lesson.question) for lesson in LESSONS}
    assert not asked & {(lesson.text, lesson.question) for lesson in made}
    assert {lesson.name.partition(", ")[2] for lesson in made} == {"of another text", "changed"}


def test_texts_of_other_subjects_lend_nothing() -> None:
    alone = [Lesson("It rained.", "did it rain?", "rained", "row 1", subject="rain"), *LESSONS]
    assert not [lesson for lesson in unanswered(alone, 0) if lesson.text == "It rained." and "mill" in lesson.question]

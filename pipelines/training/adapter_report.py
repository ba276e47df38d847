"""What an adapter gained: the task's own pipeline with it and without, on the same lessons that it never saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tqdm import tqdm

from engine.measure.reviews import draw
from engine.measure.statistics import auc, mean
from pipelines.classification.pipeline import ClassificationPipeline
from pipelines.question_answering import spans
from pipelines.question_answering.pipeline import QuestionAnsweringPipeline
from pipelines.summarization.pipeline import SummarizationPipeline
from pipelines.training.lessons import Lesson, asked_of, framing

if TYPE_CHECKING:
    from pathlib import Path

    from engine.engine import Engine
    from pipelines.training.adapter import TrainedAdapter

MOST = 300  # lessons that are measured on
NO_ANSWER = "no answer"  # the scores of what is judged by its order alone
Values = dict[str, list[float]]


def compare(engine: Engine, trained: TrainedAdapter, task: str) -> list[str]:
    """A sentence for each measure: bare, with the adapter, and the difference with its interval.

    Parameters
    ----------
    engine : whose model it stands beside.
    trained : the adapter and the lessons held out.
    task : its name.
    """
    lessons = draw(trained.tested, MOST, 0)
    if not lessons:
        return ["No lesson was held out (test is 0)."]
    measure = partial(_classification, labels=trained.labels) if task == "classification" else _MEASURES[task]
    bare, adapted = (measure(engine, lessons, folder) for folder in (None, trained.folder))
    lines = []
    for name in [name for name in bare if name != NO_ANSWER and bare[name]]:
        before, after = mean(name, bare[name]), mean(name, adapted[name])
        gained = mean(name, [b - a for a, b in zip(bare[name], adapted[name], strict=True)])
        lines.append(
            f"{name}: bare {before.text()} {before.interval()}, adapter {after.text()} {after.interval()}, "
            f"difference {gained.signed()} {gained.interval()}, n = {gained.n:,}."
        )
    missing = [int(not lesson.answer) for lesson in lessons]
    if NO_ANSWER in bare and len(set(missing)) == 2:
        before, after = (auc(NO_ANSWER, missing, found[NO_ANSWER]) for found in (bare, adapted))
        lines.append(
            f"AUC of 'no answer', {sum(missing)} of which have none: bare {before.text()} {before.interval()}, adapter "
            f"{after.text()} {after.interval()}, n = {after.n:,}."
        )
    return lines


def _classification(engine: Engine, lessons: Sequence[Lesson], adapter: Path | None, labels: Sequence[str]) -> Values:
    pipeline = ClassificationPipeline(engine, adapter=adapter)
    found = [pipeline(lesson.text, labels).scores[0]["label"] for lesson in tqdm(lessons)]
    return {"accuracy": [float(label == lesson.answer) for label, lesson in zip(found, lessons, strict=True)]}


def _answers(engine: Engine, lessons: Sequence[Lesson], adapter: Path | None) -> Values:
    pipeline = QuestionAnsweringPipeline(engine, adapter=adapter)
    results = [pipeline(lesson.question, lesson.text, no_answer_threshold=1) for lesson in tqdm(lessons)]
    answered = [
        (result.answers[0]["answer"], [lesson.answer])
        for result, lesson in zip(results, lessons, strict=True)
        if lesson.answer
    ]
    return {
        "F1, answered": [spans.f1(said, gold) for said, gold in answered],
        "exact, answered": [spans.exact(said, gold) for said, gold in answered],
        NO_ANSWER: [result.no_answer for result in results],
    }


def _summaries(engine: Engine, lessons: Sequence[Lesson], adapter: Path | None) -> Values:
    from rouge_score.rouge_scorer import RougeScorer

    pipeline = SummarizationPipeline(engine, adapter=adapter)
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return {
        "ROUGE-L": [
            scorer.score(lesson.answer, pipeline(lesson.text).summary_text)["rougeL"].fmeasure
            for lesson in tqdm(lessons)
        ]
    }


def _completions(engine: Engine, lessons: Sequence[Lesson], adapter: Path | None) -> Values:
    how = framing("generation", engine)
    bits = []
    for lesson in tqdm(lessons):
        before, asked = asked_of(engine, lesson.text, how, "")
        said = engine.tokenizer.encode(lesson.answer.strip(), add_bos=False)
        [scores] = engine.score([[*before, *asked]], [said], adapter=adapter)
        bits.append(-scores.logprobs[0] / math.log(2) / max(1, len(lesson.answer.strip().encode())))
    return {"bits a byte of the completion": bits}


_MEASURES: dict[str, Callable[[Engine, Sequence[Lesson], Path | None], Values]] = {
    "question_answering": _answers,
    "summarization": _summaries,
    "generation": _completions,
}

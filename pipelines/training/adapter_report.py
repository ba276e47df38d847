"""What an adapter gained: the task's own pipeline with it and without, on the same lessons that it never saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tqdm import tqdm

from engine.measure.statistics import Figure, auc, mean
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
Values = dict[str, list[float]]


def compare(engine: Engine, trained: TrainedAdapter, task: str) -> list[str]:
    """A sentence for each measure: bare, with the adapter, and the difference with its interval.

    Parameters
    ----------
    engine : whose model it stands beside.
    trained : the adapter and the lessons held out.
    task : its name.
    """
    lessons = trained.tested[:MOST]
    if not lessons:
        return ["No lesson was held out (test is 0)."]
    bare, adapted = (_MEASURES[task](engine, lessons, folder) for folder in (None, trained.folder))
    lines = []
    for name in bare:
        before, after = mean(name, bare[name]), mean(name, adapted[name])
        gained = mean(name, [b - a for a, b in zip(bare[name], adapted[name], strict=True)])
        lines.append(
            f"{name}: bare {before.text()} {before.interval()}, adapter {after.text()} {after.interval()}, "
            f"difference {gained.signed()} {gained.interval()}, n = {gained.n:,}."
        )
    if task == "question_answering" and len({bool(lesson.answer) for lesson in lessons}) == 2:
        lines += _no_answer(lessons, engine, trained.folder)
    return lines


def _classification(engine: Engine, lessons: Sequence[Lesson], adapter: Path | None) -> Values:
    pipeline = ClassificationPipeline(engine, adapter=adapter)
    labels = sorted({lesson.answer for lesson in lessons})
    if len(labels) < 2:
        labels = [*labels, "other"]
    return {
        "accuracy": [
            float(pipeline(lesson.text, labels).scores[0]["label"] == lesson.answer.strip()) for lesson in tqdm(lessons)
        ]
    }


def _answers(engine: Engine, lessons: Sequence[Lesson], adapter: Path | None) -> Values:
    pipeline = QuestionAnsweringPipeline(engine, adapter=adapter)
    asked = [lesson for lesson in lessons if lesson.answer]
    results = [pipeline(lesson.question, lesson.text, no_answer_threshold=1) for lesson in tqdm(asked)]
    found = [result.answers[0]["answer"] for result in results]
    return {
        "F1, answered": [spans.f1(said, [lesson.answer]) for said, lesson in zip(found, asked, strict=True)],
        "exact, answered": [spans.exact(said, [lesson.answer]) for said, lesson in zip(found, asked, strict=True)],
    }


def _no_answer(lessons: Sequence[Lesson], engine: Engine, adapter: Path) -> list[str]:
    gold = [int(not lesson.answer) for lesson in lessons]
    lines = []
    for name, folder in (("bare", None), ("adapter", adapter)):
        pipeline = QuestionAnsweringPipeline(engine, adapter=folder)
        scores = [pipeline(lesson.question, lesson.text).no_answer for lesson in tqdm(lessons)]
        figure: Figure = auc("no answer", gold, scores)
        lines.append(f"AUC of 'no answer', {name}: {figure.text()} {figure.interval()}, n = {figure.n:,}.")
    return lines


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
    "classification": _classification,
    "question_answering": _answers,
    "summarization": _summaries,
    "generation": _completions,
}

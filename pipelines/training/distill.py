"""`brisk distill`: a teacher's soft labels, students that learn from them, and the table of what each reaches."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from engine.config import EngineConfig
from engine.errors import BadRequest
from engine.measure.command import say, split
from pipelines.cli import load_engine
from pipelines.training.options import Distillation, changed, config

if TYPE_CHECKING:
    from engine.engine import Engine
    from pipelines.training.contenders import Contender
    from pipelines.training.soft_labels import Lesson
    from pipelines.training.students import Plan

STUDENTS = ("ngrams", "layers", "transformer")  # those of `students.MAKERS`
REPORT = "table.json"


def distill(
    work: Annotated[Path, typer.Option(help="Folder of what is read once, and of checkpoints.")] = Path("distilled"),
    output: Annotated[
        Path | None, typer.Option(help="Folder of the heads; --work by default.", show_default=False)
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the n-gram head.")] = "imdb-student",
    students: Annotated[str, typer.Option(help=f"Of {', '.join(STUDENTS)}.")] = "ngrams",
    temperature: Annotated[float, typer.Option(help="Softens teacher and student.")] = 2.0,
    soft: Annotated[float, typer.Option(help="Of the teacher beside a label, 0 to 1.")] = 0.7,
    strength: Annotated[float, typer.Option(help="Larger lets weights grow.")] = 1.0,
    bits: Annotated[int, typer.Option(help="2^bits buckets of n-grams.")] = 22,
    layers: Annotated[int, typer.Option(help="Of the language model, for the student 'layers'.")] = 8,
    tokens: Annotated[int, typer.Option(help="That it reads of a text.")] = 256,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="name=value of the student 'transformer', as of brisk train.", show_default=False),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Model of brisk train that 'transformer' begins with.", show_default=False),
    ] = None,
    rows: Annotated[int, typer.Option(help="Reviews of IMDB's train split; 0: all.")] = 0,
    unlabelled: Annotated[int, typer.Option(help="Without a label; 0: all, -1: none.")] = 0,
    seed: Annotated[int, typer.Option(help="Of draw, folds, Transformer.")] = 0,
    contrast: Annotated[
        Path | None,
        typer.Option(help="Parquet of contrast pairs: measured on, their originals left out.", show_default=False),
    ] = None,
    test: Annotated[int, typer.Option(help="Measure on so many test reviews; 0: on none, -1: on all.")] = 0,
    most: Annotated[int, typer.Option(help="Of them for slow heads; 0: all.")] = 5000,
    rounds: Annotated[int, typer.Option(help="Rounds of timing in the table.")] = 5,
    model: Annotated[str, typer.Option(help="Name, folder, .gguf file, Hub id[@revision].")] = EngineConfig().model,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all it may use.")] = 0,
) -> None:
    """Teach small students what a teacher thinks of IMDB's reviews, and say what each costs.

    The teacher is a regression on word n-grams joined with one on the language model's features. Its soft labels of
    train's reviews are of models that did not see them; it also judges the reviews that have no label. Reading takes an
    hour or so, and goes on where it was interrupted.

    Parameters
    ----------
    work, output : folders.
    name, students, bits, layers, tokens, init, seed : see `Plan`.
    changes : of the Transformer's configuration.
    temperature, soft, strength : see `Distillation`.
    rows, unlabelled : texts to learn from.
    contrast : contrast pairs.
    test, most, rounds : of the table.
    model, threads : of the engine whose features are read.

    Raises
    ------
    UserError : an option out of range, data that is missing, a folder that cannot be written.
    """
    chosen = split(students, STUDENTS, "Student")
    if min(rows, most) < 0 or min(unlabelled, test) < -1 or rounds < 1:
        raise BadRequest("--rows and --most take 0 or more, --unlabelled and --test -1 or more, --rounds 1 or more.")
    if not 10 <= bits <= 22:
        raise BadRequest(f"--bits is {bits}: give 10 to 22.")
    how = Distillation(temperature, soft, strength)
    transformer = changed(config("imdb-transformer"), changes or [])
    if transformer.kind != "classification" or not transformer.causal:
        raise BadRequest("The student 'transformer' is a causal classifier: leave kind and causal as they are.")
    from pipelines.training.imdb import imdb_rows, unlabelled_rows
    from pipelines.training.soft_labels import make_lesson
    from pipelines.training.students import MAKERS, Plan
    from pipelines.training.texts import read_vocabulary

    if init is not None:
        read_vocabulary(init)  # missed now, not after an hour of reading
    labelled, source = imdb_rows("train", rows, seed, contrast)
    more, without = ([], "") if unlabelled < 0 else unlabelled_rows(unlabelled)
    source = "; ".join(filter(None, (source, without)))
    say(f"{source}.")
    engine = load_engine(EngineConfig(model=model, threads=threads, prefix_cache_mb=0))
    lesson = make_lesson(engine, labelled, more, work, seed, say)
    say(_told(lesson, how))
    plan = Plan(name, output or work, how, bits, layers, tokens, transformer, seed, source, most or None, init)
    made = [MAKERS[one](engine, lesson, plan, work) for one in chosen]
    if test:
        _table(engine, lesson, made, plan, work, contrast, test, rounds)


def _told(lesson: Lesson, how: Distillation) -> str:
    n = int((lesson.gold >= 0).sum())
    right = [float(((z[:n] > 0) == lesson.gold[:n]).mean()) for z in
             (lesson.judged.ngrams, lesson.judged.features, lesson.judged.both)]  # fmt: skip
    return (
        f"The teacher, on {n:,} reviews it did not see: accuracy {right[0]:.4f} by n-grams, {right[1]:.4f} by "
        f"features, {right[2]:.4f} by both. Temperature {how.temperature:g}; weight of soft "
        f"targets {how.soft:g} beside a label, 1 without."
    )


def _others(engine: Engine, lesson: Lesson, plan: Plan) -> tuple[Contender, list[Contender]]:
    """The teacher, and what a student is to be seen beside: TF-IDF, the trained head, all layers of the model."""
    from pipelines.classification.heads import head_names, load_head, read_features
    from pipelines.evaluation.data import LABELS
    from pipelines.evaluation.judge import judge_of
    from pipelines.training.contenders import SLOW, Contender
    from pipelines.training.soft_labels import TOKENS, read_once
    from pipelines.training.students import by_head, fingerprint

    matrices = sum(one.weight_bytes for one in lesson.teacher.ngrams)
    teacher = Contender(
        "teacher", lambda texts: lesson.teacher.judge(*read_once(engine, texts)).both, 24,
        engine.info.weight_bytes + matrices, lesson.minutes, fingerprint(lesson.judged.both),
    )  # fmt: skip
    began = time.perf_counter()
    labelled = [row for row in lesson.rows if row.label]
    tfidf = judge_of([row.text for row in labelled], [LABELS.index(row.label) for row in labelled])
    others = [Contender("TF-IDF", lambda texts: np.asarray(tfidf.decision_function(list(texts)), np.float64), 1000,
                        len(pickle.dumps(tfidf)), (time.perf_counter() - began) / 60)]  # fmt: skip
    for known in head_names(engine.info.model)[:1]:
        judge = by_head(engine, load_head(known))
        others.append(Contender(f"head {known}", judge, 48, engine.info.weight_bytes, None, most=plan.most))

    def all_layers(texts: Sequence[str]) -> np.ndarray:
        for text in texts:
            read_features(engine, text, engine.info.layers, TOKENS, "last")
        return np.zeros(len(texts))

    return teacher, [*others, Contender(SLOW, all_layers, 24, engine.info.weight_bytes, None, judges=False)]


def _table(
    engine: Engine, lesson: Lesson, made: Sequence[Contender], plan: Plan, work: Path, contrast: Path | None, test: int,
    rounds: int,
) -> None:  # fmt: skip
    from engine.measure.machine import machine, machine_lines, versions
    from engine.measure.sheet import as_json, print_sheets
    from pipelines.classification.contrast import read_contrast
    from pipelines.evaluation.data import balanced_sample, unique_reviews
    from pipelines.training.contenders import measure, table

    sample = unique_reviews("test") if test < 0 else balanced_sample("test", test, plan.seed)
    pairs = read_contrast(contrast) if contrast else []
    teacher, others = _others(engine, lesson, plan)
    standings = measure(
        [teacher, *made, *others], [review.text for review in sample.reviews],
        [review.label for review in sample.reviews], [review.film for review in sample.reviews], pairs, rounds, work,
    )  # fmt: skip
    about = machine(engine.info.threads, versions(("torch", "numpy", "scipy", "scikit-learn")))
    title = f"IMDB test, {len(sample.reviews):,} reviews, none of which stands in train"
    before = [*machine_lines(about), f"{plan.source}.", _told(lesson, plan.how)]
    print_sheets([table(standings, title)], before)
    data = {
        "machine": about, "source": plan.source, "temperature": plan.how.temperature, "soft": plan.how.soft,
        "strength": plan.how.strength, "test": len(sample.reviews), "pairs": len(pairs),
        "engine": engine.info.precision, "standings": [one.to_dict() for one in standings],
    }  # fmt: skip
    (work / REPORT).write_text(as_json(data) + "\n", encoding="utf-8")

"""The students of `brisk distill`, by name: each learns from a lesson, is written, and judges reviews."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.measure.command import say
from engine.training.log import Log
from pipelines.classification.heads import Head, save_head
from pipelines.classification.ngram_head import NgramHead, save_ngram_head
from pipelines.evaluation.data import LABELS
from pipelines.training.contenders import Contender
from pipelines.training.features import kept_features
from pipelines.training.objectives import predict
from pipelines.training.options import Distillation, TransformerOptions
from pipelines.training.student import fit_features, fit_ngrams, rounded
from pipelines.training.teacher import with_bits
from pipelines.training.transformer import train_transformer

if TYPE_CHECKING:
    from engine.engine import Engine
    from pipelines.training.soft_labels import Lesson


@dataclass(frozen=True)
class Plan:
    """What students are to be, and where they go.

    Attributes
    ----------
    name : of the n-gram head; the others are called after it.
    output : folder of heads, and of the Transformer's.
    how : temperature, weight of the teacher, strength.
    bits : of the buckets of n-grams.
    layers, tokens : of the language model, that the student with its first layers reads.
    transformer : the configuration of the Transformer.
    seed : of folds and draws, and the Transformer's.
    source : of the texts, for reports.
    most : test reviews that a head of the language model is measured on, None for all.
    init : folder of a trained Transformer whose vocabulary and weights the Transformer begins with, None for none.
    """

    name: str
    output: Path
    how: Distillation
    bits: int
    layers: int
    tokens: int
    transformer: TransformerOptions
    seed: int
    source: str
    most: int | None
    init: Path | None = None


def _facts(lesson: Lesson, plan: Plan, seconds: float) -> dict[str, Any]:
    return {
        "rows": len(lesson.rows), "labelled": int((lesson.gold >= 0).sum()), "source": plan.source,
        "temperature": plan.how.temperature, "soft": plan.how.soft, "strength": plan.how.strength,
        "teacher": {"folds": len(lesson.teacher.ngrams)}, "seconds": round(seconds),
    }  # fmt: skip


def _ngrams(engine: Engine, lesson: Lesson, plan: Plan, work: Path) -> Contender:
    began = time.perf_counter()
    weights, bias = fit_ngrams(with_bits(lesson.matrix, plan.bits), lesson.judged.both, lesson.gold, plan.how)
    whole, step = rounded(weights)
    seconds = time.perf_counter() - began
    head = NgramHead(plan.name, LABELS, whole, step, bias, _facts(lesson, plan, seconds))
    path = save_ngram_head(head, plan.output)
    print(path, flush=True)
    return Contender("student: n-grams", head.log_odds, 4000, _bytes(path), seconds / 60, fingerprint(whole))


def _layers(engine: Engine, lesson: Lesson, plan: Plan, work: Path) -> Contender:
    began = time.perf_counter()
    texts = [row.text for row in lesson.rows]
    folder = work / f"layers-{plan.layers}-{plan.tokens}"
    what = f"{plan.layers} layers"
    features = kept_features(engine, texts, plan.layers, plan.tokens, "mean", folder, what)
    weight, bias = fit_features(features, lesson.judged.both, lesson.gold, plan.how)
    seconds = time.perf_counter() - began
    head = Head(f"{plan.name}-layers", engine.info.model, plan.layers, plan.tokens, "mean", LABELS, weight, bias,
                _facts(lesson, plan, seconds))  # fmt: skip
    print(save_head(head, plan.output), flush=True)
    judge, key = by_head(engine, head), fingerprint(weight)
    return Contender(f"student: {what}", judge, 64, engine.info.weight_bytes, seconds / 60, key, plan.most)


def _transformer(engine: Engine, lesson: Lesson, plan: Plan, work: Path) -> Contender:
    options = replace(plan.transformer, seed=plan.seed)
    folder = plan.output / f"{plan.name}-transformer"
    log = Log(say)
    teacher = np.stack([np.zeros_like(lesson.judged.both), lesson.judged.both], 1).astype(np.float32)
    try:
        trained = train_transformer(
            lesson.rows, options, folder, log, source=plan.source, init=plan.init, teacher=teacher,
            distillation=plan.how,
        )  # fmt: skip
    finally:
        log.close()
    print(folder, flush=True)

    def judge(texts: Sequence[str]) -> np.ndarray:
        return _log_odds(predict(trained.model, trained.encode(texts)))

    weights = folder / "model.safetensors"
    return Contender("student: Transformer", judge, 64, weights.stat().st_size, trained.minutes,
                     hashlib.sha256(weights.read_bytes()).hexdigest()[:12])  # fmt: skip


MAKERS: dict[str, Callable[[Engine, Lesson, Plan, Path], Contender]] = {
    "ngrams": _ngrams, "layers": _layers, "transformer": _transformer,
}  # fmt: skip


def by_head(engine: Engine, head: Head | NgramHead) -> Callable[[Sequence[str]], np.ndarray]:
    """The judge that a head is.

    Parameters
    ----------
    engine : the head's.
    head : of the labels "negative" and "positive", in this order.
    """

    def judge(texts: Sequence[str]) -> np.ndarray:
        return _log_odds(np.stack([head.read(engine, text)[0] for text in texts]))

    return judge


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    """f64 [n] of the second of two labels, whose probabilities are [n, 2]."""
    found: np.ndarray = np.diff(np.log(np.maximum(probabilities.astype(np.float64), 1e-12)))[:, 0]
    return found


def fingerprint(array: np.ndarray) -> str:
    """A short name for what an array holds."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:12]


def _bytes(path: Path) -> int:
    return path.stat().st_size + path.with_suffix(".safetensors").stat().st_size

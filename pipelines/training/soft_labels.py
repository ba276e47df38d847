"""Soft labels, made once: what the teacher thinks of texts with a label and of those without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, vstack

from pipelines.classification.heads import read_features
from pipelines.classification.rows import Row
from pipelines.evaluation.data import LABELS
from pipelines.training.features import kept_features
from pipelines.training.teacher import BITS, Judged, Teacher, fit_teacher, ngram_matrix

if TYPE_CHECKING:
    from engine.engine import Engine

# What the teacher reads of the language model, as a trained head does: the layer was chosen on train.
LAYER, TOKENS = 20, 1024


@dataclass(frozen=True)
class Lesson:
    """What students learn from: labelled texts first, then those without a label.

    Attributes
    ----------
    rows : n texts; the label of those without one is empty.
    gold : int [n], 0 or 1, -1 without a label.
    matrix : n-grams of the rows, f32 [n, 2^BITS].
    judged : the teacher's log-odds; of labelled texts by models that did not see them.
    teacher : for other texts.
    minutes : that reading and fitting took, without what was kept from before.
    """

    rows: list[Row]
    gold: np.ndarray
    matrix: csr_matrix
    judged: Judged
    teacher: Teacher
    minutes: float


def make_lesson(
    engine: Engine,
    labelled: Sequence[Row],
    unlabelled: Sequence[Row],
    work: Path,
    seed: int,
    say: Callable[[str], None],
) -> Lesson:
    """Fit the teacher and hear what it thinks.

    Parameters
    ----------
    engine : runs the language model whose features it reads.
    labelled, unlabelled : texts; the labels are `LABELS`.
    work : folder of features, which are read once.
    seed : of the folds.
    say : told how it goes.

    Raises
    ------
    UserError : see `pipelines.training.features.kept`.
    """
    began = time.perf_counter()
    gold = np.array([LABELS.index(row.label) for row in labelled])
    with_label = read(engine, [row.text for row in labelled], work / "train", "training texts")
    teacher, judged = fit_teacher(*with_label, gold, seed, say)
    matrix = with_label[0]
    if unlabelled:
        without = read(engine, [row.text for row in unlabelled], work / "unlabelled", "texts without a label")
        more = teacher.judge(*without)
        judged = Judged(*(np.concatenate(pair) for pair in zip(_parts(judged), _parts(more), strict=True)))
        matrix = vstack([matrix, without[0]]).tocsr()
        gold = np.concatenate([gold, np.full(len(unlabelled), -1)])
    minutes = (time.perf_counter() - began) / 60
    return Lesson([*labelled, *unlabelled], gold, matrix, judged, teacher, minutes)


def read(engine: Engine, texts: Sequence[str], folder: Path, what: str) -> tuple[csr_matrix, np.ndarray]:
    """What the teacher sees of texts: n-grams f32 [n, 2^BITS], and features f32 [n, D] of the language model.

    Parameters
    ----------
    engine : runs the language model.
    texts : n of them.
    folder, what : as for `pipelines.training.features.kept`.
    """
    return ngram_matrix(texts, BITS), kept_features(engine, texts, LAYER, TOKENS, "last", folder, what)


def read_once(engine: Engine, texts: Sequence[str]) -> tuple[csr_matrix, np.ndarray]:
    """The same of texts that nothing is kept of."""
    features = np.stack([read_features(engine, text, LAYER, TOKENS, "last")[0] for text in texts])
    return ngram_matrix(texts, BITS), features


def _parts(judged: Judged) -> tuple[np.ndarray, ...]:
    return judged.ngrams, judged.features, judged.both

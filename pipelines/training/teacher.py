"""The student's teacher: a regression on word n-grams and the language model's own features, joined by a third.

Both are fitted on all training texts but a fifth, five times, and judge the fifth that they have not seen; on these
judgements the regression that joins them is fitted (stacking, Wolpert 1992). So the soft labels of the training texts
are of models that did not learn those texts. Others are judged by the mean of the five.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from pipelines.classification.ngrams import buckets

FOLDS = 5
BITS = 22  # of the teacher's buckets
SMOOTHING = 1.0  # counts added to each n-gram's


@dataclass(frozen=True)
class Judged:
    """What the teacher makes of texts: log-odds of the second label, f64 [n] each, by n-grams, by features, by both."""

    ngrams: np.ndarray
    features: np.ndarray
    both: np.ndarray


def ngram_matrix(texts: Sequence[str], bits: int = BITS, progress: Callable[[int], None] | None = None) -> csr_matrix:
    """Which buckets each text has, f32 [n, 2^bits] of ones.

    Parameters
    ----------
    texts : n of them.
    bits : of the buckets, see `ngrams.buckets`.
    progress : hears how many texts are done, after each.
    """
    rows, starts = [], [0]
    for i, text in enumerate(texts):
        rows.append(buckets(text, bits).astype(np.int32))
        starts.append(starts[-1] + len(rows[-1]))
        if progress:
            progress(i + 1)
    columns = np.concatenate([np.zeros(0, np.int32), *rows])
    return csr_matrix((np.ones(len(columns), np.float32), columns, np.array(starts)), (len(texts), 1 << bits))


def with_bits(matrix: csr_matrix, bits: int) -> csr_matrix:
    """The same as `ngram_matrix` of fewer bits gives: buckets whose numbers begin alike become one."""
    fewer = matrix.shape[1].bit_length() - 1 - bits
    if not fewer:
        return matrix
    shape = (matrix.shape[0], 1 << bits)
    # Merging changes all three arrays in place: they must be its own.
    merged = csr_matrix((matrix.data.copy(), matrix.indices >> fewer, matrix.indptr.copy()), shape)
    merged.sum_duplicates()
    merged.data[:] = 1
    return merged


def log_ratio(matrix: csr_matrix, positive: np.ndarray) -> np.ndarray:
    """How much likelier each bucket is in positive texts, as a log-ratio f32 [2^bits] (NB-SVM, Wang and Manning 2012).

    `positive` f64 [n] is each text's probability of being so, 0 or 1 where that is known.
    """
    for_, against = (SMOOTHING + np.asarray(matrix.T @ share).ravel() for share in (positive, 1 - positive))
    ratio: np.ndarray = np.log((for_ / for_.sum()) / (against / against.sum()))
    return ratio.astype(np.float32)


class NgramRegression:
    """A logistic regression on n-grams, each weighted by its log-ratio.

    Parameters
    ----------
    strength : LogisticRegression's C.
    """

    def __init__(self, strength: float = 0.1) -> None:
        self._strength = strength
        self._weights = np.zeros(0, np.float32)
        self._bias = 0.0

    def fit(self, matrix: csr_matrix, gold: np.ndarray) -> NgramRegression:
        """On rows whose labels `gold` int [n] are 0 or 1."""
        ratio = log_ratio(matrix, gold.astype(np.float64))
        model = LogisticRegression(C=self._strength, max_iter=300).fit(scaled(matrix, ratio), gold)
        self._weights, self._bias = ratio * model.coef_[0].astype(np.float32), float(model.intercept_[0])
        return self

    @property
    def weight_bytes(self) -> int:
        return self._weights.nbytes

    def log_odds(self, matrix: csr_matrix) -> np.ndarray:
        """The log-odds of the second label, f64 [n]."""
        found: np.ndarray = np.asarray(matrix @ self._weights, np.float64) + self._bias
        return found


def scaled(matrix: csr_matrix, by: np.ndarray) -> csr_matrix:
    """A matrix of ones with each column times its number."""
    return csr_matrix((by[matrix.indices], matrix.indices, matrix.indptr), matrix.shape)


class FeatureRegression:
    """A logistic regression on standardized features.

    Parameters
    ----------
    strength : LogisticRegression's C.
    """

    def __init__(self, strength: float = 0.01) -> None:
        self._scaler = StandardScaler()
        self._model = LogisticRegression(C=strength, max_iter=2000)

    def fit(self, features: np.ndarray, gold: np.ndarray) -> FeatureRegression:
        """On features f32 [n, D] whose labels `gold` int [n] are 0 or 1."""
        self._model.fit(self._scaler.fit_transform(features), gold)
        return self

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """The log-odds of the second label, f64 [n]."""
        found: np.ndarray = self._model.decision_function(self._scaler.transform(features))
        return found


@dataclass(frozen=True)
class Teacher:
    """The regressions of each fold, and the one that joins their judgements."""

    ngrams: tuple[NgramRegression, ...]
    features: tuple[FeatureRegression, ...]
    join: LogisticRegression

    def judge(self, matrix: csr_matrix, features: np.ndarray) -> Judged:
        """Texts that it was not fitted on, by the mean log-odds of all folds."""
        by_ngrams = np.mean([model.log_odds(matrix) for model in self.ngrams], 0)
        by_features = np.mean([model.log_odds(features) for model in self.features], 0)
        return Judged(by_ngrams, by_features, _joined(self.join, by_ngrams, by_features))


def _joined(join: LogisticRegression, by_ngrams: np.ndarray, by_features: np.ndarray) -> np.ndarray:
    """Log-odds f64 [n] by both, of those by each."""
    found: np.ndarray = join.decision_function(np.stack([by_ngrams, by_features], 1))
    return found


def fit_teacher(
    matrix: csr_matrix, features: np.ndarray, gold: np.ndarray, seed: int, say: Callable[[str], None]
) -> tuple[Teacher, Judged]:
    """The teacher, and what it makes of the training texts, each judged by models that have not seen it.

    Parameters
    ----------
    matrix : of `ngram_matrix`, n rows.
    features : of `kept_features`, f32 [n, D].
    gold : int [n], 0 or 1.
    seed : of the folds.
    say : told how each fold went.
    """
    by_ngrams, by_features = np.zeros(len(gold)), np.zeros(len(gold))
    first, second = [], []
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(gold, gold)
    for number, (rows, rest) in enumerate(folds, 1):
        first.append(NgramRegression().fit(matrix[rows], gold[rows]))
        second.append(FeatureRegression().fit(features[rows], gold[rows]))
        by_ngrams[rest], by_features[rest] = first[-1].log_odds(matrix[rest]), second[-1].log_odds(features[rest])
        right = [float(((found[rest] > 0) == gold[rest]).mean()) for found in (by_ngrams, by_features)]
        say(f"fold {number} of {FOLDS}: accuracy {right[0]:.4f} by n-grams, {right[1]:.4f} by features")
    join = LogisticRegression(C=1.0).fit(np.stack([by_ngrams, by_features], 1), gold)
    return Teacher(tuple(first), tuple(second), join), Judged(
        by_ngrams, by_features, _joined(join, by_ngrams, by_features)
    )

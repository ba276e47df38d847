"""Students that are regressions, fitted to what a teacher thinks: on buckets of n-grams, and on a model's features."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.preprocessing import StandardScaler

from pipelines.training.options import Distillation
from pipelines.training.teacher import log_ratio, scaled

LEVELS = 127  # of a weight of 8 bits, each way
FEWEST = 4  # texts that have a bucket
MOST_STEPS = 100  # of L-BFGS: more change no label


def fit_soft(x: Any, teacher: np.ndarray, gold: np.ndarray, options: Distillation) -> tuple[np.ndarray, float]:
    """The factors f64 [d] and bias of a linear model that loses least against teacher and labels.

    The loss is `engine.training.losses.distillation` of two classes whose logits are 0 and the log-odds z = x f + bias,

        soft T^2 KL(teacher / T || z / T) + (1 - soft) cross-entropy(z, label),

    summed over the texts, plus half the square of the factors over `strength`. It is convex; L-BFGS (scipy's) finds its
    end.

    Parameters
    ----------
    x : f32 [n, d], sparse or not.
    teacher : its log-odds of the second label, f64 [n].
    gold : int [n], 0 or 1, and -1 where a text has no label.
    options : temperature, weight of the teacher, strength.
    """
    t = options.temperature
    # A sparse product with a vector reads memory in one direction this way.
    transposed = x.T.tocsr() if isinstance(x, csr_matrix) else np.ascontiguousarray(x.T)
    wanted, labelled = expit(teacher / t), gold >= 0
    soft = np.where(labelled, options.soft, 1.0)
    hard = np.where(labelled, gold, 0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        factors, bias = parameters[:-1], parameters[-1]
        z = np.asarray(x @ factors.astype(np.float32), np.float64) + bias
        at_t = z / t
        near = soft * t**2 * (np.logaddexp(0, at_t) - wanted * at_t)
        far = (1 - soft) * (np.logaddexp(0, z) - hard * z)
        slope = soft * t * (expit(at_t) - wanted) + (1 - soft) * (expit(z) - hard)
        down = np.empty_like(parameters)
        down[:-1] = transposed @ slope.astype(np.float32) + factors / options.strength
        down[-1] = slope.sum()
        return float(near.sum() + far.sum() + 0.5 * (factors @ factors) / options.strength), down

    start = np.zeros(x.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": MOST_STEPS, "ftol": 1e-7}).x
    return found[:-1], float(found[-1])


def fit_ngrams(
    matrix: csr_matrix, teacher: np.ndarray, gold: np.ndarray, options: Distillation
) -> tuple[np.ndarray, float]:
    """The weights f32 [2^bits] and bias of an `NgramHead`. Each weight is its bucket's log-ratio times a factor
    of `fit_soft` (NB-SVM, Wang and Manning 2012): as factors are held small, buckets that tell nothing stay small.
    Buckets that few texts have weigh nothing: they would be learnt by heart.

    Parameters
    ----------
    matrix : of `teacher.ngram_matrix`, n rows.
    teacher, gold, options : as for `fit_soft`.
    """
    kept = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]) >= min(FEWEST, matrix.shape[0]))
    common = matrix[:, kept]
    ratio = log_ratio(common, expit(teacher))
    # Each text is over the root of its buckets; relative to their mean, so that strength means what it does elsewhere.
    root = np.sqrt(np.maximum(1, np.diff(matrix.indptr)))
    x = scaled(common, ratio)
    x.data *= np.repeat(root.mean() / root, np.diff(x.indptr)).astype(np.float32)
    factors, bias = fit_soft(x, teacher, gold, options)
    weights = np.zeros(matrix.shape[1], np.float32)
    weights[kept] = ratio * factors * root.mean()
    return weights, bias


def fit_features(
    features: np.ndarray, teacher: np.ndarray, gold: np.ndarray, options: Distillation
) -> tuple[np.ndarray, np.ndarray]:
    """Weight f32 [2, D] and bias f32 [2] of a head (see `pipelines.classification.heads`).

    Parameters
    ----------
    features : f32 [n, D]; they are standardized for the fit, and what comes back takes them as they are.
    teacher, gold, options : as for `fit_soft`.
    """
    scaler = StandardScaler().fit(features)
    x = scaler.transform(features).astype(np.float32)
    factors, bias = fit_soft(x, teacher, gold, options)
    weight = factors / scaler.scale_
    shift = bias - float(weight @ scaler.mean_)
    return np.stack([0 * weight, weight]).astype(np.float32), np.array([0, shift], np.float32)


def rounded(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights f32 [n] as int8 [n] and the number that one step of them stands for. The largest are cut where that
    makes the squares of all errors least; weights that are all zero stay zero."""
    largest = float(np.abs(weights).max())
    if largest == 0:
        return np.zeros(len(weights), np.int8), 1.0
    tried: list[tuple[float, float]] = []
    for part in (1.0, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2):
        step = part * largest / LEVELS
        errors = np.clip(np.round(weights / step), -LEVELS, LEVELS) * step - weights
        tried.append((float(errors @ errors), step))
    step = min(tried)[1]
    return np.clip(np.round(weights / step), -LEVELS, LEVELS).astype(np.int8), step

"""The regression of a trained head: fitted, and what it reaches on rows left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

FOLDS = 5
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)  # of LogisticRegression's C, on standardized features


@dataclass(frozen=True)
class Counterfactuals:
    """Texts turned to their opposite: `of` int [m] has the rows they were turned from, `features` f32 [m, D]."""

    of: np.ndarray
    features: np.ndarray


def fit(
    features: np.ndarray,
    gold: np.ndarray,
    seed: int,
    turned: Counterfactuals | None = None,
    share: float = 0.0,
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, float]]:
    """A logistic regression, its strength chosen by cross-validation.

    Parameters
    ----------
    features : f32 [n, D].
    gold : int [n], the index of each row's label.
    seed : shuffles the folds.
    turned : texts turned to their opposite; those of the rows it is fitted on are fitted too, under the other of two
        labels. They would make it less sure than it may be, which the temperature takes back.
    share : weight of a turned text, 0 to 1, where a row has 1.

    Returns
    -------
    (weight f32 [labels, D], bias f32 [labels]), and what it reached on rows left out: accuracy, log loss, the strength
    C that was chosen and the temperature (Guo et al. 2017) that its logits were divided by.
    """

    def fitted(rows: np.ndarray, strength: float) -> tuple[StandardScaler, LogisticRegression]:
        x, y, counts = features[rows], gold[rows], np.ones(len(rows))
        if turned is not None and share:
            own = np.isin(turned.of, rows)
            x = np.concatenate([x, turned.features[own]])
            y = np.concatenate([y, 1 - gold[turned.of[own]]])
            counts = np.concatenate([counts, np.full(int(own.sum()), share)])
        scaler = StandardScaler().fit(x)
        return scaler, LogisticRegression(C=strength, max_iter=2000).fit(scaler.transform(x), y, sample_weight=counts)

    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(features, gold))
    best: tuple[float, float, float, float] | None = None
    for strength in STRENGTHS:
        found = np.zeros((len(gold), len(np.unique(gold))))
        for rows, rest in folds:
            scaler, model = fitted(rows, strength)
            found[rest] = model.predict_proba(scaler.transform(features[rest].astype(np.float64)))
        logits = np.log(np.clip(found, 1e-12, None))
        temperature, loss = _best_temperature(logits, gold)
        if best is None or loss < best[0]:
            best = (loss, strength, float((found.argmax(-1) == gold).mean()), temperature)
    assert best is not None
    scaler, model = fitted(np.arange(len(gold)), best[1])
    weight = model.coef_ / scaler.scale_ / best[3]  # all goes into the weights: a head is one product
    bias = model.intercept_ / best[3] - weight @ scaler.mean_
    if len(weight) == 1:  # of two labels one has the whole log-odds
        weight, bias = np.concatenate([np.zeros_like(weight), weight]), np.array([0.0, float(bias[0])])
    reached = {"accuracy": round(best[2], 4), "log_loss": round(best[0], 4), "C": best[1]}
    reached["temperature"] = round(best[3], 3)
    return (weight.astype(np.float32), bias.astype(np.float32)), reached


def _best_temperature(logits: np.ndarray, gold: np.ndarray) -> tuple[float, float]:
    """The temperature that makes logits [n, labels] as sure as they are right, and the log loss that is left."""

    def loss(temperature: float) -> float:
        return float(log_loss(gold, softmax(logits / temperature, axis=-1)))

    found = minimize_scalar(loss, bounds=(0.1, 10), method="bounded")
    return float(found.x), float(found.fun)

"""Students that are regressions: held to torch's own minimum, to one another, and to what they are rounded to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.special import expit, softmax

from engine.errors import BadRequest
from engine.training.losses import IGNORED, distillation
from pipelines.classification.ngram_head import NgramHead
from pipelines.training.options import Distillation
from pipelines.training.student import LEVELS, fit_features, fit_ngrams, fit_soft, rounded
from pipelines.training.teacher import ngram_matrix

N, D = 60, 5


def lesson(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, a teacher's log-odds, and labels of two thirds."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D)).astype(np.float32)
    teacher = 2.0 * x[:, 0] - x[:, 1] + rng.normal(size=N)
    gold = (rng.random(N) < expit(teacher)).astype(int)
    gold[2 * N // 3 :] = -1
    return x, teacher, gold


@pytest.mark.parametrize("how", [Distillation(), Distillation(1.0, 0.0, 2.0), Distillation(3.0, 1.0, 0.5)])
def test_it_ends_where_the_loss_of_the_engine_does(how: Distillation) -> None:
    """The slow twin: the same loss from `engine.training.losses`, differentiated by torch, has no slope there."""
    x, teacher, gold = lesson()
    factors, bias = fit_soft(x, teacher, gold, how)
    f, b = torch.tensor(factors, requires_grad=True), torch.tensor(bias, dtype=torch.float64, requires_grad=True)
    z = torch.from_numpy(x).double() @ f + b
    logits = torch.stack([torch.zeros_like(z), z], 1)
    said = torch.stack([torch.zeros(N, dtype=torch.float64), torch.from_numpy(teacher)], 1)
    targets = torch.from_numpy(np.where(gold < 0, IGNORED, gold))
    loss = N * distillation(logits, said, targets, how.temperature, how.soft) + 0.5 * (f @ f) / how.strength
    loss.backward()
    assert f.grad is not None and b.grad is not None
    assert float(f.grad.abs().max()) < 0.02 and abs(float(b.grad)) < 0.02


def test_sparse_and_dense_are_the_same() -> None:
    x, teacher, gold = lesson()
    dense, sparse = (fit_soft(one, teacher, gold, Distillation()) for one in (x, csr_matrix(x)))
    assert dense[0] == pytest.approx(sparse[0], abs=1e-4) and dense[1] == pytest.approx(sparse[1], abs=1e-4)


def test_it_follows_a_teacher_that_the_labels_contradict() -> None:
    x, _, _ = lesson()
    teacher = 4.0 * x[:, 0]
    contrary = (x[:, 0] < 0).astype(int)
    for soft, sign in ((1.0, 1), (0.0, -1)):
        factors, _ = fit_soft(x, teacher, contrary, Distillation(soft=soft))
        assert sign * factors[0] > 0.5
    alone, _ = fit_soft(x, teacher, np.full(N, -1), Distillation(soft=0.0))
    assert alone[0] > 0.5, "without labels the teacher is heard whatever its weight"


def test_a_head_on_features_undoes_the_standardizing() -> None:
    x, teacher, gold = lesson()
    scaled = (100 + 7 * x).astype(np.float32)
    weight, bias = fit_features(scaled, teacher, gold, Distillation(strength=10.0))
    plain, plain_bias = fit_features(x, teacher, gold, Distillation(strength=10.0))
    assert weight.shape == (2, D) and bias.shape == (2,) and not weight[0].any()
    both = [softmax(a @ w.T + b, -1)[:, 1] for a, w, b in ((scaled, weight, bias), (x, plain, plain_bias))]
    assert both[0] == pytest.approx(both[1], abs=1e-3)


def test_ngrams_that_tell_nothing_weigh_nothing() -> None:
    matrix = csr_matrix(np.array([[1, 1, 0, 1], [1, 0, 1, 1]] * 10, np.float32))
    teacher, gold = np.array([3.0, -3.0] * 10), np.array([1, 0] * 10)
    weights, _ = fit_ngrams(matrix, teacher, gold, Distillation())
    assert weights.dtype == np.float32 and weights[1] > 0.1 and weights[2] < -0.1
    assert abs(weights[0]) < 1e-3 and abs(weights[3]) < 1e-3


def test_a_head_on_ngrams_gives_what_was_fitted() -> None:
    """`NgramHead` computes the log-odds that the fit ended with, texts of any length."""
    rng = np.random.default_rng(3)
    texts = [
        " ".join([*rng.choice(["a", "b", "c", "d"], rng.integers(2, 60)), ("fine", "poor")[i % 2]]) for i in range(80)
    ]
    teacher, gold = np.array([2.5, -2.5] * 40), np.array([1, 0] * 40)
    matrix = ngram_matrix(texts, 12)
    weights, bias = fit_ngrams(matrix, teacher, gold, Distillation(strength=5.0))
    plain = matrix @ weights / np.sqrt(np.diff(matrix.indptr)) + bias
    assert np.abs(plain - teacher).mean() < 0.8 and np.corrcoef(plain, teacher)[0, 1] > 0.95
    whole, step = rounded(weights)
    found = NgramHead("n", ("0", "1"), whole, step, bias, {}).log_odds(texts)
    assert found == pytest.approx(plain, abs=0.1)


def test_ngrams_that_few_texts_have_weigh_nothing() -> None:
    rows = np.zeros((20, 4), np.float32)
    rows[::2, 0] = rows[1::2, 1] = rows[:6:2, 2] = rows[:8:2, 3] = 1
    teacher, gold = np.array([3.0, -3.0] * 10), np.array([1, 0] * 10)
    weights, _ = fit_ngrams(csr_matrix(rows), teacher, gold, Distillation())
    assert weights[0] > 0 > weights[1] and weights[2] == 0 and weights[3] > 0, "three texts are few, four are not"


def test_rounding_keeps_the_sum_of_squares_low() -> None:
    weights = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    weights[0] = 60  # one that would take all the levels for itself
    whole, step = rounded(weights)
    assert whole.dtype == np.int8 and np.abs(whole).max() <= LEVELS
    error = np.square(whole * step - weights).sum()
    naive = np.square(np.round(weights / (60 / LEVELS)) * (60 / LEVELS) - weights).sum()
    assert error <= naive
    assert rounded(np.zeros(8, np.float32))[0].tolist() == [0] * 8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": 0.0}, "The temperature is 0.0"),
        ({"soft": 1.5}, "The weight of soft targets is 1.5"),
        ({"strength": 0.0}, "The strength is 0.0"),
    ],
)
def test_options_out_of_range(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        Distillation(**wrong)

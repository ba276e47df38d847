"""The teacher: what it learns from words, from features and from both, and that it judges what it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipelines.training.teacher import (
    FeatureRegression,
    NgramRegression,
    fit_teacher,
    log_ratio,
    ngram_matrix,
    scaled,
)  # fmt: skip

BITS = 14


def reviews(count: int, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, features and labels: each label shows in the words of three texts of four, and dimly in the features."""
    rng = np.random.default_rng(seed)
    gold = rng.permutation(np.arange(count) % 2)
    texts = []
    for label in gold:
        word = ("dull", "fun")[int(label if rng.random() < 0.75 else 1 - label)]
        texts.append(" ".join([f"w{n}" for n in rng.integers(0, 200, 8)] + [word]))
    features = rng.normal(0, 1, (count, 6)).astype(np.float32)
    features[:, 2] += 1.2 * (2 * gold - 1)
    return texts, features, gold


def test_the_matrix_has_a_one_for_each_bucket() -> None:
    heard: list[int] = []
    matrix = ngram_matrix(["a b", "", "a"], BITS, heard.append)
    assert matrix.shape == (3, 1 << BITS) and matrix.getnnz(1).tolist() == [3, 0, 1] and set(matrix.data) == {1.0}
    assert heard == [1, 2, 3]


def test_the_ratio_is_of_naive_bayes() -> None:
    matrix = ngram_matrix(["good", "good fine", "bad"], BITS)
    ratio = log_ratio(matrix, np.array([1.0, 1.0, 0.0]))
    good, bad = (int(ngram_matrix([word], BITS).indices[0]) for word in ("good", "bad"))
    buckets = 1 << BITS
    for_, against = 4 + buckets, 1 + buckets  # n-grams counted, and one more for each bucket
    assert ratio[good] == pytest.approx(np.log((3 / for_) / (1 / against)))
    assert ratio[bad] == pytest.approx(np.log((1 / for_) / (2 / against)))
    assert np.allclose(scaled(matrix, ratio).toarray(), matrix.toarray() * ratio)


def test_weights_are_the_two_in_one() -> None:
    texts, _, gold = reviews(200)
    matrix = ngram_matrix(texts, BITS)
    ratio = log_ratio(matrix, gold.astype(float))
    known = LogisticRegression(C=0.1, max_iter=300).fit(scaled(matrix, ratio), gold)
    ours = NgramRegression(0.1).fit(matrix, gold).log_odds(matrix)
    assert np.allclose(ours, known.decision_function(scaled(matrix, ratio)), atol=1e-4)


def test_both_together_know_more_than_either() -> None:
    texts, features, gold = reviews(3000)
    said: list[str] = []
    matrix = ngram_matrix(texts, BITS)
    teacher, held = fit_teacher(matrix[:2000], features[:2000], gold[:2000], 0, said.append)
    assert len(said) == 5 and "fold 5 of 5" in said[-1]
    new = teacher.judge(matrix[2000:], features[2000:])
    for judged, wanted in ((held, gold[:2000]), (new, gold[2000:])):
        right = [((found > 0) == wanted).mean() for found in (judged.ngrams, judged.features, judged.both)]
        assert right[2] > max(right[:2]) > 0.7 and min(right) < 0.9


def test_held_out_rows_are_judged_by_those_who_did_not_see_them() -> None:
    """Labels that follow from nothing: a model judges rows that it was fitted on far better than chance."""
    texts = [f"only{i}" for i in range(200)]
    rng = np.random.default_rng(0)
    gold, features = np.arange(200) % 2, rng.normal(0, 1, (200, 40)).astype(np.float32)
    matrix = ngram_matrix(texts, 20)
    _, held = fit_teacher(matrix, features, gold, 0, lambda sentence: None)
    assert ((NgramRegression().fit(matrix, gold).log_odds(matrix) > 0) == gold).mean() > 0.95
    assert ((FeatureRegression().fit(features, gold).log_odds(features) > 0) == gold).mean() > 0.6
    assert all(0.3 < ((found > 0) == gold).mean() < 0.7 for found in (held.ngrams, held.features, held.both))

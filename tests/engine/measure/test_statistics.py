import math
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score, roc_auc_score

from engine.measure import statistics


def test_wilson_interval_of_a_share() -> None:
    figure = statistics.share("accuracy", [True] * 8 + [False] * 2)
    assert figure.value == 0.8 and figure.n == 10
    assert figure.low == pytest.approx(0.4902, abs=1e-4)  # Wilson 1927
    assert figure.high == pytest.approx(0.9433, abs=1e-4)
    assert figure.text() == "80.0 %" and figure.interval() == "[49.0 %, 94.3 %]"


def test_the_bootstrap_interval_of_a_mean_is_near_the_normal_one_and_repeatable() -> None:
    values = np.random.default_rng(1).normal(10, 2, 400)
    figure = statistics.mean("seconds", list(values))
    assert figure == statistics.mean("seconds", list(values))
    assert figure.low == pytest.approx(values.mean() - 1.96 * values.std() / 20, abs=0.05)
    assert figure.high == pytest.approx(values.mean() + 1.96 * values.std() / 20, abs=0.05)


def test_a_ratio_is_of_sums_not_the_mean_of_ratios() -> None:
    figure = statistics.ratio("bits per byte", [1.0, 30.0], [1.0, 10.0])
    assert figure.value == pytest.approx(31 / 11)
    assert figure.low is not None and figure.low <= figure.value <= (figure.high or 0)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=30))
def test_auc_and_macro_f1_are_those_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    gold, scores = [y for y, _ in rows], [s / 5 for _, s in rows]
    predicted = [int(s >= 0.5) for s in scores]
    with patch("engine.measure.statistics.RESAMPLES", 10):
        f1 = statistics.macro_f1("f1", gold, predicted).value
        area = statistics.auc("auc", gold, scores).value
    assert f1 == pytest.approx(f1_score(gold, predicted, average="macro", labels=[0, 1], zero_division=0))
    if len(set(gold)) == 2:
        assert area == pytest.approx(roc_auc_score(gold, scores))
    else:
        assert math.isnan(area)


def test_what_cannot_be_known_is_not_a_number_and_has_no_interval() -> None:
    for figure in (statistics.share("s", []), statistics.mean("m", []), statistics.auc("a", [1, 1], [0.5, 0.6])):
        assert math.isnan(figure.value) and figure.low is None and figure.interval() == ""
    assert statistics.mean("one", [3.0]).low is None


def test_the_calibration_error_is_the_distance_between_what_was_said_and_what_came() -> None:
    gold = [0, 1] * 50
    assert statistics.calibration_error("ECE", gold, [0.5] * 100).value == pytest.approx(0)
    assert statistics.calibration_error("ECE", gold, [0.9] * 100).value == pytest.approx(0.4)
    assert statistics.calibration_error("ECE", [0] * 50 + [1] * 50, [0.1] * 50 + [0.9] * 50).value == pytest.approx(0.1)
    scores = np.random.default_rng(0).random(2000)
    drawn = (np.random.default_rng(1).random(2000) < scores).astype(int)
    found = statistics.calibration_error("ECE", drawn.tolist(), scores.tolist())
    assert 0.005 < found.value < 0.04 and found.low is not None  # never 0, as the literature has it


def test_accuracy_where_the_classifier_is_surest() -> None:
    hits, scores = [True, True, False, False], [0.99, 0.02, 0.6, 0.55]
    assert statistics.surest("half", hits, scores, 0.5).value == 1
    assert statistics.surest("three", hits, scores, 0.75).value == pytest.approx(2 / 3)
    assert statistics.surest("all", hits, scores, 1.0).value == 0.5


def test_the_rank_correlation_is_scipys() -> None:
    generator = np.random.default_rng(0)
    a = generator.random(60)
    b = np.round(3 * (a + generator.random(60)))  # with ties
    found = statistics.rank_correlation("rho", a.tolist(), b.tolist())
    assert found.value == pytest.approx(stats.spearmanr(a, b).statistic)
    assert found.low is not None and found.low < found.value < (found.high or 0)
    assert np.isnan(statistics.rank_correlation("rho", [1.0, 1.0], [1.0, 2.0]).value)


def test_reviews_of_one_film_are_drawn_together() -> None:
    """Ten reviews of each of 60 films, all ten alike: they say no more than 60 reviews of different films."""
    generator = np.random.default_rng(0)
    of_films = generator.integers(2, size=60)
    hits, groups = np.repeat(of_films, 10).astype(bool).tolist(), np.repeat(np.arange(60), 10).astype(str).tolist()

    def width(figure: statistics.Figure) -> float:
        assert figure.low is not None and figure.high is not None
        return figure.high - figure.low

    alone, together = statistics.share("x", hits), statistics.share("x", hits, groups=groups)
    few = statistics.mean("x", of_films.tolist())
    assert together.value == alone.value and together.method == "bootstrap over films"
    assert width(together) == pytest.approx(width(few), rel=0.1) and width(together) > 2.5 * width(alone)
    own = [str(i) for i in range(600)]
    assert width(statistics.mean("x", hits, groups=own)) == pytest.approx(width(statistics.mean("x", hits)), rel=0.1)


def test_films_count_in_large_samples_whose_films_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "FILMS_FROM", 2)
    rows = [{"film": "a"}, {"film": "b"}, {"film": "a"}]
    assert statistics.films(rows) == ["a", "b", "a"]
    assert statistics.films(rows[:2]) is None and statistics.films([*rows, {}]) is None and statistics.films([]) is None


def test_every_figure_can_be_resampled_by_film() -> None:
    generator = np.random.default_rng(3)
    gold, scores = generator.integers(2, size=80).tolist(), generator.random(80).tolist()
    groups = [str(i // 4) for i in range(80)]
    guessed = [int(score > 0.5) for score in scores]
    for figure in (
        statistics.macro_f1("x", gold, guessed, groups=groups),
        statistics.auc("x", gold, scores, groups=groups),
        statistics.calibration_error("x", gold, scores, groups=groups),
        statistics.ratio("x", scores, [1.0] * 80, groups=groups),
    ):
        assert figure.low is not None and figure.high is not None and figure.low < figure.high

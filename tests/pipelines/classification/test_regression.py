import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.classification import regression


def test_the_scaler_goes_into_the_weights() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(3, [1, 10, 0.1, 5], size=(80, 4))
    gold = (features[:, 0] + 0.1 * features[:, 1] + generator.normal(size=80) > 3.3).astype(int)
    (weight, bias), reached = regression.fit(features, gold, 0)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=reached["C"], max_iter=2000)).fit(features, gold)
    logits = (features @ weight.T + bias) * reached["temperature"]
    sure = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    assert sure == pytest.approx(model.predict_proba(features)[:, 1], rel=2e-3)  # a rounded temperature


def test_a_head_fitted_on_twins_is_as_sure_as_it_is_right() -> None:
    generator = np.random.default_rng(2)
    gold = np.arange(600) % 2
    features = generator.normal(size=(600, 3)) + [1.5, 1.5, 0] * (2 * gold[:, None] - 1)
    counterfactuals = regression.Counterfactuals(np.arange(600), features * [-1, 1, 1])
    (weight, bias), reached = regression.fit(features, gold, 0, counterfactuals, 0.5)
    assert reached["temperature"] < 0.9, "counterfactuals alone would leave it unsure"
    logits = features @ weight.T + bias
    sure = np.exp(logits).max(1) / np.exp(logits).sum(1)
    assert sure.mean() == pytest.approx((logits.argmax(1) == gold).mean(), abs=0.02)


def test_twins_draw_a_head_from_the_subject_to_what_is_said() -> None:
    """Column 0 is what is said, column 1 the subject that goes with it: in a twin only what is said is turned."""
    generator = np.random.default_rng(1)
    gold = np.arange(200) % 2
    features = generator.normal(size=(200, 2)) + 2 * gold[:, None] - 1
    counterfactuals = regression.Counterfactuals(np.arange(0, 200, 2), features[::2] * [-1, 1])

    def reliance(share: float) -> float:
        (weight, _), _ = regression.fit(features, gold, 0, counterfactuals, share)
        said, subject = weight[1] - weight[0]
        return float(subject / said)

    assert reliance(0.0) == pytest.approx(1, abs=0.3)
    assert reliance(0.5) < 0.6 * reliance(0.0) and reliance(1.0) < reliance(0.5)

"""The oracle: the truth's own metrics, with and without each row's luck."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from mtlkit import metrics
from mtlkit.shop.market import Market
from mtlkit.shop.oracle import best_predictions
from mtlkit.shop.probability import sigmoid


@pytest.fixture(scope="module")
def market():
    return Market("biased", seed=2, noise=0.8)


@pytest.fixture(scope="module")
def table(market):
    return market.impressions(100_000)


def test_the_oracle_is_the_truth_measured_against_the_labels(market, table):
    oracle = market.oracle(table)
    assert list(oracle) == list(table.schema.task_names)
    label, truth = table.label("click").numpy(), table.truth["click"].numpy()
    assert oracle["click"]["auc"] == pytest.approx(roc_auc_score(label, truth))
    mask = table.mask("rating").numpy()
    label, truth = table.label("rating").numpy()[mask], table.truth["rating"].numpy()[mask]
    share = 1 - ((label - truth) ** 2).sum() / ((label - label.mean()) ** 2).sum()
    assert oracle["rating"]["r2"] == pytest.approx(share, abs=1e-4)


def test_the_oracle_of_dwell_is_the_best_on_either_scale(market, table):
    oracle = market.oracle(table)["dwell"]
    mask = table.mask("dwell").numpy()
    y = table.label("dwell").numpy()[mask]
    seconds = table.truth["dwell"].numpy()[mask]
    logs = table.truth["dwell_log1p"].numpy()[mask]
    share = 1 - ((np.log1p(y) - logs) ** 2).sum() / ((np.log1p(y) - np.log1p(y).mean()) ** 2).sum()
    assert oracle["r2_log"] == pytest.approx(share, abs=1e-5)
    assert oracle["r2_log"] > metrics.r2_log(y, seconds)
    assert oracle["r2"] > metrics.r2(y, np.expm1(logs))


def test_knowing_the_luck_is_better_than_knowing_the_features(market, table):
    everything, features = market.oracle(table), market.oracle(table, "features")
    for task in ("click", "cart", "purchase"):
        assert everything[task]["auc"] > features[task]["auc"] + 0.01
        assert everything[task]["log_loss"] < features[task]["log_loss"]
        assert features[task]["pcoc"] == pytest.approx(1, abs=0.1)


def test_without_luck_the_two_oracles_agree():
    market = Market("tiny", noise=0.0, selection_bias=0.0)
    table = market.impressions(500)
    found = best_predictions(market, table, "features")
    for task in table.schema.task_names:
        assert np.allclose(found[task], table.truth[task].numpy(), atol=2e-6)


@pytest.mark.parametrize("selected", [True, False])
def test_averaging_over_the_luck_agrees_with_many_draws_of_it(market, table, selected):
    rows = table.take(np.arange(0, 40))
    found = best_predictions(market, rows, "features", selected)
    rng = np.random.default_rng(0)
    names = ("click", "cart", "checkout", "return")
    for row in range(0, 40, 9):
        score = np.array([float(rows.truth[f"score_{name}"][row]) for name in names])
        logits = score[:, None] + market.dials.noise * rng.standard_normal((4, 200_000))
        logits[[0, 2]] += market.dials.selection_bias * rng.standard_normal(200_000)
        click, cart, checkout, back = sigmoid(logits)
        weight = click if selected else np.ones_like(click)
        purchase = np.average(checkout * (cart + market.dials.buy_now * (1 - cart)), weights=weight)
        for task, value in (
            ("click", click.mean()),
            ("cart", cart.mean()),
            ("return", back.mean()),
        ):
            assert found[task][row] == pytest.approx(value, rel=0.02, abs=2e-4)
        assert found["purchase"][row] == pytest.approx(purchase, rel=0.03, abs=2e-4)


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_a_quickly_trained_model_learns_and_stays_below_the_oracle(preset):
    market = Market(preset, seed=1)
    train, test = market.impressions(40_000), market.impressions(40_000, start=100_000)
    names = train.schema.categorical_names
    columns = [names.index(n) for n in ("age_band", "category", "device", "scenario", "style")]
    encoder = OneHotEncoder(handle_unknown="ignore").fit(train.categorical[:, columns])

    def inputs(table):
        return np.hstack([encoder.transform(table.categorical[:, columns]).toarray(), table.dense])

    model = LogisticRegression(max_iter=200).fit(inputs(train), train.label("click"))
    score = roc_auc_score(test.label("click"), model.predict_proba(inputs(test))[:, 1])
    assert score > 0.6
    assert score < market.oracle(test, "features")["click"]["auc"] - 0.02


def test_sessions_have_an_oracle_too():
    market = Market("tiny")
    oracle = market.oracle(market.sessions(3000))
    assert oracle["next_category"]["accuracy"] > 0.3 and oracle["purchase"]["auc"] > 0.6


def test_a_table_without_truth_is_refused(market, table):
    rows = table.take(np.arange(10))
    rows.truth = {}
    with pytest.raises(ValueError, match="truth for task 'click'"):
        market.oracle(rows)
    with pytest.raises(ValueError, match="knows"):
        market.oracle(table, knows="nothing")

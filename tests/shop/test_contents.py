"""Guides and videos: what they are about, and outcomes whose every chance is known."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mtlkit.shop.content_frame import content_encoder
from mtlkit.shop.content_outcomes import RATES
from mtlkit.shop.content_table import TASKS, TRUTH
from mtlkit.shop.content_taste import PRODUCT
from mtlkit.shop.market import Market
from mtlkit.shop.oracle import best_predictions
from mtlkit.shop.probability import sigmoid

ROWS = 100_000


@pytest.fixture(scope="module")
def market():
    return Market("page", seed=7, noise=0.8)


@pytest.fixture(scope="module")
def table(market):
    return market.content_impressions(ROWS)


def opened(table, task):
    mask = table.mask(task)
    return table.label(task)[mask].double().numpy(), table.truth[task][mask].double().numpy()


def test_a_shop_without_the_dial_has_no_contents():
    market = Market("tiny")
    assert market.contents == {}
    for make in (market.contents_frame, lambda: market.content_impressions(10)):
        with pytest.raises(ValueError, match="dial contents is 0"):
            make()
    with pytest.raises(ValueError, match="dial contents: 79 is too few"):
        Market("tiny", contents=79)


def test_contents_and_bids_move_nothing_else():
    without, market = Market("tiny", seed=2), Market("tiny", seed=2, contents=80, ad_bid=0.4)
    a, b = without.impressions(3000), market.impressions(3000)
    market.content_impressions(100)
    pairs = [
        (a, b),
        (market.impressions(3000), b),
        (without.sessions(500), market.sessions(500)),
        (without.demand(3), market.demand(3)),
    ]
    for x, y in pairs:
        assert x.schema == y.schema
        for name in ("categorical", "dense", "labels", "observed"):
            assert torch.equal(getattr(x, name), getattr(y, name))
        assert all(torch.equal(x.truth[name], y.truth[name]) for name in x.truth)


def test_a_content_is_about_one_to_three_products_of_its_category(market):
    contents, items = market.contents, market.items
    for number, about in enumerate(contents["about"]):
        real = about[about >= 0]
        assert 1 <= len(real) == len(set(real)) and (about[: len(real)] >= 0).all()
        assert (items["category"][real] == contents["category"][number]).all()
        assert contents["style"][number] == items["style"][real[0]]
        if contents["subject"][number] == 1:
            shelf = np.flatnonzero(items["category"] == contents["category"][number])
            best = shelf[np.argsort(-items["popularity"][shelf])][:3]
            assert sorted(best) == sorted(real)
    count = (contents["about"] >= 0).sum(axis=1)[contents["subject"] == 0]
    assert np.bincount(count, minlength=4)[1:].min() > 25
    assert 0.2 < (contents["subject"] == 1).mean() < 0.4
    frame = market.contents_frame()
    assert frame["about"].list.len().to_list() == (contents["about"] >= 0).sum(axis=1).tolist()
    assert frame["kind"][3] == market.content_kinds[contents["kind"][3]]


@pytest.mark.parametrize("task", ["open", "finish", "visit"])
def test_labels_agree_with_the_true_probabilities_in_every_decile(table, task):
    label, truth = opened(table, task)
    for part in np.array_split(np.argsort(truth, kind="stable"), 10):
        spread = math.sqrt((truth[part] * (1 - truth[part])).sum())
        assert abs((label - truth)[part].sum()) / spread < 4
    assert truth.std() > 0.1


def test_seconds_agree_with_their_true_means_on_both_scales(table):
    seconds, truth = opened(table, "seconds")
    logs = table.truth["seconds_log1p"][table.mask("seconds")].double().numpy()
    for part in np.array_split(np.argsort(truth, kind="stable"), 5):
        for gap in ((seconds - truth)[part], (np.log1p(seconds) - logs)[part]):
            assert abs(gap.mean()) / (gap.std() / math.sqrt(len(part))) < 4


def test_rates_are_met(table):
    assert table.label("open").mean() == pytest.approx(RATES["open"], rel=0.06)
    assert opened(table, "visit")[0].mean() == pytest.approx(RATES["visit"], rel=0.1)


def test_who_stays_as_long_as_it_lasts_has_finished(market, table):
    mask = table.mask("finish")
    full = market.contents["seconds"][table.keys["content"][mask].numpy()]
    finished, seconds = table.label("finish")[mask].numpy(), table.label("seconds")[mask].numpy()
    clear = np.abs(seconds - full) > 0.06
    assert ((seconds > full) == finished.astype(bool))[clear].all() and clear.mean() > 0.99
    share = (table.truth["seconds_log1p"][mask].numpy() - np.log1p(full)) / 0.6
    assert np.abs(norm.cdf(share) - table.truth["finish"][mask].numpy()).max() < 2e-6


def test_nothing_is_seen_of_what_was_not_opened(table):
    opens = table.label("open").bool()
    for task in TASKS[1:]:
        assert torch.equal(table.mask(task.name), opens)
        assert (table.label(task.name)[~opens] == 0).all()
    assert set(table.truth) == {name.removeprefix("true_") for name in TRUTH}


def test_rows_are_the_same_from_wherever_a_table_starts(market, table):
    for chunk in (700, 5000):
        piece = market.content_impressions(3000, start=15_000, chunk=chunk)
        rows = slice(15_000, 18_000)
        for name in ("categorical", "dense", "labels", "observed", "scenario", "row_id"):
            assert torch.equal(getattr(piece, name), getattr(table, name)[rows]), name
        for name in table.truth:
            assert torch.equal(piece.truth[name], table.truth[name][rows]), name
        for name in table.keys:
            assert torch.equal(piece.keys[name], table.keys[name][rows]), name


def test_pages_hold_no_content_twice_and_share_their_visitor(market, table):
    pages = table.keys["content"].reshape(-1, 8).numpy()
    assert all(len(set(page)) == 8 for page in pages[:500])
    users = table.keys["user"].reshape(-1, 8)
    assert (users == users[:, :1]).all() and users.max() < market.dials.users
    visits = np.bincount(users[:, 0].numpy(), minlength=market.dials.users)
    assert np.corrcoef(visits, market.users["activity"])[0, 1] > 0.85


def test_the_frame_in_words_leads_to_the_same_table(market, table):
    frame = market.content_impressions_frame(2000, truth=True)
    truth = {name.removeprefix("true_"): frame[name].to_numpy() for name in TRUTH}
    made = content_encoder().fit(frame).transform(frame, truth=truth, row_id=frame["row"])
    rows = slice(0, 2000)
    assert torch.equal(made.labels, table.labels[rows])
    assert torch.equal(made.observed, table.observed[rows])
    assert made.schema.categorical_names == table.schema.categorical_names
    assert all(torch.equal(made.truth[name], table.truth[name][rows]) for name in table.truth)
    assert frame.filter(frame["open"] == 0)["visit"].null_count() == (frame["open"] == 0).sum()
    names = table.schema.categorical_names
    third = table.categorical[rows, names.index("item_3")]
    assert ((third == 0).numpy() == frame["item_3"].is_null().to_numpy()).all()
    assert market.oracle(made)["open"]["auc"] > 0.7


# --- taste --------------------------------------------------------------------------------------


@pytest.mark.parametrize("r", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("rho", [0.5, -0.4])
def test_the_dial_is_the_correlation_with_the_products_utility(r, rho):
    market = Market("page", seed=5, content_correlation=r, task_correlation=rho)
    log = market.content_log
    rng = np.random.default_rng(0)
    visit = market.behaviour.visits.draw(rng, 20_000)
    content = rng.integers(0, market.dials.contents, (20_000, 2))
    product = market.behaviour.taste.utilities(visit, log.taste.products(content))
    found = log.taste.utilities(visit, content, product)
    about = market.contents["about"][content]
    real = about >= 0
    count = real.sum(axis=2)
    for task, name in PRODUCT.items():
        assert found[task].std() == pytest.approx(1, abs=0.12)
        assert found[task].mean() == pytest.approx(0, abs=0.08)
        by_hand = (product[name].reshape(real.shape) * real).sum(axis=2) / count
        for number in (1, 2, 3):
            part = by_hand[count == number]
            by_hand[count == number] = (part - part.mean()) / part.std()
        together = np.corrcoef(found[task].ravel(), by_hand.ravel())[0, 1]
        assert together == pytest.approx(r, abs=0.12)
    together = np.corrcoef([value.ravel() for value in found.values()])
    assert together[0, 1] == pytest.approx(rho, abs=0.15)
    assert together[0, 2] == pytest.approx(rho, abs=0.15)


def test_standing_lower_costs_what_the_dial_says():
    scores = {
        bias: Market("page", position_bias=bias).content_impressions(800).truth["score_open"]
        for bias in (0.0, 0.8)
    }
    gap = (scores[0.8] - scores[0.0]).reshape(-1, 8).numpy()
    wanted = -0.8 * np.log1p(np.arange(8))
    assert np.allclose(gap - gap[:, :1], wanted - wanted[0], atol=1e-5)


def test_scenarios_have_rates_and_tastes_of_their_own():
    market = Market("page", seed=3, scenario_rates=1.0, scenario_shift=0.8)
    table = market.content_impressions(30_000)
    means = [float(table.truth["open"][table.scenario == s].mean()) for s in range(3)]
    assert np.ptp(means) > 0.02
    weights = market.content_log.taste._weights[:, :, 0]
    angle = weights @ weights.T
    assert np.allclose(np.diag(angle), 1, atol=1e-5) and angle[0, 1] < 0.6


# --- oracle and worth ----------------------------------------------------------------------------


def test_averaging_over_the_luck_agrees_with_many_draws_of_it(market, table):
    rows = table.take(np.arange(0, 300, 29))
    found = best_predictions(market, rows, "features")
    z = np.random.default_rng(0).standard_normal(400_000)
    for row in range(len(rows)):
        for task in ("open", "visit"):
            score = float(rows.truth[f"score_{task}"][row])
            by_hand = sigmoid(score + market.dials.noise * z).mean()
            assert found[task][row] == pytest.approx(by_hand, rel=0.01)
    assert np.array_equal(found["finish"], rows.truth["finish"].numpy())


def test_without_luck_the_two_oracles_agree_to_the_last_digit():
    market = Market("page", noise=0.0)
    table = market.content_impressions(1000)
    found = best_predictions(market, table, "features")
    for task in table.schema.task_names:
        assert np.array_equal(found[task], table.truth[task].numpy())


def test_the_oracle_beats_a_model_and_knowing_the_luck_beats_the_features(market, table):
    everything, features = market.oracle(table), market.oracle(table, "features")
    for task in ("open", "visit"):
        assert everything[task]["log_loss"] < features[task]["log_loss"]
        assert features[task]["pcoc"] == pytest.approx(1, abs=0.06)
    half = ROWS // 2
    model = LogisticRegression(max_iter=200).fit(table.dense[:half], table.label("open")[:half])
    rest = table.take(np.arange(half, ROWS))
    score = roc_auc_score(rest.label("open"), model.predict_proba(rest.dense)[:, 1])
    assert 0.55 < score < market.oracle(rest, "features")["open"]["auc"] - 0.05


def test_a_visit_is_worth_the_expected_margin_of_the_products(market, table):
    dials, rng = market.dials, np.random.default_rng(1)
    names = ("user", "scenario", "hour", "day", "region", "device")
    columns = market.content_log.columns(0, 400)
    sold_out = 0
    for row in range(0, 400, 37):
        about = market.contents["about"][columns["content"][row]]
        items = about[about >= 0]
        visit = {name: columns[name][row : row + 1] for name in names}
        scores, _ = market.behaviour.scores(visit, items[None], np.zeros(len(items)))
        euro = []
        for place, item in enumerate(items):
            own = dials.noise * rng.standard_normal((2, 200_000))
            appeal = dials.selection_bias * rng.standard_normal(200_000)
            cart = sigmoid(scores["cart"][0, place] + own[0])
            checkout = sigmoid(scores["checkout"][0, place] + own[1] + appeal)
            buys = (checkout * (1 - (1 - cart) * (1 - dials.buy_now))).mean()
            stock = market.behaviour.stock.columns(visit["day"], np.array([item]))["stock"][0]
            sold_out += stock == 0
            euro.append(buys * float(market.margins[item]) * (stock > 0))
        assert table.truth["visit_worth"][row] == pytest.approx(np.mean(euro), rel=0.02, abs=1e-4)


def test_a_product_that_is_sold_out_is_worth_no_visit(market):
    full = Market("page", seed=7, noise=0.8, stock_columns=0)
    worth = market.content_impressions(20_000).truth["visit_worth"]
    wished = full.content_impressions(20_000).truth["visit_worth"]
    assert (worth <= wished + 1e-6).all()
    assert float((worth < wished - 1e-6).float().mean()) > 0.001

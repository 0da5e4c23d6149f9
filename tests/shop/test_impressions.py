"""Impressions: labels follow the truths, and each dial moves what it names."""

import math

import numpy as np
import pytest
import torch

from mtlkit.metrics import auc
from mtlkit.shop.market import Market
from mtlkit.shop.oracle import best_predictions
from mtlkit.shop.outcomes import DWELL_SD
from mtlkit.shop.probability import rounded
from mtlkit.shop.season import FIRST_DAY_OF_YEAR, SUMMER
from mtlkit.shop.taste import UTILITIES

BINARY = ("click", "cart", "purchase", "return")


@pytest.fixture(scope="module")
def small():
    return Market("small", seed=11)


@pytest.fixture(scope="module")
def table(small):
    return small.impressions(400_000)


def plain(**dials):
    """A shop where only the taste speaks, with every product shown alike."""
    quiet = {"exposure": "random", "seasonality": 0.0, "scenario_rates": 0.0, "position_bias": 0.0,
                 "noise": 0.0, "selection_bias": 0.0}  # fmt: skip
    return Market("small", seed=3, **{**quiet, **dials})


def observed(table, task):
    mask = table.mask(task)
    return table.label(task)[mask].double().numpy(), table.truth[task][mask].double().numpy()


# --- labels and truths -------------------------------------------------------------------------


@pytest.mark.parametrize("task", BINARY)
def test_labels_agree_with_the_true_probabilities_in_every_decile(table, task):
    label, truth = observed(table, task)
    for part in np.array_split(np.argsort(truth, kind="stable"), 10):
        spread = math.sqrt((truth[part] * (1 - truth[part])).sum())
        assert abs((label - truth)[part].sum()) / spread < 4


def test_dwell_agrees_with_its_true_mean_and_its_true_log_mean(table):
    label, truth = observed(table, "dwell")
    middle = table.truth["dwell_log1p"][table.mask("dwell")].double().numpy()
    log_gap = np.log1p(label) - middle
    assert abs(log_gap.mean()) * math.sqrt(len(label)) / DWELL_SD < 4
    assert log_gap.std() == pytest.approx(DWELL_SD, rel=0.02)
    spread = math.sqrt(((truth + 1) ** 2 * (math.exp(DWELL_SD**2) - 1)).sum())
    assert abs((label - truth).sum()) / spread < 4


def test_ratings_are_whole_stars_with_the_true_mean(table):
    label, truth = observed(table, "rating")
    assert set(np.unique(label)) == {1, 2, 3, 4, 5}
    share = (truth - 1) / 4
    spread = math.sqrt((4 * share * (1 - share)).sum())  # binomial with four trials
    assert abs((label - truth).sum()) / spread < 4


def test_rates_are_those_of_the_dials(table, small):
    dials = small.dials
    wanted = {"click": dials.click_rate, "cart": dials.cart_rate, "purchase": dials.purchase_rate}
    wanted["return"] = dials.return_rate
    for task, rate in wanted.items():
        label, _ = observed(table, task)
        assert label.mean() == pytest.approx(rate, rel=0.12), task


def test_truths_cover_every_row_also_those_never_clicked(table):
    for name, value in table.truth.items():
        assert value.shape == (len(table),) and torch.isfinite(value).all(), name
    for task in BINARY:
        assert ((table.truth[task] > 0) & (table.truth[task] < 1)).all()
    assert (~table.mask("purchase")).sum() > 0.9 * len(table)


def test_labels_are_observed_exactly_where_their_parent_is_1(table):
    click, purchase = table.label("click") == 1, table.label("purchase") == 1
    assert table.mask("click").all()
    for task, parent in (("cart", click), ("purchase", click), ("dwell", click)):
        assert torch.equal(table.mask(task), parent)
    for task in ("return", "rating"):
        assert torch.equal(table.mask(task), purchase)
    assert (table.labels[~table.observed] == 0).all()


def test_purchase_is_the_sum_over_the_ways_to_the_till(table, small):
    truth = {name: value.double() for name, value in table.truth.items()}
    free = small.dials.buy_now
    by_cart = truth["cart"] * truth["checkout"]
    without = (1 - truth["cart"]) * free * truth["checkout"]
    assert torch.allclose(truth["purchase"], by_cart + without, atol=2**-19)


def test_scores_agree_with_a_slow_sum_over_components(small):
    table = small.impressions(400)
    users, items, dials = small.users, small.items, small.dials
    taste, outcomes = small.behaviour.taste, small.behaviour.outcomes
    for row in range(0, 400, 23):
        ids = dict(zip(table.schema.categorical_names, (table.categorical[row] - 1).tolist()))
        user, item, hour = ids["user"], ids["item"], ids["hour"]
        parts = [float(a * b) for a, b in zip(users["factors"][user], items["factors"][item])]
        parts += list(taste.age_category[users["age_band"][user] * 10 + ids["category"]])
        parts += list(taste.region_style[ids["region"] * 4 + ids["style"]])
        parts += list(items["appeal"][item]) + list(users["level"][user])
        parts += [-users["price_sensitivity"][user] * items["price_z"][item]]
        parts += list(taste.hour_device[hour * 3 + ids["device"]])
        weights = taste.weights[ids["scenario"], :, UTILITIES.index("click")]
        utility = sum(float(part) * float(weight) for part, weight in zip(parts, weights))
        day = int(table.keys["day"][row])
        swing = SUMMER[ids["category"]] * -math.cos(2 * math.pi * (day + FIRST_DAY_OF_YEAR) / 364)
        swing += 0.5 * math.sin(2 * math.pi * (hour - 14) / 24) + 0.5 * (day % 7 >= 5)
        score = outcomes.intercept["click"] + dials.signal * utility
        score += outcomes.scenario_rate["click"][ids["scenario"]]
        score += dials.seasonality * swing
        score -= dials.position_bias * math.log1p(int(table.keys["position"][row]))
        assert float(table.truth["score_click"][row]) == pytest.approx(score, abs=1e-4)


def test_a_page_has_one_visitor_one_moment_and_no_product_twice(table, small):
    size = small.dials.page_size
    for key in ("session", "user", "time"):
        pages = table.keys[key][: size * 500].reshape(-1, size)
        assert (pages == pages[:, :1]).all()
    items = table.keys["item"].reshape(-1, size).sort(1).values
    assert (items[:, 1:] != items[:, :-1]).all()
    assert table.keys["position"][:size].tolist() == list(range(size))


def test_rounded_probabilities_are_multiples_of_a_power_of_two_and_never_0_or_1():
    values = rounded(np.array([0.0, 1e-9, 0.3, 1.0], dtype=np.float32))
    assert (values * 2**20 == np.round(values * 2**20)).all()
    assert values[0] > 0 and values[-1] < 1


# --- the same rows, however they are asked for -------------------------------------------------


def same(a, b):
    pairs = [(a.categorical, b.categorical), (a.dense, b.dense), (a.labels, b.labels)]
    pairs += [(a.observed, b.observed), (a.scenario, b.scenario), (a.row_id, b.row_id)]
    pairs += [(a.truth[name], b.truth[name]) for name in a.truth]
    pairs += [(a.keys[name], b.keys[name]) for name in a.keys]
    return all(torch.equal(x, y) for x, y in pairs)


@pytest.mark.parametrize("exposure", ["random", "popular", "personal"])
def test_a_short_table_is_the_start_of_a_long_one(exposure):
    market = Market("tiny", exposure=exposure)
    long = market.impressions(20_000)
    assert same(market.impressions(137), long.take(torch.arange(137)))
    again = Market("tiny", exposure=exposure).impressions(600, start=8000)  # over a block's edge
    assert same(again, long.take(torch.arange(8000, 8600)))


def test_the_chunk_size_changes_nothing():
    market = Market("tiny")
    whole = market.impressions(10_000)
    assert same(market.impressions(10_000, chunk=777), whole)
    pieces = list(market.impression_chunks(10_000, chunk=3333))
    assert [len(piece) for piece in pieces] == [3333, 3333, 3333, 1]
    assert torch.equal(torch.cat([piece.labels for piece in pieces]), whole.labels)


# --- the dials ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.5, 0.95])
def test_task_correlation_is_the_correlation_of_utilities(rho):
    table = plain(task_correlation=rho).impressions(80_000)
    for task, sign in (("cart", 1), ("checkout", 1), ("return", -1)):
        pair = torch.stack([table.truth["score_click"], table.truth[f"score_{task}"]])
        assert float(torch.corrcoef(pair)[0, 1]) == pytest.approx(sign * rho, abs=0.06)


def test_task_correlation_shows_in_the_labels():
    def click_score_ranks_carts(rho):
        table = plain(task_correlation=rho, click_rate=0.3).impressions(80_000)
        mask = table.mask("cart")
        return auc(table.label("cart")[mask].numpy(), table.truth["score_click"][mask].numpy())

    low, middle, high = (click_score_ranks_carts(rho) for rho in (-0.8, 0.0, 0.8))
    assert low < 0.4 < middle < 0.6 < high


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_scenario_shift_is_what_two_scenarios_tastes_do_not_share(shift):
    market = plain(scenario_shift=shift, scenarios=12)
    visit = market.behaviour.visits.draw(np.random.default_rng(0), 1500)
    item = np.random.default_rng(1).integers(0, market.dials.items, (1500, 8))
    click = [
        market.behaviour.taste.utilities(visit | {"scenario": np.full(1500, s)}, item)[
            "click"
        ].ravel()
        for s in range(12)
    ]
    between = np.corrcoef(click)[np.triu_indices(12, 1)]
    assert between.mean() == pytest.approx(1 - shift, abs=0.08)


def test_scenario_shift_shows_in_the_labels():
    def agreement(shift):
        market = plain(scenario_shift=shift, scenarios=2, scenario_tail=0.0, click_rate=0.3)
        table = market.impressions(200_000)
        names = table.schema.categorical_names
        cell = table.categorical[:, names.index("age_band")] * 11
        cell = cell + table.categorical[:, names.index("category")]
        rates = [
            np.bincount(cell[where], table.label("click")[where], 77)
            / np.maximum(1, np.bincount(cell[where], minlength=77))
            for where in (table.scenario == 0, table.scenario == 1)
        ]
        filled = np.bincount(cell, minlength=77) > 300
        return np.corrcoef(rates[0][filled], rates[1][filled])[0, 1]

    assert agreement(0.0) > 0.95
    assert agreement(1.0) < 0.7


def test_noise_lowers_what_features_can_reach():
    def reachable(noise):
        table = plain(noise=noise).impressions(100_000)
        return auc(table.label("click").numpy(), table.truth["score_click"].numpy())

    quiet, loud = reachable(0.0), reachable(2.0)
    assert loud < quiet - 0.05


def test_label_sparsity_divides_the_rates():
    base, sparse = (plain(label_sparsity=s).impressions(200_000) for s in (1.0, 4.0))
    assert float(sparse.label("click").mean()) == pytest.approx(0.02, rel=0.1)
    ratio = observed(base, "purchase")[0].mean() / observed(sparse, "purchase")[0].mean()
    assert 3 < ratio < 5.5
    assert observed(sparse, "cart")[0].mean() == pytest.approx(0.25, rel=0.1)


def test_position_bias_lowers_clicks_down_the_page():
    def rates(bias):
        table = plain(position_bias=bias).impressions(200_000)
        return table.label("click").reshape(-1, 8).mean(0).numpy()

    flat, steep = rates(0.0), rates(1.0)
    assert flat.max() - flat.min() < 4 * math.sqrt(2 * 0.08 * 0.92 / 25_000)
    assert (np.diff(steep[:5]) < 0).all() and steep[0] > 2.5 * steep[7]


def test_selection_bias_makes_clicked_rows_convert_better_than_they_would_at_random():
    def ratio(bias):
        market = plain(selection_bias=bias)
        table = market.impressions(200_000)
        label, _ = observed(table, "purchase")
        fair = best_predictions(market, table, "features", selected=False)["purchase"]
        return label.sum() / fair[table.mask("purchase").numpy()].sum()

    assert ratio(0.0) == pytest.approx(1, abs=0.1)
    assert ratio(1.5) > 1.4


def test_exposure_decides_which_products_are_shown():
    def shown(policy):
        market = plain(exposure=policy)
        item = market.impressions(100_000).keys["item"].numpy()
        return np.bincount(item, minlength=market.dials.items), market

    counts, market = shown("random")
    expected = counts.sum() / len(counts)
    assert ((counts - expected) ** 2 / expected).sum() < len(counts) + 6 * math.sqrt(
        2 * len(counts)
    )
    counts, market = shown("popular")
    assert np.corrcoef(counts, market.items["popularity"])[0, 1] > 0.98


def test_the_personal_policy_shows_what_a_visitor_likes_and_puts_it_first():
    def utility(policy):
        market = plain(exposure=policy)
        rng = np.random.default_rng(0)
        visit = market.behaviour.visits.draw(rng, 4000)
        item = market.behaviour.pages.choose(rng, visit)
        return market.behaviour.taste.utilities(visit, item)["click"].mean(axis=0)  # (position,)

    personal, random = utility("personal"), utility("random")
    assert personal.mean() > random.mean() + 0.4
    assert (np.diff(personal) < 0).all() and abs(random[0] - random[-1]) < 0.15


def test_seasonality_moves_winter_and_summer_products_apart():
    def spring_change(seasonality):
        table = plain(seasonality=seasonality, days=120, click_rate=0.2).impressions(200_000)
        category = table.categorical[:, table.schema.categorical_names.index("category")] - 1
        late = table.keys["day"] >= 60
        click = table.label("click")
        rise = []
        for product in (4, 5):  # coat, sandal
            first, second = (click[(category == product) & half].mean() for half in (~late, late))
            rise.append(math.log(float(second / first)))
        return rise[1] - rise[0]

    assert abs(spring_change(0.0)) < 0.2
    assert spring_change(1.0) > 0.6


@pytest.mark.parametrize("drift", [0.0, 0.5, 1.0])
def test_drift_turns_tastes_between_the_first_and_the_last_day(drift):
    market = plain(drift=drift)
    visit = market.behaviour.visits.draw(np.random.default_rng(0), 3000)
    item = np.random.default_rng(1).integers(0, market.dials.items, (3000, 8))
    first, last = (
        market.behaviour.taste.utilities(visit | {"day": np.full(3000, day)}, item)["click"].ravel()
        for day in (0, market.dials.days - 1)
    )
    assert np.corrcoef(first, last)[0, 1] == pytest.approx(math.cos(drift * math.pi / 2), abs=0.06)


def test_buy_now_is_the_way_around_the_cart():
    strict = plain(buy_now=0.0, click_rate=0.3).impressions(50_000)
    bought = strict.label("purchase") == 1
    assert bought.sum() > 100 and (strict.label("cart")[bought] == 1).all()
    free = plain(buy_now=1.0, click_rate=0.3).impressions(50_000)
    bought = free.label("purchase") == 1
    assert (free.label("cart")[bought] == 0).float().mean() > 0.3
    assert torch.allclose(free.truth["purchase"], free.truth["checkout"], atol=2**-19)


def test_sizes_are_those_of_the_dials():
    market = plain(users=50, items=120, scenarios=7)
    table = market.impressions(20_000)
    assert table.schema.num_scenarios == 7 and set(table.scenario.tolist()) == set(range(7))
    assert set(table.keys["item"].tolist()) == set(range(120))
    assert int(table.keys["user"].max()) < 50

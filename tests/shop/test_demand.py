import numpy as np
import pytest
import torch
from scipy.stats import poisson

from mtlkit.shop.demand import (
    demand_frame,
    demand_table,
    newsvendor_order,
    newsvendor_profit,
)
from mtlkit.shop.demand_process import (
    HISTORY,
    WARM_UP,
    chance_sold_out,
    mean_units,
    products_of_demand,
    simulate_demand,
)
from mtlkit.shop.market import Market

WEEKS = 60


@pytest.fixture(scope="module")
def market():
    return Market("small", seed=2)


@pytest.fixture(scope="module")
def panel(market):
    return simulate_demand(market, WEEKS)


@pytest.fixture(scope="module")
def table(market):
    return demand_table(market, WEEKS)


def column(table, name):
    return table.dense[:, table.schema.dense_slices[name]].squeeze(1).double().numpy()


def test_units_are_what_demand_and_stock_allow(table):
    demand, stock = table.truth["demand"].numpy(), table.keys["stock"].numpy()
    units = table.label("units").numpy()
    assert (units == np.minimum(demand, stock)).all()
    censored = table.censored.numpy()[:, table.schema.task_index("units")]
    assert (censored == (demand >= stock)).all()
    assert (censored == ((units == stock) & (demand >= stock))).all()
    assert (table.label("sold_out").numpy() == censored).all()
    assert 0.05 < censored.mean() < 0.4
    others = [table.schema.task_index(n) for n in ("sold_out", "returned", "coupon_units")]
    assert not table.censored[:, others].any()


@pytest.mark.parametrize("name", ["demand", "units_sold", "sold_out", "returned", "coupon_units"])
def test_rates_agree_with_truths_within_sampling_error(table, name):
    """Overall, and in each fifth of the truth: mean residual within 4 standard errors of 0."""
    truth = table.truth["units" if name == "demand" else name].double().numpy()
    if name in ("demand", "units_sold"):
        seen = table.truth["demand"] if name == "demand" else table.label("units")
        mask = np.ones(len(table), dtype=bool)
    else:
        seen, mask = table.label(name), table.mask(name).numpy()
    residual = (seen.double().numpy() - truth)[mask]
    fifth = np.searchsorted(np.quantile(truth[mask], [0.2, 0.4, 0.6, 0.8]), truth[mask])
    for part in (fifth >= 0, *(fifth == k for k in range(5))):
        chosen = residual[part]
        assert abs(chosen.mean()) < 4 * chosen.std() / np.sqrt(len(chosen))


def test_demand_is_as_wide_as_a_poisson(table):
    mean = table.truth["units"].double().numpy()
    dispersion = (table.truth["demand"].double().numpy() - mean) ** 2 / mean
    assert dispersion.mean() == pytest.approx(1.0, abs=4 * dispersion.std() / np.sqrt(len(mean)))


def test_mean_units_and_sold_out_agree_with_sums_over_the_poisson():
    count = np.arange(400)
    for mean in (0.05, 1.0, 7.3, 60.0):
        for stock in (0, 1, 2, 5, 8, 70):
            chance = poisson.pmf(count, mean)
            expected = (np.minimum(count, stock) * chance).sum()
            assert mean_units(mean, stock) == pytest.approx(expected, abs=1e-10)
            assert chance_sold_out(mean, stock) == pytest.approx(chance[stock:].sum(), abs=1e-10)


def test_past_features_are_the_weeks_before_and_never_this_one(panel, table):
    units, empty = panel["units"], panel["units"] == panel["stock"]
    items = units.shape[1]
    shaped = {
        name: column(table, name).reshape(WEEKS, items)
        for name in ("units_last", "units_mean", "empty_share", "promotion_last")
    }
    for week in range(HISTORY, WEEKS):
        past = slice(week - HISTORY, week)
        expected = {
            "units_last": np.log1p(units[week - 1]) - 2,
            "units_mean": np.log1p(units[past].mean(axis=0)) - 2,
            "empty_share": empty[past].mean(axis=0),
            "promotion_last": panel["promotion"][week - 1],
        }
        for name, value in expected.items():
            np.testing.assert_allclose(shaped[name][week], value, atol=1e-4)


def test_a_longer_run_begins_like_a_shorter_one(market, panel):
    longer = simulate_demand(market, WEEKS + 5)
    for name, value in panel.items():
        np.testing.assert_array_equal(longer[name][:WEEKS], value)


def test_what_happens_in_a_week_reaches_only_the_inputs_of_later_weeks(market, panel):
    """Live week 20 with other luck: its past features stay, those of week 21 change."""
    changed = Market("small", seed=2)
    usual = changed.rng

    def other_luck(name, *numbers):
        unlike = name == "demand week" and numbers == (20 + WARM_UP,)
        return usual("another week" if unlike else name, *numbers)

    changed.rng = other_luck
    other = simulate_demand(changed, 22)
    assert (other["demand"][20] != panel["demand"][20]).any()
    for name in ("units_last", "units_mean", "empty_share", "promotion_last"):
        np.testing.assert_array_equal(other[name][:21], panel[name][:21])
    assert (other["units_last"][21] != panel["units_last"][21]).any()


def test_the_same_seed_gives_the_same_table(market, table):
    again = demand_table(Market("small", seed=2), WEEKS)
    assert torch.equal(again.dense, table.dense) and torch.equal(again.labels, table.labels)
    assert all(torch.equal(again.truth[name], value) for name, value in table.truth.items())
    assert not torch.equal(demand_table(Market("small", seed=9), WEEKS).labels, table.labels)


def test_keys_and_ids_name_the_same_products_as_the_market(market, table):
    item, week = table.keys["item"].numpy(), table.keys["week"].numpy()
    names = list(table.schema.categorical_names)
    assert (table.categorical[:, names.index("item")].numpy() == item + 1).all()
    assert (table.scenario.numpy() == market.items["warehouse"][item]).all()
    assert sorted(set(week.tolist())) == list(range(WEEKS))
    assert len(table) == WEEKS * market.dials.items
    paid, price = table.keys["paid_cents"].numpy(), table.keys["price_cents"].numpy()
    promoted = table.mask("coupon_units").numpy()
    assert (paid[promoted] < price[promoted]).all() and (paid == price)[~promoted].all()
    cost, salvage = table.keys["cost_cents"].numpy(), table.keys["salvage_cents"].numpy()
    assert (salvage < cost).all() and (cost < price).all()


def test_a_promotion_does_what_the_elasticity_says(market, panel, table):
    ratio = table.truth["units_promoted"].double() / table.truth["units_regular"].double()
    elasticity = products_of_demand(market)["elasticity"][table.keys["item"].numpy()]
    np.testing.assert_allclose(ratio.numpy(), 0.8**-elasticity, rtol=1e-4)
    plain = ~panel["promotion"]
    np.testing.assert_allclose(panel["mean"][plain], panel["mean_regular"][plain])


def test_promotions_are_not_random(panel):
    promoted = panel["promotion"]
    regular = panel["mean_regular"]
    assert regular[promoted].mean() > 1.5 * regular[~promoted].mean()


def test_seasons_follow_the_dial():
    flat = simulate_demand(Market("small", seed=2, seasonality=0, noise=0), 52)
    lively = simulate_demand(Market("small", seed=2, seasonality=0.6, noise=0), 52)
    swing = [np.log(p["mean_regular"]).std(axis=0).mean() for p in (flat, lively)]
    assert swing[0] < 0.08 and swing[1] > 0.2


def test_the_frame_shows_no_truth_and_hides_coupons_outside_promotions(market, table):
    frame = demand_frame(market, 3)
    assert frame.height == 3 * market.dials.items
    assert not {"demand", "mean", "mean_regular"} & set(frame.columns)
    assert frame["units"].to_list() == table.label("units")[: frame.height].long().tolist()
    assert (frame["coupon_units"].is_null() == ~frame["promotion"]).all()


@pytest.mark.parametrize("mean", [0.4, 3.0, 25.0])
def test_the_newsvendor_order_is_the_best_of_all_orders(mean):
    price, cost, salvage = 30.0, 18.0, 9.0
    demand, orders = np.arange(200), np.arange(80)
    chance = poisson.pmf(demand, mean)
    profit = [
        (newsvendor_profit(order, demand, price, cost, salvage) * chance).sum() for order in orders
    ]
    assert newsvendor_order(mean, price, cost, salvage) == np.argmax(profit)
    by_parts = price * mean_units(mean, 5) + salvage * (5 - mean_units(mean, 5)) - cost * 5
    assert profit[5] == pytest.approx(by_parts)


def test_newsvendor_refuses_an_order_without_end_and_orders_nothing_at_a_loss():
    assert newsvendor_order(10.0, 5.0, 6.0, 1.0) == 0
    with pytest.raises(ValueError, match="row 1: salvage 7 is not below cost 6"):
        newsvendor_order([10.0, 10.0], 9.0, [6.0, 6.0], [1.0, 7.0])


def test_too_few_weeks_are_refused(market):
    for weeks in (0, 2.5, True):
        with pytest.raises(ValueError, match="weeks is"):
            demand_table(market, weeks)

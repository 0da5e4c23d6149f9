import numpy as np
import pytest
import torch

from mtlkit.shop.deliveries import (
    CARRIERS,
    deliveries_frame,
    deliveries_table,
    delivery_euro,
    delivery_options,
)
from mtlkit.shop.delivery_process import BLOCK, chance_returned, draw_orders, outcome
from mtlkit.shop.market import Market

ROWS = 30_000


@pytest.fixture(scope="module")
def market():
    return Market("small", seed=5)


@pytest.fixture(scope="module")
def table(market):
    return deliveries_table(market, ROWS)


@pytest.mark.parametrize("task", ["days", "late", "damaged", "returned"])
def test_rates_agree_with_truths_within_sampling_error(table, task):
    """Overall, by carrier, by fifth of the truth: mean residual within 4 standard errors of 0."""
    truth = table.truth[task].double().numpy()
    residual = table.label(task).double().numpy() - truth
    fifth = np.searchsorted(np.quantile(truth, [0.2, 0.4, 0.6, 0.8]), truth)
    carrier = table.scenario.numpy()
    parts = [fifth >= 0, *(fifth == k for k in range(5)), *(carrier == k for k in range(4))]
    for part in parts:
        chosen = residual[part]
        assert abs(chosen.mean()) < 4 * chosen.std() / np.sqrt(len(chosen))


def test_late_means_later_than_promised(table):
    days, late = table.label("days").numpy(), table.label("late").numpy()
    assert (late == (days > table.keys["promised_days"].numpy())).all()
    assert days.min() > 0
    assert 0.05 < late.mean() < 0.4


def test_the_chance_of_a_late_parcel_agrees_with_many_draws(market):
    orders = draw_orders(market, 6)
    truth = outcome(market, orders, orders.warehouse, orders.carrier)
    normal = np.random.default_rng(0).standard_normal((200_000, 1))
    days = truth.days * np.exp(truth.spread * normal - truth.spread**2 / 2)
    np.testing.assert_allclose(days.mean(axis=0), truth.days, rtol=0.01)
    late = (days > orders.promised_days).mean(axis=0)
    np.testing.assert_allclose(late, truth.late, atol=0.006)


def test_returns_average_over_late_and_damaged(market):
    orders = draw_orders(market, 500)
    truth = outcome(market, orders, orders.warehouse, orders.carrier)
    rng = np.random.default_rng(1)
    late = rng.random((4000, 500)) < truth.late
    damaged = rng.random((4000, 500)) < truth.damaged
    sampled = chance_returned(market, orders.item, late, damaged).mean(axis=0)
    np.testing.assert_allclose(sampled, truth.returned, atol=0.02)


def test_a_row_is_the_same_in_every_table(market, table):
    start = BLOCK - 50
    part = deliveries_table(market, 100, start=start)
    same = table.take(torch.arange(start, start + 100))
    assert torch.equal(part.row_id, same.row_id)
    assert torch.equal(part.dense, same.dense) and torch.equal(part.labels, same.labels)
    again = deliveries_table(Market("small", seed=5), 200)
    assert torch.equal(again.labels, table.labels[:200])
    assert not torch.equal(deliveries_table(Market("small", seed=6), 200).labels, again.labels)


def test_another_way_changes_the_way_and_not_the_order(market, table):
    rows = 3000
    swift = deliveries_table(market, rows, carrier="swift")
    freight = deliveries_table(market, rows, carrier=3, warehouse="valley")
    assert (swift.scenario == 0).all() and (freight.scenario == 3).all()
    names = swift.schema.categorical_names
    for name in ("item", "region", "week_of_year"):
        place = names.index(name)
        assert torch.equal(swift.categorical[:, place], table.categorical[:rows, place])
    assert (freight.categorical[:, names.index("warehouse")] == 2).all()
    own = table.take(torch.arange(rows)).take(table.scenario[:rows] == 0)
    sent_swift = swift.take(table.scenario[:rows] == 0)
    assert torch.equal(own.labels, sent_swift.labels)  # the shop's own choice, the same luck
    assert swift.label("days").mean() < freight.label("days").mean()


def test_options_hold_the_truth_of_every_table(market):
    options = delivery_options(market, 300)
    assert options["total"].shape == (300, 3, len(CARRIERS))
    for home, way in ((0, 0), (2, 1), (1, 3)):
        sent = deliveries_table(market, 300, warehouse=home, carrier=way)
        for name, truth in (("days", "days"), ("late", "late"), ("total", "expected_euro")):
            np.testing.assert_allclose(
                options[name][:, home, way], sent.truth[truth].numpy(), rtol=1e-5
            )


def test_no_carrier_is_best_for_every_order_and_choosing_saves_money(market):
    total = delivery_options(market, 4000)["total"]
    best = total.min(axis=1).argmin(axis=1)
    assert np.bincount(best, minlength=4).min() > 0.03 * 4000
    assert total.min(axis=(1, 2)).mean() < 0.9 * total.mean(axis=0).min()


def test_expected_euro_is_the_mean_of_the_money_that_was_lost(table):
    price = table.keys["price_cents"].double().numpy() / 100
    carrier = table.keys["carrier_cents"].double().numpy() / 100
    label = {n: table.label(n).double().numpy() for n in ("late", "damaged", "returned")}
    lost = delivery_euro(carrier, price=price, **label)
    residual = lost - table.truth["expected_euro"].double().numpy()
    assert abs(residual.mean()) < 4 * residual.std() / np.sqrt(ROWS)


def test_ids_are_those_of_the_market(market, table):
    item = table.keys["item"].numpy()
    names = table.schema.categorical_names
    ids = dict(zip(names, table.categorical.numpy().T, strict=True))
    assert (ids["item"] == item + 1).all()
    assert (ids["category"] == market.items["category"][item] + 1).all()
    assert (ids["region"] == market.users["home_region"][table.keys["user"].numpy()] + 1).all()
    assert (ids["carrier"] == table.scenario.numpy() + 1).all()
    shares = np.bincount(table.scenario.numpy()) / ROWS
    assert shares.min() > 0.05 and shares.max() < 0.7


def test_the_frame_agrees_with_the_table(market, table):
    frame = deliveries_frame(market, 50)
    np.testing.assert_allclose(frame["days"].to_numpy(), table.label("days")[:50], atol=0.006)
    assert frame["late"].to_list() == table.label("late")[:50].bool().tolist()
    assert frame["carrier"][0] == CARRIERS[int(table.scenario[0])]


def test_unknown_choices_and_sizes_are_refused(market):
    with pytest.raises(ValueError, match="carrier 'pigeon' is unknown; choose from swift"):
        deliveries_table(market, 10, carrier="pigeon")
    with pytest.raises(ValueError, match="warehouse 3 is unknown"):
        deliveries_table(market, 10, warehouse=3)
    with pytest.raises(ValueError, match="rows is 0"):
        deliveries_table(market, 0)
    with pytest.raises(ValueError, match="start is -1"):
        deliveries_table(market, 10, start=-1)

"""What notebook 00 says about the shop and the first model, on its own recorded results."""

import pytest

from mtlkit.comparison import paired_interval

pytestmark = [pytest.mark.notebook, pytest.mark.slow]


def step(recorded, name):
    return paired_interval(recorded("00")["steps of auc"][name])


def test_few_products_are_clicked_and_the_top_of_the_page_most(recorded):
    rates = [row["click"] for row in recorded("00")["click rate by position"]]
    assert len(rates) == 8
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 1.3 * rates[-1]
    assert 0.05 < sum(rates) / 8 < 0.12


@pytest.mark.parametrize("task", ["click", "purchase"])
def test_the_first_model_lies_between_the_average_and_the_best_possible(recorded, task):
    assert step(recorded, f"{task}: model minus average").low > 0.05
    assert step(recorded, f"{task}: best minus model").low > 0.02


def test_the_intervals_of_purchase_are_wider(recorded):
    for name in ("model minus average", "best minus model"):
        click, purchase = (step(recorded, f"{task}: {name}") for task in ("click", "purchase"))
        assert purchase.high - purchase.low > 1.5 * (click.high - click.low)


def test_the_table_holds_the_means_of_the_steps(recorded):
    for row in recorded("00")["auc on test"]:
        gain = step(recorded, f"{row['task']}: model minus average").mean
        gap = step(recorded, f"{row['task']}: best minus model").mean
        assert row["first model"] - row["average for all"] == pytest.approx(gain, abs=1e-6)
        assert row["best possible"] - row["first model"] == pytest.approx(gap, abs=1e-6)

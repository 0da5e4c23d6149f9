"""What notebook 00 says about the shop and the first model, on its own recorded results."""

import pytest

pytestmark = [pytest.mark.notebook, pytest.mark.slow]


def test_few_products_are_clicked_and_the_top_of_the_page_most(recorded):
    rates = [row["click"] for row in recorded("00")["click rate by position"]]
    assert len(rates) == 8
    assert rates[0] == max(rates)
    assert rates[0] > 1.3 * rates[-1]
    assert 0.05 < sum(rates) / 8 < 0.12


@pytest.mark.parametrize("task", ["click", "purchase"])
def test_the_first_model_lies_between_the_average_and_the_best_possible(recorded, task):
    found = recorded("00")
    assert found[f"{task}: gain over the average"]["low"] > 0.05
    assert found[f"{task}: gap to the best"]["low"] > 0.02

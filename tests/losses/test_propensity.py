"""Estimates of the mean over all rows from clicked rows, against the truth of the market."""

import math

import pytest
import torch

from mtlkit.losses.propensity import doubly_robust, inverse_propensity, seen_mean
from mtlkit.shop.market import Market

DRAWS = 400


@pytest.fixture(scope="module")
def shop():
    """(P(click), P(purchase | click), error of a fixed prediction if bought, if not), float64."""
    table = Market("biased", seed=0).impressions(20_000)
    click, purchase = (table.truth[name].double() for name in ("click", "purchase"))
    # a prediction that knows something: between the mean rate and the logit before luck
    logit = (table.truth["score_checkout"].double() - 2.0) * 0.5
    return (
        click,
        purchase,
        -torch.nn.functional.logsigmoid(logit),
        -torch.nn.functional.logsigmoid(-logit),
    )


def estimates(shop, estimate):
    """The truth, and mean and standard error of an estimate over draws of clicks and purchases."""
    click, purchase, if_bought, if_not = shop
    truth = (purchase * if_bought + (1 - purchase) * if_not).mean().item()
    generator = torch.Generator().manual_seed(1)
    values = []
    for _ in range(DRAWS):
        u = torch.rand(2, len(click), generator=generator, dtype=torch.float64)
        seen, bought = u[0] < click, u[1] < purchase
        error = torch.where(bought, if_bought, if_not)
        values.append(estimate(error.where(seen, torch.nan), seen).item())  # unseen: not to be read
    values = torch.tensor(values, dtype=torch.float64)
    return truth, values.mean().item(), (values.std() / math.sqrt(DRAWS)).item()


def imputed(shop):
    _, purchase, if_bought, if_not = shop
    return purchase * if_bought + (1 - purchase) * if_not


def assert_unbiased(shop, estimate):
    truth, mean, error = estimates(shop, estimate)
    assert error < 0.02 * truth  # sharp enough to see the biases below
    assert abs(mean - truth) < 4 * error


def assert_biased(shop, estimate):
    truth, mean, error = estimates(shop, estimate)
    assert abs(mean - truth) > 10 * error
    assert abs(mean - truth) > 0.05 * truth


def test_the_mean_over_clicked_rows_is_biased(shop):
    assert_biased(shop, seen_mean)


def test_inverse_propensity_is_unbiased_with_the_right_propensity(shop):
    assert_unbiased(shop, lambda v, o: inverse_propensity(v, o, shop[0]))


def test_inverse_propensity_is_biased_with_a_wrong_propensity(shop):
    flat = torch.full_like(shop[0], shop[0].mean())
    assert_biased(shop, lambda v, o: inverse_propensity(v, o, flat))


def test_doubly_robust_is_unbiased_with_the_right_propensity_and_a_wrong_imputation(shop):
    wrong = torch.full_like(shop[0], 0.3)
    assert_unbiased(shop, lambda v, o: doubly_robust(v, o, shop[0], wrong))


def test_doubly_robust_is_unbiased_with_a_wrong_propensity_and_the_right_imputation(shop):
    wrong, right = torch.full_like(shop[0], shop[0].mean()), imputed(shop)
    assert_unbiased(shop, lambda v, o: doubly_robust(v, o, wrong, right))


def test_doubly_robust_is_biased_when_both_are_wrong(shop):
    wrong, guess = torch.full_like(shop[0], shop[0].mean()), torch.full_like(shop[0], 0.3)
    assert_biased(shop, lambda v, o: doubly_robust(v, o, wrong, guess))


def test_a_right_imputation_makes_doubly_robust_steadier_than_inverse_propensity(shop):
    right = imputed(shop)
    _, _, dr = estimates(shop, lambda v, o: doubly_robust(v, o, shop[0], right))
    _, _, ipw = estimates(shop, lambda v, o: inverse_propensity(v, o, shop[0]))
    assert dr < 0.95 * ipw  # on the same draws


def test_rows_choose_what_the_mean_goes_over_and_none_gives_zero_without_a_gradient():
    values = torch.tensor([1.0, 2.0, 4.0], requires_grad=True)
    seen, e = torch.tensor([True, False, True]), torch.tensor([0.5, 0.5, 0.25])
    rows = torch.tensor([True, True, False])
    assert inverse_propensity(values, seen, e) == (2 + 16) / 3
    assert inverse_propensity(values, seen, e, rows) == 1
    guess = torch.tensor([1.0, 3.0, 3.0])
    assert doubly_robust(values, seen, e, guess, rows) == 2
    assert doubly_robust(values, seen, e, guess) == (1 + 3 + 3 + 4) / 3
    for none in (
        inverse_propensity(values, seen, e, rows & False),
        doubly_robust(values, seen, e, guess, rows & False),
        seen_mean(values, seen & False),
    ):
        assert none == 0
        none.backward()
    assert (values.grad == 0).all()

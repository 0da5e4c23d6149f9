import numpy as np
import pytest
import torch

from mtlkit.schema import SchemaError
from mtlkit.shop import product_words as words
from mtlkit.shop.market import Market
from mtlkit.shop.products import (
    BAND_PRIOR,
    STYLE_PRIOR,
    product_pictures,
    products_frame,
    products_table,
)


@pytest.fixture(scope="module")
def market():
    return Market("small", seed=3)


@pytest.fixture(scope="module")
def table(market):
    return products_table(market)


def test_products_are_the_items_of_the_market(market, table):
    item = table.keys["item"].numpy()
    assert (item == np.arange(market.dials.items)).all()
    for name in ("category", "style", "price_band"):
        assert (table.label(name).numpy() == market.items[name]).all()
    cents = table.keys["price_cents"].numpy()
    np.testing.assert_allclose(cents / 100, market.items["price"], atol=0.006)
    assert (table.categorical[:, 0].numpy() == market.items["seller"] + 1).all()
    assert table.schema.dense_slices["pixel"] == slice(1, 785)


def test_the_same_seed_gives_the_same_products_and_another_does_not(market, table):
    again = products_table(Market("small", seed=3))
    assert torch.equal(table.dense, again.dense)
    assert torch.equal(table.sequences["title"][0], again.sequences["title"][0])
    other = products_table(Market("small", seed=4))
    assert not torch.equal(table.dense[:, 1:], other.dense[:, 1:])


def test_more_listings_keep_the_first_ones_and_word_the_rest_anew(market, table):
    several = products_table(market, listings=3)
    assert len(several) == 3 * len(table)
    first = several.take(several.keys["listing"] == 0)
    assert torch.equal(first.dense, table.dense)
    assert torch.equal(first.sequences["title"][0], table.sequences["title"][0])
    second = several.take(several.keys["listing"] == 1)
    assert torch.equal(second.keys["item"], table.keys["item"])
    assert torch.equal(second.labels, table.labels)
    assert (second.dense[:, 1:] != table.dense[:, 1:]).any(dim=1).all()


def test_the_frame_says_in_words_what_the_table_says_in_ids(market, table):
    frame = products_frame(market)
    values, offsets = table.sequences["title"]
    for row in (0, 17, 399):
        title = [words.VOCABULARY[i] for i in values[offsets[row] : offsets[row + 1]].tolist()]
        assert frame["title"][row] == " ".join(title)
        assert frame["category"][row] == market.categories[int(table.label("category")[row])]
    assert int(values.min()) >= 1 and int(values.max()) < len(words.VOCABULARY)


def test_word_chances_sum_to_one_and_words_are_drawn_with_them():
    tables = (
        words.NOUN_GIVEN_CATEGORY, words.MATERIAL_GIVEN_CATEGORY,
        words.PRINT_GIVEN_STYLE, words.PROMISE_GIVEN_BAND,
    )  # fmt: skip
    draws = np.random.default_rng(0).random(40_000)
    for chances in tables:
        np.testing.assert_allclose(chances.sum(axis=1), 1.0)
        assert chances.min() > 0
        drawn = words.draw_words(chances, np.full(len(draws), 2), draws)
        share = np.bincount(drawn, minlength=chances.shape[1]) / len(draws)
        np.testing.assert_allclose(share, chances[2], atol=4 * np.sqrt(0.25 / len(draws)))


def test_the_true_chances_agree_with_how_often_labels_come_true():
    table = products_table(Market("small", seed=0, items=4000), listings=2, pictures=False)
    for task in ("category", "style", "price_band"):
        chance = table.truth[task].double().numpy()
        label = table.label(task).long().numpy()
        np.testing.assert_allclose(chance.sum(axis=1), 1.0, atol=1e-5)
        happened = np.eye(chance.shape[1])[label]
        for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.01)):
            cell = (chance >= low) & (chance < high)
            if cell.sum() < 200:
                continue
            error = np.sqrt((chance[cell] * (1 - chance[cell])).sum()) / cell.sum()
            # two listings share a product, so the error may be up to sqrt(2) larger
            assert abs(happened[cell].mean() - chance[cell].mean()) < 4 * 1.42 * error


def test_the_priors_are_those_of_the_market():
    items = Market("small", seed=1, items=20_000).items
    for prior, label in ((STYLE_PRIOR, items["style"]), (BAND_PRIOR, items["price_band"])):
        share = np.bincount(label) / len(label)
        np.testing.assert_allclose(share, prior, atol=4 * np.sqrt(0.25 / len(label)))
    assert (np.bincount(items["category"]) == 2000).all()


def test_posterior_of_one_word_is_bayes_rule_by_hand():
    prior, likelihood = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.4, 0.2])
    by_hand = prior * likelihood / (prior * likelihood).sum()
    found = words.posterior(prior, np.log(likelihood)[None, :] + 7.0)
    np.testing.assert_allclose(found[0], by_hand)


def test_inputs_can_be_chosen(market, table):
    words_only = products_table(market, pictures=False)
    assert words_only.schema.dense_width == 1 and len(words_only.sequences) == 1
    pixels_only = products_table(market, attributes=False)
    assert pixels_only.schema.dense_width == 784 and not pixels_only.sequences
    assert torch.equal(pixels_only.dense, table.dense[:, 1:])
    drawn = product_pictures(market).reshape(-1, 784) / np.float32(255)
    np.testing.assert_array_equal(pixels_only.dense.numpy(), drawn)
    with pytest.raises(SchemaError, match="leave attributes or pictures on"):
        products_table(market, attributes=False, pictures=False)
    with pytest.raises(ValueError, match="listings is 0"):
        products_table(market, listings=0)


def test_price_is_no_input(table):
    assert "price" not in table.schema.dense_slices

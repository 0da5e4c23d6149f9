"""Sessions: the truths are the exact best predictions from what a model may read."""

import itertools
import math

import numpy as np
import pytest
import torch

from mtlkit.shop.market import Market
from mtlkit.shop.session_process import (
    CATEGORY_WORD,
    FILLER,
    INTENT_WORD,
    INTENTS,
    OWN_WORD,
    TOKENS,
    WORDS,
)


@pytest.fixture(scope="module")
def market():
    return Market("small", seed=5)


@pytest.fixture(scope="module")
def table(market):
    return market.sessions(40_000)


def lists(table, name):
    values, offsets = table.sequences[name]
    return [values[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def word_chance(word, intent, category):
    """P(word | intent, last category), straight from the description."""
    chance = (1 - INTENT_WORD - CATEGORY_WORD) / len(FILLER) if word in FILLER else 0.0
    chance += CATEGORY_WORD if word == category else 0.0
    for other in INTENTS:
        own = OWN_WORD if other == intent else 0.0
        if word in WORDS[other]:
            chance += INTENT_WORD * (own + (1 - OWN_WORD) / len(INTENTS)) / len(WORDS[other])
    return chance


def test_the_true_intent_is_the_posterior_of_a_slow_bayes_rule(market):
    frame, table, log = market.sessions_frame(60), market.sessions(60), market.session_log
    for row, session in enumerate(frame.iter_rows(named=True)):
        path = [market.categories.index(name) for name in session["history_category"]]
        weight = log.prior[session["user"]].copy()
        for step in range(1, len(path)):
            before = path[max(0, step - 2)]
            moves = log.moves(
                np.array([session["user"]]), np.array([path[step - 1]]), np.array([before])
            )[0]
            weight *= moves[:, path[step]]
        for word in session["query"]:
            weight *= [word_chance(word, i, session["history_category"][-1]) for i in INTENTS]
        posterior = weight / weight.sum()
        assert np.allclose(table.truth["intent"][row].numpy(), posterior, atol=2e-5)
        after = log.moves(np.array([session["user"]]), np.array([path[-1]]), np.array([path[-2]]))
        truth = table.truth["next_category"][row].numpy()
        assert np.allclose(truth, posterior @ after[0], atol=2e-5)


@pytest.mark.parametrize("task", ["next_category", "intent"])
def test_classes_come_as_often_as_their_truth_says(table, task):
    label = torch.nn.functional.one_hot(table.label(task).long()).double().numpy()
    truth = table.truth[task].double().numpy()
    assert np.allclose(truth.sum(axis=1), 1, atol=1e-4)
    for place in range(truth.shape[1]):
        for part in np.array_split(np.argsort(truth[:, place], kind="stable"), 5):
            p, y = truth[part, place], label[part, place]
            assert abs((y - p).sum()) / math.sqrt((p * (1 - p)).sum()) < 4.2


def test_purchases_come_as_often_as_their_truth_says(table):
    p, y = table.truth["purchase"].double().numpy(), table.label("purchase").double().numpy()
    for part in np.array_split(np.argsort(p, kind="stable"), 10):
        assert abs((y - p)[part].sum()) / math.sqrt((p * (1 - p))[part].sum()) < 4


def test_moves_are_probabilities(market):
    user = np.arange(200)
    moves = market.session_log.moves(user, user % 10, (user // 10) % 10)
    assert (moves > 0).all() and np.allclose(moves.sum(axis=2), 1)


def test_the_order_of_the_history_matters(table):
    """The category before the last one is where a comparing visitor goes back to."""
    history = lists(table, "history_category")
    back = np.array([h[-2] != h[-1] and h[-2] == 1 + y for h, y in
                     zip(history, table.label("next_category").long().tolist())])  # fmt: skip
    compare = table.label("intent").numpy() == INTENTS.index("compare")
    other = np.array([h[-2] != h[-1] for h in history])
    assert back[compare & other].mean() > 2 * back[~compare & other].mean()


def test_history_items_belong_to_the_history_categories(market, table):
    items, categories = table.sequences["history"][0], table.sequences["history_category"][0]
    assert np.array_equal(market.items["category"][items.numpy() - 1] + 1, categories.numpy())
    counts = np.bincount(items.numpy() - 1, minlength=market.dials.items)
    within = market.items["category"] == 2
    assert np.corrcoef(counts[within], market.items["popularity"][within])[0, 1] > 0.9


def test_fields_shared_with_the_impressions_have_the_same_sizes(market, table):
    sizes = {f.name: f.size for f in market.impressions(8).schema.categorical}
    for field in table.schema.categorical:
        assert sizes[field.name] == field.size
    assert {s.name: s.shares for s in table.schema.sequences} == {
        "history": "item", "history_category": "category", "query": None,
    }  # fmt: skip


def test_query_tokens_are_words(table):
    tokens = lists(table, "query")
    assert {len(t) for t in tokens} == {1, 2, 3, 4}
    assert len(set(TOKENS)) == len(TOKENS)
    seen = {token for t in tokens for token in t}
    assert seen == set(range(1, len(TOKENS) + 1))


def test_a_short_sessions_table_is_the_start_of_a_long_one(market, table):
    short = market.sessions(50)
    part = table.take(torch.arange(50))
    assert torch.equal(short.labels, part.labels) and torch.equal(short.dense, part.dense)
    for name in short.sequences:
        assert lists(short, name) == lists(part, name)
    later = market.sessions(300, start=4000)  # over a block's edge
    assert torch.equal(later.truth["intent"], table.truth["intent"][4000:4300])
    assert torch.equal(later.row_id, torch.arange(4000, 4300))

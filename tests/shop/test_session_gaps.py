"""A clock in the sessions, and users who come late: new evidence, and nothing else moves."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import lognorm

from mtlkit.shop.market import Market
from mtlkit.shop.session_gaps import (
    BINS,
    FASTEST,
    PACE,
    SPREAD,
    TYPICAL_GAP,
    gap_chances,
    gap_evidence,
)
from mtlkit.shop.session_process import INTENTS
from tests.shop.test_sessions import lists, word_chance

TELLS = 1.2


@pytest.fixture(scope="module")
def market():
    return Market("small", seed=5, gap_tells=TELLS)


@pytest.fixture(scope="module")
def table(market):
    return market.sessions(20_000)


@pytest.fixture(scope="module")
def plain():
    return Market("small", seed=5).sessions(20_000)


def power_chance(power, intent, tells=TELLS):
    """P(a gap's power of two | intent) from the log-normal itself."""
    middle = TYPICAL_GAP * math.exp(tells * PACE[intent])
    low = 0.0 if power == FASTEST else 2.0**power
    high = math.inf if power == FASTEST + BINS - 1 else 2.0 ** (power + 1)
    return np.diff(lognorm.cdf([low, high], s=SPREAD, scale=middle))[0]


def test_without_the_dial_there_is_no_clock(plain):
    assert set(plain.sequences) == {"history", "history_category", "query"}
    assert "history_gap" not in Market("tiny").sessions_frame(5).columns


def test_the_clock_moves_nothing_but_the_truth(table, plain):
    for name in ("categorical", "dense", "labels", "scenario", "row_id"):
        assert torch.equal(getattr(table, name), getattr(plain, name))
    for name, both in plain.sequences.items():
        assert all(torch.equal(a, b) for a, b in zip(both, table.sequences[name], strict=True))
    assert not torch.equal(table.truth["intent"], plain.truth["intent"])


def test_the_truth_is_the_posterior_of_a_slow_bayes_rule_with_gaps(market, table):
    log = market.session_log
    ids = lists(table, "history_gap")
    for row, session in enumerate(market.sessions_frame(60).iter_rows(named=True)):
        path = [market.categories.index(name) for name in session["history_category"]]
        user = np.array([session["user"]])
        weight = log.prior[session["user"]].copy()
        for step in range(1, len(path)):
            last, before = np.array([path[step - 1]]), np.array([path[max(0, step - 2)]])
            weight *= log.moves(user, last, before)[0][:, path[step]]
            power = math.floor(math.log2(session["history_gap"][step]))
            assert ids[row][step] == power - FASTEST + 2
            weight *= [power_chance(power, i) for i in range(len(INTENTS))]
        for word in session["query"]:
            weight *= [word_chance(word, i, session["history_category"][-1]) for i in INTENTS]
        assert session["history_gap"][0] == 0 and ids[row][0] == 1
        assert len(ids[row]) == len(session["history_gap"]) == len(path)
        posterior = weight / weight.sum()
        assert np.allclose(table.truth["intent"][row].numpy(), posterior, atol=2e-5)


@pytest.mark.parametrize("task", ["next_category", "intent"])
def test_classes_come_as_often_as_their_truth_says(table, task):
    label = torch.nn.functional.one_hot(table.label(task).long()).double().numpy()
    truth = table.truth[task].double().numpy()
    for place in range(truth.shape[1]):
        for part in np.array_split(np.argsort(truth[:, place], kind="stable"), 5):
            p, y = truth[part, place], label[part, place]
            assert abs((y - p).sum()) < 4.2 * math.sqrt((p * (1 - p)).sum() + 0.05)


def test_the_truth_knows_more_with_a_clock(table, plain):
    label = table.label("intent").long()[:, None]
    loss = [-t.truth["intent"].gather(1, label).double().log().mean() for t in (plain, table)]
    assert loss[1] < 0.85 * loss[0]


def test_gaps_come_as_often_as_the_log_normal_says(market, table):
    values, offsets = table.sequences["history_gap"]
    intent = np.repeat(table.label("intent").long().numpy(), np.diff(offsets))
    for i in range(len(INTENTS)):
        ids = values.numpy()[intent == i]
        ids = ids[ids > 1] - 2
        expected = np.array([power_chance(b + FASTEST, i) for b in range(BINS)])
        assert np.allclose(expected, gap_chances(TELLS)[i], atol=1e-12)
        sd = np.sqrt(len(ids) * expected * (1 - expected))
        assert (abs(np.bincount(ids, minlength=BINS) - len(ids) * expected) < 4.5 * sd).all()


def test_rare_gaps_have_chances_above_0_and_the_evidence_is_finite():
    tells = 5.0  # the largest; the bargain hunter's gap of 64 minutes lies 8 deviations out
    chances = gap_chances(tells)
    for i, b in itertools.product(range(len(INTENTS)), range(BINS)):
        low, high = (math.log(2.0 ** (FASTEST + b + k)) for k in (0, 1))
        middle = math.log(TYPICAL_GAP) + tells * PACE[i]
        low = -math.inf if b == 0 else (low - middle) / SPREAD
        high = math.inf if b == BINS - 1 else (high - middle) / SPREAD
        if low > 0:  # Q(x) = erfc(x / sqrt 2) / 2, exact far out
            tail = [math.erfc(x / math.sqrt(2)) / 2 for x in (low, high)]
            assert math.isclose(chances[i, b], tail[0] - tail[1], rel_tol=1e-9)
    assert (chances > 0).all() and np.allclose(chances.sum(axis=1), 1)
    place = np.array([[-1, BINS - 1, 0, 3]])
    found = gap_evidence(place, np.array([3]), tells)
    expected = np.log(chances[:, BINS - 1]) + np.log(chances[:, 0])
    assert np.isfinite(found).all() and np.allclose(found[0], expected)


def test_inside_a_power_of_two_minutes_say_nothing(market):
    frame = market.sessions_frame(6_000)
    logs = {intent: [] for intent in INTENTS}
    for intent, gaps in zip(frame["intent"], frame["history_gap"], strict=True):
        logs[intent] += [math.log2(gap) for gap in gaps[1:]]
    for values in map(np.array, logs.values()):
        power = np.floor(values)
        place = values - power
        assert abs(place.mean() - 0.5) * math.sqrt(12 * len(place)) < 4
        assert abs(place.std() - math.sqrt(1 / 12)) < 0.01
        # the log-normal's own slope would lean to the left above its middle, to the right below
        assert abs(np.corrcoef(place, power)[0, 1]) * math.sqrt(len(place)) < 4


def test_rows_are_the_same_wherever_a_table_starts(market, table):
    later = market.sessions(300, start=4000)  # over a block's edge
    assert torch.equal(later.truth["intent"], table.truth["intent"][4000:4300])
    assert lists(later, "history_gap") == lists(table, "history_gap")[4000:4300]
    assert (
        market.sessions_frame(20, 4090)["history_gap"].to_list()
        == (market.sessions_frame(30, 4080)["history_gap"].to_list()[10:])
    )


# --- newcomers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def late():
    return Market("small", seed=5, new_users=0.4)


def test_newcomers_come_from_their_day_on_and_others_are_as_before(late, plain):
    table, first = late.sessions(20_000), late.session_log.newcomers.first_day
    user, day = table.keys["user"].numpy(), table.keys["day"].numpy()
    assert (first > 0).mean() == 0.4 and first[first > 0].min() >= late.dials.days // 2
    assert (day >= first[user]).all() and torch.equal(table.keys["day"], plain.keys["day"])
    was = plain.keys["user"].numpy()
    early = day < first[was]
    assert np.array_equal(user[~early], was[~early]) and (first[user[early]] == 0).all()
    assert early.mean() > 0.2
    kept = torch.from_numpy(~early)
    assert torch.equal(table.labels[kept], plain.labels[kept])
    assert torch.equal(table.truth["intent"][kept], plain.truth["intent"][kept])


def test_a_share_of_the_last_quarter_is_of_users_never_seen(late):
    table = late.sessions(20_000)
    user, day = table.keys["user"].numpy(), table.keys["day"].numpy()
    cut = late.dials.days * 3 // 4
    unseen = ~np.isin(user[day >= cut], user[day < cut])
    assert 0.06 < unseen.mean() < 0.2


def test_of_a_newcomer_the_shop_knows_no_past(late, plain):
    table = late.sessions(2_000)
    new = torch.from_numpy(late.session_log.newcomers.is_new[table.keys["user"].numpy()])
    assert (table.dense[new, 1] == np.float32(round(-2.7 / 0.8, 4))).all()
    assert (table.dense[new, 2:] == 0).all() and (table.dense[~new, 2:] != 0).all()


def test_with_newcomers_the_truth_is_calibrated(late):
    table = late.sessions(20_000)
    p, y = table.truth["intent"].double().numpy(), table.label("intent").long().numpy()
    new = late.session_log.newcomers.is_new[table.keys["user"].numpy()]
    for part, i in itertools.product((new, ~new), range(len(INTENTS))):
        gap = (y[part] == i).sum() - p[part, i].sum()
        assert abs(gap) / math.sqrt((p[part, i] * (1 - p[part, i])).sum()) < 4

"""The claims of notebook 04 hold on its stored five-shop tables and on what a full run records."""

from functools import cache, partial

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

from mtlkit import AITM, ESM2, ESMM, Market, SharedBottom, paired_interval
from mtlkit.comparison import across_shops
from mtlkit.course import evidence
from mtlkit.losses.chain import log1mexp
from mtlkit.shop.oracle import best_predictions

pytestmark = pytest.mark.notebook

FORMS = ("ESCM2-IPW", "ESCM2-DR")  # of ESCM2, as the notebook shows them
CONTROLS = ("separate", "trees")  # no network that all tasks share
RELATIVES = ("ESM2", "AITM", "DBMTL")
BENT = {"shape": "hidden layer", "dial": 1.0}
DISTANCE = {"task": "purchase", "metric": "error", "sign": -1}
JOINT = {"task": "purchase", "metric": "joint_auc"}


@cache
def columns_tell(shop, dial, exposure="personal", rows=20_000):
    """A log of a shop and the best chances of click and purchase that its columns allow."""
    market = Market(
        "biased", seed=shop, purchase_rate=0.2, selection_bias=dial, exposure=exposure
    )  # fmt: skip
    log = market.impressions(rows)
    return log, best_predictions(market, log)


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("04")


@pytest.fixture(scope="module")
def stored():
    return evidence("04")


def off(stored, name, part, dial, shape="line"):
    """Mean prediction of pCVR over true mean, minus 1, on every shop."""
    rows = stored.runs.filter(
        shape=shape, dial=dial, candidate=name, task="purchase", metric=part
    )  # fmt: skip
    seeds = rows.select(pl.selectors.starts_with("seed ")).to_numpy()
    return across_shops(dict(zip(rows["shop"], seeds - 1, strict=True)), sign=0).headline


def test_the_tables_stand_on_five_shops_and_five_starts(stored):
    assert len(stored.shops) == 5 and len(stored.seeds) == 5


def test_everyone_had_four_trials_and_none_is_missing(stored):
    trials = stored.table("chosen").select(pl.selectors.starts_with("trial"))
    assert trials.width == 4
    assert trials.null_count().row(0) == (0, 0, 0, 0)


def test_at_40_a_product_of_chances_breaks_where_a_sum_of_logs_does_not():
    z = torch.full((3,), -40.0, requires_grad=True)
    product = z.sigmoid().prod().log()
    assert product == -torch.inf and torch.autograd.grad(product, z)[0].isnan().all()
    total = F.logsigmoid(z).sum()
    assert total.item() == pytest.approx(-120) and torch.autograd.grad(total, z)[0].allclose(
        torch.ones(3)
    )
    z = torch.full((3,), 20.0)  # the deck: nothing is left of 1 - p
    assert 1 - z.sigmoid().prod() == 0
    assert log1mexp(F.logsigmoid(z).sum()).item() == pytest.approx(-18.9, abs=0.05)


def test_clicked_rows_buy_more_and_the_dial_widens_the_gap(found):
    rates = found["true chances"]
    gaps = [c - n for c, n in zip(rates["clicked"], rates["never clicked"], strict=True)]
    assert min(gaps) > 5
    assert gaps[-1] > gaps[0] + 3
    assert rates["all"][-1] < 0.5 * rates["clicked"][-1]


def test_at_dial_0_ipw_leaves_the_line_a_fifth_too_high_like_naive_training(stored):
    for name in ("naive", "ESCM2-IPW"):
        assert off(stored, name, "never clicked", 0.0).low > 0.1
        assert 0.15 < off(stored, name, "never clicked", 0.0).mean < 0.25
    gap = stored.difference(
        "ESCM2-IPW", "naive", task="purchase", metric="never clicked", shape="line", dial=0.0
    )
    assert gap.headline.low < 0 < gap.headline.high
    for name in ("separate", "naive", *FORMS):  # the deck: ESMM comes closest there
        ours = off(stored, "ESMM", "never clicked", 0.0).mean
        assert ours < off(stored, name, "never clicked", 0.0).mean


def test_on_most_shops_the_clip_is_as_high_as_the_mean_chance_of_a_click(stored):
    for shape in ("line", "hidden layer"):
        chosen = stored.table("chosen").filter(shape=shape, candidate="ESCM2-IPW")["chosen"]
        assert sum("clip 0.1" in words for words in chosen) == 4
    for shop in stored.shops:
        log, best = columns_tell(shop, 0.0)
        assert best["click"].mean() == pytest.approx(0.1, abs=0.005)
        assert 0.6 < (best["click"] < 0.1).mean() < 0.8  # these never count in full
        # the true chances, clipped there, stand for 1.3 times the truth
        counts = best["click"] / best["click"].clip(0.1)
        stand_for = np.average(best["purchase"], weights=counts)
        assert stand_for > 1.2 * best["purchase"].mean()


def test_pages_filled_at_random_leave_the_gap_and_clicks_drawn_by_lot_close_it():
    for shop in range(3):
        for exposure in ("personal", "random"):
            log, best = columns_tell(shop, 2.0, exposure)
            chance, clicked = log.truth["purchase"].numpy(), log.label("click").numpy() == 1
            assert chance[clicked].mean() > 2.5 * chance.mean()
            assert best["purchase"].mean() > 2.3 * chance.mean()  # perfect on clicked
            opened = np.random.default_rng(shop).random(len(chance)) < clicked.mean()
            assert chance[opened].mean() == pytest.approx(chance.mean(), rel=0.15)


def test_hidden_appeal_makes_every_training_too_high(stored):
    for name in ("separate", "naive", "ESMM", *FORMS):
        means = [off(stored, name, "all", dial).mean for dial in (0.0, 1.0, 2.0)]
        assert means == sorted(means)
        assert off(stored, name, "all", 2.0).low > 1
        assert abs(off(stored, name, "clicked", 2.0).mean) < 0.1  # where labels are, it looks right


def test_even_a_model_that_is_perfect_on_clicked_rows_says_two_and_a_half_times_the_truth(stored):
    ceiling = stored.table("ceiling")
    assert ceiling.filter(dial=0.0)["all"].mean() == pytest.approx(1, abs=0.01)
    assert ceiling.filter(dial=2.0)["clicked"].mean() == pytest.approx(1, abs=0.01)
    assert 2.3 < ceiling.filter(dial=2.0)["all"].min() < ceiling.filter(dial=2.0)["all"].max() < 2.7


def test_at_dial_0_the_hidden_layer_and_then_ipw_mend_the_level_and_not_the_distance(stored):
    places = (("naive", "line"), ("naive", "hidden layer"), ("ESCM2-IPW", "hidden layer"))
    level = [off(stored, name, "never clicked", 0.0, shape) for name, shape in places]
    assert [round(1 + gap.mean, 2) for gap in level] == [1.23, 1.11, 1.03]
    assert level[1].low > 0 > level[2].low
    line, bent, both = (gap.mean for gap in level)
    assert 0.45 < (line - bent) / line < 0.55  # the deck: half of the way to right,
    assert (bent - both) / bent > 0.6  # and most of the rest
    for dial, part in ((0.0, "never clicked"), (1.0, "never clicked"), (1.0, "all")):
        place = {"metric": part, "sign": -1, "shape": "hidden layer", "dial": dial}
        closer = stored.difference("ESCM2-IPW", "naive", task="purchase", **place)
        assert closer.verdict == "better"  # the take-away: with a hidden layer, IPW helped
    distance = {"task": "purchase", "metric": "error", "dial": 0.0}
    means = [stored.mean(name, shape=shape, **distance) for name, shape in places]
    assert max(means) - min(means) < 0.3


def test_ipw_and_dr_change_little_in_the_line(stored):
    for name in FORMS:
        for dial in (0.0, 1.0, 2.0):
            gap = stored.difference(name, "naive", shape="line", dial=dial, **DISTANCE)
            assert abs(gap.headline.mean) < 0.55 and gap.better_on <= 2 and gap.worse_on == 0
    for dial in (0.0, 1.0, 2.0):  # the deck: level in the mean
        gap = stored.difference("ESCM2-DR", "ESCM2-IPW", shape="line", dial=dial, **DISTANCE)
        assert gap.verdict == "no difference seen"


def test_ipw_lowers_the_distance_in_two_of_five_places_each_seen_on_one_or_two_shops(stored):
    places = [("line", d) for d in (0.0, 1.0, 2.0)] + [("hidden layer", d) for d in (0.0, 1.0)]
    gaps = {
        (shape, dial): stored.difference("ESCM2-IPW", "naive", shape=shape, dial=dial, **DISTANCE)
        for shape, dial in places
    }
    clear = {place for place, gap in gaps.items() if gap.verdict == "better"}
    assert clear == {("line", 2.0), ("hidden layer", 1.0)}
    assert all(-0.7 < gaps[place].headline.mean < -0.4 for place in clear)
    assert {gaps[place].better_on for place in clear} == {1, 2}


def test_with_the_hidden_layer_nothing_sorts_better_than_separate_networks_or_trees(stored):
    for reference in ("separate", "trees"):
        others = stored.against(reference, **JOINT, **BENT)
        assert {"naive", "ESMM", "ESCM2-IPW", *RELATIVES} < set(others)
        assert all(gap.better_on <= 2 for name, gap in others.items() if name not in CONTROLS)
    trees = stored.difference("trees", "separate", **JOINT, **BENT)
    assert trees.verdict == "no difference seen" and trees.better_on == trees.worse_on == 0


def test_in_the_figure_of_the_order_esm2_is_ahead_dbmtl_behind_and_the_rest_level(found, stored):
    names = [row["candidate"] for row in found["order"]]
    assert names[0] == "separate" and set(names[1:]) == {"naive", "ESMM", *RELATIVES, "trees"}
    verdicts = {n: stored.difference(n, "separate", **JOINT, **BENT).verdict for n in names[1:]}
    assert [n for n, said in verdicts.items() if said == "better"] == ["ESM2"]
    assert [n for n, said in verdicts.items() if said == "worse"] == ["DBMTL"]
    for row in found["order"][1:]:  # the learner sees these numbers
        gap = stored.difference(row["candidate"], "separate", **JOINT, **BENT)
        assert row["minus separate"] == gap.short()


def test_naive_training_ipw_and_dbmtl_cost_the_click_and_no_other_one_network_does(found, stored):
    gaps = {
        name: gap
        for name, gap in stored.against("ESMM", task="click", **BENT).items()
        if name not in CONTROLS
    }
    assert {n for n, gap in gaps.items() if gap.verdict == "worse"} == {
        "naive", "ESCM2-IPW", "DBMTL",
    }  # fmt: skip
    assert all(gap.worse_on >= 3 for gap in gaps.values() if gap.verdict == "worse")
    for row in found["calibration"]:  # the learner sees it
        mean = stored.mean(row["hidden layer"], task="click", **BENT)
        assert row["pCTR AUC"] == pytest.approx(mean)
    assert abs(stored.difference("ESMM", "separate", **JOINT, **BENT).headline.mean) < 0.003


def test_esmm_adds_no_layer_and_its_relatives_sort_clicked_and_bought_no_better(stored):
    schema = Market("biased").impressions(100).select_tasks(["click", "cart", "purchase"]).schema
    network = partial(SharedBottom, embedding_dim=8, hidden=(32,), tower=(16,))
    plain = network(schema).parameter_count()["total"]
    assert ESMM(schema, network).parameter_count()["total"] == plain
    for name, kind in {"ESM2": partial(ESM2, via={"purchase": "cart"}), "AITM": AITM}.items():
        assert kind(schema, network).parameter_count()["total"] > plain
        gap = stored.difference(name, "ESMM", **JOINT, **BENT)
        assert gap.better_on == 0 and gap.headline.mean < 0.001


def test_a_gradient_into_the_propensity_inflates_the_clicks(found):
    levels = found["clicks predicted / observed"]
    assert 0.85 < np.mean(levels["with detach"]) < 1.2
    assert paired_interval(levels["without detach"]).low > 1.3


def test_esmm_is_calibrated_on_labels_and_wrong_about_the_truth(found, stored):
    rows = {row["hidden layer"]: row for row in found["calibration"]}
    assert 0.94 < rows["ESMM"]["pCVR PCOC"] < 1.06
    assert round(rows["ESMM"]["pCVR / truth"], 1) == 1.4
    assert off(stored, "ESMM", "all", 1.0, "hidden layer").low > 0.3
    assert off(stored, "ESMM", "never clicked", 1.0, "hidden layer").low > 0.3  # the quiz
    for name, row in rows.items():
        for heading, metric in (("pCVR PCOC", "pcoc"), ("distance", "error"), ("pCVR AUC", "auc")):
            mean = stored.mean(name, task="purchase", metric=metric, **BENT)
            assert row[heading] == pytest.approx(mean)


def test_on_clicked_rows_esmm_sorts_worse_than_naive_training_on_every_shop(stored):
    for shape in ("line", "hidden layer"):
        gap = stored.difference("ESMM", "naive", task="purchase", shape=shape, dial=1.0)
        assert gap.worse_on == 5
    gap = stored.difference("ESMM", "naive", **JOINT, **BENT)  # the instructor's answer
    assert gap.verdict == "better" and gap.better_on == 2


def test_coarse_first_sorts_hardly_better_and_calibrates_pcvr_in_the_line(stored):
    for shape in ("line", "hidden layer"):
        place = {"shape": shape, "dial": 1.0}
        gap = stored.difference("ESMM, coarse first", "ESMM", **JOINT, **place)
        assert gap.headline.mean < 0.003 and gap.better_on <= 2
    place = {"task": "purchase", "metric": "ece", "dial": 1.0}
    gap = stored.difference("ESMM, coarse first", "ESMM", shape="line", **place)
    assert gap.verdict == "better" and gap.better_on == 4

"""The claims of notebook 06 hold on what a full run records and on the stored contest."""

import polars as pl
import pytest
import torch

from mtlkit import Market, SharedBottom, SingleTask, fit
from mtlkit.balance import BALANCERS, FixedWeights
from mtlkit.balance.toy import STARTS, toy_gradients, walk
from mtlkit.course import evidence, sizes
from mtlkit.lessons.nb06.checks import share
from mtlkit.lessons.nb06.contest import FOREST, PLACES, RATES
from mtlkit.lessons.nb06.sizes import CONTEST_SIZES

pytestmark = pytest.mark.notebook

CONTROLS = ("equal weights", "random weights", "tuned constant", "1 / gradient norm")
NEITHER = ("separate networks", "trees")  # no weights of tasks at all
RULES = tuple(n for n in evidence("06").candidates if n not in (*CONTROLS, *NEITHER))
UNEVEN = ("six tasks", "conflicting")  # the places with six tasks


@pytest.fixture(scope="module")
def found(recorded):
    return recorded("06")


@pytest.fixture(scope="module")
def shares(found):
    return {(row["gradients"], row["rows"]): row for row in found["conflicts"]}


@pytest.mark.parametrize("batch", [64, 512])
def test_a_task_with_few_labels_conflicts_with_itself_about_as_often_as_with_others(shares, batch):
    itself = shares["cart, itself", batch]["mean"]
    assert 40 < itself < 60
    others = {p for p, _ in shares if "cart" in p} - {"cart, itself"}
    assert others == {"click and cart", "cart and random labels"}
    for pair in others:
        assert abs(itself - shares[pair, batch]["mean"]) < 8, pair


def test_no_pair_conflicts_clearly_more_often_than_a_coin(shares):
    assert len(shares) == 15
    for pair, row in shares.items():
        assert row["low"] <= 50, pair


def test_click_and_dwell_stay_at_the_coin_at_each_batch_size(shares):
    rows = [row for (pair, _), row in shares.items() if pair == "click and dwell"]
    assert len(rows) == 3
    assert all(row["low"] < 50 < row["high"] for row in rows)


def test_a_task_with_a_label_in_each_row_agrees_with_itself_in_large_batches(shares):
    small, middle, large = (shares["click, itself", b]["mean"] for b in (64, 512, 4096))
    assert large < middle < small
    assert small > 25
    assert large < 15


@pytest.mark.parametrize("pair", ["click and cart", "cart and random labels"])
def test_real_and_random_partners_of_cart_are_near_a_coin_in_small_batches(shares, pair):
    for batch in (64, 512):
        assert 35 < shares[pair, batch]["mean"] < 65


def test_directions_are_nearly_at_right_angles_and_sizes_are_not_alike(found):
    runs = pl.DataFrame(found["last third"])
    assert len(runs) == sizes("06", "full").tries
    assert runs["share of negative cosines"].is_between(0.3, 0.7).all()
    assert runs["mean size of a cosine"].max() < 0.2
    assert runs["longest norm / shortest"].min() > 10


def test_rating_is_the_loudest_and_click_the_quietest(found):
    points = found["norms, ten steps a row"]
    assert len(points) == 21  # the figure has the whole training
    mean = pl.DataFrame(points).mean().row(0, named=True)
    assert mean["return"] > max(mean["cart"], mean["purchase"])
    assert mean["dwell"] > mean["return"]
    for point in points:
        assert max(point, key=point.get) == "rating"
        assert min(point, key=point.get) == "click"


def test_rating_and_return_have_the_fewest_labels_and_click_has_all():
    table = Market("small", seed=0).impressions(20_000)
    share = {t: float(table.mask(t).float().mean()) for t in table.schema.task_names}
    assert share["click"] == 1
    assert set(sorted(share, key=share.get)[:2]) == {"rating", "return"}


def test_nine_of_fifteen_rules_use_the_gramian_alone(found):
    rules = {
        name: make for name, make in BALANCERS.items() if name not in ("curriculum", "gradnorm")
    }
    of_gramian = {name for name, make in rules.items() if make.needs_gramian}
    others = {name for name, make in rules.items() if make.needs_gradients}
    shown = [row[""] for row in found["weights of one gramian"]]
    assert shown[0] == "gradient norm" and of_gramian == set(shown[1:])
    assert (len(of_gramian), len(of_gramian | others)) == (9, 15)


@pytest.mark.parametrize("rule", ["pcgrad", "upgrad"])
def test_two_rules_never_go_below_weight_one(rule):
    generator = torch.Generator().manual_seed(6)
    for _ in range(30):
        G = torch.randn(6, 8, generator=generator, dtype=torch.float64)
        G *= 10 ** torch.randn(6, 1, generator=generator, dtype=torch.float64)
        assert BALANCERS[rule]().weights(torch.ones(6), G @ G.T).min() > 1 - 1e-6


def test_the_rules_weigh_one_gramian_as_the_text_says(found):
    norms = found["weights of one gramian"][0]
    tasks = ["click", "cart", "purchase", "dwell", "return", "rating"]
    assert set(norms) == {"", *tasks} and norms[""] == "gradient norm"
    shortest, longest = (pick(tasks, key=norms.get) for pick in (min, max))
    weights = {row[""]: row for row in found["weights of one gramian"]}
    assert weights["mgda"][shortest] > 3  # of six
    assert longest == "rating"
    for rule in ("mgda", "imtl-g", "nash-mtl"):
        assert weights[rule][longest] == min(weights[rule][task] for task in tasks)
        assert weights[rule][longest] < weights[rule][shortest] / 3
    for rule in ("pcgrad", "upgrad"):
        assert min(weights[rule][task] for task in tasks) > 1 - 1e-9


def test_each_loss_of_the_toy_has_a_valley_in_the_upper_half():
    x1 = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    line = torch.stack([x1, torch.full_like(x1, 7.0)], 1).numpy()
    losses = torch.from_numpy(toy_gradients(line)[0])  # (point, task)
    assert x1[losses.argmin(0)].tolist() == pytest.approx([-5, 5], abs=0.02)


def test_the_walks_are_as_long_as_the_text_says(found):
    full = sizes("06", "full")
    assert (len(STARTS), full.toy_steps) == (5, 35_000)
    assert len(found["starts above 0"]) == 8


def test_the_two_upper_walks_stay_in_a_valley_with_equal_weights(found):
    upper = sorted(sorted(range(5), key=lambda i: -STARTS[i][1])[:2])
    assert found["starts above 0"]["equal"] == upper
    for name, above in found["starts above 0"].items():
        assert set(above) <= set(upper), name


def test_at_the_papers_rate_equal_weights_stay_in_the_valleys_and_four_rules_leave_them(found):
    above = found["starts above 0"]
    left = {name for name, starts in above.items() if not starts}
    assert left == {"mgda", "imtl-g", "nash-mtl", "aligned-mtl"}
    assert all(len(above[name]) == 2 for name in set(above) - left)


@pytest.mark.parametrize("rule", ["mgda", "imtl-g", "nash-mtl", "aligned-mtl"])
def test_the_rules_that_leave_the_valley_turn_the_steep_task_down(rule):
    steep, flat = torch.tensor([100.0, 10.0]), torch.tensor([-0.1, 1.0])
    G = torch.stack([steep, flat]).double()
    first, second = BALANCERS[rule]().weights(torch.ones(2), G @ G.T).tolist()
    assert first < second / 10


def test_at_ten_times_the_rate_equal_weights_leave_the_valleys():
    [ends] = walk({"equal": BALANCERS["equal"]}, steps=2_000, learning_rate=0.01).values()
    assert (ends[:, -1, 1] < 0).all()


def test_the_shortest_mixture_is_the_short_gradient_where_the_cosine_is_above_short_over_long():
    generator = torch.Generator().manual_seed(6)
    seen = set()
    for _ in range(200):
        g1, g2 = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        g1 = g1 * 4
        a = float(share(g1, g2))
        short, long = sorted((float(g1.norm()), float(g2.norm())))
        alone = float(g1 @ g2) / (short * long) > short / long
        assert (a in (0.0, 1.0)) == alone
        if not alone:  # the foot of the perpendicular
            d = a * g1 + (1 - a) * g2
            assert float(g1 @ d) == pytest.approx(float(d @ d))
            assert float(g2 @ d) == pytest.approx(float(d @ d))
        seen.add(alone)
    assert seen == {True, False}


@pytest.mark.parametrize("rule", ["pcgrad", "mgda", "nash-mtl"])
def test_a_rule_costs_a_pass_for_each_task_and_a_constant_one_in_all(rule):
    table = Market("small", seed=0).impressions(600)
    passes = {}
    for name, balancer in ((rule, BALANCERS[rule]()), ("constant", FixedWeights({"click": 0.5}))):
        model = SharedBottom(table.schema, hidden=(4,), tower=())
        history = fit(model, table, epochs=1, batch_size=512, balancer=balancer, progress=False)
        passes[name] = history.passes_per_step
    assert passes == {rule: 6, "constant": 1}


def test_a_rule_of_task_gradients_has_nothing_to_work_on_in_separate_networks():
    table = Market("small", seed=0).impressions(600)
    model = SingleTask(table.schema, hidden=(4,), tower=())
    with pytest.raises(ValueError, match=r"[Ss]hare"):
        fit(model, table, epochs=1, balancer=BALANCERS["mgda"](), progress=False)


@pytest.fixture(scope="module")
def contest():
    return evidence("06")


@pytest.fixture(scope="module")
def minus(contest):
    """minus(candidate, base, place): their difference in mean AUC, or in a task's metric."""

    def gap(candidate, base, place="six tasks", task="all", metric="auc"):
        return contest.difference(candidate, base, task=task, metric=metric, place=place)

    return gap


def test_the_contest_stands_on_five_shops_and_five_starts(contest):
    assert len(contest.shops) == 5 and len(contest.seeds) == 5
    assert RULES == ("PCGrad", "MGDA", "Nash-MTL")


def test_everyone_has_four_trials_from_three_starts_and_trees_from_one(contest):
    chosen = contest.table("chosen")
    assert (
        sum(name.startswith("trial ") for name in chosen.columns) == len(RATES) == len(FOREST) == 4
    )
    assert set(chosen["candidate"]) == set(contest.candidates)
    assert chosen.select(pl.col(r"^trial .$").is_not_null().all()).row(0) == (True,) * 4
    knobs = chosen.filter(candidate="tuned constant")["chosen"]
    assert set(knobs.str.extract(r"power (\S+)$")) == {"0.5", "1"}
    assert set(chosen["place"]) == set(PLACES) - {"conflicting"}  # takes over what six tasks chose
    assert (CONTEST_SIZES["search_seeds"][1], CONTEST_SIZES["seeds"][1]) == (3, 5)
    trees = contest.runs.filter(candidate="trees").select(r"^seed .$")
    assert all(len(set(row)) == 1 for row in trees.drop_nulls().rows())


def test_the_places_lie_where_the_text_puts_them():
    market = {place: Market(preset, **dials) for place, (preset, dials, _) in PLACES.items()}
    at = {place: made.dials.task_correlation for place, made in market.items()}
    assert at == {"six tasks": 0.5, "conflicting": -0.6, "two rich tasks": 0.95}
    of_map = evidence("02").runs
    rows = CONTEST_SIZES["rows"][1]
    assert len(of_map.filter(correlation=0.5, rows=rows)) and min(of_map["correlation"]) > -0.6
    bought = evidence("02").table("ceiling").filter(correlation=0.5, rows=rows)["purchases"]
    assert 190 < bought.mean() < 230  # "some 200 purchases"
    assert PLACES["two rich tasks"][2] == ["click", "cart"]
    rates = {p: m.impressions(20_000).label("click").mean() for p, m in market.items()}
    for place in UNEVEN:
        assert rates["two rich tasks"] / rates[place] == pytest.approx(5, rel=0.15)


@pytest.mark.parametrize("rule", RULES)
def test_with_six_tasks_every_rule_beats_equal_weights_and_the_dice(minus, rule):
    for base in ("equal weights", "random weights"):
        assert minus(rule, base).better_on >= 4
        assert minus(rule, base).verdict == "better"


def test_equal_weights_at_their_best_rate_are_level_with_the_dice(minus):
    assert minus("equal weights", "random weights").verdict == "no difference seen"


@pytest.mark.parametrize("place", UNEVEN)
@pytest.mark.parametrize("candidate", ["PCGrad", "1 / gradient norm"])
def test_angles_alone_and_sizes_set_once_stay_below_the_tuned_constant(minus, place, candidate):
    gap = minus(candidate, "tuned constant", place)
    assert gap.verdict == "worse"
    if place == "six tasks":
        assert gap.worse_on == 5 and f"{gap.headline.mean:.2f}" == "-0.02"
    assert minus(candidate, "equal weights", place).verdict == "better"
    between = minus("PCGrad", "1 / gradient norm", place)
    assert (between.better_on, between.worse_on) == (0, 0)
    assert between.verdict == "no difference seen" and abs(between.headline.mean) < 0.006


@pytest.mark.parametrize("rule", ["MGDA", "Nash-MTL"])
def test_with_six_tasks_two_rules_beat_the_constant_on_three_shops_and_not_clearly(minus, rule):
    gain = minus(rule, "tuned constant")
    assert (gain.better_on, gain.worse_on) == (3, 0)
    assert gain.verdict == "no difference seen"


def test_where_tasks_conflict_mgda_beats_the_constant_and_no_other_rule_does(minus):
    gain = minus("MGDA", "tuned constant", "conflicting")
    assert gain.verdict == "better" and gain.better_on == 4
    assert f"{gain.headline.mean:.3f}" == "0.018"


def test_only_one_rule_anywhere_is_clear_of_the_constant(minus, contest):
    clear = {
        (place, rule)
        for place in PLACES
        for rule in RULES
        if minus(rule, "tuned constant", place).verdict == "better"
    }
    assert clear == {("conflicting", "MGDA")}


def test_the_figures_of_the_deck_read_as_its_notes_say(minus, contest):
    others = [name for name in contest.candidates if name != "tuned constant"]
    gaps = {
        place: {name: minus(name, "tuned constant", place) for name in others} for place in PLACES
    }
    order = {
        place: sorted(rows, key=lambda name, rows=rows: -rows[name].headline.mean)
        for place, rows in gaps.items()
    }
    assert order["six tasks"] == order["conflicting"]
    assert order["six tasks"][:4] == ["MGDA", "trees", "Nash-MTL", "separate networks"]
    clear = {p: {n for n, g in rows.items() if g.verdict == "better"} for p, rows in gaps.items()}
    assert clear == {
        "six tasks": set(),
        "conflicting": {"MGDA", "separate networks"},
        "two rich tasks": set(),
    }
    above = [n for n, g in gaps["six tasks"].items() if g.headline.mean > 0]
    assert set(above) == set(order["six tasks"][:4])
    assert -0.0005 < gaps["six tasks"]["MGDA"].headline.low < 0  # just touches zero
    gain = minus("MGDA", "equal weights").headline.mean
    assert 4.5 < gain / gaps["six tasks"]["MGDA"].headline.mean < 5.5  # the good abstract
    assert order["two rich tasks"][-1] == "separate networks"
    assert gaps["two rich tasks"]["separate networks"].worse_on == 5


def test_on_monday_mgda_adds_one_to_two_hundredths(minus):
    for place in UNEVEN:
        assert 0.01 < minus("MGDA", "tuned constant", place).headline.mean < 0.02


@pytest.mark.parametrize("place", UNEVEN)
def test_separate_networks_lie_where_the_text_puts_them(minus, place):
    gaps = {name: minus(name, "separate networks", place) for name in RULES}
    words = {name: gap.verdict for name, gap in gaps.items()}
    assert words == {"PCGrad": "worse", "MGDA": "better", "Nash-MTL": "no difference seen"}
    assert f"{gaps['MGDA'].headline.mean:.2f}" == "0.01" and gaps["MGDA"].worse_on == 0
    assert 0.026 < -gaps["PCGrad"].headline.mean < 0.036  # "about 0.03"
    assert gaps["PCGrad"].worse_on == 5


def test_the_figure_of_separate_networks_reads_as_the_deck_says(minus):
    gaps = {
        name: minus(name, "separate networks")
        for name in (*RULES, "tuned constant", "equal weights", "trees")
    }
    assert [name for name, gap in gaps.items() if gap.verdict == "better"] == ["MGDA"]
    assert gaps["MGDA"].better_on == 3
    assert {name for name, gap in gaps.items() if gap.worse_on == 5} == {"PCGrad", "equal weights"}
    for name in ("Nash-MTL", "tuned constant"):
        assert gaps[name].verdict == "no difference seen"


def test_the_constant_goes_most_of_the_way_to_the_best_rule(minus):
    constant, best = (minus(n, "equal weights") for n in ("tuned constant", "MGDA"))
    assert constant.better_on == 5
    assert constant.headline.mean > 0.6 * best.headline.mean
    for place in UNEVEN:
        gain = minus("tuned constant", "equal weights", place)
        assert gain.verdict == "better" and f"{gain.headline.mean:.2f}" == "0.05"


@pytest.mark.parametrize("place", UNEVEN)
def test_trees_are_about_as_good_as_mgda_and_separate_networks_nearly(minus, place):
    gap = minus("MGDA", "trees", place)
    assert gap.verdict == "no difference seen" and abs(gap.headline.mean) < 0.01
    gap = minus("MGDA", "separate networks", place)
    assert gap.verdict == "better" and gap.headline.mean < 0.012


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("base", ["tuned constant", "equal weights"])
def test_for_two_rich_tasks_no_rule_is_seen_to_gain(minus, rule, base):
    gain = minus(rule, base, "two rich tasks")
    assert gain.verdict == "no difference seen" and abs(gain.headline.mean) <= 0.002


def test_for_two_rich_tasks_separate_networks_lie_below_the_constant_on_every_shop(minus):
    gap = minus("separate networks", "tuned constant", "two rich tasks")
    assert gap.verdict == "worse" and gap.worse_on == 5
    assert f"{gap.headline.mean:.3f}" == "-0.008"


@pytest.mark.parametrize("place", UNEVEN)
def test_mgda_pays_in_dwell(minus, place):
    gap = minus("MGDA", "separate networks", place, "dwell", "r2_log")
    assert gap.verdict == "worse" and round(gap.headline.mean, 3) <= -0.03
    gap = minus("MGDA", "tuned constant", place, "dwell", "r2_log")
    assert gap.verdict == "worse" and -0.04 <= round(gap.headline.mean, 3) <= -0.03


def test_some_200_purchases_place_six_tasks_on_the_map():
    purchases = evidence("02").table("ceiling").filter(rows=60_000)["purchases"]
    assert 150 < purchases.mean() < 260

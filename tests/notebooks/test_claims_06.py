"""The claims of notebook 06 hold on what a full run records and on the stored contest."""

import polars as pl
import pytest
import torch

from mtlkit import Market
from mtlkit.balance import BALANCERS
from mtlkit.balance.toy import STARTS, toy_gradients
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
    return {(row["gradients"], row["batch"]): row for row in found["conflicts"]}


@pytest.mark.parametrize("batch", [64, 512])
def test_a_task_with_few_labels_conflicts_with_itself_about_as_often_as_with_others(shares, batch):
    itself = shares["cart, itself", batch]["percent"]
    assert 40 < itself < 60
    others = {p for p, _ in shares if "cart" in p} - {"cart, itself"}
    assert others == {"click and cart", "cart and random labels"}
    for pair in others:
        assert abs(itself - shares[pair, batch]["percent"]) < 8, pair


def test_no_pair_conflicts_clearly_more_often_than_a_coin(shares):
    assert len(shares) == 15
    for pair, row in shares.items():
        assert row["low"] <= 50, pair


def test_click_and_dwell_stay_at_the_coin_at_each_batch_size(shares):
    rows = [row for (pair, _), row in shares.items() if pair == "click and dwell"]
    assert len(rows) == 3
    assert all(row["low"] < 50 < row["high"] for row in rows)


def test_a_task_with_a_label_in_each_row_agrees_with_itself_in_large_batches(shares):
    small, middle, large = (shares["click, itself", b]["percent"] for b in (64, 512, 4096))
    assert large < middle < small
    assert small > 25
    assert large < 15


@pytest.mark.parametrize("pair", ["click and cart", "cart and random labels"])
def test_real_and_random_partners_of_cart_are_near_a_coin_in_small_batches(shares, pair):
    for batch in (64, 512):
        assert 35 < shares[pair, batch]["percent"] < 65


def test_directions_are_nearly_at_right_angles_and_sizes_are_not_alike(found):
    row = found["through training"]
    assert 0.3 < row["conflicts"]["mean"] < 0.7
    assert row["cosine"]["high"] < 0.2
    assert row["norm ratio"]["mean"] > 10
    assert row["norm ratio"]["low"] > 3


def test_rating_is_the_loudest_and_click_the_quietest(found):
    norms = found["usual norms"]
    assert max(norms, key=norms.get) == "rating"
    assert min(norms, key=norms.get) == "click"
    assert norms["return"] > max(norms["cart"], norms["purchase"])
    points = found["norms, ten steps a row"]
    assert len(points) > 10
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
    assert of_gramian == {row[""] for row in found["weights of one gramian"]}
    assert (len(of_gramian), len(of_gramian | others)) == (9, 15)


@pytest.mark.parametrize("rule", ["pcgrad", "upgrad"])
def test_two_rules_never_go_below_weight_one(rule):
    generator = torch.Generator().manual_seed(6)
    for _ in range(30):
        G = torch.randn(6, 8, generator=generator, dtype=torch.float64)
        G *= 10 ** torch.randn(6, 1, generator=generator, dtype=torch.float64)
        assert BALANCERS[rule]().weights(torch.ones(6), G @ G.T).min() > 1 - 1e-6


def test_the_rules_weigh_one_gramian_as_the_text_says(found):
    norms = next(row for row in found["one gramian"] if row[""] == "norm")
    tasks = ["click", "cart", "purchase", "dwell", "return", "rating"]
    shortest, longest = (pick(tasks, key=norms.get) for pick in (min, max))
    weights = {row[""]: row for row in found["weights of one gramian"]}
    assert weights["mgda"][shortest] > 3  # of six
    assert longest == "rating"
    for rule in ("mgda", "imtl-g", "nash-mtl"):
        assert weights[rule][longest] == min(weights[rule][task] for task in tasks)
        assert weights[rule][longest] < weights[rule][shortest] / 3
    for rule in ("pcgrad", "upgrad"):
        assert min(weights[rule][task] for task in tasks) > 1 - 1e-9


def test_the_valleys_of_the_toy_lie_at_minus_five_and_five():
    x1 = torch.linspace(-8, 8, 1601, dtype=torch.float64)
    line = torch.stack([x1, torch.full_like(x1, 7.0)], 1).numpy()
    losses = torch.from_numpy(toy_gradients(line)[0])  # (point, task)
    assert x1[losses.argmin(0)].tolist() == pytest.approx([-5, 5], abs=0.02)


def test_the_walks_are_as_long_as_the_text_says(found):
    full = sizes("06", "full")
    assert (len(STARTS), full.toy_steps, full.reach) == (5, 35_000, 20)
    assert len(found["through the valley"]) == 8


def test_the_two_upper_walks_stay_in_a_valley_with_equal_weights(found):
    upper = sorted(sorted(range(5), key=lambda i: -STARTS[i][1])[:2])
    assert found["starts above 0"]["equal"] == upper
    for name, above in found["starts above 0"].items():
        assert set(above) <= set(upper), name


def test_at_the_papers_rate_equal_weights_stay_in_the_valleys_and_four_rules_leave_them(found):
    through = found["through the valley"]
    assert len(through) == 8
    left = {name for name, number in through.items() if number == 5}
    assert left == {"mgda", "imtl-g", "nash-mtl", "aligned-mtl"}
    assert all(through[name] == 3 for name in set(through) - left)


@pytest.mark.parametrize("rule", ["mgda", "imtl-g", "nash-mtl", "aligned-mtl"])
def test_the_rules_that_leave_the_valley_turn_the_steep_task_down(rule):
    steep, flat = torch.tensor([100.0, 10.0]), torch.tensor([-0.1, 1.0])
    G = torch.stack([steep, flat]).double()
    first, second = BALANCERS[rule]().weights(torch.ones(2), G @ G.T).tolist()
    assert first < second / 10


def test_longer_steps_jump_out_of_the_valley(found):
    stuck = dict(map(tuple, found["stuck starts by rate"]))
    assert [stuck[rate] for rate in (0.001, 0.002, 0.005)] == [2, 2, 2]
    assert min(stuck[rate] for rate in (0.01, 0.02)) < 2


def test_only_nash_mtl_does_not_notice_the_unit(found):
    ends = found["ends by unit"]
    assert len(ends) == 4
    assert {name for name, (one, other) in ends.items() if abs(other - one) < 0.1} == {"nash-mtl"}
    assert ends["equal"][1] < -2 and ends["pcgrad"][1] < -2
    assert ends["mgda"][1] > 2


def test_the_unit_of_a_loss_does_not_turn_the_step_of_nash_mtl():
    G = torch.randn(3, 5, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    steps = []
    for scale in (1.0, 0.1):
        rows = G * torch.tensor([[scale], [1.0], [1.0]])
        step = BALANCERS["nash-mtl"]().weights(torch.ones(3), rows @ rows.T).double() @ rows
        steps.append(step / step.norm())
    torch.testing.assert_close(steps[0], steps[1], atol=1e-4, rtol=0)


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


def test_a_rule_costs_a_pass_for_each_task(found):
    costs = {row["rule"]: row["passes"] for row in found["cost per step"]}
    assert costs.pop("equal") == 1
    assert len(costs) == 5
    assert set(costs.values()) == {6}


def test_a_rule_takes_longer_than_equal_weights_and_less_so_at_the_representation(found):
    rows = [row for row in found["cost per step"] if row["rule"] != "equal"]
    for row in rows:
        there = row["at the representation, times equal"]
        assert 1.5 < row["times equal"] < 6 and 0.9 < there < row["times equal"], row["rule"]


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
    assert minus(candidate, "tuned constant", place).verdict == "worse"
    if place == "six tasks":
        assert minus(candidate, "tuned constant", place).worse_on == 5
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
def test_mgda_lies_a_little_above_separate_networks(minus, place):
    gain = minus("MGDA", "separate networks", place)
    assert gain.verdict == "better" and gain.worse_on == 0
    assert gain.headline.mean < 0.012


def test_the_constant_goes_most_of_the_way_to_the_best_rule(minus):
    constant, best = (minus(n, "equal weights") for n in ("tuned constant", "MGDA"))
    assert constant.better_on == 5
    assert constant.headline.mean > 0.6 * best.headline.mean
    assert f"{constant.headline.mean:.2f}" == "0.05"


@pytest.mark.parametrize("place", UNEVEN)
def test_trees_are_about_as_good_as_mgda_and_separate_networks_nearly(minus, place):
    gap = minus("MGDA", "trees", place)
    assert gap.verdict == "no difference seen" and abs(gap.headline.mean) < 0.01
    gap = minus("MGDA", "separate networks", place)
    assert gap.verdict == "better" and gap.headline.mean < 0.012


@pytest.mark.parametrize("rule", RULES)
def test_for_two_rich_tasks_no_rule_gains_more_than_two_thousandths(minus, rule):
    gain = minus(rule, "equal weights", "two rich tasks").headline
    assert -0.003 < gain.mean <= 0.002
    assert gain.high < 0.006


def test_two_rich_tasks_share_well_with_equal_weights(minus):
    gain = minus("equal weights", "separate networks", "two rich tasks")
    assert gain.verdict == "better" and gain.better_on == 5


def test_for_two_rich_tasks_the_rate_gains_more_than_any_rule(found):
    by = {(row["place"], row["candidate"]): row for row in found["by rate"]}
    equal = by["two rich tasks", "equal weights"]
    assert f"{equal['at the best of four'] - equal['at rate 0.004']:.3f}" == "0.013"


def test_with_six_tasks_the_rate_explains_a_small_part_of_the_lead(found):
    by = {(row["place"], row["candidate"]): row for row in found["by rate"]}
    equal, nash = (by["six tasks", name] for name in ("equal weights", "Nash-MTL"))
    low, best = "at rate 0.004", "at the best of four"
    assert equal[best] - equal[low] < 0.35 * (nash[low] - equal[low])


def test_nash_mtl_gains_when_its_weights_sum_to_the_number_of_tasks(found):
    live = {row["candidate"]: row["mean AUC, live"] for row in found["live"]}
    assert live["Nash-MTL"] > live["Nash-MTL, sum left as it is"] + 0.01
    weights = next(row for row in found["weights of one gramian"] if row[""] == "nash-mtl")
    assert sum(weight for task, weight in weights.items() if task) > 3 * 6


def test_nobody_ranks_returns_well(contest):
    for place in UNEVEN:
        for name in contest.candidates:
            assert contest.mean(name, task="return", place=place) < 0.62


@pytest.mark.parametrize("place", UNEVEN)
def test_mgda_pays_in_dwell(minus, place):
    gap = minus("MGDA", "separate networks", place, "dwell", "r2_log")
    assert gap.verdict == "worse" and round(gap.headline.mean, 3) <= -0.03
    gap = minus("MGDA", "tuned constant", place, "dwell", "r2_log")
    assert gap.verdict == "worse" and -0.04 <= round(gap.headline.mean, 3) <= -0.03
    assert minus("MGDA", "Nash-MTL", place, "dwell", "r2_log").headline.mean < -0.015


def test_some_200_purchases_place_six_tasks_on_the_map():
    purchases = evidence("02").table("ceiling").filter(rows=60_000)["purchases"]
    assert 150 < purchases.mean() < 260

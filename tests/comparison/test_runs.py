"""Comparisons: pairing, budgets, intervals and verdicts, on cheap stand-ins and one real run."""

import json
import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from scipy import stats

from mtlkit.comparison import Comparison, Interval, compare, paired_interval, verdict
from mtlkit.data.splits import Split, split_random
from mtlkit.data.table import Table
from mtlkit.models import SharedBottom, SingleTask
from mtlkit.schema import Categorical, Dense, Scenario, Schema, SchemaError, Task
from mtlkit.train import evaluate

SCHEMA = Schema(
    tasks=(Task("click"), Task("units", "count")),
    categorical=(Categorical("item", 5),),
    dense=(Dense("price", 2),),
    scenarios=(Scenario("search"), Scenario("feed")),
)


def small_table(rows=60, seed=0, schema=SCHEMA):
    random = torch.Generator().manual_seed(seed)
    dense = torch.randn(rows, 2, generator=random)
    click = (dense[:, 0] + torch.randn(rows, generator=random) > 0).float()
    units = torch.poisson(dense[:, 1].exp(), generator=random)
    return Table(
        schema,
        categorical=torch.randint(0, 5, (rows, 1), generator=random),
        dense=dense,
        sequences={},
        labels=torch.stack([click, units], 1),
        observed=torch.ones(rows, 2, dtype=torch.bool),
        scenario=torch.arange(rows) % schema.num_scenarios,
    )


SPLIT = split_random(small_table(), seed=1)


class FakeModel:
    """Carries numbers instead of weights: what it is, its seed, and what the trainer gave it."""

    def __init__(self, level, seed):
        self.schema, self.level, self.seed = SCHEMA, level, seed
        self.start = torch.rand(1).item()

    def parameter_count(self):
        return {"total": 1000 * (1 + self.level)}


def fake_fit(
    model, train, validation, *, epochs=5, batch_size=8, learning_rate=0.1, balancer=None,
    patience=None, max_steps=None, seed=0, progress=True,
):  # fmt: skip
    model.trained = SimpleNamespace(
        train=train, validation=validation, seed=seed, rate=learning_rate
    )
    model.balancer = balancer
    if balancer is not None:
        balancer.steps += 1
    passes = 2 if getattr(balancer, "needs_gramian", False) else 1
    steps = 10 * epochs
    return SimpleNamespace(seconds=1.0 + model.level, steps=steps, backward_passes=steps * passes)


def fake_evaluate(model, table, by_scenario=False, group=None):
    luck = math.sin(model.seed) * 0.05  # common to every candidate: pairing must remove it
    noise = math.cos(7 * model.seed + model.level) * 0.001
    one = {
        "click": {"auc": 0.7 + 0.01 * model.level + luck + noise, "pcoc": 1.0 + noise},
        "units": {"poisson_deviance": 1.0 + 0.02 * model.level + luck + noise},
    }
    return dict.fromkeys(("search", "feed"), one) if by_scenario else one


def fake_compare(levels, **options):
    settings = {"trainer": fake_fit, "evaluator": fake_evaluate, "progress": False, **options}
    candidates = {f"level {k}": (lambda seed, k=k: FakeModel(k, seed)) for k in levels}
    return compare(candidates, SPLIT, **settings)


# --- intervals --------------------------------------------------------------------------------


def test_t_interval_agrees_with_scipys_one_sample_and_paired_tests():
    random = np.random.default_rng(0)
    a, b = random.normal(size=8), random.normal(0.4, size=8)
    mean, low, high = paired_interval(a - b, 0.9)
    assert mean == pytest.approx((a - b).mean())
    for test in (stats.ttest_1samp(a - b, 0.0), stats.ttest_rel(a, b)):
        reference = test.confidence_interval(0.9)
        assert (low, high) == pytest.approx((reference.low, reference.high))


def test_bootstrap_interval_is_the_middle_of_the_means_of_resamples():
    values = np.random.default_rng(1).exponential(size=25)
    _, low, high = paired_interval(values, method="bootstrap", seed=4)
    picks = np.random.default_rng(4).integers(25, size=(10_000, 25))
    expected = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
    assert (low, high) == pytest.approx(tuple(expected), rel=1e-12)
    assert low < values.mean() < high


def test_t_intervals_hold_as_often_as_they_say():
    random = np.random.default_rng(2)
    samples = random.normal(1.0, 2.0, size=(2000, 5))
    covered = [low <= 1.0 <= high for _, low, high in map(paired_interval, samples)]
    assert 0.93 < np.mean(covered) < 0.97


def test_with_five_values_the_bootstrap_covers_less_and_skew_costs_both_as_the_docstring_says():
    rng = np.random.default_rng(6)
    samples = {0.0: rng.standard_normal((400, 5)), np.exp(0.5): rng.lognormal(0, 1, (400, 5))}
    expected = {0.0: (0.95, 0.85), np.exp(0.5): (0.82, 0.73)}
    for truth, rows in samples.items():
        for method, stated in zip(("t", "bootstrap"), expected[truth], strict=True):
            found = [paired_interval(row, method=method, resamples=500) for row in rows]
            covered = np.mean([low <= truth <= high for _, low, high in found])
            assert covered == pytest.approx(stated, abs=0.055)


def test_one_difference_has_a_mean_and_no_interval():
    mean, low, high = paired_interval([0.3])
    assert mean == 0.3 and math.isnan(low) and math.isnan(high)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([],), "one or more finite numbers"),
        (([0.1, math.nan],), "one or more finite numbers"),
        (([0.1, 0.2], 95), "confidence must lie between 0 and 1"),
        (([0.1, 0.2], 0.95, "normal"), "method must be"),
    ],
)
def test_a_bad_request_for_an_interval_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        paired_interval(*arguments)


def test_the_verdict_follows_from_the_interval_and_the_metrics_direction_alone():
    assert verdict(0.1, 0.2, 1) == "better"
    assert verdict(0.1, 0.2, -1) == "worse"
    assert verdict(-0.2, -0.1, 1) == "worse"
    assert verdict(-0.2, -0.1, -1) == "better"
    assert verdict(-0.1, 0.2, 1) == verdict(0.0, 0.2, 1) == "no difference seen"
    assert verdict(0.1, 0.2, 0) == "no direction"
    assert verdict(math.nan, math.nan, 1) == "no interval"


# --- runs -------------------------------------------------------------------------------------


def test_pairing_by_seed_finds_a_difference_that_the_seed_spread_would_hide():
    result = fake_compare([0, 1])
    row = result.table().filter(pl.col("candidate") == "level 1", pl.col("task") == "click").row(
        0, named=True
    )  # fmt: skip
    auc = {
        name: result.runs.filter(
            pl.col("candidate") == name, pl.col("metric") == "auc", pl.col("scenario") == "all"
        )["value"].to_numpy()
        for name in ("level 0", "level 1")
    }
    assert row["difference"] == pytest.approx((auc["level 1"] - auc["level 0"]).mean())
    paired = stats.ttest_rel(auc["level 1"], auc["level 0"]).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((paired.low, paired.high))
    assert row["verdict"] == "better" and row["pairs"] == 5
    unpaired = stats.ttest_ind(auc["level 1"], auc["level 0"]).confidence_interval(0.95)
    assert unpaired.low < 0 < unpaired.high


def test_a_lower_deviance_is_better_and_a_higher_one_worse():
    words = {
        (r["candidate"], r["task"]): r["verdict"]
        for r in fake_compare([1, 0, 2]).table().to_dicts()
    }
    assert words["level 0", "units"] == "better" and words["level 2", "units"] == "worse"
    assert words["level 0", "click"] == "worse" and words["level 2", "click"] == "better"
    assert words["level 1", "click"] == "reference"


def test_two_candidates_of_the_same_make_show_no_difference():
    make = lambda seed: FakeModel(1, seed)  # noqa: E731
    result = compare(
        {"one": make, "two": make}, SPLIT, trainer=fake_fit, evaluator=fake_evaluate, progress=False
    )
    assert set(result.table()["verdict"]) == {"reference", "no difference seen"}
    assert result.table()["difference"].drop_nulls().to_list() == [0.0, 0.0]


def test_runs_list_every_scenario_and_the_table_can_pick_one():
    result = fake_compare([0, 1])
    assert set(result.runs["scenario"]) == {"all", "search", "feed"}
    assert len(result.runs) == 2 * 5 * 3 * 3  # candidates, seeds, scenarios, metrics
    assert set(result.table(scenario=None)["scenario"]) == {"all", "search", "feed"}
    assert set(result.table(scenario="feed")["scenario"]) == {"feed"}
    assert set(fake_compare([0, 1], by_scenario=False).runs["scenario"]) == {"all"}


def test_a_metric_without_a_direction_gets_no_verdict():
    rows = fake_compare([0, 1]).table("pcoc")
    assert rows["task"].to_list() == ["click", "click"]
    assert rows["verdict"].to_list() == ["reference", "no direction"]


def test_intervals_that_hold_together_are_wider():
    result = fake_compare([0, 1, 2])
    alone, together = result.table(), result.table(simultaneous=True)
    assert (
        ((together["high"] - together["low"]) > (alone["high"] - alone["low"])).drop_nulls().all()
    )
    family = stats.t.ppf(1 - 0.05 / 4 / 2, 4) / stats.t.ppf(0.975, 4)  # two rivals x two tasks
    ratio = ((together["high"] - together["low"]) / (alone["high"] - alone["low"])).drop_nulls()
    assert ratio.to_list() == pytest.approx([family] * 4)


def test_an_undefined_value_is_left_out_of_its_pair_only():
    def gappy(model, table, by_scenario=False, group=None):
        result = fake_evaluate(model, table, by_scenario, group)
        if model.seed == 2 and model.level == 1 and not by_scenario:
            result["click"]["auc"] = math.nan
        return result

    rows = fake_compare([0, 1], evaluator=gappy).table().to_dicts()
    pairs = {(r["candidate"], r["task"]): r["pairs"] for r in rows}
    assert pairs["level 1", "click"] == 4 and pairs["level 1", "units"] == 5
    assert all(math.isfinite(r["mean"]) for r in rows)


def test_an_interval_of_two_candidates_is_the_one_of_the_table_and_of_a_paired_t_test():
    result = fake_compare([0, 1, 2], seeds=[4, 1, 7])
    for task, metric in (("click", "auc"), ("units", "poisson_deviance")):
        row = result.table().filter(candidate="level 2", task=task).row(0, named=True)
        gap = result.interval("level 2", metric, task, minus="level 0")
        assert gap == pytest.approx((row["difference"], row["low"], row["high"]))
    worst, best = (result.by_seed(f"level {k}", "auc", "click") for k in (1, 2))
    by_hand = [fake_evaluate(FakeModel(2, seed), None)["click"]["auc"] for seed in (4, 1, 7)]
    assert best.tolist() == pytest.approx(by_hand)
    paired = stats.ttest_rel(best, worst).confidence_interval(0.95)
    gap = result.interval("level 2", "auc", "click", minus="level 1", scenario="feed")
    assert (gap.low, gap.high) == pytest.approx((paired.low, paired.high))
    alone = stats.ttest_1samp(best, 0).confidence_interval(0.95)
    assert result.interval("level 2", "auc", "click")[1:] == pytest.approx((alone.low, alone.high))


def test_an_interval_leaves_out_what_is_undefined_and_names_what_is_unknown():
    def gappy(model, table, by_scenario=False, group=None):
        found = fake_evaluate(model, table, by_scenario, group)
        if model.seed < 2 and not by_scenario:
            found["click"]["auc"] = math.nan
        return found

    result = fake_compare([0, 1], evaluator=gappy)
    rest = result.by_seed("level 0", "auc", "click")[2:]
    assert result.interval("level 0", "auc", "click").mean == pytest.approx(rest.mean())
    none = fake_compare([0], evaluator=gappy, seeds=[0, 1]).interval("level 0", "auc", "click")
    assert all(math.isnan(number) for number in none)
    with pytest.raises(ValueError, match="'best' is no candidate; there are: level 0, level 1"):
        result.by_seed("best", "auc", "click")
    with pytest.raises(ValueError, match="No run has all"):
        result.by_seed("level 0", "auc", "units")


def test_an_interval_writes_itself_as_the_format_says():
    assert f"{Interval(0.314, 0.28, 0.3449):.2f}" == "0.31 (0.28 to 0.34)"
    assert f"{Interval(0.3, math.nan, math.nan):+.1f}" == "+0.3"
    assert f"{Interval(1.0, 0.5, 1.5)}" == str(Interval(1.0, 0.5, 1.5))


def test_one_seed_gives_means_but_no_verdict():
    result = fake_compare([0, 1], seeds=[3])
    assert set(result.table()["verdict"]) == {"reference", "no interval"}
    assert math.isnan(result.spread()["click"])


def test_costs_are_parameters_seconds_and_the_backward_passes_of_the_history():
    balancer = SimpleNamespace(needs_gramian=True, steps=0)
    cost = fake_compare([0, 1], fit_options_for={"level 1": {"balancer": balancer}}).cost()
    rows = {row["candidate"]: row for row in cost.to_dicts()}
    assert rows["level 0"]["parameters"] == 1000 and rows["level 1"]["parameters"] == 2000
    assert rows["level 1"]["seconds_ratio"] == pytest.approx(2.0)
    assert rows["level 0"]["backward_passes"] == 50 and rows["level 1"]["backward_passes"] == 100


def test_every_run_gets_a_fresh_copy_of_its_balancer():
    balancer, models = SimpleNamespace(needs_gramian=False, steps=0), []

    def remember(model, *tables, **options):
        models.append(model)
        return fake_fit(model, *tables, **options)

    fake_compare([0, 1], trainer=remember, fit_options={"balancer": balancer})
    assert balancer.steps == 0 and [m.balancer.steps for m in models] == [1] * 10


def test_training_sees_train_and_validation_and_the_test_rows_are_read_once_a_model():
    read, models = [], []

    def remember(model, train, validation, **options):
        models.append(model)
        return fake_fit(model, train, validation, **options)

    def count(model, table, by_scenario=False, group=None):
        read.append((id(model), table, by_scenario))
        return fake_evaluate(model, table, by_scenario, group)

    result = fake_compare([0, 1], on="test", trainer=remember, evaluator=count, seeds=[0, 1])
    assert all(m.trained.train is SPLIT.train for m in models)
    assert all(m.trained.validation is SPLIT.validation for m in models)
    assert all(table is SPLIT.test for _, table, _ in read)
    assert sorted(read_once for _, _, read_once in read) == [False] * 4 + [True] * 4
    for numbers in (result.spread, result.means):
        with pytest.raises(ValueError, match="must not select anything"):
            numbers()


def test_seeds_reach_factory_trainer_and_torch_and_leave_torch_as_it_was():
    models = []

    def remember(model, *tables, **options):
        models.append(model)
        return fake_fit(model, *tables, **options)

    torch.manual_seed(11)
    expected = torch.rand(1).item()
    torch.manual_seed(11)
    fake_compare([0, 1], seeds=[4, 9], trainer=remember)
    assert torch.rand(1).item() == expected
    assert [m.trained.seed for m in models] == [m.seed for m in models] == [4, 4, 9, 9]
    assert models[0].start == models[1].start != models[2].start


def test_a_split_function_draws_new_rows_for_every_seed():
    asked, seen = [], []

    def draw(seed):
        asked.append(seed)
        return split_random(small_table(seed=seed), seed=seed)

    def remember(model, train, validation, **options):
        seen.append(train)
        return fake_fit(model, train, validation, **options)

    compare(
        {"a": lambda seed: FakeModel(0, seed), "b": lambda seed: FakeModel(1, seed)},
        draw, seeds=[0, 1], trainer=remember, evaluator=fake_evaluate, progress=False,
    )  # fmt: skip
    assert asked == [0, 1]
    assert seen[0] is seen[1] and seen[2] is seen[3] and seen[0] is not seen[2]


def test_spread_and_means_are_those_of_the_reference_over_seeds():
    result = fake_compare([0, 1])
    auc = [fake_evaluate(FakeModel(0, s), None)["click"]["auc"] for s in range(5)]
    assert result.spread()["click"] == pytest.approx(np.std(auc, ddof=1))
    assert result.means()["click"] == pytest.approx(np.mean(auc))
    assert result.means("level 1")["click"] > result.means()["click"]
    with pytest.raises(ValueError, match="'level 7' is no candidate"):
        result.spread("level 7")


def test_improvement_is_the_mean_of_the_signed_relative_gains_over_tasks():
    rows = fake_compare([0, 1], seeds=[0]).improvement().to_dicts()
    base, own = (fake_evaluate(FakeModel(k, 0), None) for k in (0, 1))
    gain = own["click"]["auc"] / base["click"]["auc"] - 1
    loss = own["units"]["poisson_deviance"] / base["units"]["poisson_deviance"] - 1
    assert rows[0]["delta_m_percent"] == pytest.approx(100 * (gain - loss) / 2)
    assert [row["candidate"] for row in rows] == ["level 1"]


def test_the_distance_to_the_oracle_is_in_the_table_where_one_is_known():
    oracle = {"click": {"auc": 0.8}, "units": {"poisson_deviance": 0.9}}
    result = fake_compare([0, 1], oracle=oracle)
    for row in result.table().to_dicts():
        assert row["to_oracle"] == pytest.approx(row["sign"] * (row["oracle"] - row["mean"]))
    assert math.isnan(result.table("pcoc")["to_oracle"][0])
    assert "oracle" in result._repr_html_() and "to oracle" in result.to_markdown()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reference": "level 9"}, "'level 9' must be one of the candidates: level 0, level 1"),
        ({"seeds": []}, "one or more different whole numbers"),
        ({"seeds": [1, 1]}, "one or more different whole numbers"),
        ({"on": "train"}, 'on must be "validation" or "test"'),
        ({"fit_options": {"seed": 3}}, "compare sets 'seed' itself"),
        ({"fit_options": {"momentum": 3}}, "'momentum' .* is no option of the trainer"),
        ({"fit_options_for": {"level 9": {}}}, "'level 9', which is no candidate"),
        ({"fit_options_for": {"level 1": {"epochs": 9}}}, "epochs is 5 for 'level 0', 9 for"),
        ({"fit_options_for": {"level 1": {"max_steps": 9}}}, "Budgets must be equal"),
    ],
)
def test_unfair_or_unknown_requests_are_refused_before_any_training(options, words):
    def never(model, train, validation, *, epochs=5, batch_size=1, patience=None, max_steps=None):
        raise AssertionError("training started")

    with pytest.raises(ValueError, match=words):
        fake_compare([0, 1], **{"trainer": never, **options})


def test_naming_the_default_budget_for_one_candidate_is_no_difference():
    result = fake_compare([0, 1], seeds=[0], fit_options_for={"level 1": {"epochs": 5}})
    assert result.cost()["steps"].to_list() == [50, 50]


def test_without_candidates_there_is_nothing_to_compare():
    with pytest.raises(ValueError, match="none given"):
        fake_compare([])


def test_a_factory_that_hands_out_the_same_model_twice_is_refused():
    model = FakeModel(0, 0)
    with pytest.raises(ValueError, match="Build a new one in each call"):
        compare({"a": lambda seed: model}, SPLIT, trainer=fake_fit, evaluator=fake_evaluate,
                progress=False)  # fmt: skip


def test_tables_that_share_rows_are_refused():
    table = small_table()
    with pytest.raises(SchemaError, match="share"):
        compare({"a": lambda seed: FakeModel(0, seed)}, Split(table, table, table),
                trainer=fake_fit, evaluator=fake_evaluate, progress=False)  # fmt: skip


def test_an_unknown_metric_or_scenario_is_answered_with_the_known_ones():
    with pytest.raises(
        ValueError, match="auc, pcoc, poisson_deviance; scenarios: all, search, feed"
    ):
        fake_compare([0, 1]).table("bleu")


# --- words ------------------------------------------------------------------------------------


def test_markdown_holds_means_intervals_verdicts_costs_and_the_rule():
    text = fake_compare([0, 1]).to_markdown()
    assert "| click | level 1 | AUC |" in text and "▲ better" in text and "▼ worse" in text
    assert "Of 2 such comparisons about 0.1 would do so by luck alone." in text
    assert "backward passes" in text and "| level 1 | 2,000 |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    for block in tables:
        assert len({line.count("|") for line in block.strip().splitlines()}) == 1
    assert "| units | feed |" in fake_compare([0, 1]).to_markdown(scenario=None)


def test_html_escapes_names_and_marks_rows_and_columns_as_headings():
    result = compare(
        {"<b>": lambda seed: FakeModel(0, seed), "b": lambda seed: FakeModel(1, seed)},
        SPLIT, trainer=fake_fit, evaluator=fake_evaluate, progress=False,
    )  # fmt: skip
    page = result._repr_html_()
    assert "<b>b" not in page and "&lt;b&gt;" in page
    assert page.count('scope="row"') == 2 and page.count('scope="col"') == 7
    assert "better" in page and "lower is better" in page


def test_the_record_is_plain_json_without_nan():
    record = fake_compare([0, 1], seeds=[0]).record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["reference"] == "level 0" and record["table"][1]["low"] is None


# --- the real thing ---------------------------------------------------------------------------


def test_a_real_comparison_of_two_models_runs_and_repeats_exactly():
    split = split_random(small_table(240, seed=3), seed=0)
    sizes = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}
    candidates = {
        "single": lambda seed: SingleTask(split.train.schema, **sizes),
        "shared": lambda seed: SharedBottom(split.train.schema, **sizes),
    }

    def run(on):
        return compare(
            candidates, split, seeds=[0, 1], fit_options={"epochs": 2, "batch_size": 32}, on=on,
            progress=False,
        )  # fmt: skip

    first, second, test = run("validation"), run("validation"), run("test")
    assert isinstance(first, Comparison)
    assert first.runs.equals(second.runs) and not first.runs.equals(test.runs)
    assert first.cost()["parameters"][0] > first.cost()["parameters"][1]
    assert set(first.runs["scenario"]) == {"all", "search", "feed"}
    assert first.table().filter(pl.col("task") == "click")["mean"].is_between(0, 1).all()


def with_unknown(split):
    """The split with some validation rows in no known scenario."""
    validation = split.validation.take(torch.arange(len(split.validation)))
    validation.scenario[:4] = SCHEMA.unknown_scenario
    return split._replace(validation=validation)


def test_a_scenario_of_some_seeds_only_is_undefined_in_the_others():
    def draw(seed):
        split = split_random(small_table(120, seed=seed), seed=0)
        return with_unknown(split) if seed else split

    def measured(model, table, by_scenario=False, group=None):
        one = fake_evaluate(model, table)
        known = bool((table.scenario == SCHEMA.unknown_scenario).any())
        return dict.fromkeys(["search", "feed", *["unknown"] * known], one) if by_scenario else one

    candidates = {f"level {k}": (lambda seed, k=k: FakeModel(k, seed)) for k in (0, 1)}
    result = compare(candidates, draw, seeds=[0, 1, 2], trainer=fake_fit, evaluator=measured,
                     progress=False)  # fmt: skip
    values = result.by_seed("level 1", "auc", "click", "unknown")
    assert np.isnan(values).tolist() == [True, False, False]
    gap = (values - result.by_seed("level 0", "auc", "click", "unknown"))[1:]
    found = result.interval("level 1", "auc", "click", minus="level 0", scenario="unknown")
    assert found == paired_interval(gap, 0.95)
    row = result.table(scenario="unknown").row(1, named=True)
    assert row["pairs"] == 2 and row["difference"] == pytest.approx(found.mean)


@pytest.mark.parametrize("unknown", [True, False])
def test_rows_without_a_scenario_are_reported_beside_a_single_known_one(unknown):
    schema = Schema(SCHEMA.tasks, SCHEMA.categorical, SCHEMA.dense, (), (Scenario("search"),))
    split = split_random(small_table(120, seed=3, schema=schema), seed=0)
    if unknown:
        split.validation.scenario[:12] = schema.unknown_scenario
    sizes = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}
    result = compare({"a": lambda seed: SharedBottom(schema, **sizes)}, split, seeds=[0],
                     fit_options={"epochs": 1}, progress=False)  # fmt: skip
    assert set(result.runs["scenario"]) == ({"all", "search", "unknown"} if unknown else {"all"})


def test_the_environment_can_hide_the_progress_bar(monkeypatch, capsys):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    fake_compare([0], seeds=[0], progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TQDM_DISABLE", "0")
    fake_compare([0], seeds=[0], progress=True)
    assert "level 0, seed 0" in capsys.readouterr().err


def test_a_scenario_called_all_is_refused_beside_others():
    schema = Schema(
        SCHEMA.tasks, SCHEMA.categorical, SCHEMA.dense, (), (Scenario("all"), Scenario("ads"))
    )

    class Named(FakeModel):
        def __init__(self, level, seed):
            super().__init__(level, seed)
            self.schema = schema

    with pytest.raises(ValueError, match="must not be called 'all'"):
        compare({"a": lambda seed: Named(0, seed)}, SPLIT, trainer=fake_fit,
                evaluator=fake_evaluate, progress=False)  # fmt: skip


def test_a_run_is_measured_by_scenario_only_where_that_says_more():
    calls = []

    def counting(model, table, by_scenario=False, group=None):
        calls.append(by_scenario)
        return evaluate(model, table, by_scenario=by_scenario, group=group)

    for unknown, expected in ((0, [False]), (9, [False, True])):
        schema = Schema((Task("click"),), dense=(Dense("x"),), scenarios=(Scenario("only"),))
        table = Table(
            schema, torch.zeros(60, 0).long(), torch.randn(60, 1), {},
            (torch.arange(60) % 2).float().unsqueeze(1), torch.ones(60, 1).bool(),
            (torch.arange(60) < unknown).long(),
        )  # fmt: skip
        calls.clear()
        compare(
            {"one": lambda seed, schema=schema: SharedBottom(schema, hidden=(2,), tower=())},
            split_random(table, seed=1), seeds=[0], fit_options={"epochs": 1}, progress=False,
            evaluator=counting, jobs=1,
        )  # fmt: skip
        assert calls == expected

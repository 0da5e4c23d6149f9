import math
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import d2_tweedie_score, r2_score, roc_auc_score

from mtlkit.comparison import compare
from mtlkit.data.splits import Split
from mtlkit.metrics import metric_name
from mtlkit.models import AITM, ESMM, Constant, MMoE, SharedBottom
from mtlkit.schema import SchemaError
from mtlkit.train import evaluate, main_metric, predict, selection_score
from mtlkit.train.evaluation import deviance_explained
from tests import chains, tiny


@pytest.fixture
def setting():
    schema = tiny.schema()
    return MMoE(schema, embedding_dim=4, hidden=(8,), tower=()), tiny.table(schema, rows=200)


def test_predict_equals_the_model_s_own_prediction_whatever_the_batch_size(setting):
    model, table = setting
    whole = model.predict(tiny.all_rows(table))
    for size in (7, 200, 1000):
        parts = predict(model, table, batch_size=size)
        assert list(parts) == list(table.schema.task_names)
        for name, values in parts.items():
            np.testing.assert_allclose(values, whole[name].numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_predict_and_evaluate_leave_the_mode_as_it_was_and_use_no_dropout(training):
    schema = tiny.schema("click", "orders")
    table = tiny.table(schema)
    model = SharedBottom(schema, dropout=0.5).train(training)
    a, b = predict(model, table), predict(model, table)
    evaluate(model, table)
    assert np.array_equal(a["click"], b["click"])
    assert model.training == training


def test_evaluate_reads_observed_rows_only_and_all_of_them_at_once(setting):
    model, table = setting
    metrics = evaluate(model, table, batch_size=16)
    p, mask = predict(model, table)["click"], table.mask("click").numpy()
    expected = roc_auc_score(table.label("click").numpy()[mask], p[mask])
    assert metrics["click"]["auc"] == pytest.approx(expected, abs=1e-9)
    assert set(metrics) == set(table.schema.task_names)
    for task in table.schema.tasks:
        assert main_metric(task)[0] in metrics[task.name]
    assert metrics["units"]["censored_share"] > 0


def test_evaluate_by_scenario_equals_evaluating_the_rows_of_each(setting):
    model, table = setting
    by_scenario = evaluate(model, table, by_scenario=True)
    assert list(by_scenario) == ["place 0", "place 1"]
    for number, name in enumerate(by_scenario):
        alone = evaluate(model, table.take(table.scenario == number))
        for task in alone:
            for metric, value in alone[task].items():
                assert by_scenario[name][task][metric] == pytest.approx(
                    value, rel=1e-4, nan_ok=True
                )


def test_group_adds_gauc_to_binary_tasks(setting):
    model, table = setting
    metrics = evaluate(model, table, group="user")
    p, y, mask = predict(model, table)["click"], table.label("click").numpy(), table.mask("click")
    total = weight = 0.0
    for user in table.keys["user"].unique():
        rows = ((table.keys["user"] == user) & mask).numpy()
        if len(set(y[rows])) == 2:
            total += rows.sum() * roc_auc_score(y[rows], p[rows])
            weight += rows.sum()
    assert metrics["click"]["gauc"] == pytest.approx(total / weight)
    assert metrics["click"]["gauc_skipped"] == pytest.approx(1 - weight / int(mask.sum()))
    assert "gauc" not in metrics["orders"]
    with pytest.raises(KeyError, match="session"):
        evaluate(model, table, group="session")


def test_model_of_fewer_tasks_is_evaluated_on_a_table_of_more():
    table = tiny.table(tiny.schema())
    model = SharedBottom(table.schema.select(["orders", "click"]))
    assert list(evaluate(model, table)) == ["orders", "click"]
    with pytest.raises(SchemaError, match="purchase"):
        evaluate(SharedBottom(tiny.schema("purchase")), table.select_tasks(["click"]))


def test_undefined_metrics_are_nan_and_no_rows_are_refused(setting):
    model, table = setting
    few = table.take(torch.tensor([0]))
    assert math.isnan(evaluate(model, few)["click"]["auc"])
    assert {
        n: len(v) for n, v in predict(model, table.take(torch.tensor([]))).items()
    } == dict.fromkeys(table.schema.task_names, 0)
    with pytest.raises(ValueError, match="no rows"):
        evaluate(model, table.take(torch.tensor([])))


def joint_by_hand(table, path):
    """Label of "all steps of the path happened" for each row; None where nobody knows."""
    labels = []
    for row in range(len(table)):
        answer = 1.0
        for name in path:
            if not table.mask(name)[row]:
                answer = None
            elif table.label(name)[row] == 0:
                answer = 0.0
            if answer != 1.0:
                break
        labels.append(answer)
    return labels


CHAIN = {
    "cart": ("click", "cart"),
    "purchase": ("click", "purchase"),
    "return": ("click", "purchase", "return"),
}


@pytest.mark.parametrize("complete", [True, False])
def test_joint_metrics_look_at_every_row_whose_joint_event_is_known(complete):
    table = chains.table(chains.schema(), 300, complete=complete)
    model = SharedBottom(table.schema, **chains.SIZES)
    plain, found = evaluate(model, table), evaluate(model, table, joint=True, batch_size=64)
    chance = predict(model, table)
    for task in table.schema.task_names:
        both = {m: v for m, v in found[task].items() if m.startswith("joint_")}
        assert {m: v for m, v in found[task].items() if m not in both} == plain[task]
        if task not in CHAIN:
            assert not both
            continue
        labels = joint_by_hand(table, CHAIN[task])
        known = np.array([label is not None for label in labels])
        assert known.sum() > table.mask(task).sum()  # rows without a click are known, too
        assert known.all() == complete
        y = np.array([label for label in labels if label is not None])
        p = np.prod([chance[name] for name in CHAIN[task]], axis=0)[known]
        assert both["joint_auc"] == pytest.approx(roc_auc_score(y, p), abs=1e-9)
        assert both["joint_pcoc"] == pytest.approx(p.sum() / y.sum(), rel=1e-5)
        loss = -np.log(np.where(y == 1, p, 1 - p)).mean()
        assert both["joint_log_loss"] == pytest.approx(loss, rel=1e-5)


def test_a_model_with_joint_chances_of_its_own_is_measured_by_them():
    table = chains.table(chains.schema(), 300, complete=True)
    y = table.label("purchase").numpy()
    for kind, equal in ((ESMM, True), (partial(AITM, width=4), False)):
        model = kind(table.schema, chains.NETWORK)
        found = evaluate(model, table, joint=True)["purchase"]
        own = model.predict_joint(tiny.all_rows(table))["purchase"].numpy()
        assert found["joint_pcoc"] == pytest.approx(own.sum() / y.sum(), rel=1e-5)
        assert found["joint_auc"] == pytest.approx(roc_auc_score(y, own), abs=1e-9)
        chance = predict(model, table)
        product = (chance["click"] * chance["purchase"]).sum() / y.sum()
        # AITM's heads, untrained, call a purchase likelier than its click: no product can
        assert (found["joint_pcoc"] == pytest.approx(product, rel=1e-4)) == equal


def test_joint_metrics_by_scenario_and_by_user_are_those_of_their_rows():
    table = chains.table(chains.schema(), 300, complete=True)
    model = ESMM(table.schema, chains.NETWORK)
    split = evaluate(model, table, by_scenario=True, group="user", joint=True)
    for number, by_task in enumerate(split.values()):
        alone = table.take(table.scenario == number)
        expected = evaluate(model, alone, group="user", joint=True)["purchase"]
        for name in ("joint_auc", "joint_ece", "joint_gauc", "joint_gauc_skipped"):
            assert by_task["purchase"][name] == pytest.approx(expected[name], rel=1e-4)
    y, p = table.label("purchase").numpy(), model.predict_joint(tiny.all_rows(table))
    total = weight = 0.0
    for user in table.keys["user"].unique():
        rows = (table.keys["user"] == user).numpy()
        if len(set(y[rows])) == 2:
            total += rows.sum() * roc_auc_score(y[rows], p["purchase"].numpy()[rows])
            weight += rows.sum()
    whole = evaluate(model, table, group="user", joint=True)["purchase"]
    assert whole["joint_gauc"] == pytest.approx(total / weight)


def test_without_a_chain_joint_adds_nothing(setting):
    model = SharedBottom(tiny.schema("click", "orders"))
    table = tiny.table(model.schema)
    assert evaluate(model, table, joint=True) == evaluate(model, table)
    with pytest.raises(ValueError, match="no rows"):
        evaluate(setting[0], setting[1].take(torch.tensor([])), joint=True)


def test_a_comparison_knows_which_way_a_joint_metric_points():
    table = chains.table(chains.schema(), 120, complete=True)
    split = tiny_split(table)
    found = compare(
        {"esmm": lambda seed: ESMM(table.schema, chains.NETWORK)}, split, seeds=[0], progress=False,
        evaluator=partial(evaluate, joint=True), fit_options={"epochs": 1}, by_scenario=False,
    )  # fmt: skip
    signs = {m: found.table(metric=m)["sign"][0] for m in ("joint_auc", "joint_ece", "joint_pcoc")}
    assert signs == {"joint_auc": 1, "joint_ece": -1, "joint_pcoc": 0}
    assert set(found.table()["metric"]) == {main_metric(t)[0] for t in table.schema.tasks}
    assert metric_name("joint_auc") == "joint AUC"


def tiny_split(table):
    third = torch.arange(len(table)) % 3
    return Split(*(table.take(third == part) for part in range(3)))


METRICS = {"click": {"auc": 0.74}, "orders": {"poisson_deviance": 0.9}}
SCHEMA = tiny.schema("click", "orders")


def test_score_is_the_mean_improvement_in_units_of_the_spread():
    score = selection_score(
        SCHEMA,
        METRICS,
        reference={"click": 0.70, "orders": 1.0},
        spread={"click": 0.02, "orders": 0.05},
    )
    assert score == pytest.approx((0.04 / 0.02 + 0.1 / 0.05) / 2)


def test_score_against_a_reference_alone_is_relative():
    score = selection_score(SCHEMA, METRICS, reference={"click": 0.70, "orders": 1.0})
    assert score == pytest.approx((0.04 / 0.70 + 0.1 / 1.0) / 2)


def test_score_without_reference_is_the_share_of_the_first_epoch_s_gap_closed():
    first = {"click": {"auc": 0.61}, "orders": {"poisson_deviance": 1.2}}
    score = selection_score(SCHEMA, METRICS, first=first)
    assert score == pytest.approx(((1 - 0.26 / 0.39) + (1 - 0.9 / 1.2)) / 2)
    assert selection_score(SCHEMA, first, first=first) == 0


def test_score_leaves_out_undefined_tasks():
    broken = {**METRICS, "click": {"auc": math.nan}}
    reference = {"click": 0.70, "orders": 1.0}
    assert selection_score(SCHEMA, broken, reference=reference) == pytest.approx(0.1)
    all_broken = {"click": {"auc": math.nan}, "orders": {"poisson_deviance": math.nan}}
    assert math.isnan(selection_score(SCHEMA, all_broken, reference=reference))


def test_score_refuses_incomplete_or_impossible_references():
    with pytest.raises(ValueError, match="orders"):
        selection_score(SCHEMA, METRICS, reference={"click": 0.7})
    with pytest.raises(ValueError, match="spread of task 'click'"):
        selection_score(
            SCHEMA,
            METRICS,
            reference={"click": 0.7, "orders": 1.0},
            spread={"click": 0.0, "orders": 1},
        )
    with pytest.raises(ValueError, match="reference"):
        selection_score(SCHEMA, METRICS, spread={"click": 0.1, "orders": 0.1})


def test_deviance_explained_is_one_minus_the_loss_relative_to_the_own_mean_s(setting):
    _, table = setting
    schema = table.schema
    assert {task.kind for task in schema.tasks} >= {"binary", "regression", "count"}
    model = SharedBottom(schema, embedding_dim=4, hidden=(8,), tower=())
    found, base = evaluate(model, table), evaluate(Constant(table), table)
    predictions = predict(model, table)
    shares = []
    for task in schema.tasks:  # from the rows, and by scikit-learn
        rows = table.mask(task.name).numpy()
        y, p = table.label(task.name).numpy()[rows].astype(float), predictions[task.name][rows]
        if task.is_binary:
            losses = [
                -np.mean(y * np.log(q) + (1 - y) * np.log(1 - q))
                for q in (p.astype(float), y.mean())
            ]
            share = 1 - losses[0] / losses[1]
        elif task.kind == "regression":
            share = r2_score(y, p)
        elif task.kind == "count":
            share = d2_tweedie_score(y, p, power=1)
        else:
            continue
        shares.append(share)
        alone = deviance_explained(found, [task.name], constant=base)
        assert alone == pytest.approx(share, abs=1e-5), task.name
    names = [t.name for t in schema.tasks if t.kind in ("binary", "regression", "count")]
    mean = deviance_explained(found, names, constant=base)
    assert mean == pytest.approx(np.mean(shares), abs=1e-5)


def test_a_constant_guess_explains_no_deviance(setting):
    _, table = setting
    base = evaluate(Constant(table), table)
    names = [t.name for t in table.schema.tasks if t.kind != "censored_count"]
    for name in names:
        if not (table.schema.task(name).kind == "regression" and table.schema.task(name).log1p):
            assert deviance_explained(base, [name], constant=base) == pytest.approx(0, abs=1e-6)


def test_deviance_explained_leaves_undefined_tasks_out():
    found = {
        "click": {"auc": 0.7, "normalized_entropy": 0.9},
        "dwell": {"r2": 0.3, "rmse": 20.0},
        "return": {"auc": math.nan, "normalized_entropy": math.nan},
    }
    assert deviance_explained(found) == pytest.approx((0.1 + 0.3) / 2)
    assert deviance_explained(found, ["dwell", "return"]) == pytest.approx(0.3)
    assert math.isnan(deviance_explained(found, ["return"]))
    orders = {"orders": {"poisson_deviance": 0.5}}
    assert deviance_explained(orders, constant={"orders": {"poisson_deviance": 2.0}}) == 0.75
    assert math.isnan(deviance_explained(orders, constant={"orders": {"poisson_deviance": 0.0}}))


@pytest.mark.parametrize(
    ("metrics", "options", "message"),
    [
        ({}, {}, "at least one task"),
        ({"click": {"r2": 0.1}}, {"tasks": []}, "at least one task"),
        ({"click": {"r2": 0.1}}, {"tasks": ["cart"]}, "lacks task 'cart'; it has click"),
        ({"search": {"click": {"r2": 0.1}}}, {}, "not those by scenario"),
        ({"orders": {"poisson_deviance": 0.5}}, {}, "'orders' is a count: give constant="),
        ({"orders": {"poisson_deviance": 0.5}}, {"constant": {"click": {}}}, "is a count"),
    ],
)
def test_deviance_explained_refuses_what_it_cannot_compute(metrics, options, message):
    with pytest.raises(ValueError, match=message):
        deviance_explained(metrics, **options)


def test_a_log1p_task_is_selected_on_the_scale_of_its_loss(setting):
    model, table = setting
    dwell, rating = table.schema.task("dwell"), table.schema.task("rating")
    assert main_metric(dwell) == ("r2_log", 1) and main_metric(rating) == ("r2", 1)
    found, p = evaluate(model, table)["dwell"], predict(model, table)["dwell"]
    mask = table.mask("dwell").numpy()
    y = table.label("dwell").numpy()[mask]
    assert found["r2_log"] == pytest.approx(r2_score(np.log1p(y), np.log1p(p[mask])), abs=1e-5)
    # the share of the loss of a constant that is gone: 1 - mean (z - s)^2 / var s
    z, s = (np.log1p(p[mask]) - 1) / 0.5, (np.log1p(y) - 1) / 0.5
    assert found["r2_log"] == pytest.approx(1 - ((z - s) ** 2).mean() / s.var(), abs=1e-5)


def test_rows_of_no_known_scenario_are_reported_as_unknown_and_nowhere_else():
    table = tiny.table(tiny.schema("click"), 200)
    model = SharedBottom(table.schema, embedding_dim=3, hidden=(4,), tower=())
    assert set(evaluate(model, table, by_scenario=True)) == {"place 0", "place 1"}
    table.scenario[:60] = table.schema.unknown_scenario
    found = evaluate(model, table, by_scenario=True)
    assert list(found) == ["place 0", "place 1", "unknown"]
    names = (*table.schema.scenario_names, "unknown")
    for number, name in enumerate(names):
        alone = evaluate(model, table.take(table.scenario == number))["click"]
        assert found[name]["click"] == pytest.approx(alone, rel=1e-6)

"""Boosted trees as a model: scikit-learn's own numbers, for every kind of task."""

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from mtlkit.data import Join, ShardedTable, write_shards
from mtlkit.data.table import Table
from mtlkit.models import Trees
from mtlkit.schema import Categorical, Dense, Scenario, Schema, SchemaError, Sequence, Task
from mtlkit.train import evaluate, main_metric, predict
from tests import tiny

SMALL = {"learning_rate": 0.2, "leaves": 4, "min_rows": 5, "l2": 0.5, "rounds": 12}
# a tree splits on columns 0 (11 users), 1 (6 items) and 2 (2 places and the unknown) as categories
OURS = {
    "learning_rate": 0.2, "max_leaf_nodes": 4, "min_samples_leaf": 5, "l2_regularization": 0.5,
    "early_stopping": False, "categorical_features": [0, 1, 2],
}  # fmt: skip


def table(*names, rows=300, seed=0):
    """Random rows whose labels follow the price and the item, so that trees find something."""
    made = tiny.table(tiny.schema(*names), rows, seed)
    push = made.dense[:, 0] + 0.3 * (made.categorical[:, 1] % 2)
    noise = torch.rand(rows, made.schema.num_tasks, generator=torch.Generator().manual_seed(seed))
    for i, task in enumerate(made.schema.tasks):
        if task.is_binary:
            made.labels[:, i] = (push + 0.5 * noise[:, i] > 0.9).float()
        elif task.kind == "multiclass":
            made.labels[:, i] = (push * 1.5 + noise[:, i]).long().clamp(max=2).float()
        elif task.is_count:
            made.labels[:, i] = (push * 3 * noise[:, i]).round()
        else:
            made.labels[:, i] = push * 4 + noise[:, i]
        if task.given is not None:
            made.observed[:, i] &= made.labels[:, made.schema.task_index(task.given)] == 1
        made.labels[~made.observed[:, i], i] = 0
    return made


def grown(train, validation=None, *, seed=0, **options):
    trees = Trees(train.schema, **(SMALL | options))
    trees.train_on(train, validation, seed=seed)
    return trees


def inputs_by_hand(made):
    """Row by row: ids, scenario, dense columns; length and three newest ids of each history."""
    rows = []
    for row in range(len(made)):
        values = [*made.categorical[row].tolist(), int(made.scenario[row])]
        values += made.dense[row].tolist()
        for name in ("viewed", "words"):
            ids, offsets = made.sequences[name]
            history = ids[offsets[row] : offsets[row + 1]].tolist()
            newest = [*reversed(history), math.nan, math.nan, math.nan][:3]
            values += [len(history), *newest]
        rows.append(values)
    return np.array(rows, dtype=float)


def observed(made, task):
    """Inputs by hand and labels, where the task's label is observed."""
    seen = made.mask(task).numpy()
    return inputs_by_hand(made)[seen], made.label(task).numpy()[seen].astype(float)


def test_inputs_are_ids_scenario_dense_columns_and_the_newest_of_each_history():
    made = table("click")
    made.scenario[::7] = made.schema.unknown_scenario
    lengths = made.sequences["viewed"][1].diff()
    assert {0, 1, 2, 3} <= set(lengths.tolist())
    found = Trees(made.schema).embed(tiny.all_rows(made)).numpy()
    np.testing.assert_array_equal(found, inputs_by_hand(made))


def test_binary_predictions_are_those_of_scikit_learns_own():
    made = table("click")
    x, y = observed(made, "click")
    own = HistGradientBoostingClassifier(max_iter=12, random_state=0, **OURS).fit(x, y)
    trees = grown(made)
    expected = own.predict_proba(inputs_by_hand(made))[:, 1]
    assert expected.std() > 0.1
    np.testing.assert_allclose(predict(trees, made)["click"], expected, rtol=1e-5)


def test_fields_up_to_250_ids_are_categories_and_larger_ones_numbers():
    random = np.random.default_rng(0)
    fields = (Categorical("small", 250), Categorical("large", 251))
    schema = Schema((Task("click"),), fields, (Dense("price"),))
    ids = torch.from_numpy(random.integers(0, 40, (600, 2)))
    labels = torch.from_numpy((ids.numpy().sum(1, keepdims=True) % 2).astype(np.float32))
    made = Table(
        schema, ids, torch.zeros(600, 1), {}, labels, torch.ones(600, 1, dtype=torch.bool),
        torch.zeros(600, dtype=torch.int64),
    )  # fmt: skip
    own = HistGradientBoostingClassifier(
        max_iter=12, random_state=0, **(OURS | {"categorical_features": [0]})
    )
    x = np.column_stack([ids.numpy(), np.zeros(600)]).astype(float)
    expected = own.fit(x, labels[:, 0].numpy()).predict_proba(x)[:, 1]
    np.testing.assert_allclose(predict(grown(made), made)["click"], expected, rtol=1e-5)


def test_the_scenario_is_a_category():
    places = torch.arange(600) % 3
    schema = Schema((Task("click"),), scenarios=tuple(map(Scenario, "abc")))
    click = (places == 1).float().unsqueeze(1)
    made = Table(
        schema, torch.zeros(600, 0, dtype=torch.int64), torch.zeros(600, 0), {}, click,
        torch.ones(600, 1, dtype=torch.bool), places,
    )  # fmt: skip
    trees = grown(made, rounds=1, leaves=2)  # one split: the middle place against both others
    assert len(np.unique(predict(trees, made)["click"][[0, 2]])) == 1
    assert evaluate(trees, made)["click"]["auc"] == 1


def test_a_scenario_that_is_a_field_already_is_read_once():
    schema = Schema(
        (Task("click"),), (Categorical("scenario", 3),), scenarios=(Scenario("a"), Scenario("b"))
    )
    made = Table(
        schema, torch.tensor([[1], [2]]), torch.zeros(2, 0), {}, torch.zeros(2, 1),
        torch.ones(2, 1, dtype=torch.bool), torch.tensor([0, 1]),
    )  # fmt: skip
    assert Trees(schema).embed(tiny.all_rows(made)).tolist() == [[1.0], [2.0]]


def test_multiclass_probabilities_are_scikit_learns_own():
    made = table("category")
    x, y = observed(made, "category")
    own = HistGradientBoostingClassifier(max_iter=12, random_state=0, **OURS).fit(x, y)
    found = predict(grown(made), made)["category"]
    np.testing.assert_allclose(found, own.predict_proba(inputs_by_hand(made)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_class_that_training_never_showed_is_the_least_likely_of_every_row(missing):
    made = table("category")
    made.observed[made.labels[:, 0] == missing, 0] = False
    made.labels[~made.observed] = 0
    x, y = observed(made, "category")
    own = HistGradientBoostingClassifier(max_iter=12, random_state=0, **OURS).fit(x, y)
    found = predict(grown(made), made)["category"]
    known = [c for c in range(3) if c != missing]
    assert (found[:, missing] < 1e-4).all() and (found[:, missing] > 0).all()
    np.testing.assert_allclose(
        found[:, known], own.predict_proba(inputs_by_hand(made)), rtol=1e-3, atol=1e-5
    )


def test_a_multiclass_task_of_two_classes_is_a_binary_one():
    made = table("click")
    twin = made.with_tasks([Task("click", "multiclass", classes=2)])
    binary, multi = (predict(grown(t), made)["click"] for t in (made, twin))
    np.testing.assert_allclose(multi[:, 1], binary, rtol=1e-5)
    np.testing.assert_allclose(multi.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", ["dwell", "rating"])  # the first is a log1p task
def test_a_regression_is_grown_on_its_standard_scale_and_answers_in_the_labels_unit(name):
    made = table(name)
    task = made.schema.task(name)
    x, y = observed(made, name)
    target = ((np.log1p(y) if task.log1p else y) - task.location) / task.scale
    own = HistGradientBoostingRegressor(max_iter=12, random_state=0, **OURS).fit(x, target)
    expected = task.location + task.scale * own.predict(inputs_by_hand(made))
    expected = np.expm1(expected) if task.log1p else expected
    assert expected.std() > 0.3
    np.testing.assert_allclose(predict(grown(made), made)[name], expected, rtol=1e-4)


@pytest.mark.parametrize("name", ["orders", "units"])  # the second is censored: as it stands
def test_a_count_has_the_rate_of_poisson_trees(name):
    made = table(name)
    x, y = observed(made, name)
    own = HistGradientBoostingRegressor(loss="poisson", max_iter=12, random_state=0, **OURS)
    expected = own.fit(x, y).predict(inputs_by_hand(made))
    assert expected.std() > 0.1
    np.testing.assert_allclose(predict(grown(made), made)[name], expected, rtol=1e-4)


def test_rows_without_a_label_do_not_matter_to_its_task():
    made, other, later, latest = (table("rating", seed=seed) for seed in (0, 0, 1, 1))
    for changed in (other, latest):
        hidden = ~changed.mask("rating")
        assert hidden.any()
        changed.labels[hidden] = 77
        changed.dense[hidden] += 5
        changed.categorical[hidden] = 0
    trees, again = grown(made, later), grown(other, latest)
    assert trees.rounds == again.rounds
    assert np.array_equal(*(predict(t, made)["rating"] for t in (trees, again)))


def test_each_task_is_grown_as_if_it_were_alone():
    made, later = table(), table(rows=200, seed=1)
    together = grown(made, later)
    found = predict(together, made)
    assert len(set(together.rounds.values())) > 2
    for name in made.schema.task_names:
        alone = grown(made.select_tasks([name]), later.select_tasks([name]))
        assert alone.rounds[name] == together.rounds[name]
        assert np.array_equal(predict(alone, made.select_tasks([name]))[name], found[name])


@pytest.mark.parametrize(
    ("name", "label", "expected"),
    [
        ("click", 1, 0.99834),  # 1 / (1 + .5 / 300.5): half a row of the other class
        ("click", 0, 0.00166),
        ("category", 2, [0.00166, 0.00166, 0.99668]),
        ("orders", 0, 0.00167),  # half an order in 300 rows
        ("orders", 3, 3.0),
        ("rating", 2.5, 2.5),
    ],
)
def test_where_all_labels_are_the_same_nearly_nothing_else_is_expected(name, label, expected):
    made = table(name)
    made.observed[:] = True
    made.labels[:] = label
    trees = grown(made)
    found = predict(trees, made)[name]
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=2e-5)
    assert name == "rating" or trees.rounds == {name: 0}


@pytest.mark.parametrize("name", tiny.TASKS)
def test_the_rounds_are_those_that_are_best_on_validation(name):
    made, later = table(name), table(name, rows=200, seed=1)
    metric, sign = main_metric(made.schema.task(name))
    by_rounds = [grown(made, rounds=rounds) for rounds in range(1, 13)]
    values = [sign * evaluate(trees, later)[name][metric] for trees in by_rounds]
    best = int(np.argmax(values))
    assert best > 0
    trees = grown(made, later)
    assert trees.rounds == {name: best + 1}
    assert np.array_equal(predict(trees, later)[name], predict(by_rounds[best], later)[name])


def test_the_best_number_of_rounds_is_neither_always_the_first_nor_always_the_last():
    later = table(rows=200, seed=1)
    rounds = set(grown(table(), later, rounds=40).rounds.values())
    assert min(rounds) < 20 < max(rounds)


def test_without_validation_or_where_its_metric_is_undefined_all_rounds_stay():
    made, later = table("click", "rating"), table("click", "rating", rows=50, seed=1)
    assert grown(made).rounds == {"click": 12, "rating": 12}
    later.labels[:, 0] = 1
    assert grown(made, later).rounds["click"] == 12
    later.observed[:, 1] = False
    assert grown(made, later).rounds["rating"] == 12


def test_rows_do_not_depend_on_each_other():
    made = table()
    place = made.schema.task_index("category")
    made.observed[made.labels[:, place] == 1, place] = False  # a class is missing
    trees = grown(made)
    whole, order = trees(tiny.all_rows(made)), torch.randperm(len(made))
    mixed = trees(tiny.all_rows(made.take(order)))
    parts = [trees(batch) for batch in made.batches(7)]
    alone = [trees(made.batch(torch.tensor([row]))) for row in range(20)]
    for name, logits in whole.items():
        assert torch.equal(mixed[name], logits[order]), name
        assert torch.equal(torch.cat([part[name] for part in parts]), logits), name
        assert torch.equal(torch.cat([part[name] for part in alone]), logits[:20]), name


def test_a_task_without_a_label_is_refused_by_name():
    made = table("click", "rating")
    made.observed[:, 1] = False
    with pytest.raises(SchemaError, match="'rating' has no observed label"):
        grown(made)


def test_trees_that_are_not_grown_say_what_to_call():
    made = table("click")
    with pytest.raises(ValueError, match=r"not grown yet: call fit\(trees"):
        predict(Trees(made.schema), made)


def test_the_same_seed_grows_the_same_trees_and_the_order_of_torch_does_not_matter():
    made, later = table(), table(rows=100, seed=1)
    first = grown(made, later, seed=3)
    torch.rand(5)
    second = grown(made, later, seed=3)
    assert first.rounds == second.rounds
    for a, b in zip(predict(first, made).values(), predict(second, made).values(), strict=True):
        assert np.array_equal(a, b)


def test_leaves_are_counted_for_every_tree_of_every_task():
    made = table("click", "category")
    assert Trees(made.schema, **SMALL).parameter_count()["total"] == 0
    trees = grown(made)
    # 12 trees of a binary task, 12 of each of three classes, 4 leaves each
    expected = {"embedding": 0, "shared": 0, "scenarios": 0, "tasks": 192, "total": 192}
    assert trees.parameter_count() == expected
    forests = [trees.forests[name]._predictors for name in ("click", "category")]
    leaves = sum(tree.get_n_leaf_nodes() for rounds in forests for both in rounds for tree in both)
    assert 150 < leaves <= 192
    assert trees.task_modules("click") == [] and trees.shared_parameters() == [trees.place]
    with pytest.raises(SchemaError, match="Unknown task 'buy'"):
        trees.task_modules("buy")


def test_shards_grow_the_trees_of_their_table(tmp_path):
    made = table()
    shards = ShardedTable(write_shards(made, tmp_path / "shards", rows_per_shard=90))
    one, two = (predict(grown(t, t), made) for t in (made, shards))
    for name, values in one.items():
        assert np.array_equal(two[name], values), name


def test_a_join_is_refused_and_its_tables_are_named():
    joined = Join({"log": table("click"), "stock": table("orders")})
    with pytest.raises(SchemaError, match=r"a join has several \(log, stock\): grow trees for"):
        Trees(joined.schema)


def test_grown_trees_travel_by_pickle_and_not_by_their_state():
    made = table("click")
    trees = grown(made)
    again = pickle.loads(pickle.dumps(trees))
    assert np.array_equal(predict(again, made)["click"], predict(trees, made)["click"])
    assert sum(value.numel() for value in trees.state_dict().values()) == 0


def test_a_schema_of_dense_columns_or_of_histories_alone_is_enough():
    for inputs in (
        {"dense": (Dense("x", 2),)},
        {"categorical": (), "sequences": (Sequence("seen", size=9),)},
    ):
        schema = Schema((Task("click"),), **inputs)
        made = tiny.table(schema, 200)
        trees = grown(made)
        assert predict(trees, made)["click"].std() > 0


@pytest.mark.parametrize("longest", [0, 1, 2, 3])
def test_histories_may_be_shorter_than_the_entries_that_trees_read(longest):
    schema = Schema((Task("click"),), dense=(Dense("x"),), sequences=(Sequence("seen", size=9),))
    made = tiny.table(schema, 200)
    made.sequences["seen"] = (
        torch.arange(200 * longest) % 9, torch.arange(201) * longest,
    )  # fmt: skip
    longer = tiny.table(schema, 50, seed=1)
    assert np.isfinite(predict(grown(made), longer)["click"]).all()

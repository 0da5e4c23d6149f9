"""A model meets a table: what must agree, and the sentence where it does not."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import mtlkit
from mtlkit import Encoder, SharedBottom, Table, Task, evaluate, fit, predict
from mtlkit.data.agreement import require_inputs, require_tasks
from mtlkit.schema import Categorical, Dense, Scenario, Schema, SchemaError
from mtlkit.schema import Sequence as SequenceField
from tests.models import registry

OWN = Schema(
    (
        Task("click"),
        Task("spend", "regression", unit="euro", log1p=True),
        Task("kind", "multiclass", 3),
    ),
    (Categorical("user", 9), Categorical("item", 5)),
    (Dense("price"), Dense("picture", 4)),
    (SequenceField("viewed", shares="item", max_length=7),),
    (Scenario("search"), Scenario("feed")),
    "abc",
)
OTHERS = {
    "categorical size": (
        {"categorical": (Categorical("user", 8), Categorical("item", 5))},
        "'user'.*size 8.*has 9",
    ),
    "categorical order": (
        {"categorical": (Categorical("item", 5), Categorical("user", 9))},
        "order item, user",
    ),
    "a field less": (
        {"categorical": (Categorical("item", 5),)},
        "lacks the categorical field 'user'",
    ),
    "a field more": ({"dense": (*OWN.dense, Dense("age"))}, "has a dense field 'age' more"),
    "width": ({"dense": (Dense("price"), Dense("picture", 3))}, "'picture'.*width 3.*has 4"),
    "another name": (
        {"dense": (Dense("cost"), Dense("picture", 4))},
        "lacks the dense field 'price'",
    ),
    "sequence": (
        {"sequences": (SequenceField("viewed", shares="user", max_length=7),)},
        "shares user.*has item",
    ),
    "length": (
        {"sequences": (SequenceField("viewed", shares="item", max_length=8),)},
        "max_length 8.*has 7",
    ),
    "scenario order": (
        {"scenarios": (Scenario("feed"), Scenario("search"))},
        "scenarios feed, search",
    ),
    "scenario more": (
        {"scenarios": (*OWN.scenarios, Scenario("ads"))},
        r"model\.extend\(scenario='ads'\)",
    ),
    "encoding": ({"encoding": "abd"}, "another encoder"),
    "no encoding": ({"encoding": ""}, "another encoder.*none"),
}
LABELS = {
    "unit": {"unit": "cent"}, "log1p": {"log1p": False},
    "kind": {"kind": "count", "log1p": False, "unit": ""},
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_other_inputs_are_refused_by_name(what):
    changed, words = OTHERS[what]
    with pytest.raises(SchemaError, match=words):
        require_inputs(OWN, replace(OWN, **changed), "test table")


def test_the_same_inputs_pass_with_other_tasks_and_words():
    require_inputs(OWN, replace(OWN, tasks=(Task("buy"),)))
    require_inputs(OWN, replace(OWN, scenarios=(Scenario("search", "words"), Scenario("feed"))))


@pytest.mark.parametrize("what", LABELS)
def test_labels_of_another_meaning_are_refused(what):
    tasks = (OWN.tasks[0], replace(OWN.tasks[1], **LABELS[what]), OWN.tasks[2])
    with pytest.raises(SchemaError, match=f"'spend' of the table has {what}"):
        require_tasks(OWN, replace(OWN, tasks=tasks))
    require_inputs(OWN, replace(OWN, tasks=tasks))


def test_other_scales_and_more_tasks_are_no_trouble_and_missing_ones_are():
    tasks = (OWN.tasks[0], replace(OWN.tasks[1], location=3.0, scale=2.0), OWN.tasks[2])
    require_tasks(OWN, replace(OWN, tasks=(*tasks, Task("buy"))))
    with pytest.raises(SchemaError, match="no task 'click'"):
        require_tasks(OWN, replace(OWN, tasks=tasks[1:]))
    with pytest.raises(SchemaError, match="has classes 4"):
        require_tasks(OWN, replace(OWN, tasks=(*tasks[:2], Task("kind", "multiclass", 4))))


@pytest.fixture(scope="module")
def shops():
    """A frame, its encoder, another encoder with equal sizes, and a model."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"user": rng.integers(0, 9, 300), "click": rng.integers(0, 2, 300)})
    moved = frame.with_columns(user=pl.col("user") + 1)
    spec = {"tasks": [Task("click")], "categorical": ["user"]}
    own, other = Encoder(**spec).fit(frame), Encoder(**spec).fit(moved)
    assert own.schema.categorical == other.schema.categorical
    model = SharedBottom(own.schema, embedding_dim=4, hidden=(8,), tower=())
    return own.transform(frame), other.transform(moved), model


@pytest.mark.parametrize("act", ["fit", "validate", "evaluate", "predict"])
def test_fit_evaluate_and_predict_refuse_a_table_of_another_encoder_of_equal_sizes(shops, act):
    own, foreign, model = shops
    with pytest.raises(SchemaError, match="another encoder"):
        {
            "fit": lambda: fit(model, foreign, progress=False),
            "validate": lambda: fit(model, own, foreign, progress=False),
            "evaluate": lambda: evaluate(model, foreign),
            "predict": lambda: predict(model, foreign),
        }[act]()


def test_the_fingerprint_is_of_what_was_learned_and_of_nothing_else(shops):
    frame = pl.DataFrame({"user": [3, 1, 2], "price": [1.0, 2.0, 4.0], "click": [0, 1, 0]})

    def encoding(frame, **options):
        spec = {"tasks": [Task("click")], "categorical": ["user"], "dense": ["price"]}
        return Encoder(**(spec | options)).fit(frame).schema.encoding

    first = encoding(frame)
    assert first == encoding(frame.reverse()) == encoding(frame.cast({"user": pl.UInt8}))
    changed = {
        encoding(frame.with_columns(user=pl.col("user") + 1)),
        encoding(frame.with_columns(user=pl.col("user").cast(pl.String))),
        encoding(frame.with_columns(price=pl.col("price") * 2)),
        encoding(frame, log1p=["price"]), encoding(frame, min_count=2),
    }  # fmt: skip
    assert len(changed) == 5 and first not in changed


def test_a_schema_keeps_its_encoding_on_its_way_through_a_dictionary():
    assert Schema.from_dict(OWN.to_dict()) == OWN
    assert "encoding" not in replace(OWN, encoding="").to_dict()
    with pytest.raises(SchemaError, match="'encoding' must be a text"):
        Schema.from_dict(OWN.to_dict() | {"encoding": 3})


def test_a_table_without_any_label_is_scored_and_neither_fitted_nor_evaluated(shops):
    own, _, model = shops
    bare = Table(own.schema, **(own._columns() | {
        "labels": own.labels * 0, "observed": own.observed & False}))  # fmt: skip
    assert len(predict(model, bare)["click"]) == len(own)
    for act in (lambda: fit(model, bare, progress=False), lambda: evaluate(model, bare)):
        with pytest.raises(ValueError, match="no label of any task"):
            act()


ROWS = {"x": [0.1 * (i % 7) for i in range(60)], "click": [i % 2 for i in range(60)]}
DATA = mtlkit.prepare(ROWS, "click")
NO_TABLE = {
    "what prepare returns": (DATA, "not a Prepared. Give one of its tables: .train"),
    "a split": (DATA.split, "not a Split. Give one of its tables: .train"),
    "a frame": (pl.DataFrame(ROWS), "not a DataFrame. mtlkit.prepare makes tables"),
    "a dictionary": (ROWS, "not a dict. mtlkit.prepare makes tables"),
    "a path": ("rows.parquet", "not a str. mtlkit.prepare makes tables"),
    "a model": (SharedBottom(DATA.schema, embedding_dim=2), "not a SharedBottom"),
}
READERS = {
    "fit": lambda model, odd: fit(model, odd, epochs=1, progress=False),
    "fit, validation": lambda model, odd: fit(model, DATA.train, odd, epochs=1, progress=False),
    "evaluate": evaluate,
    "predict": predict,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("what", NO_TABLE)
def test_what_is_no_table_is_refused_with_where_one_is(what, reader):
    odd, words = NO_TABLE[what]
    model = SharedBottom(DATA.schema, embedding_dim=2)
    with pytest.raises(SchemaError, match=f"table must be a Table, {words}"):
        READERS[reader](model, odd)


@pytest.mark.parametrize("name", [*registry.EVERY, "wrap", "trees"])
def test_no_model_is_made_of_what_is_no_schema(name):
    kinds = mtlkit.models.SHARING | mtlkit.models.LINKS | mtlkit.models.ADAPTING
    own = registry.ARGUMENTS.get(name, {})

    def make(schema):
        if name == "wrap":
            return mtlkit.wrap(torch.nn.Linear(1, 1), schema)
        return mtlkit.Trees(schema) if name == "trees" else kinds[name](schema, **own)

    with pytest.raises(SchemaError, match=r"is made of a Schema, not of a Prepared. Give its sch"):
        make(DATA)
    with pytest.raises(SchemaError, match=r"is made of a Schema, not of a DataFrame\.$"):
        make(pl.DataFrame(ROWS))


@pytest.mark.parametrize(("odd", "words"), [
    (DATA, "not a Prepared. Give its split: .split"), (DATA.train, "not a Table. Split"),
    ((DATA.train, DATA.validation), "not a tuple. Split"), (pl.DataFrame(ROWS), "not a DataFrame"),
])  # fmt: skip
def test_a_comparison_of_what_is_no_split_says_where_one_is(odd, words):
    candidates = {"a": lambda seed: SharedBottom(DATA.schema, embedding_dim=2)}
    with pytest.raises(SchemaError, match=f"A comparison reads a Split, {words}"):
        mtlkit.compare(candidates, odd, seeds=[0], progress=False)

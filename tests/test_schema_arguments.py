"""Every wrong thing for every argument of the vocabulary: a sentence, or a plain value."""

import json
import math
from dataclasses import fields, replace
from decimal import Decimal
from fractions import Fraction
from numbers import Real

import numpy as np
import polars as pl
import pytest

from mtlkit.schema import (
    PARTS,
    Categorical,
    Dense,
    Scenario,
    Schema,
    SchemaError,
    Sequence,
    Task,
)  # fmt: skip

VALUES = [
    None, True, False, 0, 1, 3, -1, 2.5, math.nan, math.inf, -math.inf, 10**400, 2**63, "", " ",
    "x", b"x", [], [1], (), {}, {"a": 1}, {1}, object(), 1j, Decimal(2), Fraction(1, 2),
    np.int64(3), np.uint8(3), np.float32(0.5), np.float64(2.0), np.bool_(True), np.str_("x"),
    np.nan, np.ones(2), pl.Series([1]), int, len, Task("a"),
]  # fmt: skip
MADE = {
    "binary": Task("t"), "multiclass": Task("t", "multiclass", classes=3),
    "regression": Task("t", "regression"), "count": Task("t", "count"),
    "field": Categorical("t", 5), "block": Dense("t", 2), "own sequence": Sequence("t", size=5),
    "shared sequence": Sequence("t", shares="x"), "place": Scenario("t"),
}  # fmt: skip
PLACES = [(made, f.name) for made, part in MADE.items() for f in fields(part)]


def whole(value):
    return (
        isinstance(value, int | np.integer) and not isinstance(value, bool) and 1 <= value < 2**63
    )


def number(value):
    try:
        plain = isinstance(value, Real) and not isinstance(value, bool)
        return plain and math.isfinite(float(value))
    except OverflowError:
        return False


def may_stand(part, name, value):
    """Whether a value may stand in a field, told once more in other words."""
    kind = getattr(part, "kind", None)
    if name in ("name", "given", "shares", "beside", "kind"):
        empty = value is None and name in ("given", "shares", "beside")
        return empty or (isinstance(value, str) and bool(value.strip()))
    if name in ("unit", "description"):
        return isinstance(value, str)
    if name == "log1p":
        return isinstance(value, bool) and (kind == "regression" or not value)
    if name == "classes":
        return whole(value) and value > 1 if kind == "multiclass" else value is None
    if name in ("size", "width", "max_length"):
        return whole(value) or (value is None and name == "size" and isinstance(part, Sequence))
    if not number(value):
        return False
    if name == "weight":
        return value >= 0
    return (kind == "regression" and (name == "location" or value > 0)) or (
        value == (0 if name == "location" else 1))  # fmt: skip


def fits(part, name, value):
    if name == "kind":
        return False  # none of the values is a kind
    if isinstance(part, Sequence) and name in ("size", "shares"):
        other = part.shares if name == "size" else part.size
        return may_stand(part, name, value) and (value is None) != (other is None)
    return may_stand(part, name, value)


@pytest.mark.parametrize(("made", "name"), PLACES)
def test_every_value_of_every_field_is_plain_or_refused_by_name(made, name):
    part = MADE[made]
    for value in VALUES:
        if fits(part, name, value):
            kept = getattr(replace(part, **{name: value}), name)
            assert json.loads(json.dumps(kept)) == kept == value
            assert type(kept) in (str, int, float, bool, type(None)) or isinstance(value, str)
            continue
        with pytest.raises(SchemaError) as refusal:
            replace(part, **{name: value})
        told = str(refusal.value)
        words = ("name", "classes", "kind", "size or shares") + ((name, "regression"))
        assert any(word in told for word in words) and told.endswith("."), (value, told)


@pytest.mark.parametrize("name", PARTS)
def test_every_part_of_a_schema_is_a_list_of_its_kind(name):
    inside = {"tasks": Task("a"), "categorical": Categorical("a", 3), "dense": Dense("a"),
              "sequences": Sequence("a", size=3), "scenarios": Scenario("a")}  # fmt: skip
    good = {"tasks": (Task("click"),)} | {name: (inside[name],)}
    assert getattr(Schema(**good), name) == (inside[name],)
    assert getattr(Schema(**(good | {name: iter([inside[name]])})), name) == (inside[name],)
    wrongs = [*VALUES, inside[name]] + [[value] for value in VALUES]
    wrongs += [[part] for other, part in inside.items() if other != name]
    for wrong in wrongs:
        if isinstance(wrong, list | tuple | set) and not len(wrong) and name != "tasks":
            continue
        if name == "tasks" and isinstance(wrong, list) and isinstance([*wrong, 0][0], Task):
            continue
        with pytest.raises(SchemaError) as refusal:
            Schema(**(good | {name: wrong}))
        assert name.rstrip("s") in str(refusal.value) and str(refusal.value).endswith(".")


def test_an_encoding_is_a_text():
    for wrong in VALUES:
        if not isinstance(wrong, str):
            with pytest.raises(SchemaError, match="encoding must be a text, not"):
                Schema((Task("click"),), encoding=wrong)


SCHEMA = Schema((Task("click"), Task("buy", given="click")), (Categorical("user", 3),))


@pytest.mark.parametrize("act", ["task", "task_index", "children", "scenario_index", "select"])
def test_what_is_no_name_is_refused(act):
    for wrong in [*VALUES, ["click", "click"], ["click", 3], [[]]]:
        with pytest.raises(SchemaError, match=r"task|scenario"):
            getattr(SCHEMA, act)(wrong)


def test_what_is_no_dictionary_of_a_schema_is_refused():
    plain = SCHEMA.to_dict()
    assert Schema.from_dict(plain) == SCHEMA
    for wrong in VALUES:
        with pytest.raises(SchemaError):
            Schema.from_dict(wrong)
        for name in (*PARTS, "encoding"):
            if wrong in ((), []) if isinstance(wrong, list | tuple) else isinstance(wrong, str):
                continue
            with pytest.raises(SchemaError, match=name):
                Schema.from_dict(plain | {name: wrong})
        for name in PARTS:
            with pytest.raises(SchemaError):
                Schema.from_dict(plain | {name: [wrong]})


def test_labels_that_are_no_numbers_are_refused_by_task():
    for wrong in (None, "x", math.nan, math.inf, [1], 10**400, object()):
        with pytest.raises(SchemaError, match=r"Task 'd': .* is no label"):
            Task("d", "regression").fitted([1.0, wrong, 2.0])


def test_labels_are_measured_alike_however_they_come():
    labels = np.random.default_rng(0).random(50, dtype=np.float32)
    forms = (labels, labels.tolist(), pl.Series(labels), iter(labels.tolist()), tuple(labels))
    fitted = {Task("d", "regression", log1p=True).fitted(form) for form in forms}
    assert len(fitted) == 1

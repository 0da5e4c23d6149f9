"""Whether a table is of the kind that a model was made for: inputs always, tasks to read labels."""

from __future__ import annotations

from typing import Any

from mtlkit.data.joined_schema import JoinedSchema
from mtlkit.schema import Schema, SchemaError

FIELDS = {"categorical": "categorical field", "dense": "dense field", "sequences": "sequence field"}
ENCODE = "Make every table with the encoder that was fitted on the training rows."


def require_table(value: Any, what: str = "table") -> None:
    """Raise ``SchemaError`` for what is no table and gives no batches, with where one is."""
    if hasattr(value, "batches") and hasattr(value, "schema"):
        return
    way = "mtlkit.prepare makes tables of a frame, and encoder.transform(frame) one of new rows."
    if hasattr(value, "train") and hasattr(value, "validation"):
        way = "Give one of its tables: .train, .validation or .test."
    raise SchemaError(f"The {what} must be a Table, not a {type(value).__name__}. {way}")


def require_schema(value: Any, who: str) -> None:
    """Raise ``SchemaError`` where ``who`` is made of something that is no schema."""
    if isinstance(value, Schema):
        return
    way = " Give its schema: .schema." if isinstance(getattr(value, "schema", None), Schema) else ""
    raise SchemaError(f"{who} is made of a Schema, not of a {type(value).__name__}.{way}")


def require_inputs(model: Schema, table: Schema, what: str = "table") -> None:
    """Raise ``SchemaError`` where a table's inputs are not those that a model reads.

    Fields must agree in name, order, width and number of ids, scenarios in name and order, and the
    encoding (vocabularies and scales) must be the same. ``what`` says which table, for the message.
    """
    if isinstance(model, JoinedSchema) != isinstance(table, JoinedSchema):
        joined, plain = ("model", what) if isinstance(model, JoinedSchema) else (what, "model")
        raise SchemaError(f"The {joined} joins several tables, the {plain} does not.")
    if isinstance(model, JoinedSchema) and isinstance(table, JoinedSchema):
        ours, theirs = dict(model.parts), dict(table.parts)
        if list(ours) != list(theirs):
            raise SchemaError(
                f"The {what} joins {', '.join(theirs)}; the model was made for {', '.join(ours)}."
            )
        for name in ours:
            require_inputs(ours[name], theirs[name], f"{what}'s part {name!r}")
        if model.shared != table.shared:
            raise SchemaError(f"The {what} shares other fields among its parts than the model.")
        return
    for part, called in FIELDS.items():
        _require_fields(getattr(model, part), getattr(table, part), called, what)
    _require_scenarios(model, table, what)
    if model.encoding != table.encoding:
        raise SchemaError(
            f"The {what} was encoded by another encoder than the model's: its ids and scales mean "
            f"other things ({table.encoding or 'none'}, the model's is "
            f"{model.encoding or 'none'}). {ENCODE}"
        )


def _require_fields(ours: tuple, theirs: tuple, called: str, what: str) -> None:
    if ours == theirs:
        return
    names, found = [field.name for field in ours], [field.name for field in theirs]
    if names != found:
        if sorted(names) == sorted(found):
            raise SchemaError(
                f"The {what} has its {called}s in the order {', '.join(found)}; the model reads "
                f"{', '.join(names)}. {ENCODE}"
            )
        lacks = [name for name in names if name not in found]
        more = [name for name in found if name not in names]
        told = f"lacks the {called} {lacks[0]!r}" if lacks else f"has a {called} {more[0]!r} more"
        raise SchemaError(f"The {what} {told}; the model reads {', '.join(names) or 'none'}.")
    for one, other in zip(ours, theirs, strict=True):
        for property in ("size", "width", "shares", "max_length", "beside"):
            mine, its = getattr(one, property, None), getattr(other, property, None)
            if mine != its:
                raise SchemaError(
                    f"The {called} {one.name!r} of the {what} has {property} {its}, the model's "
                    f"has {mine}. {ENCODE}"
                )


def _require_scenarios(model: Schema, table: Schema, what: str) -> None:
    ours, theirs = model.scenario_names, table.scenario_names
    if ours == theirs:
        return
    remedy = ENCODE
    if theirs[: len(ours)] == ours:
        new = theirs[len(ours)]
        remedy = f"Let the model grow first: model = model.extend(scenario={new!r})."
    elif ours[: len(theirs)] == theirs:
        new = ours[len(theirs)]
        remedy = f"The model has grown: make the table by encoder.extend(scenario={new!r})."
    raise SchemaError(
        f"The {what} has the scenarios {', '.join(theirs)}, the model {', '.join(ours)}. {remedy}"
    )


def require_tasks(model: Schema, table: Schema, what: str = "table") -> None:
    """Raise ``SchemaError`` where labels of the model's tasks mean something else in a table.

    The table must have each task, of the same kind, classes, unit and ``log1p``; it may have more,
    and other locations and scales, since a model computes with its own.
    """
    for task in model.tasks:
        if task.name not in table.task_names:
            raise SchemaError(
                f"The {what} has no task {task.name!r}; it has {', '.join(table.task_names)}."
            )
        other = table.task(task.name)
        for property in ("kind", "classes", "unit", "log1p"):
            mine, its = getattr(task, property), getattr(other, property)
            if mine != its:
                raise SchemaError(
                    f"Task {task.name!r} of the {what} has {property} {its!r}, the model's has "
                    f"{mine!r}: their labels cannot be compared."
                )

"""Drawn pictures of random products as a table of their own, with as many tasks as wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mtlkit.data.table import Table
from mtlkit.schema import Dense, Schema, SchemaError, Task
from mtlkit.shop.pictures.drawing import CATEGORIES, draw_with_details, pixels
from mtlkit.shop.pictures.prints import STYLES

FOOTWEAR = ("sandal", "sneaker", "boot")

PICTURE_TASKS = {
    "category": Task("category", "multiclass", classes=len(CATEGORIES)),
    "style": Task("style", "multiclass", classes=len(STYLES)),
    "footwear": Task("footwear"),
    "patterned": Task("patterned"),
    "aspect": Task("aspect", "regression", unit="height / width"),
    "brightness": Task("brightness", "regression", unit="grey, 0 to 1"),
}
"""Every label a picture has: what it shows (category, footwear), its print (style, patterned) and
two numbers measured on the drawing before noise."""


def picture_table(
    rows: int,
    seed: int = 0,
    tasks: Sequence[str] = ("category", "style", "footwear", "patterned"),
    label_share: Mapping[str, float] | None = None,
    size: int = 28,
) -> Table:
    """Pictures of random products as a table: dense field "pixel" (size * size, 0..1), some tasks.

    Categories and styles are uniform and independent, so knowing one says nothing of the other.
    `label_share` {task: share}: only about this share of the rows keeps the task's label, chosen at
    random (a data-poor task). Regression tasks carry the location and scale of these rows.
    Raises SchemaError for an unknown task, ValueError for a share outside 0..1.
    """
    unknown = [name for name in [*tasks, *(label_share or {})] if name not in PICTURE_TASKS]
    if unknown:
        raise SchemaError(f"no picture task {unknown[0]!r}; choose from {', '.join(PICTURE_TASKS)}")
    rng = np.random.default_rng(np.random.SeedSequence([int(seed), 28]))
    chosen = rng.random((rows, 2))
    category = (chosen[:, 0] * len(CATEGORIES)).astype(np.int64)
    style = (chosen[:, 1] * len(STYLES)).astype(np.int64)
    drawing = draw_with_details(category, style, seed, size)
    footwear = [CATEGORIES.index(name) for name in FOOTWEAR]
    labels = {
        "category": category,
        "style": style,
        "footwear": np.isin(category, footwear),
        "patterned": style > 0,
        "aspect": drawing.aspect,
        "brightness": drawing.brightness,
    }
    observed = {}
    for name, share in (label_share or {}).items():
        if not 0 <= share <= 1:
            raise ValueError(f"label_share[{name!r}] is {share}; use a share from 0 to 1")
        observed[name] = rng.random(rows) < share
    schema = Schema(
        tuple(PICTURE_TASKS[name].fitted(labels[name]) for name in tasks),
        dense=(Dense("pixel", size * size, "grey, 0 to 1"),),
    )
    columns = {"pixel": pixels(drawing.pictures)}
    columns |= {name: labels[name].astype(np.float32) for name in tasks}
    return Table.from_columns(
        schema, columns, observed={name: observed[name] for name in observed if name in tasks}
    )

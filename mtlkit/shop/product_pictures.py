"""Product pictures for lessons: real ones where they are found, drawn ones otherwise.

Both have the same dense field, the same ten categories and the same tasks, so a lesson's words stay
true whichever it shows. ``keep_labels`` and ``shuffle_labels`` make the tasks poor or misleading.
"""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np
import torch

from mtlkit.data.real.fashion import (
    CATEGORIES,
    FOOTWEAR,
    UPPER_BODY,
    fashion_available,
    fashion_pictures,
)
from mtlkit.data.splits import Split
from mtlkit.data.table import Table
from mtlkit.schema import Dense, Schema, Task
from mtlkit.shop.pictures.drawing import draw_many
from mtlkit.shop.pictures.prints import STYLES

__all__ = [
    "CATEGORIES", "FOOTWEAR", "UPPER_BODY", "WINTER", "keep_labels", "picture_source",
    "product_pictures", "shuffle_labels",
]  # fmt: skip

WINTER = ("pullover", "coat", "boot")
SOURCES = ("auto", "real", "drawn")
SOURCE_VARIABLE = "MTLKIT_PICTURES"
DRAWN_ROWS = 1_960  # as many as the small real sample holds

SCHEMA = Schema(
    tasks=(
        Task("category", "multiclass", classes=len(CATEGORIES)),
        Task("footwear"),
        Task("upper_body"),
        Task("winter"),
    ),
    dense=(Dense("pixel", 784, "grey, 0 to 1"),),
)


def picture_source(source: str | None = None) -> str:
    """Which pictures a lesson shows, "real" or "drawn".

    ``source`` None reads the environment variable MTLKIT_PICTURES; "auto" takes the real ones if
    their files are found. Raises ``ValueError`` for anything but "auto", "real", "drawn".
    """
    chosen = source or os.environ.get(SOURCE_VARIABLE, "").strip().lower() or "auto"
    if chosen not in SOURCES:
        raise ValueError(f"source must be one of {', '.join(SOURCES)}, not {chosen!r}.")
    if chosen == "auto":
        chosen = "real" if fashion_available() else "drawn"
    return chosen


@lru_cache(maxsize=2)
def _population(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 (picture, 28, 28) and categories int64 (picture,)."""
    if source == "real":
        return fashion_pictures()
    random = np.random.default_rng(28)
    category = random.permutation(np.arange(DRAWN_ROWS) % len(CATEGORIES))
    style = random.integers(len(STYLES), size=DRAWN_ROWS)
    return draw_many(category, style, seed=28), category.astype(np.int64)


def product_pictures(
    source: str | None = None,
    *,
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    rows: int | None = None,
) -> Split:
    """Training, validation and test pictures with the tasks category, footwear, upper_body, winter.

    category: the ten classes of Fashion-MNIST (Xiao, Rasul and Vollgraf 2017); footwear: sandal,
    sneaker or boot; upper_body: t-shirt, pullover, coat or shirt; winter: pullover, coat or boot.
    The pictures are the same for every ``seed``, which draws the split; ``rows`` takes that many of
    them. ``source`` as in ``picture_source``. Raises ``ValueError`` for bad fractions or rows.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions must be three numbers above 0 that sum to 1, not {fractions}.")
    pictures, category = _population(picture_source(source))
    total = len(category) if rows is None else rows
    if not 10 <= total <= len(category):
        raise ValueError(f"rows must be 10 to {len(category)}, not {rows}.")
    order = np.random.default_rng(seed).permutation(len(category))[:total]
    cuts = np.rint(np.cumsum(fractions)[:2] * total).astype(int)
    return Split(*(_table(pictures, category, np.sort(part)) for part in np.split(order, cuts)))


def _table(pictures: np.ndarray, category: np.ndarray, rows: np.ndarray) -> Table:
    def among(names: tuple[str, ...]) -> np.ndarray:
        return np.isin(category[rows], [CATEGORIES.index(name) for name in names])

    columns = {
        "pixel": pictures[rows].reshape(-1, 784) / np.float32(255),
        "category": category[rows],
        "footwear": among(FOOTWEAR),
        "upper_body": among(UPPER_BODY),
        "winter": among(WINTER),
    }
    return Table.from_columns(SCHEMA, columns, row_id=torch.from_numpy(rows))


def keep_labels(table: Table, task: str, rows: int, seed: int = 0) -> Table:
    """The same table with ``rows`` of the task's labels, chosen at random; the others are hidden.

    A hidden label is 0 and not observed. The rows kept for a smaller number are among those kept
    for a larger one. Raises ``ValueError`` if the task has fewer labels than ``rows``.
    """
    column = table.schema.task_index(task)
    labelled = table.mask(task).nonzero().squeeze(1)
    if not 0 <= rows <= len(labelled):
        raise ValueError(f"Task {task!r} has {len(labelled)} labels, so it cannot keep {rows}.")
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labelled)))
    hidden = labelled[order[rows:]]
    labels, observed = table.labels.clone(), table.observed.clone()
    labels[hidden, column], observed[hidden, column] = 0.0, False
    return _changed(table, labels, observed)


def shuffle_labels(table: Table, task: str, seed: int = 0) -> Table:
    """The same table with the task's observed labels dealt out to its rows at random.

    The task keeps its classes and their shares and has nothing left to do with the inputs.
    """
    column = table.schema.task_index(task)
    labelled = table.mask(task).nonzero().squeeze(1)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labelled)))
    labels = table.labels.clone()
    labels[labelled, column] = labels[labelled[order], column]
    return _changed(table, labels, table.observed)


def _changed(table: Table, labels: torch.Tensor, observed: torch.Tensor) -> Table:
    return Table(
        table.schema, table.categorical, table.dense, table.sequences, labels, observed,
        table.scenario, censored=table.censored, truth=table.truth, keys=table.keys,
        row_id=table.row_id,
    )  # fmt: skip

"""A small shop's chain of outcomes: click, then cart and purchase, then return; and the dwell."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from mtlkit.data.table import Table
from mtlkit.models import AITM, DBMTL, ESCM2, ESM2, ESMM, JointHeads, SharedBottom
from mtlkit.schema import Schema, Task
from tests import tiny

TASKS = (
    Task("click"),
    Task("cart", given="click"),
    Task("purchase", given="click"),
    Task("return", given="purchase"),
    replace(tiny.TASKS["dwell"], given="click"),
)
SIZES = {"embedding_dim": 3, "hidden": (8,), "tower": (6,)}
NETWORK = partial(SharedBottom, **SIZES)
LINKS = {
    "esmm": ESMM,
    "esm2": partial(ESM2, via={"purchase": "cart"}),
    "escm2 ipw": ESCM2,
    "escm2 dr": partial(ESCM2, method="dr"),
    "escm2 dr label": partial(ESCM2, method="dr", imputation="label"),
    "joint heads": JointHeads,
    "aitm": partial(AITM, width=4),
    "dbmtl": partial(DBMTL, width=4, relation=(5,)),
}


def schema(*names: str) -> Schema:
    """The tasks named (all by default), on the inputs of ``tiny``."""
    whole = tiny.schema("click").with_tasks(TASKS)
    return whole.select(names) if names else whole


def table(schema: Schema, rows: int = 40, seed: int = 0, *, complete: bool = False) -> Table:
    """Random rows; with ``complete`` no label is missing that could have been seen."""
    result = tiny.table(schema, rows, seed)
    if complete:
        generator = torch.Generator().manual_seed(seed + 1)
        for i, task in enumerate(schema.tasks):
            seen = torch.ones(rows, dtype=torch.bool)
            if task.given is not None:
                parent = schema.task_index(task.given)
                seen = result.observed[:, parent] & (result.labels[:, parent] == 1)
            label = torch.rand(rows, generator=generator)
            label = (label < 0.5).float() if task.is_binary else 5 * label
            result.observed[:, i] = seen
            result.labels[:, i] = torch.where(seen, label, 0.0)
    return result


def moved(parameters) -> bool:
    """Whether any of the parameters has a gradient that is not 0."""
    return any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in parameters)

"""Every architecture of the registries at tiny size, on a table that shows all there can be."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from mtlkit.data.table import Table
from mtlkit.models import ADAPTING, LINKS, SHARING, MultiTaskModel
from mtlkit.schema import Dense, Schema, Task
from tests import tiny

SIZES = {"embedding_dim": 3, "hidden": (8,), "tower": (6,)}
ARGUMENTS = {  # what a name needs beside its sizes
    "esm2": {"via": {"purchase": "cart"}},
    "aitm": {"width": 4},
    "dbmtl": {"width": 4, "relation": (5,)},
}
EVERY = [*SHARING, *ADAPTING, *LINKS]
FEW = ("click", "cart", "purchase", "category")  # a forked chain and a task of several logits


def schema(name: str = "", *, sequences: bool = True, few: bool = False) -> Schema:
    """Every kind of task, a forked chain, sequences, scenarios; one dense block for "article".

    With ``few`` the tasks of ``FEW`` alone: what is traced step by step takes half the time.
    """
    if name == "article":
        return Schema((Task("click"), Task("purchase", given="click")), dense=(Dense("x", 5),))
    whole = tiny.schema(sequences=sequences, scenarios=3)
    tasks = list(whole.tasks)
    tasks.insert(1, Task("cart", given="click"))
    tasks = [replace(t, given="click") if t.name == "dwell" else t for t in tasks]
    return whole.with_tasks(t for t in tasks if t.name in FEW or not few)


def table(
    name: str = "",
    rows: int = 17,
    seed: int = 0,
    *,
    sequences: bool = True,
    censored: bool | None = None,
    few: bool = False,
) -> Table:
    """Random rows with missing labels, empty sequences, censored counts, an unknown scenario."""
    result = tiny.table(schema(name, sequences=sequences, few=few), rows, seed)
    if result.schema.scenarios:
        result.scenario[::5] = result.schema.unknown_scenario
    if censored is None:
        return result
    flags = torch.zeros_like(result.observed) if result.censored is None else result.censored
    result.censored = flags if censored else None
    return result


def make(
    name: str, network: str = "shared-bottom", *, sequences: bool = True, few: bool = False
) -> MultiTaskModel:
    """The architecture of that name; a link is put around ``network``."""
    own, known = ARGUMENTS.get(name, {}), schema(name, sequences=sequences, few=few)
    if name == "article":
        return SHARING[name](known, hidden=8)
    if name in LINKS:
        inside = partial((SHARING | ADAPTING)[network], **SIZES, **ARGUMENTS.get(network, {}))
        return LINKS[name](known, inside, **own)
    return (SHARING | ADAPTING)[name](known, **SIZES, **own)

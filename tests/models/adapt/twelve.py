"""Twelve scenarios, of which "place 10" comes before "place 2" as text, and models of them."""

from __future__ import annotations

import torch
from torch import nn

from mtlkit.data.batch import Batch
from mtlkit.models import ADAPTING, MultiTaskModel, SharedBottom
from mtlkit.train import seeded
from tests import tiny

SCHEMA = tiny.schema("click", "purchase", "category", "dwell", scenarios=12)
UNKNOWN = SCHEMA.unknown_scenario
TEN = SCHEMA.scenario_index("place 10")
SIZES = {"embedding_dim": 3, "hidden": (6, 5), "tower": (4,)}


def batch_of(scenario=None, rows: int = 65, seed: int = 0, schema=SCHEMA) -> Batch:
    """Random rows in float64, of these scenarios; if not given, five of each and of none."""
    if scenario is not None:
        rows = len(scenario)
    batch = tiny.all_rows(tiny.table(schema, rows, seed))
    batch.dense = batch.dense.double()
    mixed = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)) % 13
    batch.scenario = mixed if scenario is None else torch.as_tensor(scenario)
    return batch


def fresh(name, schema=SCHEMA, **more) -> MultiTaskModel:
    """The scenario model as it starts, in float64."""
    with seeded(1):
        return ADAPTING[name](schema, **SIZES, **more).double()


def plain(schema=SCHEMA, **more) -> MultiTaskModel:
    """The network of ``fresh`` alone: the same first numbers."""
    with seeded(1):
        return SharedBottom(schema, **SIZES, **more).double()


def trained(name, schema=SCHEMA, **more) -> MultiTaskModel:
    """Weights and statistics as if it had been trained."""
    return as_trained(fresh(name, schema, **more))


def as_trained(model) -> MultiTaskModel:
    with seeded(2):
        for p in model.parameters():
            nn.init.normal_(p, std=0.5)
        for seed in (1, 2):
            model.train()(batch_of(seed=seed, schema=model.schema))
    return model


def of_every_row(logits) -> torch.Tensor:
    """All logits side by side, (batch, number)."""
    return torch.cat([z if z.dim() == 2 else z[:, None] for z in logits.values()], dim=1)

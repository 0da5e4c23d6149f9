"""What tests of models with generated or masked layers have in common."""

from __future__ import annotations

import torch
from torch import nn

from mtlkit.models import ADAPTING, SHARING
from mtlkit.train import seeded
from tests import tiny

NAMES = ("click", "category", "dwell")  # one logit, several, a real number
SIZES = {"embedding_dim": 3, "hidden": (7, 5), "tower": (6,)}


def table_of(scenarios=3, rows=24, seed=0):
    """Rows of ``scenarios`` scenarios with double numbers; every fifth of none that is known."""
    table = tiny.table(tiny.schema(*NAMES, scenarios=scenarios), rows, seed)
    table.scenario[::5] = table.schema.unknown_scenario
    table.dense = table.dense.double()
    return table


def batch_of(*args, **options):
    return tiny.all_rows(table_of(*args, **options))


def make(name, scenarios=3, *, network=None, start=False, std=0.4, **options):
    """The model of that name in float64; all its weights at random unless at the ``start``."""
    own = {} if network is None else {"network": SHARING[network]}
    with seeded(4):
        model = ADAPTING[name](tiny.schema(*NAMES, scenarios=scenarios), **SIZES, **own, **options)
        if not start:
            for p in model.parameters():
                nn.init.normal_(p, std=std)
    return model.double()


def gradients(loss, model):
    """The gradient on every parameter, 0 where there is none."""
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    pairs = zip(model.named_parameters(), found, strict=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in pairs}


def assert_equals_a_loop(model, batch, loop):
    """Logits and all gradients against ``loop(model, x, s)``: x (width,) and s of one row, which
    gives {task: logits of the row}."""
    found = model(batch)
    x = model.embed(batch)
    rows = [loop(model, x[r], int(batch.scenario[r])) for r in range(batch.rows)]
    slow = {t.name: torch.stack([row[t.name] for row in rows]) for t in model.schema.tasks}
    for task in model.schema.tasks:
        if task.kind != "multiclass":
            slow[task.name] = slow[task.name].squeeze(1)
        torch.testing.assert_close(found[task.name], slow[task.name], rtol=1e-9, atol=1e-11)
    weights = {name: torch.randn_like(value) for name, value in slow.items()}
    ours, theirs = (
        gradients(sum((weights[n] * values[n]).sum() for n in weights), model)
        for values in ({n: found[n] for n in weights}, slow)
    )
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-8, atol=1e-10, msg=name)


def set_of(model, s, values):
    """What a row of scenario s reads of stacked values: 0 for the unknown one."""
    return values[s] if s < model.schema.num_scenarios else torch.zeros_like(values[0])

"""What the tests of scenario networks share: tables, slow layers of one row, and sweeps."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from mtlkit.layers.embedding import FieldEmbedding
from mtlkit.layers.mlp import MLP
from mtlkit.models import MultiTaskModel
from mtlkit.schema import Scenario
from mtlkit.train import seeded
from tests import tiny

SIZES = {"embedding_dim": 3, "hidden": (7, 5), "tower": (6,)}
NAMES = ("click", "category", "orders")


def schema(scenarios: int = 3, tasks=NAMES):
    return tiny.schema(*tasks, scenarios=scenarios)


def lone():
    """One scenario that has a name."""
    return replace(schema(1), scenarios=(Scenario("search"),))


blind = partial(FieldEmbedding, scenario_field=False)  # inputs without the scenario


def make(kind, scenarios: int = 3, tasks=NAMES, seed: int = 0, **options) -> MultiTaskModel:
    """A model in float64 as if it had been trained: no two scenarios, experts or gates alike."""
    with seeded(seed):
        model = kind(schema(scenarios, tasks), **(SIZES | options)).double()
        for name, p in model.named_parameters():
            if name.endswith("bias") or "biases" in name:
                nn.init.uniform_(p, 0.2, 1.0)  # few units are 0 for all rows
            else:
                nn.init.normal_(p, std=0.4)
    return model


def batch_of(rows: int = 40, scenarios: int = 3, tasks=NAMES, seed: int = 0, unknown: bool = True):
    """Rows of all scenarios; every fifth is of the unknown one."""
    table = tiny.table(schema(scenarios, tasks), rows, seed)
    if unknown:
        table.scenario[::5] = scenarios
    batch = tiny.all_rows(table)
    batch.dense = batch.dense.double()
    return batch


def loss(logits: dict[str, Tensor]) -> Tensor:
    """A number that weighs every logit differently, labels or none."""
    parts = torch.cat([values.flatten() for values in logits.values()])
    return (parts * torch.linspace(0.5, 1.5, len(parts), dtype=parts.dtype)).sum()


def of(stacked: Tensor, scenario: int) -> Tensor:
    """What a row of the scenario reads: its own part, or the mean, which it does not train."""
    known = len(stacked)
    return stacked[scenario] if scenario < known else stacked.detach().sum(0) / known


def own_mlp(network: MLP, x: Tensor, scenario: int) -> Tensor:
    """One row (inputs,) through the layers of one scenario."""
    for layer in network:
        if isinstance(layer, nn.ReLU):
            x = x.clamp(min=0)
        elif hasattr(layer, "stacked"):
            x = x @ of(layer.weight, scenario) + of(layer.bias, scenario)
    return x


def shared(bank, number: int, x: Tensor) -> Tensor:
    """One row (inputs,) through one expert of a bank."""
    for weight, bias in zip(bank.weights, bank.biases, strict=True):
        x = (x @ weight[number] + bias[number, 0]).clamp(min=0)
    return x


def gated(scores: list[Tensor], outputs: list[Tensor]) -> Tensor:
    """The weighted sum, one after the other."""
    return sum(w * output for w, output in zip(softmax(scores), outputs, strict=True))


def softmax(scores: list[Tensor]) -> list[Tensor]:
    """By hand."""
    powers = [torch.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def collect(model, rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """{task: logits} of rows computed one by one, each {task: (outputs,)}."""
    found = {}
    for task in model.schema.tasks:
        logits = torch.stack([row[task.name] for row in rows])
        found[task.name] = logits if task.kind == "multiclass" else logits[:, 0]
    return found


def same_outputs_and_gradients(model, slow, batch) -> None:
    """The model against its slow loop: logits, and the gradient of every parameter."""
    found, expected = model(batch), slow(model, batch)
    assert list(found) == list(expected)
    for task in expected:
        torch.testing.assert_close(found[task], expected[task])
    weights = dict(model.named_parameters())
    pairs = [
        torch.autograd.grad(loss(logits), list(weights.values()), allow_unused=True)
        for logits in (found, expected)
    ]
    for name, one, two in zip(weights, *pairs, strict=True):
        one, two = (weights[name] * 0 if g is None else g for g in (one, two))
        torch.testing.assert_close(one, two, msg=lambda text, name=name: f"{name}: {text}")


def gradients(model, batch, rows: Tensor | None = None) -> dict[str, Tensor]:
    """{parameter: gradient of a number made of these rows' logits}."""
    model.zero_grad()
    logits = model(batch)
    if rows is not None:
        logits = {task: values[rows] for task, values in logits.items()}
    loss(logits).backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def stacked(model) -> dict[str, Tensor]:
    """{name: parameter} of all that hold a part for each scenario."""
    found = {}
    for name, module in model.named_modules():
        for part in getattr(module, "stacked", ()):
            found[f"{name}.{part}"] = getattr(module, part)
    return found


def moved_by(model, batch, scenario: int) -> dict[str, list[int]]:
    """{stacked parameter: scenarios whose part has a gradient from rows of that scenario}."""
    found = gradients(model, batch, batch.scenario == scenario)
    moved = {name: found[name].flatten(1).abs().sum(1) > 0 for name in stacked(model)}
    return {name: flags.nonzero().flatten().tolist() for name, flags in moved.items()}


def nothing_is_dead(model, batch) -> None:
    """Every parameter has a gradient and changes the output."""
    found = gradients(model, batch)
    assert [name for name, gradient in found.items() if not gradient.abs().sum() > 0] == []
    before = model(batch)
    for name, p in model.named_parameters():
        kept = p.data.clone()
        p.data += 0.1 * torch.randn_like(p)
        after = model(batch)
        assert any(not torch.equal(before[task], after[task]) for task in before), name
        p.data = kept


def rows_stand_alone(model, rows: int = 23) -> None:
    """Permuted rows have permuted outputs; a row alone has the outputs that it has in a batch."""
    table = tiny.table(model.schema, rows)
    table.dense = table.dense.double()
    table.scenario[::5] = model.schema.unknown_scenario
    whole, order = model(tiny.all_rows(table)), torch.randperm(rows)
    mixed = model(table.batch(order))
    for task, logits in whole.items():
        torch.testing.assert_close(mixed[task], logits[order])
    for row in (0, 3, rows - 1):
        alone = model(table.batch(torch.tensor([row])))
        for task, logits in whole.items():
            torch.testing.assert_close(alone[task][0], logits[row])


def grown_table(known, rows: int = 40):
    """Rows of all scenarios and of none; the same for a schema with one more, which has half of
    those that were unknown."""
    old = tiny.table(known, rows, seed=2)
    old.dense = old.dense.double()
    old.scenario[::3] = known.unknown_scenario
    larger = known.extend(scenario="ads")
    new = old.take(torch.arange(rows))
    new.schema = larger
    new.scenario = old.scenario.clone()
    new.scenario[::3] = larger.unknown_scenario
    new.scenario[::6] = larger.scenario_index("ads")
    return tiny.all_rows(old), tiny.all_rows(new)


def grows(model, unread: tuple[str, ...] = ()) -> None:
    """Nothing moves when a scenario comes, once and again; the new one starts as the unknown one,
    and its rows reach every part of its own but what only others read of it, ``unread``."""
    before, after = grown_table(model.schema)
    grown = model.extend(scenario="ads")
    expected, found = model(before), grown(after)
    for task in expected:
        torch.testing.assert_close(found[task], expected[task])
    new = grown.schema.scenario_index("ads")
    moved = moved_by(grown, after, new)
    assert [name for name, places in moved.items() if new not in places] == list(unread)
    again = grown.extend(scenario="mail")
    expected = grown(after)
    after.scenario[after.scenario > new] += 1
    found = again(after)
    after.scenario[after.scenario > new] = new + 1
    as_new = again(after)
    for task in expected:
        torch.testing.assert_close(found[task], expected[task])
        torch.testing.assert_close(as_new[task], expected[task])

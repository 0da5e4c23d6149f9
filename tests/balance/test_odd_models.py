"""The engine on models that share in unusual ways, against brute force in float64."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn

from mtlkit.balance import GradNorm, MetaBalance, PCGrad, UPGrad
from mtlkit.balance.engine.gradient_step import GradientStep
from mtlkit.layers import MLP, FieldEmbedding
from mtlkit.layers.towers import head_logits
from mtlkit.models import SharedBottom
from mtlkit.models.base import MultiTaskModel
from mtlkit.schema import Schema, Task
from mtlkit.train import fit, seeded
from tests import tiny
from tests.balance.test_gradient_step import (
    SIZES,
    WEIGHTS,
    Watching,
    WatchingHalves,
    WatchingLosses,
    assert_update,
    brute_force,
    dense_gramian,
    double_batch,
    run,
)

NAMES = ("click", "dwell", "orders")


class Odd(MultiTaskModel):
    """Experts for two tasks each, a head for two tasks, tables read above the cut, a gate below.

    Its outputs come in another order than the schema's tasks, and there is one more of them.
    """

    def __init__(self, schema):
        super().__init__(schema)
        self.embedding = FieldEmbedding(schema, 3)
        self.late = FieldEmbedding(schema, 2)  # shared, read by the heads and below them
        self.own = FieldEmbedding(schema, 2)  # of the first task, read by its head
        self.early = FieldEmbedding(schema, 2)  # of the last task, read below the representation
        self.norm = nn.BatchNorm1d(self.embedding.width)
        self.experts = nn.ModuleList(MLP(self.embedding.width, (6,)) for _ in range(2))
        self.gate = nn.Linear(self.embedding.width, 6)  # of the last task, below as well
        self.pair = nn.Linear(6, 6)  # a head of the second and the third task
        self.last = nn.Parameter(torch.randn(7, 6).T)  # not contiguous; below the heads, too
        self.context = nn.Linear(self.late.width, 7)
        self.mine = nn.Linear(self.own.width, 7)
        self.theirs = nn.Linear(self.early.width, 6)
        self.heads = nn.ModuleList(nn.Linear(7, 1) for _ in schema.tasks)
        self.experts[1].requires_grad_(False)
        self.heads[1].bias.requires_grad_(False)

    def represent(self, x, batch):
        x = self.norm(x)
        first, second = (expert(x) for expert in self.experts)
        gated = second * self.gate(x).sigmoid() + self.theirs(self.early(batch))
        gated = gated + self.late(batch)[:, 1:2] + self.last.sum(1)
        return first, first + second, gated

    def decode(self, shared, batch):
        first, both, gated = shared
        context = self.context(self.late(batch))
        h = (
            first @ self.last + self.mine(self.own(batch)),
            self.pair(both) @ self.last + context,
            self.pair(gated) @ self.last + context,
        )
        logits = {"beside": h[0].sum(1)}
        for i in (2, 0, 1):
            logits[self.schema.tasks[i].name] = head_logits(
                self.schema.tasks[i], self.heads[i](h[i].tanh())
            )
        return logits

    def task_modules(self, name):
        index = self.schema.task_index(name)
        extra = ([self.own, self.mine], [], [self.gate, self.early, self.theirs])[index]
        return [*extra, self.heads[index]]


def odd(seed=0):
    schema = tiny.schema(*NAMES)
    with seeded(seed):
        return Odd(schema).double(), double_batch(schema)


def trained(model, gradients):
    return {n: gradients[n] for n, p in model.named_parameters() if p.requires_grad}


def brute(model, batch):
    """As ``brute_force``, with the frozen parameters thawed for the while and left out."""
    frozen = [p for p in model.parameters() if not p.requires_grad]
    for p in frozen:
        p.requires_grad_(True)
    gradients, _ = brute_force(model, batch)
    for p in frozen:
        p.requires_grad_(False)
    return trained(model, gradients)


def weighted(per_task, weights):
    return torch.tensordot(torch.tensor(weights, dtype=torch.float64), per_task, dims=1)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("rows", [60, 2])
def test_parts_shared_by_some_tasks_and_frozen_ones_equal_brute_force(sparse, rows):
    model, _ = odd()
    batch = double_batch(model.schema, rows)
    gradients = brute(model, batch)
    for embedding in model.embeddings():
        embedding.sparse_gradient = sparse
    balancer = Watching()
    losses, found = run(model, batch, balancer)
    shared = {id(p) for p in model.shared_parameters()}
    present = (losses != 0).double()
    matrix = torch.cat(
        [gradients[n].flatten(1) for n, p in model.named_parameters()
         if id(p) in shared and n in gradients], dim=1
    )  # fmt: skip
    kept = balancer.present
    torch.testing.assert_close(balancer.gramian, (matrix @ matrix.T)[kept][:, kept])
    weights = (torch.tensor(WEIGHTS[:3], dtype=torch.float64) * present).tolist()
    for name, p in model.named_parameters():
        if name not in gradients:
            assert found[name] is None, name
            continue
        used = weights if id(p) in shared else (1.0, 1.0, 1.0)
        torch.testing.assert_close(found[name].to_dense(), weighted(gradients[name], used))


@pytest.mark.parametrize("sparse", [False, True])
def test_at_the_representation_tables_above_it_and_tasks_own_parts_below_it_are_trained(sparse):
    model, batch = odd()
    gradients = brute(model, batch)
    for embedding in model.embeddings():
        embedding.sparse_gradient = sparse
    _, found = run(model, batch, Watching(), shared="representation")
    shared = {id(p) for p in model.shared_parameters()}
    below = ("gate", "early", "theirs")  # of one task, and below the cut: they follow the mixture
    for name, p in model.named_parameters():
        if name not in gradients:
            assert found[name] is None, name
            continue
        mixed = id(p) in shared or name.split(".")[0] in below
        used = WEIGHTS[:3] if mixed else (1.0, 1.0, 1.0)
        torch.testing.assert_close(found[name].to_dense(), weighted(gradients[name], used))


@pytest.mark.parametrize("shared", ["parameters", "representation"])
def test_old_gradients_are_replaced_and_lookups_are_whole_again_after_a_step(shared):
    model, batch = odd()
    _, once = run(model, batch, Watching(), shared=shared)
    step = GradientStep(model, Watching().bind(model.schema), shared)
    step.run(batch, nullcontext)
    step.run(batch, nullcontext)
    for name, p in model.named_parameters():
        assert (p.grad is None) == (once[name] is None)
        if p.grad is not None:
            torch.testing.assert_close(p.grad, once[name], rtol=1e-6, atol=1e-9)  # norm has moved
    model.zero_grad()
    model.losses(model(batch), batch).sum().backward()
    assert all(e.table.grad is not None for e in model.embeddings())


def test_only_whole_layers_last_from_batch_to_batch():
    model, batch = odd()
    balancer = WatchingHalves()
    run(model, batch, balancer)
    gradients = balancer.gradients
    tables = {name for name in gradients.blocks if name.endswith("table")}
    assert tables == {"embedding.table", "late.table"}
    whole = [columns for name, columns in gradients.blocks.items() if name not in tables]
    assert gradients.lasting == sum(columns.stop - columns.start for columns in whole)
    assert gradients.lasting == max(columns.stop for columns in whole)
    run(model, batch, balancer, shared="representation")
    assert balancer.gradients.lasting == 0


def test_weighted_losses_reach_outputs_by_name_and_not_by_their_order():
    model, batch = odd()
    gradients = brute(model, batch)
    balancer = WatchingLosses()
    balancer.parameters = ("last",)
    _, found = run(model, batch, balancer)
    flat = gradients["last"].flatten(1)
    torch.testing.assert_close(balancer.gramian, flat @ flat.T)
    for name, per_task in gradients.items():
        torch.testing.assert_close(found[name], weighted(per_task, WEIGHTS[:3]))


def test_halves_on_an_odd_model_make_up_the_whole():
    model, batch = odd()
    gradients = brute(model, batch)
    balancer = WatchingHalves()
    run(model, batch, balancer)
    shared = {id(p) for p in model.shared_parameters()}
    matrix = torch.cat(
        [gradients[n].flatten(1) for n, p in model.named_parameters()
         if id(p) in shared and n in gradients], dim=1
    )  # fmt: skip
    torch.testing.assert_close(balancer.gramian, matrix @ matrix.T)


@pytest.mark.parametrize("shared", ["parameters", "representation"])
def test_a_frozen_table_stays_and_the_rest_equals_brute_force(shared):
    schema = tiny.schema(*NAMES)
    model = SharedBottom(schema, **SIZES).double()
    model.embedding.table.requires_grad_(False)
    batch = double_batch(schema)
    gradients = brute(model, batch)
    _, found = run(model, batch, Watching(), shared=shared)
    assert found.pop("embedding.table") is None
    owned = {f"towers.{i}" for i in range(3)}
    for name, gradient in found.items():
        used = (1.0, 1.0, 1.0) if name[:8] in owned else WEIGHTS[:3]
        torch.testing.assert_close(gradient, weighted(gradients[name], used))


def test_one_table_behind_two_layers_counts_once():
    class Twice(SharedBottom):
        def __init__(self, schema, **sizes):
            super().__init__(schema, **sizes)
            self.again = FieldEmbedding(schema, sizes["embedding_dim"], pooling="sum")
            self.again.table = self.embedding.table

        def embed(self, batch):
            return self.embedding(batch) + self.again(batch).square()

    schema = tiny.schema(*NAMES)
    model = Twice(schema, **SIZES).double()
    batch = double_batch(schema)
    gradients, _ = brute_force(model, batch)
    balancer = Watching()
    _, found = run(model, batch, balancer)
    torch.testing.assert_close(balancer.gramian, dense_gramian(model, gradients))
    assert_update(model, gradients, found, WEIGHTS[:3])


def test_a_table_read_past_its_lookup_is_refused():
    class Tied(SharedBottom):
        def represent(self, x, batch):
            return (self.bottom(x) + self.embedding.table.mean(),)

    model = Tied(tiny.schema(*NAMES), **SIZES).double()
    with pytest.raises(ValueError, match=r"embedding\.table other than by the lookup"):
        run(model, double_batch(model.schema), Watching())
    # below the representation it does no harm
    gradients, _ = brute_force(model, double_batch(model.schema))
    _, found = run(model, double_batch(model.schema), Watching(), shared="representation")
    assert_update(model, gradients, found, WEIGHTS[:3])


def test_outputs_written_over_decode_are_followed_at_the_representation():
    class Halved(SharedBottom):
        def outputs(self, x, batch):
            return {name: 0.5 * z for name, z in super().outputs(x, batch).items()}

    model = Halved(tiny.schema(*NAMES), **SIZES).double()
    batch = double_batch(model.schema)
    gradients, _ = brute_force(model, batch)
    _, found = run(model, batch, Watching(), shared="representation")
    assert_update(model, gradients, found, WEIGHTS[:3])

    class Forward(SharedBottom):
        def forward(self, batch):
            return super().forward(batch)

    with pytest.raises(ValueError, match="Forward writes forward itself"):
        GradientStep(Forward(model.schema, **SIZES), Watching(), "representation")


def test_a_model_whose_shared_part_is_frozen_is_refused():
    model = SharedBottom(tiny.schema(*NAMES), **SIZES)
    model.bottom.requires_grad_(False)
    model.embedding.requires_grad_(False)
    with pytest.raises(ValueError, match="shares no parameters"):
        GradientStep(model, Watching())


@pytest.mark.parametrize("rows", [1, 3])
def test_a_short_batch_of_empty_sequences_equals_brute_force(rows):
    schema = tiny.schema()
    model = SharedBottom(schema, **SIZES).double()
    nothing = torch.zeros(0, dtype=torch.int64), torch.zeros(rows + 1, dtype=torch.int64)
    batch = double_batch(schema, rows, sequences=dict.fromkeys(("viewed", "words"), nothing))
    batch = replace(batch, observed=torch.ones_like(batch.observed))
    gradients, _ = brute_force(model, batch)
    for shared in ("parameters", "representation"):
        for balancer in (Watching(), WatchingHalves()):
            _, found = run(model, batch, balancer, shared=shared)
            assert_update(model, gradients, found, WEIGHTS)


def test_sixteen_tasks_and_one_task_equal_brute_force():
    for tasks in (1, 16):
        plain = tiny.schema("click", sequences=False, scenarios=1)
        schema = Schema(
            tuple(Task(f"task {i}") for i in range(tasks)), plain.categorical, plain.dense
        )
        model = SharedBottom(schema, **SIZES).double()
        model.shared_parameters = lambda m=model: [
            *m.embedding.parameters(),
            *m.bottom.parameters(),
        ]
        batch = double_batch(schema, 30)
        gradients, _ = brute_force(model, batch)
        for make in (UPGrad, PCGrad, GradNorm, lambda: MetaBalance("task 0")):
            _, found = run(model, batch, make())
            assert all(g.isfinite().all() for g in found.values())
            if tasks == 1:
                assert_update(model, gradients, found, (1.0,))


@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam", "sgd"])
def test_frozen_parameters_are_not_moved_by_fit(optimizer):
    table = tiny.table(tiny.schema(*NAMES), 48)
    with seeded(1):
        model = Odd(table.schema)
    model.late.table.requires_grad_(False)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    fit(
        model, table, balancer=PCGrad(), epochs=1, batch_size=16, optimizer=optimizer,
        progress=False, device="cpu",
    )  # fmt: skip
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) != p.requires_grad, name

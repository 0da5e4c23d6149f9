"""The engine against brute force: float64 gradients of each loss over every parameter, dense."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from mtlkit.balance import Balancer
from mtlkit.balance.engine.gradient_step import GradientStep
from mtlkit.balance.engine.gramian import PIECE, gramian
from mtlkit.models import ArticleNetwork, MMoE, SharedBottom, SingleTask
from tests import tiny

SIZES = {"embedding_dim": 3, "hidden": (9, 8), "tower": (8,)}  # wide: no tower is born dead
WEIGHTS = (0.5, 2.0, 0.1, 1.5, 0.7, 3.0, 1.1)


class Watching(Balancer):
    """Fixed weights that keep the Gramian they were given."""

    needs_gramian, weighs_heads = True, False

    def task_weights(self, losses, gramian):
        self.gramian = gramian
        return torch.tensor(WEIGHTS, dtype=torch.float64)[self.present]


class WatchingLosses(Watching):
    weighs_heads = True


class WatchingHalves(Watching):
    needs_gradients = needs_halves = True

    def combine(self, losses, gradients):
        self.losses, self.gradients = losses, gradients
        return super().combine(losses, gradients)


class Coupled(SharedBottom):
    """A model whose losses read the logits of other tasks, too."""

    def losses(self, logits, batch):
        own = super().losses(logits, batch)
        names = self.schema.task_names
        both = (logits[names[0]] * logits[names[1]].sigmoid()).square().mean()
        return torch.cat([own[:1] + both, own[1:]])


def brute_force(model, batch):
    """Every loss's gradient on every parameter by name: {name: (task, *shape)}; the losses."""
    losses = model.losses(model(batch), batch)
    names, parameters = zip(*model.named_parameters(), strict=True)
    rows = []
    for loss in losses:
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        rows.append(
            [
                torch.zeros_like(p) if g is None else g
                for p, g in zip(parameters, found, strict=True)
            ]
        )
    return {n: torch.stack(g) for n, g in zip(names, zip(*rows, strict=True), strict=True)}, losses


def dense_gramian(model, gradients):
    shared = {id(p) for p in model.shared_parameters()}
    flat = [gradients[n].flatten(1) for n, p in model.named_parameters() if id(p) in shared]
    matrix = torch.cat(flat, dim=1)
    return matrix @ matrix.T


def run(model, batch, balancer, **options):
    model.zero_grad()
    losses = GradientStep(model, balancer.bind(model.schema), **options).run(batch, nullcontext)
    return losses, {name: p.grad for name, p in model.named_parameters()}


def assert_update(model, gradients, found, weights):
    """Shared parameters moved by the weighted sum, all others by the plain one."""
    weights = torch.tensor(weights, dtype=torch.float64)
    shared = {id(p) for p in model.shared_parameters()}
    for name, p in model.named_parameters():
        per_task = gradients[name]
        used = weights if id(p) in shared else torch.ones_like(weights)
        expected = torch.tensordot(used, per_task, dims=1)
        torch.testing.assert_close(found[name].to_dense(), expected, rtol=1e-10, atol=1e-13)


def double_batch(schema, rows=60, seed=0, **changes):
    batch = tiny.table(schema, rows, seed).batch(torch.arange(rows))
    return replace(batch, dense=batch.dense.double(), **changes)


@pytest.mark.parametrize("model_type", [SharedBottom, MMoE])
@pytest.mark.parametrize("scenarios", [1, 3])
@pytest.mark.parametrize("sparse", [False, True])
def test_gramian_and_update_equal_brute_force_over_all_shared_parameters(
    model_type, scenarios, sparse
):
    schema = tiny.schema(scenarios=scenarios)
    model = model_type(schema, **SIZES).double()
    batch = double_batch(schema)  # 60 rows of 11 users and 6 items: every id repeats
    gradients, losses = brute_force(model, batch)
    for embedding in model.embeddings():
        embedding.sparse_gradient = sparse
    balancer = Watching()
    seen, found = run(model, batch, balancer)
    torch.testing.assert_close(seen, losses.detach())
    torch.testing.assert_close(balancer.gramian, dense_gramian(model, gradients), rtol=1e-10,
                               atol=1e-14)  # fmt: skip
    assert_update(model, gradients, found, WEIGHTS)
    assert found["embedding.table"].is_sparse == sparse


def test_a_network_without_a_table_equals_brute_force():
    schema = tiny.schema("click", "purchase", sequences=False, scenarios=1)
    schema = replace(schema, categorical=())
    model = ArticleNetwork(schema, hidden=5).double()
    batch = double_batch(schema)
    gradients, _ = brute_force(model, batch)
    balancer = Watching()
    _, found = run(model, batch, balancer)
    torch.testing.assert_close(balancer.gramian, dense_gramian(model, gradients))
    assert_update(model, gradients, found, WEIGHTS[:2])


def test_losses_that_read_other_tasks_logits_are_followed_through_their_heads():
    schema = tiny.schema("click", "dwell", "orders")
    model = Coupled(schema, **SIZES).double()
    batch = double_batch(schema)
    gradients, _ = brute_force(model, batch)
    assert gradients["towers.1.0.weight"][0].abs().sum() > 0  # the first loss reaches this head
    balancer = Watching()
    _, found = run(model, batch, balancer)
    torch.testing.assert_close(balancer.gramian, dense_gramian(model, gradients))
    assert_update(model, gradients, found, WEIGHTS[:3])


def test_a_task_without_labels_has_no_say_and_no_gradient():
    schema = tiny.schema("click", "dwell", "orders")
    model = SharedBottom(schema, **SIZES).double()
    batch = double_batch(schema)
    batch.observed[:, 1] = False
    gradients, _ = brute_force(model, batch)
    balancer = Watching()
    losses, found = run(model, batch, balancer)
    assert losses[1] == 0
    assert balancer.present.tolist() == [0, 2]
    assert_update(model, gradients, found, (WEIGHTS[0], 0.0, WEIGHTS[2]))
    assert all(g.isfinite().all() for g in found.values())
    assert found["towers.1.0.weight"].abs().sum() == 0


def test_a_batch_without_any_label_moves_nothing():
    schema = tiny.schema("click", "dwell")
    model = SharedBottom(schema, **SIZES).double()
    batch = double_batch(schema)
    batch.observed[:] = False
    for shared in ("parameters", "representation"):
        losses, found = run(model, batch, Watching(), shared=shared)
        assert losses.abs().sum() == 0
        assert all(g.abs().sum() == 0 for g in found.values())


@pytest.mark.parametrize("model_type", [SharedBottom, MMoE])
def test_at_the_representation_the_gramian_is_that_of_its_gradients(model_type):
    schema = tiny.schema("click", "purchase", "category", "orders")
    model = model_type(schema, **SIZES).double()
    batch = double_batch(schema)
    gradients, _ = brute_force(model, batch)
    whole = model.represent(model.embed(batch), batch)
    shared = tuple(z.detach().requires_grad_() for z in whole)  # MMoE's experts depend on its x
    losses = model.losses(model.decode(shared, batch), batch)
    flat = []
    for loss in losses:
        parts = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        kept = zip(parts, shared, strict=True)
        flat.append(
            torch.cat([(torch.zeros_like(z) if g is None else g).flatten() for g, z in kept])
        )
    matrix = torch.stack(flat)
    balancer = Watching()
    _, found = run(model, batch, balancer, shared="representation")
    torch.testing.assert_close(balancer.gramian, matrix @ matrix.T, rtol=1e-10, atol=1e-14)
    # given the weights, the update below the representation is the same weighted sum
    assert_update(model, gradients, found, WEIGHTS[:4])


def test_a_model_that_names_no_representation_is_cut_at_its_input():
    class Whole(SharedBottom):
        """Writes outputs as one piece: shared layers stand above the cut."""

        represent = SharedBottom.__mro__[1].represent
        decode = SharedBottom.__mro__[1].decode

        def outputs(self, x, batch):
            return SharedBottom.decode(self, SharedBottom.represent(self, x, batch), batch)

    schema = tiny.schema("click", "dwell", "orders")
    model = Whole(schema, **SIZES).double()
    batch = double_batch(schema)
    gradients, _ = brute_force(model, batch)
    _, found = run(model, batch, Watching(), shared="representation")
    assert_update(model, gradients, found, WEIGHTS[:3])


def test_weights_of_losses_reach_trunk_and_heads_alike():
    schema = tiny.schema("click", "dwell", "orders")
    for model in (SharedBottom(schema, **SIZES).double(), Coupled(schema, **SIZES).double()):
        batch = double_batch(schema)
        gradients, _ = brute_force(model, batch)
        balancer = WatchingLosses()
        _, found = run(model, batch, balancer)
        last = gradients["bottom.2.weight"].flatten(1)  # the last shared weight matrix
        torch.testing.assert_close(balancer.gramian, last @ last.T)
        weights = torch.tensor(WEIGHTS[:3], dtype=torch.float64)
        for name, per_task in gradients.items():
            torch.testing.assert_close(found[name], torch.tensordot(weights, per_task, dims=1))
        balancer.parameters = ("bottom.0.weight", "bottom.0.bias")
        run(model, batch, balancer)
        first = torch.cat([gradients[n].flatten(1) for n in balancer.parameters], dim=1)
        torch.testing.assert_close(balancer.gramian, first @ first.T)


def test_the_two_halves_of_a_batch_make_up_the_whole():
    schema = tiny.schema()
    model = SharedBottom(schema, **SIZES).double()
    batch = double_batch(schema)
    gradients, losses = brute_force(model, batch)
    balancer = WatchingHalves()
    seen, found = run(model, batch, balancer)
    torch.testing.assert_close(seen, losses.detach())
    assert_update(model, gradients, found, WEIGHTS)
    even = torch.arange(60) % 2 == 0
    for half, rows in zip(balancer.gradients.halves, (even, ~even), strict=True):
        part = replace(batch, observed=batch.observed & rows.unsqueeze(1))
        expected = dense_gramian(model, brute_force(model, part)[0])
        torch.testing.assert_close(half @ half.T, expected, rtol=1e-10, atol=1e-14)


def test_in_float32_and_under_bfloat16_the_gramian_is_near_the_exact_one():
    schema = tiny.schema("click", "dwell", "orders")
    model = SharedBottom(schema, **SIZES)
    batch = tiny.table(schema, 60).batch(torch.arange(60))
    exact = SharedBottom(schema, **SIZES).double()
    exact.load_state_dict(model.state_dict())
    truth = dense_gramian(exact, brute_force(exact, double_batch(schema))[0])
    balancer = Watching().bind(schema)
    GradientStep(model, balancer).run(batch, nullcontext)
    torch.testing.assert_close(balancer.gramian, truth, rtol=1e-5, atol=1e-8)
    step = GradientStep(model, balancer)
    step.run(batch, lambda: torch.autocast("cpu", dtype=torch.bfloat16))
    torch.testing.assert_close(balancer.gramian, truth, rtol=0.1, atol=0.02 * truth.max().item())
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("width", [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5])
def test_the_gramian_of_pieces_is_that_of_whole_rows(width):
    generator = torch.Generator().manual_seed(width)
    left, right = torch.randn(2, 3, width, generator=generator)
    exact = left.double() @ right.double().T
    torch.testing.assert_close(gramian(left, right), exact, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(gramian(left.double(), right.double()), exact)


def test_the_gramian_of_tiny_and_huge_gradients_keeps_its_digits():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(4, 50, generator=generator)
    for scales in ([1e-30, 1e-6, 1.0, 1e15], [1e-25] * 4, [3e-22] * 4, [1e25] * 4):
        scaled = matrix * torch.tensor(scales).unsqueeze(1)
        exact = scaled.double() @ scaled.double().T
        torch.testing.assert_close(gramian(scaled), exact, rtol=1e-4, atol=0)
    zero = torch.cat([matrix[:1], torch.zeros(1, 50)])
    assert gramian(zero)[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("model_type", [SharedBottom, MMoE])
def test_reused_memory_holds_the_gradient_of_its_own_batch_alone(model_type):
    schema = tiny.schema()
    model = model_type(schema, **SIZES).double()
    balancer = Watching().bind(schema)
    step = GradientStep(model, balancer, reuse=True)
    table = tiny.table(schema, 60)
    for rows in (range(0, 3), range(10, 50), range(55, 56), range(20, 24)):
        batch = table.batch(torch.tensor(list(rows)))
        batch = replace(batch, dense=batch.dense.double())
        for p in model.parameters():
            p.grad = None
        step.run(batch, nullcontext)
        kept = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        _, fresh = run(model, batch, Watching())
        for name, gradient in kept.items():
            torch.testing.assert_close(gradient, fresh[name], rtol=0, atol=0)


def test_models_and_places_that_do_not_fit_are_refused():
    schema = tiny.schema("click", "dwell")
    with pytest.raises(ValueError, match="SingleTask shares no parameters"):
        GradientStep(SingleTask(schema, **SIZES), Watching())
    model = SharedBottom(schema, **SIZES)
    with pytest.raises(ValueError, match="parameters, representation"):
        GradientStep(model, Watching(), shared="everything")
    balancer = WatchingLosses()
    balancer.parameters = ("bottom.9.weight",)
    with pytest.raises(ValueError, match=r"bottom\.9\.weight"):
        GradientStep(model, balancer)

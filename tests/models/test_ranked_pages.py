"""Models that learn by pages: what rows pay, every balancer, runs that resume, what is refused."""

import copy
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.export import export

from mtlkit.balance import BALANCERS, EVERY_BALANCER, GradientStep
from mtlkit.balance.engine.gradient_step import _halves
from mtlkit.data import BalancedScenarios, WholePages
from mtlkit.data.batch import free_rows
from mtlkit.layers import use_route
from mtlkit.losses import RANKING_LOSSES, jrc, page_losses
from mtlkit.models import (
    ESMM,
    STAR,
    LogitShift,
    MMoE,
    RankedPages,
    Replicas,
    SharedBottom,
    SingleTask,
    with_levels,
    wrap,
)
from mtlkit.models.base import MultiTaskModel, extra_name
from mtlkit.schema import SchemaError, Task
from mtlkit.train import evaluate, fit, predict, seeded
from mtlkit.train.accumulate import Accumulation
from tests import tiny
from tests.models.test_grid import OWN, rules

SIZES = {"embedding_dim": 3, "hidden": (6,), "tower": (4,)}
OPTIONS = {
    "epochs": 3, "seed": 4, "device": "cpu", "progress": False, "learning_rate": 0.01,
    "schedule": "constant", "sampler": WholePages(3),
}  # fmt: skip


def paged(rows=60, seed=0, size=6):
    table = tiny.table(tiny.schema("click", "purchase", "rating", "orders"), rows, seed)
    generator = torch.Generator().manual_seed(seed)
    table.keys["session"] = torch.randperm(rows, generator=generator) // size
    return table.with_group("session")


def ranked(table, loss="listwise", network=SharedBottom, seed=0, **options):
    with seeded(seed):
        schema = with_levels(table.schema, "click") if loss == "jrc" else table.schema
        return RankedPages(network(schema, **SIZES), {"click": loss}, **options)


def scores_of(model, logits):
    z = logits["click"]
    if "click page level" not in logits:
        return z
    level = logits["click page level"]
    return torch.stack([level - z / 2, level + z / 2], dim=1)


@pytest.mark.parametrize("keep", [0.0, 0.7])
@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_a_task_s_loss_is_the_sum_over_pages_by_rows(name, keep):
    table = paged()
    model, batch = ranked(table, name, weight=2.0, keep_pointwise=keep), tiny.all_rows(table)
    logits = model(batch)
    losses, seen = model.losses(logits, batch), batch.observed[:, 0]
    given = batch.labels[seen, 0], batch.group[seen]
    pages = page_losses(RANKING_LOSSES[name](scores_of(model, logits)[seen], *given), given[1])
    plain = F.binary_cross_entropy_with_logits(logits["click"][seen], given[0])
    assert len(pages) == 10 and (pages > 0).sum() > 5
    torch.testing.assert_close(losses[0], 2 * pages.sum() / seen.sum() + keep * plain)
    inside = SharedBottom(table.schema, **SIZES)  # the other tasks learn as in any model
    torch.testing.assert_close(losses[1:], inside.losses(logits, batch)[1:])
    rows = model.row_losses(logits, batch)
    assert rows.shape == (60, 4) and (rows[~model.loss_rows(batch)] == 0).all()
    assert (model.loss_rows(batch) == batch.observed).all()
    weighed = replace(batch, weight=torch.rand(60))
    own = rows[:, 0] * weighed.weight
    mean = own[seen].sum() / weighed.weight[seen].sum()
    torch.testing.assert_close(model.losses(logits, weighed)[0], mean)


def test_predictions_are_those_of_the_model_inside_and_the_level_is_no_task():
    table = paged()
    model, batch = ranked(table, "jrc").eval(), tiny.all_rows(table)
    assert model.schema == table.schema
    found, inside = model.predict(batch), model.network.predict(batch)
    assert list(found) == list(table.schema.task_names)
    assert all(torch.equal(found[task], inside[task]) for task in found)
    z = scores_of(model, model(batch))
    torch.testing.assert_close(found["click"], z.softmax(1)[:, 1])
    metrics = evaluate(model, table, group="session")
    assert "gauc" in metrics["click"] and list(metrics) == list(found)
    alone = {id(p) for p in model.task_parameters("click")}
    assert {id(p) for p in model.network.task_parameters("click page level")} < alone
    grown = model.extend(scenario="new")
    assert grown.schema.num_scenarios == 3 and grown.network.schema.num_scenarios == 3
    joint = model.predict_joint(batch)
    torch.testing.assert_close(joint["purchase"], found["click"] * found["purchase"])


def gradients_alone(model, batch):
    """Every task's gradient on the shared parameters, one loss after the other."""
    losses, shared = model.losses(model(batch), batch), model.shared_parameters()
    rows = []
    for loss in losses:
        found = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        pairs = zip(found, shared, strict=True)
        rows.append(torch.cat([(p * 0 if g is None else g).flatten() for g, p in pairs]))
    return torch.stack(rows).detach(), losses.detach()


@pytest.mark.parametrize(("rule", "shared"), [*rules()])
def test_every_balancer_goes_with_losses_of_pages(rule, shared):
    loss = [*RANKING_LOSSES][sorted(EVERY_BALANCER).index(rule) % len(RANKING_LOSSES)]
    table = paged(36)
    make = OWN.get(rule, EVERY_BALANCER[rule])
    model, balancer = ranked(table, loss), make()
    options = OPTIONS | {"epochs": 2, "balancer": balancer, "shared": shared}
    history = fit(model, table, **options)
    weights = [w for row in history.rows for w in (row["weights"] or {}).values()]
    assert weights or balancer.needs_gradients or balancer.needs_gramian
    assert all(torch.isfinite(torch.tensor(w)) for w in weights)
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("name", RANKING_LOSSES)
@pytest.mark.parametrize("halved", [False, True])
def test_the_gramian_is_that_of_each_task_s_loss_alone(name, halved):
    table = paged()
    model, batch = ranked(table, name).double(), tiny.all_rows(table)
    batch.dense = batch.dense.double()
    seen = {}

    class Look(BALANCERS["equal"]):
        needs_gradients, needs_halves, weighs_heads = True, halved, False

        def combine(self, losses, gradients):
            seen.update(gramian=gradients.gramian(), losses=losses)
            return gradients.matrix.sum(0)

    GradientStep(model, Look()).run(batch, nullcontext)
    rows, losses = gradients_alone(model, batch)
    torch.testing.assert_close(seen["gramian"].double(), rows @ rows.T, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(seen["losses"].double(), losses, rtol=1e-6, atol=1e-9)


def test_halves_of_a_batch_are_halves_of_its_pages():
    table = paged()
    batch = tiny.all_rows(table)
    first, second = _halves(batch, by_pages=True)
    assert torch.equal(first.observed | second.observed, batch.observed)
    for half in (first, second):
        of_half = set(batch.group[half.observed.any(1)].tolist())
        assert len(of_half) == 5
        whole = torch.isin(batch.group, torch.tensor(sorted(of_half))).unsqueeze(1)
        assert torch.equal(half.observed, batch.observed & whole)


@pytest.mark.parametrize("pages", [1, 3])
def test_pages_of_several_batches_go_to_the_two_halves_in_turn(pages):
    table = paged()
    model, seen = ranked(table), {}
    parts = list(WholePages(pages).over(table).batches(8))[:2]

    class Look(BALANCERS["equal"]):
        needs_gradients, needs_halves, weighs_heads = True, True, False

        def combine(self, losses, gradients):
            seen["halves"] = gradients.halves
            return gradients.matrix.sum(0)

    GradientStep(model, Look()).run_all(parts, nullcontext)
    if pages == 1:  # one page each: the halves are the batches
        for half, batch in zip(seen["halves"], parts, strict=True):
            rows, _ = gradients_alone(model, batch)
            torch.testing.assert_close(half.square().sum(1), rows.square().sum(1), rtol=1e-4,
                                       atol=1e-9)  # fmt: skip
    else:  # three and three: 0, 2 and 4 of the six
        first = [
            _halves(b, start, by_pages=True)[0] for b, start in zip(parts, (0, 3), strict=True)
        ]
        many = [len(b.group[b.observed.any(1)].unique()) for b in first]
        assert many == [2, 1]
        shares = torch.stack([model.loss_mass(b) for b in first])
        rows = [gradients_alone(model, b)[0] for b in first]
        mean = sum(s.unsqueeze(1) * r for s, r in zip(shares / shares.sum(0), rows, strict=True))
        found = seen["halves"][0].square().sum(1)
        torch.testing.assert_close(found, mean.square().sum(1), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["listwise", "lambdarank"])
def test_several_batches_of_whole_pages_are_one(name):
    table = paged()
    model = ranked(table, name)
    parts = list(WholePages(3).over(table).batches(8))
    several = Accumulation(model, model, BALANCERS["equal"](), None, nullcontext)
    together = model.losses(model(tiny.all_rows(table)), tiny.all_rows(table))
    torch.testing.assert_close(several.losses(parts), together, rtol=1e-5, atol=1e-6)


def test_a_run_resumes_bit_for_bit_and_learns_order(tmp_path):
    table = paged(150)
    whole, again = ranked(table, "jrc"), ranked(table, "jrc")
    fit(whole, table, **OPTIONS)
    file = tmp_path / "run.pt"
    fit(ranked(table, "jrc"), table, max_steps=11, checkpoint=file, checkpoint_every=1, **OPTIONS)
    fit(again, table, checkpoint=file, resume=True, **OPTIONS)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize("name", RANKING_LOSSES)
def test_a_model_learns_the_order_within_pages(name):
    table = tiny.learnable(800)
    table.labels = table.labels.flip(1)  # click by price, which is learned fast
    table.keys["session"] = torch.randperm(800, generator=torch.Generator().manual_seed(1)) // 8
    table = table.with_group("session")
    model = ranked(table, name)
    before = evaluate(model, table, group="session")["click"]["gauc"]
    fit(model, table, **OPTIONS | {"learning_rate": 0.05, "epochs": 6, "sampler": WholePages(10)})
    after = evaluate(model, table, group="session")["click"]["gauc"]
    assert after > 0.82 > before + 0.1


def test_it_stands_around_a_link_a_scenario_model_one_s_own_and_networks_apart():
    table = paged()
    batch = tiny.all_rows(table)
    chain = RankedPages(
        ESMM(with_levels(table.schema, "click"), partial(MMoE, **SIZES)),
        {"click": "jrc", "purchase": "bpr"},
    )
    logits = chain(batch)
    losses = chain.losses(logits, batch)
    assert torch.equal(chain.loss_rows(batch), chain.network.loss_rows(
        chain._widened(batch))[:, : len(table.schema.tasks)])  # fmt: skip
    seen = batch.observed[:, 1]
    paid = RANKING_LOSSES["bpr"](logits["purchase"][seen], batch.labels[seen, 1], batch.group[seen])
    torch.testing.assert_close(losses[1], paid.sum() / chain.loss_rows(batch)[:, 1].sum())

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 4)

        def forward(self, batch):
            return self.layer(batch.dense) - 1

    star = RankedPages(STAR(table.schema, **SIZES), {"click": "lambdarank"})
    own = RankedPages(wrap(Own(), table.schema), {"click": "listwise"})
    apart = RankedPages(SingleTask(table.schema, **SIZES), {"click": "listwise"})
    for model in (star, own, apart):
        inside = copy.deepcopy(model.network)
        torch.testing.assert_close(model.eval()(batch), inside.eval()(batch))
        history = fit(model, table, **OPTIONS | {"epochs": 1})
        assert history.rows[0]["train"]["click"] > 0
    step = GradientStep(star, BALANCERS["mgda"](), "representation")
    assert step.run(batch, nullcontext).shape == (4,)
    with pytest.raises(ValueError, match="writes forward itself"):
        GradientStep(own, BALANCERS["mgda"](), "representation")


@pytest.mark.parametrize("loss", ["listwise", "jrc"])
def test_networks_apart_keep_their_own_best_epochs(loss):
    table, held = paged(), paged(120, seed=2)
    apart, plain = ranked(table, loss, SingleTask), ranked(table, loss)
    options = OPTIONS | {"epochs": 8, "learning_rate": 0.05}
    history = fit(apart, table, held, **options)
    assert apart.separate and not plain.separate and len(set(history.best_epochs.values())) > 1
    for name in ("click", "purchase"):
        values = [row["validation"][name]["auc"] for row in history.rows]
        assert history.best_epochs[name] == values.index(max(values))
        assert evaluate(apart, held)[name]["auc"] == pytest.approx(max(values))
    assert fit(plain, table, held, **OPTIONS).best_epochs is None
    stops = RankedPages(SingleTask(table.schema, own_stop=False, **SIZES), {"click": "bpr"})
    assert not stops.separate


def test_what_a_network_pays_beside_its_losses_is_paid_once_and_whole():
    table = paged()

    class Paying(SharedBottom):
        def decode(self, shared, batch):
            logits = super().decode(shared, batch)
            names = ("click", "click page level") if "click page level" in logits else ("click",)
            more = {extra_name(n): torch.full((batch.rows,), 0.25) for n in names}
            return logits | more

    batch = tiny.all_rows(table)
    for loss, extra in (("listwise", 0.25), ("jrc", 0.5)):
        paying, free = ranked(table, loss, Paying), ranked(table, loss)
        difference = paying.losses(paying(batch), batch) - free.losses(free(batch), batch)
        torch.testing.assert_close(difference, torch.tensor([extra, 0, 0, 0]))


def test_scores_of_an_order_are_no_chances_until_they_are_calibrated():
    from mtlkit.train import calibrate

    table = tiny.learnable(800)
    table.keys["session"] = torch.arange(800) // 8
    table = table.with_group("session")
    model = ranked(table, "bpr")
    with torch.no_grad():
        model.network.task_parameters("click")[-1].add_(3.0)  # no loss of an order sees a level
    fit(model, table, **OPTIONS | {"sampler": WholePages(10)})
    rate = table.label("click").mean().item()
    assert predict(model, table)["click"].mean() > rate + 0.2
    mended = calibrate(model, table)
    assert isinstance(mended, LogitShift) and mended.has_page_losses
    assert predict(mended, table)["click"].mean() == pytest.approx(rate, abs=1e-3)


def test_batches_that_split_pages_or_have_none_are_refused():
    table = paged()
    model = ranked(table)
    plain = table.with_group(None)
    for sampler in (None, BalancedScenarios(0.5)):
        with pytest.raises(ValueError, match=r"learns by pages.*WholePages\(pages=64\)"):
            fit(model, table, **OPTIONS | {"sampler": sampler, "batch_size": 59})
    fit(model, table, **OPTIONS | {"sampler": None, "batch_size": 60, "epochs": 1})
    with pytest.raises(SchemaError, match=r"table\.with_group\(key\)"):
        fit(model, plain, **OPTIONS)
    with pytest.raises(SchemaError, match=r"the batch has no group"):
        fit(model, plain, **OPTIONS | {"sampler": None, "batch_size": 60})
    assert set(predict(model, plain)) == set(table.schema.task_names)  # to predict it needs none


def test_places_where_losses_of_pages_would_be_lost_are_refused():
    table = paged()

    def inside(schema, **sizes):
        return RankedPages(SharedBottom(schema, **SIZES), {"click": "bpr"})

    for outer in (ESMM, STAR):
        with pytest.raises(SchemaError, match=f"inside {outer.__name__} would lose"):
            outer(table.schema, inside)
    with pytest.raises(ValueError, match="would mix pages of one number"):
        Replicas([ranked(table), ranked(table)])
    with pytest.raises(SchemaError, match="has losses of pages already"):
        RankedPages(ranked(table), {"purchase": "bpr"})


@pytest.mark.parametrize(
    ("losses", "options", "error", "words"),
    [
        ({}, {}, ValueError, "losses must be"),
        ("listwise", {}, ValueError, "losses must be"),
        ({"nothing": "bpr"}, {}, SchemaError, "Unknown task 'nothing'"),
        ({"click": "best"}, {}, ValueError, "'best' for click; known are pointwise, bpr"),
        ({"click": 3}, {}, ValueError, "losses has 3 for click"),
        ({"rating": "bpr"}, {}, SchemaError, "'rating', which is regression"),
        ({"orders": "jrc"}, {}, SchemaError, "'orders', which is count"),
        ({"orders": "pointwise"}, {}, SchemaError, "'orders', which is count"),
        ({"click": "jrc"}, {}, SchemaError, r"with_levels\(schema, 'click'\)"),
        ({"click": partial(jrc, alpha=0.1)}, {}, SchemaError, r"with_levels\(schema, 'click'\)"),
        ({"click": "bpr"}, {"weight": -1}, ValueError, "weight must be a finite number"),
        ({"click": "bpr"}, {"keep_pointwise": float("nan")}, ValueError, "keep_pointwise must"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(losses, options, error, words):
    table = paged()
    with pytest.raises(error, match=words):
        RankedPages(SharedBottom(table.schema, **SIZES), losses, **options)


def test_what_is_no_model_and_heads_of_no_binary_task_are_refused():
    table = paged()
    with pytest.raises(SchemaError, match=r"not a Linear: mtlkit\.wrap"):
        RankedPages(torch.nn.Linear(1, 1), {"click": "bpr"})
    with pytest.raises(SchemaError, match="'orders' is not binary"):
        with_levels(table.schema, "orders")
    assert with_levels(table.schema, "click").tasks[-1] == Task("click page level")


def test_graded_counts_can_be_ranked():
    table = paged()
    model = RankedPages(SharedBottom(table.schema, **SIZES), {"orders": "lambdarank"})
    batch = tiny.all_rows(table)
    seen = batch.observed[:, 3]
    logits = model(batch)
    paid = RANKING_LOSSES["lambdarank"](
        logits["orders"][seen], batch.labels[seen, 3], batch.group[seen]
    )
    torch.testing.assert_close(model.losses(logits, batch)[3], paid.mean())
    assert isinstance(model, MultiTaskModel) and paid.sum() > 0


@pytest.mark.parametrize("name", ["lambdarank", "jrc"])
def test_it_exports_and_torch_func_gives_what_each_row_pays(name):
    table = paged(12)
    model, batch = ranked(table, name).eval(), tiny.all_rows(table)
    program = export(model, (batch,), dynamic_shapes=(free_rows(batch),)).module()
    other = tiny.all_rows(paged(18, seed=1))
    for task, logits in model(other).items():
        torch.testing.assert_close(program(other)[task], logits)
    weights = dict(model.named_parameters())

    def rows(weights):
        return model.row_losses(torch.func.functional_call(model, weights, (batch,)), batch)[:, 0]

    with use_route("gathered"):
        gradients = torch.func.jacrev(rows)(weights)
    paid = rows(weights)
    for row in range(12):
        slow = torch.autograd.grad(paid[row], [*weights.values()], retain_graph=True,
                                   allow_unused=True)  # fmt: skip
        for key, expected in zip(weights, slow, strict=True):
            found = gradients[key][row]
            expected = torch.zeros_like(found) if expected is None else expected
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)

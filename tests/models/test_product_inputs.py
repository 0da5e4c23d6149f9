"""Every architecture reads products by attributes, words and picture (``inputs=ProductInputs``)."""

import copy
import itertools
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn
from torch.export import export

from mtlkit.balance import BALANCERS, Balancer, GradientStep
from mtlkit.data.batch import free_rows
from mtlkit.layers import MODALITIES, PictureEncoder, ProductInputs
from mtlkit.models import (
    ADAPTING,
    SHARING,
    CrossStitch,
    MMoE,
    ScenarioFeature,
    SharedBottom,
    SingleTask,
)
from mtlkit.train import fit, seeded
from tests import products

SIZES = {"embedding_dim": 3, "hidden": (8,), "tower": (6,)}
SHARED = [name for name in SHARING if name != "article"]  # which reads dense columns alone
WITH_SCENARIOS = [n for n in ADAPTING if n not in ("one-each", "embedding-shift")]
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(MODALITIES, n)]
INPUTS = partial(ProductInputs, augmented=True)


def make(name, inputs=INPUTS, seed=0):
    """A model that no parameter of which is 0, so that every part tells."""
    schema = products.schema(1 if name in SHARING else 3)
    if name == "one-for-all":
        inputs = partial(inputs, scenario_field=False)
    with seeded(seed):
        model = (SHARING | ADAPTING)[name](schema, **SIZES, inputs=inputs)
        for p in model.parameters():
            if not p.any():
                nn.init.normal_(p, std=0.1)
    return model


# an export takes seconds; the test after this one runs every scenario model
@pytest.mark.parametrize("name", [*SHARED, "star", "mlora"])
def test_every_architecture_reads_products_and_exports_for_any_number_of_rows(name):
    model = make(name).eval()
    batch = products.batch(model.schema)
    exported = export(model, (batch,), dynamic_shapes=(free_rows(batch),)).module()
    for rows in (1, 2, 17):
        other = products.batch(model.schema, rows, seed=rows)
        eager, found = model(other), exported(other)
        assert list(found) == list(eager)
        for task, logits in eager.items():
            torch.testing.assert_close(found[task], logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*SHARED, *WITH_SCENARIOS])
def test_a_step_of_training_runs_on_device_meta_and_here_reaches_all_inputs(name):
    model = make(name)
    there, batch = copy.deepcopy(model).to("meta"), products.batch(model.schema)
    losses = there.losses(there(batch.to("meta")), batch.to("meta"))
    losses.sum().backward()
    assert losses.device.type == "meta"
    model.losses(model(batch), batch).sum().backward()
    for part in (m for m in model.modules() if isinstance(m, ProductInputs)):
        assert all(p.grad is not None and p.grad.any() for p in part.parameters())


@pytest.mark.parametrize("name", [n for n in WITH_SCENARIOS if n != "scenario-feature"])
@pytest.mark.parametrize("modalities", [("picture",), MODALITIES])
def test_a_model_grows_by_a_scenario_and_says_what_it_said(name, modalities):
    model = make(name, partial(ProductInputs, modalities=modalities)).eval()
    batch = products.batch(model.schema)
    larger = model.extend(scenario="place 9")
    for task, logits in model(batch).items():
        torch.testing.assert_close(larger(batch)[task], logits, rtol=1e-5, atol=1e-6)


def test_a_model_that_needs_the_scenario_is_refused_inputs_without_it():
    schema = products.schema(3)
    for modalities in (("picture",), ("words",), ("words", "picture")):
        inputs = partial(ProductInputs, modalities=modalities)
        with pytest.raises(ValueError, match="does not read the scenario"):
            ScenarioFeature(schema, **SIZES, inputs=inputs)
    ScenarioFeature(schema, **SIZES, inputs=ProductInputs)
    with pytest.raises(ValueError, match="reads the scenario here"):
        ADAPTING["one-for-all"](schema, **SIZES, inputs=ProductInputs)
    with pytest.raises(ValueError, match="would stay shared"):
        ADAPTING["one-each"](schema, **SIZES, inputs=ProductInputs)


class Watching(Balancer):
    """Fixed weights that keep the Gramian they were given."""

    needs_gramian, weighs_heads = True, False

    def task_weights(self, losses, gramian):
        self.gramian = gramian
        return torch.tensor([0.5, 2.0, 0.1], dtype=torch.float64)


def slow_gradients(model, batch, seed):
    """{parameter: the gradient of each loss, (task, ...)} by one plain backward pass a task."""
    found = {name: [] for name, _ in model.named_parameters()}
    for task in range(model.schema.num_tasks):
        model.zero_grad()
        with seeded(seed):  # the same turned pictures
            model.losses(model(batch), batch)[task].backward()
        for name, p in model.named_parameters():
            found[name].append(torch.zeros_like(p) if p.grad is None else p.grad.clone())
    model.zero_grad()
    return {name: torch.stack(rows) for name, rows in found.items()}


@pytest.mark.parametrize("modalities", SUBSETS)
@pytest.mark.parametrize("kind", [SharedBottom, MMoE])
def test_the_gramian_is_exact_over_all_encoders(kind, modalities):
    inputs = partial(ProductInputs, modalities=modalities, augmented="picture" in modalities)
    with seeded(0):
        model = kind(products.schema(), **SIZES, inputs=inputs).double()
    batch = products.batch(model.schema, 40, double=True)
    slow = slow_gradients(model, batch, seed=7)
    shared = {id(p) for p in model.shared_parameters()}
    names = [name for name, p in model.named_parameters() if id(p) in shared]
    assert sum(name.startswith("embedding.") for name in names) == len(
        list(model.embedding.parameters())
    )
    matrix = torch.cat([slow[name].flatten(1) for name in names], dim=1)
    balancer = Watching()
    with seeded(7):
        GradientStep(model, balancer.bind(model.schema)).run(batch, nullcontext)
    torch.testing.assert_close(balancer.gramian, matrix @ matrix.T, rtol=1e-10, atol=1e-14)
    weights = torch.tensor([0.5, 2.0, 0.1], dtype=torch.float64)
    for name, p in model.named_parameters():
        used = weights if id(p) in shared else torch.ones_like(weights)
        expected = torch.tensordot(used, slow[name], dims=1)
        torch.testing.assert_close(p.grad.to_dense(), expected, rtol=1e-9, atol=1e-13)


GRADIENTS = [n for n, b in BALANCERS.items() if b.needs_gramian or b.needs_gradients]


@pytest.mark.parametrize("name", GRADIENTS)
def test_every_rule_of_gradients_combines_the_encoders_gradients(name):
    """The engine's update equals the rule's own combination of slow gradients."""
    given = {"metabalance": ("category",)}.get(name, ())
    with seeded(0):
        model = SharedBottom(products.schema(), **SIZES, inputs=ProductInputs).double()
    batch = products.batch(model.schema, 40, double=True)
    slow = slow_gradients(model, batch, seed=0)
    balancer = BALANCERS[name](*given).bind(model.schema)
    with seeded(1):
        GradientStep(model, balancer).run(batch, nullcontext)
    weights = balancer.last_weights
    inside = [n for n, _ in model.named_parameters() if n.startswith("embedding.")]
    found = {n: p.grad.to_dense() for n, p in model.named_parameters()}
    assert all(found[n].isfinite().all() for n in inside) and any(found[n].any() for n in inside)
    if weights is None:  # elementwise, or a cone: nothing but its own sum of what is below
        return
    for n in inside:
        expected = torch.tensordot(weights.double(), slow[n], dims=1)
        torch.testing.assert_close(found[n], expected, rtol=1e-6, atol=1e-9)


def test_the_row_prior_pulls_rows_of_both_tables_by_how_often_they_are_read():
    schema = products.schema()
    table = products.table(schema, 40)
    with seeded(0):
        model = SharedBottom(schema, **SIZES, inputs=ProductInputs)
    other, plain = copy.deepcopy(model), copy.deepcopy(model)
    options = {
        "epochs": 1, "batch_size": 40, "optimizer": "sgd", "learning_rate": 0.1,
        "schedule": "constant", "progress": False,
    }  # fmt: skip
    fit(plain, table, row_prior=None, **options)
    fit(model, table, row_prior=0.5, **options)
    parts = {"attributes": 9, "words": 7}
    for part, rows in parts.items():
        start = getattr(other.embedding, part)
        read = start.ids(products.tiny.all_rows(table)).unique()
        assert 3 < len(read) <= rows
        # one batch is the whole epoch: k_i = n_i, so each row read is pulled by e / (d^2 B)
        moved = getattr(plain.embedding, part).table - getattr(model.embedding, part).table
        expected = torch.zeros_like(start.table)
        expected[read] = 0.1 * start.table[read] / (0.5**2 * 40)
        torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("balancer", ["equal", "upgrad", "famo"])
def test_a_run_with_augmented_pictures_resumes_to_the_very_weights(balancer, tmp_path):
    table = products.table(products.schema(), 40)
    options = {"epochs": 3, "batch_size": 16, "progress": False, "seed": 3}

    def run(steps=None, **more):
        with seeded(0):
            model = SharedBottom(table.schema, **SIZES, inputs=INPUTS, dropout=0.1)
        fit(model, table, balancer=BALANCERS[balancer](), max_steps=steps, schedule="constant",
            **options, **more)  # fmt: skip
        return model.state_dict()

    whole, again = run(), run()
    plain = SharedBottom(table.schema, **SIZES, inputs=ProductInputs, dropout=0.1)
    assert set(whole) == set(plain.state_dict())
    run(4, checkpoint=tmp_path / "run.pt")
    resumed = run(checkpoint=tmp_path / "run.pt", resume=True)
    for name, value in whole.items():
        assert torch.equal(value, again[name]) and torch.equal(value, resumed[name]), name


def test_a_run_is_another_without_augmentation_and_refuses_its_checkpoint(tmp_path):
    table = products.table(products.schema(), 40)
    found = []
    for place, augmented in enumerate((True, False, {"shift": 3.0})):
        with seeded(0):
            inputs = partial(ProductInputs, augmented=augmented)
            model = SharedBottom(table.schema, **SIZES, inputs=inputs)
        options = {"epochs": 1, "progress": False, "checkpoint": tmp_path / "run.pt"}
        if place:
            with pytest.raises(ValueError, match=r"augmented|amounts"):
                fit(model, table, resume=True, **options)
            options = {"epochs": 1, "progress": False}
        fit(model, table, **options)
        found.append(model.embedding.picture.last.weight.detach().clone())
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(found, 2))


@pytest.mark.parametrize("kind", [SharedBottom, CrossStitch, SingleTask])
def test_weights_are_saved_and_loaded(kind, tmp_path):
    with seeded(1):
        model = kind(products.schema(), **SIZES, inputs=INPUTS).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = kind(products.schema(), **SIZES, inputs=INPUTS).eval()
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    batch = products.batch(model.schema)
    for task, logits in model(batch).items():
        assert torch.equal(other(batch)[task], logits)


def test_parameters_of_all_encoders_are_shared_and_counted():
    schema = products.schema()
    model = MMoE(schema, **SIZES, inputs=ProductInputs)
    count = model.parameter_count()
    assert count["embedding"] == 3 * (5 + 4) + 3 * 7
    encoder = sum(p.numel() for p in PictureEncoder(3).parameters())
    without = partial(ProductInputs, modalities=("attributes", "words"))
    rest = MMoE(schema, **SIZES, inputs=without).parameter_count()
    weights_of_three = 3 * 8 * 4  # the first layer of four experts reads three numbers more
    assert count["shared"] - rest["shared"] == encoder + weights_of_three


def test_each_network_of_a_single_task_reference_learns_from_its_own_labels():
    model = make("single-task")
    batch = products.batch(model.schema)
    losses = model.losses(model(batch), batch)
    for k, name in enumerate(model.schema.task_names):
        mine = {id(p) for p in model.task_parameters(name)}
        found = torch.autograd.grad(losses[k], list(model.parameters()), retain_graph=True,
                                    allow_unused=True)  # fmt: skip
        for p, g in zip(model.parameters(), found, strict=True):
            assert id(p) in mine or g is None or not g.any()

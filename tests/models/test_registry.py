"""What every architecture of the registries promises: tests that take their names from them."""

import inspect
import itertools
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch.export import export

from mtlkit import models
from mtlkit.balance import Balancer, GradientStep
from mtlkit.data.batch import free_rows
from mtlkit.layers import use_route
from mtlkit.losses import masked_mean
from mtlkit.models import (
    ADAPTING,
    LINKS,
    SHARING,
    Adapting,
    Constant,
    Link,
    LogitShift,
    MultiTaskModel,
    RankedPages,
    Replicas,
    Trees,
)  # fmt: skip
from mtlkit.train import seeded
from tests import tiny
from tests.models import registry

# bases, several networks at once, losses of pages, a correction of a trained model, and the two
# controls that no gradient trains: floor and trees
IN_NO_REGISTRY = {MultiTaskModel, Adapting, Link, Constant, LogitShift, RankedPages, Replicas}
IN_NO_REGISTRY |= {Trees}


def batch_of(name, rows=17, seed=0, **options):
    return tiny.all_rows(registry.table(name, rows, seed, **options))


def test_a_public_model_stands_in_exactly_one_registry():
    public = [getattr(models, name) for name in models.__all__]
    public = {kind for kind in public if inspect.isclass(kind)} - IN_NO_REGISTRY
    listed = [*SHARING.values(), *LINKS.values(), *ADAPTING.values()]
    assert set(listed) == public
    assert len(listed) == len(set(listed)) == len({*SHARING, *LINKS, *ADAPTING})


# What a network computes under export is tried for all names in test_export.py, on the same table
# without labels; here a whole batch goes in, so one of each kind of model will do.
WHOLE_BATCHES = ["article", "shared-bottom", *LINKS]


@pytest.mark.parametrize(
    ("name", "censored"), [*zip(WHOLE_BATCHES, itertools.cycle([True, False]))]
)
def test_a_model_exports_with_a_batch_of_any_number_of_rows(name, censored):
    def batch_of(rows, seed):
        return tiny.all_rows(registry.table(name, rows, seed, censored=censored, few=True))

    model = registry.make(name, few=True).eval()
    batch = batch_of(12, 0)
    exported = export(model, (batch,), dynamic_shapes=(free_rows(batch),)).module()
    for rows in (1, 2, 17):
        other = batch_of(rows, seed=rows)
        eager, found = model(other), exported(other)
        assert list(found) == list(eager)
        for task, logits in eager.items():
            torch.testing.assert_close(found[task], logits, rtol=1e-5, atol=1e-5)


def test_an_exported_program_is_saved_and_loaded_without_a_warning(tmp_path, caplog):
    model = registry.make("shared-bottom", few=True).eval()
    batch = batch_of("shared-bottom", few=True)
    program = export(model, (batch,), dynamic_shapes=(free_rows(batch),))
    torch.export.save(program, tmp_path / "model.pt2")
    caplog.clear()
    again = torch.export.load(tmp_path / "model.pt2").module()
    assert [r for r in caplog.records if r.levelname in ("WARNING", "ERROR")] == []
    for task, logits in model(batch).items():
        torch.testing.assert_close(again(batch)[task], logits)


@pytest.mark.parametrize("name", registry.EVERY)
def test_a_training_step_on_device_meta_meets_no_host_sync_and_no_mixed_devices(name):
    model, batch = registry.make(name).to("meta"), batch_of(name).to("meta")
    losses = model.losses(model(batch), batch)
    losses.sum().backward()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.grad is not None])
    optimizer.step()
    assert losses.shape == (model.schema.num_tasks,) and losses.device.type == "meta"
    assert all(value.device.type == "meta" for value in model.predict(batch).values())


class Sum(Balancer):
    """Adds the task gradients: a rule of gradients that needs no number on the host."""

    needs_gradients = True
    weighs_heads = False

    def combine(self, losses, gradients):
        return gradients.matrix.sum(0)


@pytest.mark.parametrize("name", [n for n in registry.EVERY if n != "single-task"])
def test_the_engine_of_gradients_waits_for_nothing_before_the_rule_does(name):
    batch = batch_of(name, few=True).to("meta")
    model = registry.make(name, few=True).to("meta")
    losses = GradientStep(model, Sum(), "representation").run(batch, nullcontext)
    assert losses.device.type == "meta"
    assert all(p.grad.device.type == "meta" for p in model.parameters() if p.grad is not None)
    if not list(model.embeddings()):
        return
    # over the rows of a table the one number that is waited for is how many ids repeat
    with pytest.raises(NotImplementedError, match="nonzero") as caught:
        GradientStep(registry.make(name, few=True).to("meta"), Sum()).run(batch, nullcontext)
    files = [Path(frame.path).name for frame in caught.traceback if "mtlkit" in str(frame.path)]
    assert files[-1] == "repeats.py"


@pytest.mark.parametrize("name", [n for n in registry.EVERY if n != "single-task"])
def test_the_engine_s_task_gradients_are_those_of_each_loss_alone(name):
    # a link's loss reads the logits of other tasks as well
    model, batch = registry.make(name).double(), batch_of(name)
    batch.dense = batch.dense.double()
    rule, norms = Sum(), []
    rule.combine = lambda losses, gradients: (
        norms.append(gradients.gramian()) or (gradients.matrix.sum(0))
    )
    GradientStep(model, rule).run(batch, nullcontext)
    losses, shared = model.losses(model(batch), batch), model.shared_parameters()
    rows = []
    for loss in losses:
        found = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
        pairs = zip(found, shared, strict=True)
        rows.append(torch.cat([(g if g is not None else p * 0).flatten() for g, p in pairs]))
    rows = torch.stack(rows)
    torch.testing.assert_close(norms[0], (rows @ rows.T).detach(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", registry.EVERY)
def test_every_parameter_has_a_place_and_the_parts_add_up(name):
    model = registry.make(name)
    count = model.parameter_count()
    parts = ("embedding", "shared", "scenarios", "tasks")
    assert count["total"] == sum(count[part] for part in parts)
    assert count["total"] == sum(p.numel() for p in model.parameters())
    for task in model.schema.task_names:
        assert model.task_parameters(task), task
    for scenario in model.schema.scenario_names:
        for module in model.scenario_modules(scenario):
            assert isinstance(module, torch.nn.Module)
    with pytest.raises(ValueError, match="Unknown scenario 'nowhere'"):
        model.scenario_modules("nowhere")
    with pytest.raises(ValueError, match="Unknown task 'nothing'"):
        model.task_modules("nothing")


@pytest.mark.parametrize("name", registry.EVERY)
def test_a_constructor_leaves_its_arguments_alone(name):
    sizes = {"hidden": [8], "tower": [6]}
    kept = {key: list(value) for key, value in sizes.items()}
    if name in (*SHARING, *ADAPTING) and name != "article":
        (SHARING | ADAPTING)[name](registry.schema(), embedding_dim=3, **sizes)
    before = registry.schema(name)
    with seeded(1):
        first = registry.make(name)
    with seeded(1):
        second = registry.make(name)
    assert sizes == kept and first.schema == before
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", registry.EVERY)
def test_rows_do_not_depend_on_each_other_and_keep_their_order(name):
    model = registry.make(name).eval()
    table = registry.table(name)
    order = torch.randperm(len(table))
    whole, mixed = model(tiny.all_rows(table)), model(table.batch(order))
    alone = model(table.batch(torch.tensor([3])))
    for task, logits in whole.items():
        torch.testing.assert_close(mixed[task], logits[order], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone[task][0], logits[3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", registry.EVERY)
def test_losses_are_means_of_row_losses(name):
    model = registry.make(name)
    batch = batch_of(name)
    logits = model(batch)
    rows, where = model.row_losses(logits, batch), model.loss_rows(batch)
    assert rows.shape == where.shape == (17, model.schema.num_tasks)
    assert (rows[~where] == 0).all()
    torch.testing.assert_close(model.losses(logits, batch), masked_mean(rows, where))
    for task in range(model.schema.num_tasks):
        expected = rows[:, task].sum() / where[:, task].sum().clamp(min=1)
        torch.testing.assert_close(model.losses(logits, batch)[task], expected)


@pytest.mark.parametrize("name", registry.EVERY)
def test_torch_func_gives_the_gradient_of_each_row(name):
    model = registry.make(name).eval()
    batch = batch_of(name, rows=3)
    weights = dict(model.named_parameters())

    def rows(weights):
        logits = torch.func.functional_call(model, weights, (batch,))
        return model.row_losses(logits, batch)  # (batch, task)

    with use_route("gathered"):  # torch.func does not look into a custom operator
        gradients = torch.func.jacrev(rows)(weights)
    losses = model.row_losses(model(batch), batch)
    for row in range(3):
        for task in range(model.schema.num_tasks):
            loss = losses[row, task]
            slow = torch.autograd.grad(
                loss, list(weights.values()), retain_graph=True, allow_unused=True
            )
            for key, expected in zip(weights, slow, strict=True):
                found = gradients[key][row, task]
                expected = torch.zeros_like(found) if expected is None else expected
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)

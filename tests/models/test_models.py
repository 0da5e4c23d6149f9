"""What holds for every architecture: any task kind, any input, any scenario, at tiny size."""

import math

import pytest
import torch

from mtlkit.models import ArticleNetwork, MMoE, MultiTaskModel, SharedBottom, SingleTask
from mtlkit.schema import Schema, SchemaError
from mtlkit.train import fit
from tests import tiny

SIZES = {"embedding_dim": 4, "hidden": (6, 5), "tower": (3,)}
MODELS = {
    "single task": lambda schema, **more: SingleTask(schema, **SIZES, **more),
    "shared bottom": lambda schema, **more: SharedBottom(schema, **SIZES, **more),
    "mmoe": lambda schema, **more: MMoE(schema, experts=3, **SIZES, **more),
}
TASK_SETS = {
    **{name: (name,) for name in tiny.TASKS if name != "purchase"},
    "all": tuple(tiny.TASKS),
}


def dense_only(*names):
    schema = tiny.schema(*names, sequences=False, scenarios=1)
    return Schema(schema.tasks, dense=schema.dense)


@pytest.fixture(params=MODELS)
def make(request):
    return MODELS[request.param]


@pytest.mark.parametrize("scenarios", [1, 2])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("tasks", TASK_SETS)
def test_every_model_takes_every_task_kind_and_input(make, tasks, sequences, scenarios):
    schema = tiny.schema(*TASK_SETS[tasks], sequences=sequences, scenarios=scenarios)
    table = tiny.table(schema, rows=20)
    batch = tiny.all_rows(table)
    model = make(schema)
    logits = model(batch)
    assert list(logits) == list(schema.task_names)
    for task in schema.tasks:
        shape = (20, task.classes) if task.kind == "multiclass" else (20,)
        assert logits[task.name].shape == shape
    losses = model.losses(logits, batch)
    assert losses.shape == (schema.num_tasks,) and losses.isfinite().all()
    losses.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam", "sgd"])
def test_models_of_dense_inputs_alone_train(make, optimizer):
    schema = dense_only("click", "orders")
    model = make(schema)
    start = [p.detach().clone() for p in model.parameters() if p.numel()]
    fit(model, tiny.table(schema), epochs=1, optimizer=optimizer, progress=False)
    after = [p for p in model.parameters() if p.numel()]
    assert all(not torch.equal(p, q) for p, q in zip(after, start, strict=True))


def test_predict_gives_natural_units(make):
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema))
    model = make(schema)
    logits, natural = model(batch), model.predict(batch)
    assert not any(value.requires_grad for value in natural.values())
    z = {name: value.detach() for name, value in logits.items()}
    torch.testing.assert_close(natural["click"], 1 / (1 + (-z["click"]).exp()))
    torch.testing.assert_close(natural["category"].sum(1), torch.ones(len(batch)))
    torch.testing.assert_close(natural["category"].argmax(1), z["category"].argmax(1))
    torch.testing.assert_close(natural["rating"], 3.0 + 2.0 * z["rating"])
    torch.testing.assert_close(natural["dwell"], (1.0 + 0.5 * z["dwell"]).exp() - 1)
    torch.testing.assert_close(natural["orders"], z["orders"].exp())
    torch.testing.assert_close(natural["units"], z["units"].exp())


def test_batches_of_one_row_and_of_none_pass(make):
    schema = tiny.schema()
    table = tiny.table(schema, rows=3)
    for rows in (1, 0):
        batch = table.batch(torch.arange(rows))
        model = make(schema)
        losses = model.losses(model(batch), batch)
        assert losses.isfinite().all()
        losses.sum().backward()


def test_shared_and_task_parameters_split_the_parameters(make):
    schema = tiny.schema()
    model = make(schema)
    parts = [model.shared_parameters(), *(model.task_parameters(n) for n in schema.task_names)]
    ids = [id(p) for part in parts for p in part]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in model.parameters()}
    count = model.parameter_count()
    assert count["total"] == sum(p.numel() for p in model.parameters())
    assert count["total"] == count["embedding"] + count["shared"] + count["tasks"]


def test_a_task_without_labels_gives_its_own_part_no_gradient(make):
    schema = tiny.schema("click", "category", "orders")
    batch = tiny.all_rows(tiny.table(schema))
    batch.observed[:, 1] = False
    model = make(schema)
    model.losses(model(batch), batch).sum().backward()
    assert all(p.grad.abs().sum() == 0 for p in model.task_parameters("category"))
    assert any(p.grad.abs().sum() > 0 for p in model.task_parameters("click"))


def test_one_task_s_loss_reaches_no_other_task_s_parameters(make):
    schema = tiny.schema("click", "category", "orders")
    batch = tiny.all_rows(tiny.table(schema))
    model = make(schema)
    model.losses(model(batch), batch)[0].backward()
    for name in ("category", "orders"):
        assert all(p.grad is None or p.grad.abs().sum() == 0 for p in model.task_parameters(name))


def test_inputs_matter_to_every_task(make):
    schema = tiny.schema()
    table = tiny.table(schema)
    batch = tiny.all_rows(table)
    model = make(schema)
    for e in model.embeddings():
        torch.nn.init.normal_(e.table)
    before = model(batch)
    batch.scenario = 1 - batch.scenario
    after = model(batch)
    assert all(not torch.equal(before[n], after[n]) for n in schema.task_names)


def test_dropout_acts_in_training_only(make):
    schema = tiny.schema("click")
    batch = tiny.all_rows(tiny.table(schema))
    model = make(schema, dropout=0.5)
    assert not torch.equal(model(batch)["click"], model(batch)["click"])
    model.eval()
    assert torch.equal(model(batch)["click"], model(batch)["click"])


def test_first_loss_is_that_of_an_even_guess(make):
    schema = tiny.schema("click", "category")
    batch = tiny.all_rows(tiny.table(schema))
    model = make(schema)
    losses = model.losses(model(batch), batch)
    assert losses[0].item() == pytest.approx(math.log(2), abs=0.25)
    assert losses[1].item() == pytest.approx(math.log(3), abs=0.35)


def test_unknown_task_is_named(make):
    with pytest.raises(SchemaError, match="returns"):
        make(tiny.schema("click")).task_parameters("returns")


def test_base_class_says_what_a_subclass_must_define():
    model = MultiTaskModel(tiny.schema("click"))
    with pytest.raises(NotImplementedError, match="decode"):
        model.outputs(torch.zeros(1, 1), None)
    assert model.task_modules("click") == []  # nothing is declared, so all is shared


def test_article_network_refuses_other_tasks_and_inputs():
    with pytest.raises(SchemaError, match="orders"):
        ArticleNetwork(dense_only("click", "orders"))
    with pytest.raises(SchemaError, match="categorical"):
        ArticleNetwork(tiny.schema("click", "purchase"))

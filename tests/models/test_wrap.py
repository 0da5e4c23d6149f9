"""A module of one's own: it trains under every kind of balancer, or a sentence says why not."""

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import mtlkit
from mtlkit import Encoder, MultiTaskModel, Task, evaluate, fit, predict, wrap
from mtlkit.balance import BALANCERS
from mtlkit.schema import SchemaError
from tests.covering import covering

rng = np.random.default_rng(0)
FRAME = pl.DataFrame({
    "x": rng.normal(size=160), "z": rng.normal(size=160), "click": rng.integers(0, 2, 160),
    "buy": rng.integers(0, 2, 160), "kind": rng.integers(0, 3, 160),
})  # fmt: skip
TABLE = Encoder([Task("click"), Task("buy"), Task("kind", "multiclass", 3)], dense=["x", "z"])
TABLE = TABLE.fit(FRAME).transform(FRAME)
OPTIONS = {"epochs": 2, "batch_size": 40, "progress": False}


class Plain(nn.Module):
    """A shared layer, a head a task; what it returns is one of four forms."""

    def __init__(self, form="rows", norm=False):
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        self.bottom = nn.Sequential(
            nn.Linear(2, 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.ReLU()
        )
        self.click, self.buy, self.kind = nn.Linear(8, 1), nn.Linear(8, 1), nn.Linear(8, 3)

    def forward(self, batch):
        z = self.bottom(batch.dense)
        parts = [self.click(z), self.buy(z), self.kind(z)]
        if self.form == "one tensor":
            return torch.cat(parts, dim=1)
        if self.form == "rows":
            parts = [parts[0][:, 0], parts[1][:, 0], parts[2]]
        return dict(zip(("click", "buy", "kind"), parts, strict=True))


def heads(module):
    return {"click": module.click, "buy": [module.buy], "kind": module.kind}


@pytest.mark.parametrize(
    ("form", "norm", "rule", "declared"),
    covering(
        ["rows", "columns", "one tensor"], [True, False],
        ["equal", "pcgrad", "uw", "gradnorm", "nash-mtl"], [True, False],
    ),
)  # fmt: skip
def test_every_form_trains_under_every_kind_of_balancer(form, norm, rule, declared):
    module = Plain(form, norm)
    model = wrap(module, TABLE.schema, heads=heads(module) if declared else None)
    before = module.bottom[0].weight.detach().clone()
    fit(model, TABLE, TABLE, balancer=BALANCERS[rule](), **OPTIONS)
    assert not module.bottom[0].weight.equal(before)
    found = evaluate(model, TABLE)
    assert set(found) == {"click", "buy", "kind"} and 0 <= found["click"]["auc"] <= 1
    assert predict(model, TABLE)["kind"].shape == (160, 3)


@pytest.mark.parametrize("rule", ["equal", "mgda"])
def test_all_forms_are_trained_to_the_same_weights(rule):
    ends = []
    for form in ("rows", "columns", "one tensor"):
        module = Plain(form)
        model = wrap(module, TABLE.schema, heads=heads(module))
        fit(model, TABLE, balancer=BALANCERS[rule](), **OPTIONS)
        ends.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert torch.allclose(ends[0], ends[1], atol=1e-6) and torch.allclose(
        ends[0], ends[2], atol=1e-6
    )


def test_heads_belong_to_their_task_and_all_else_is_shared():
    module = Plain()
    model = wrap(module, TABLE.schema, heads=heads(module))
    assert model.parameter_count()["tasks"] == 9 + 9 + 27
    assert model.parameter_count()["shared"] == 24
    assert {id(p) for p in model.shared_parameters()} == {id(p) for p in module.bottom.parameters()}
    assert not [key for key in model.state_dict() if not key.startswith("module.")]
    assert wrap(module, TABLE.schema).parameter_count()["tasks"] == 0


@pytest.mark.parametrize("rule", ["equal", "pcgrad"])
@pytest.mark.parametrize("own", [True, False])
def test_what_torch_compiles_trains_as_the_model_inside(rule, own):
    ends = []
    for compiled in (False, True):
        torch.manual_seed(1)
        model = wrap(Plain(), TABLE.schema) if own else mtlkit.SharedBottom(TABLE.schema)
        given = torch.compile(model, backend="eager") if compiled else model
        fit(given, TABLE, TABLE, balancer=BALANCERS[rule](), **OPTIONS)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*ends, atol=1e-6)


def test_fit_computes_logits_with_what_torch_compiled_where_weights_allow():
    calls = []

    def counting(graph, inputs):  # a backend of torch.compile
        def run(*arguments):
            calls.append(1)
            return graph.forward(*arguments)

        return run

    model = torch.compile(wrap(Plain(), TABLE.schema), backend=counting)
    fit(model, TABLE, epochs=2, batch_size=40, progress=False)
    assert len(calls) >= 8  # steps


def test_data_parallel_is_taken_apart_with_a_word_on_torchrun():
    model = mtlkit.SharedBottom(TABLE.schema)
    before = model.towers.of("click")[-1].weight.detach().clone()
    with pytest.warns(UserWarning, match="DataParallel.*torchrun"):
        fit(nn.DataParallel(model), TABLE, **OPTIONS)
    assert not model.towers.of("click")[-1].weight.equal(before)


class Returns(nn.Module):
    """Returns whatever it is told to make of the batch."""

    def __init__(self, make):
        super().__init__()
        self.make, self.weight = make, nn.Parameter(torch.ones(()))

    def forward(self, batch):
        return self.make(batch.dense[:, 0] * self.weight, batch)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda z, b: {"click": z, "buy": z}, "no logits for task 'kind'; it returned click, buy"),
        (lambda z, b: {}, "no logits for task 'click'; it returned nothing"),
        (
            lambda z, b: [z, z, z],
            r"returned a list; it must return \{task: logits\}.*click, buy, kind",
        ),
        (lambda z, b: z, r"one tensor of shape \(40,\).*must be \(40, 5\)"),
        (lambda z, b: torch.stack([z] * 3, 1), r"shape \(40, 3\).*must be \(40, 5\)"),
        (
            lambda z, b: dict.fromkeys(("click", "buy", "kind"), z),
            r"\(40,\) for task 'kind'.*\(40, 3\)",
        ),
        (
            lambda z, b: dict.fromkeys(("click", "buy", "kind"), z.sum()),
            r"\(\) for task 'click'.*\(40,\)",
        ),
        (lambda z, b: dict.fromkeys(("click", "buy", "kind"), z[:3]), r"\(3,\) for task 'click'"),
        (lambda z, b: {"click": 3.0, "buy": z, "kind": z}, "a float for task 'click'"),
    ],
)
@pytest.mark.parametrize("rule", ["equal", "pcgrad"])
def test_outputs_of_another_shape_are_met_at_the_first_batch(make, words, rule):
    model = wrap(Returns(make), TABLE.schema)
    with pytest.raises(SchemaError, match=words):
        fit(model, TABLE, balancer=BALANCERS[rule](), **OPTIONS)


class Odd(MultiTaskModel):
    """A model that writes forward alone, and returns something else than {task: (batch,)}."""

    def __init__(self, form):
        super().__init__(TABLE.schema)
        self.inner = Plain(form)

    def forward(self, batch):
        return self.inner(batch)


@pytest.mark.parametrize("rule", ["equal", "pcgrad"])
def test_a_model_that_writes_forward_alone_trains_and_other_shapes_are_named(rule):
    fit(Odd("rows"), TABLE, balancer=BALANCERS[rule](), **OPTIONS)
    with pytest.raises(SchemaError, match=r"\(40, 1\) for task 'click'.*shape \(batch,\)"):
        fit(Odd("columns"), TABLE, balancer=BALANCERS[rule](), **OPTIONS)


def test_a_plain_module_is_pointed_to_wrap():
    with pytest.raises(SchemaError, match=r"Plain is no model of tasks: fit\(mtlkit\.wrap"):
        fit(Plain(), TABLE, **OPTIONS)


def test_chances_in_place_of_logits_are_warned_of_once():
    model = wrap(Returns(lambda z, b: torch.stack([z.sigmoid()] * 5, 1)), TABLE.schema)
    with pytest.warns(UserWarning, match="task 'click' lie between 0 and 1.*last sigmoid") as told:
        fit(model, TABLE, **OPTIONS)
    assert len([w for w in told if "'click'" in str(w.message)]) == 1


def test_heads_that_do_not_fit_are_refused():
    module = Plain()
    for given, words in (
        ({"nothing": module.click}, "Unknown task 'nothing'"),
        ({"click": nn.Linear(2, 2)}, "head of task 'click' is not part of the module"),
        ({"click": module.click, "buy": [module.buy, module.click]}, "parameter in common"),
    ):
        with pytest.raises(SchemaError, match=words):
            wrap(module, TABLE.schema, heads=given)
    with pytest.raises(SchemaError, match="not a int"):
        wrap(3, TABLE.schema)
    with pytest.raises(SchemaError, match="SharedBottom is a model already"):
        wrap(mtlkit.SharedBottom(TABLE.schema), TABLE.schema)

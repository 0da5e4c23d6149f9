"""AdaSparse: units weighed by pruners, and what the losses say to it."""

import pytest
import torch

from mtlkit.losses import masked_mean, row_losses
from mtlkit.models import AdaSparse, SharedBottom, SingleTask
from mtlkit.models.adapt.adasparse import Pruner
from mtlkit.train import fit
from tests import tiny
from tests.models.adapt.hyper import NAMES, SIZES, assert_equals_a_loop, batch_of, make, set_of

FORMS = ("binary", "scaling", "fusion")


def weights_of(model, pruner, z, h):
    """The weights of the units of one row, unit by unit."""
    found = []
    alpha, scale = model.alpha, model.pruning.scale
    for unit, bias in zip(pruner.scores.weight, pruner.scores.bias, strict=True):
        v = (unit * torch.cat([z, h])).sum() + bias
        if model.form == "scaling":
            found.append(scale / (1 + torch.exp(-v)))
            continue
        weight = (1 if model.form == "binary" else scale) / (1 + torch.exp(-alpha * v))
        found.append(weight if weight > model.pruning.threshold else weight * 0)
    return torch.stack(found)


def walk(model, x, s):
    """({task: logits}, shares pruned in shared layers, {task: shares in its tower}) of one row."""
    z = set_of(model, s, model.vectors.table)
    h, shared, own, logits = x, [], {}, {}
    bottom = list(model.network.bottom)
    for layer, after in zip(bottom[::2], bottom[1::2], strict=True):
        h = torch.relu(layer.weight @ h + layer.bias)
        weights = weights_of(model, after[1], z, h)
        shared.append(1 - weights.mean())
        h = h * weights
    for task, tower in zip(model.schema.tasks, model.network.towers, strict=True):
        hidden, after, output = tower
        t = torch.relu(hidden.weight @ h + hidden.bias)
        weights = weights_of(model, after[1], z, t)
        own[task.name] = [1 - weights.mean()]
        logits[task.name] = output.weight @ (t * weights) + output.bias
    return logits, shared, own


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("scenarios", "number"), [(2, 24), (3, 1), (12, 30)])
def test_it_equals_a_loop_over_units_row_by_row(form, scenarios, number):
    model = make("adasparse", scenarios, form=form)
    assert_equals_a_loop(model, batch_of(scenarios, number), lambda *row: walk(*row)[0])


@pytest.mark.parametrize("form", FORMS)
def test_the_penalty_of_every_row_and_task_is_that_of_its_layers(form):
    batch, model = batch_of(), make("adasparse", form=form, penalty=0.3)
    model.step = 400
    logits = model(batch)
    found = model.row_losses(logits, batch)
    plain = row_losses(model.schema, logits, batch)
    x = model.embed(batch)
    expected = torch.zeros_like(found)
    for row in range(batch.rows if form != "scaling" else 0):
        _, shared, own = walk(model, x[row], int(batch.scenario[row]))
        for i, name in enumerate(NAMES):
            for share, part in [*((r, 1 / 3) for r in shared), *((r, 1) for r in own[name])]:
                if not 0.15 <= share <= 0.25:
                    expected[row, i] += batch.observed[row, i] * part * (share - 0.2) ** 2
    expected = 0.3 * expected / 5  # two shared layers, three of towers
    torch.testing.assert_close(found - plain, expected, rtol=1e-6, atol=1e-9)
    assert (expected > 0).any() == (form != "scaling")
    losses = model.losses(logits, batch)
    torch.testing.assert_close(losses, masked_mean(plain + expected, batch.observed).to(losses))
    # a task pays with gradients on its own tower and the shared layers, and on no other tower
    gradients = torch.autograd.grad(losses[0], model.task_parameters(NAMES[1]), allow_unused=True)
    assert all(g is None or not g.abs().sum() for g in gradients)
    model.eval()
    logits = model(batch)
    assert set(logits) == set(NAMES)
    assert torch.equal(model.row_losses(logits, batch), row_losses(model.schema, logits, batch))


def test_the_penalty_alone_brings_the_share_of_pruned_units_into_its_bounds():
    batch, model = batch_of(), make("adasparse", start=True, form="binary", penalty=1.0)
    optimizer = torch.optim.Adam([p for m in pruners(model) for p in m.parameters()], 0.05)
    for _ in range(120):
        optimizer.zero_grad()
        logits = model(batch)
        paid = sum(logits[f"{name} extra loss"].sum() for name in NAMES)
        paid.backward()
        optimizer.step()
    assert paid < 0.01
    with model.block(batch):
        model.network.represent(model.embed(batch), batch)
        shares = [share for _, share in model.pruning.shares]
    assert all(0.14 < share.mean() < 0.26 for share in shares)


def pruners(model):
    return [m for m in model.modules() if isinstance(m, Pruner)]


@pytest.mark.parametrize(("form", "top"), [("binary", 1.0), ("fusion", 2.0)])
def test_with_sharpness_towards_infinity_weights_are_all_or_nothing(form, top):
    batch, model = batch_of(), make("adasparse", form=form).eval()
    model.alpha.fill_(1e9)
    seen = []
    for pruner in pruners(model):
        pruner.scores.register_forward_hook(
            lambda m, i, v: seen.append((model.pruning.weights(v), v))
        )
    model(batch)
    assert len(seen) == 5
    for weights, v in seen:
        assert torch.equal(weights, top * (v > 0))
    assert any((w == 0).any() and (w > 0).any() for w, _ in seen)


def test_what_is_at_the_threshold_or_below_is_0_and_the_rest_stays():
    pruning = make("adasparse", form="fusion", threshold=0.5).pruning
    pruning.sharpness = torch.tensor(2.0)
    v = torch.tensor([-0.5493061, -0.55, -0.54, 3.0], dtype=torch.double)  # 2 sigmoid(2 v) = 0.5
    expected = 2 / (1 + torch.exp(-2 * v))
    assert pruning.weights(v)[1] == 0
    torch.testing.assert_close(pruning.weights(v)[2:], expected[2:])
    pruning.threshold = 1.0  # exactly what a score of 0 has
    assert pruning.weights(torch.zeros(1)) == 0 and pruning.weights(torch.full((1,), 1e-3)) > 1
    pruning.form = "scaling"
    assert (pruning.weights(v * 10) > 0).all()


def test_at_the_start_fusion_and_scaling_change_nothing_or_nearly():
    batch = batch_of()
    for form in ("fusion", "scaling"):
        model = make("adasparse", start=True, form=form)
        plain = SharedBottom(tiny.schema(*NAMES, scenarios=3), **SIZES).double()
        weights = model.network.state_dict()
        plain.load_state_dict({key: weights[key] for key in plain.state_dict()})
        for task, logits in plain(batch).items():
            torch.testing.assert_close(model(batch)[task], logits, rtol=0.1, atol=0.1)


def test_the_sharpness_goes_with_the_steps_is_saved_and_stands_still_at_evaluation():
    table = tiny.table(tiny.schema(*NAMES, scenarios=3), 40)
    options = {"sharpness": (1.0, 5.0), "anneal": 20, **SIZES}
    model = AdaSparse(table.schema, **options)
    seen = []
    model.pruning.weights = watch(model.pruning.weights, model, seen)
    fit(model, table, epochs=3, batch_size=4, device="cpu", progress=False, precision="fp32")
    expected = [1 + 4 * min(step / 20, 1) for step in range(30) for _ in range(5)]
    assert seen == pytest.approx(expected, rel=1e-6)
    assert model.alpha == 5
    again = AdaSparse(table.schema, **options)
    assert again.alpha == 1 and again.step == 0
    again.load_state_dict(model.state_dict())
    batch = tiny.all_rows(table)
    again.eval(), model.eval()
    for step in (0, 7, 10**6):
        again.step = step
        for task, logits in model(batch).items():
            assert torch.equal(again(batch)[task], logits)
    assert again.alpha == 5


def watch(weights, model, seen):
    def watched(v):
        seen.append(float(model.pruning.sharpness))
        return weights(v)

    return watched


def test_a_run_that_stops_half_way_keeps_the_sharpness_of_its_last_step():
    table = tiny.table(tiny.schema(*NAMES, scenarios=3), 40)
    model = AdaSparse(table.schema, anneal=20, sharpness=(1.0, 5.0), **SIZES)
    fit(model, table, epochs=1, batch_size=4, device="cpu", progress=False)
    assert float(model.alpha) == pytest.approx(1 + 4 * 9 / 20)  # the tenth step is number 9


def test_layers_of_one_task_alone_are_paid_for_by_it():
    model = make("adasparse", network="single-task")
    assert isinstance(model.network, SingleTask)
    assert [m.task for m in pruners(model)] == [name for name in NAMES for _ in range(3)]
    assert {m.task for m in pruners(make("adasparse"))} == {None, *NAMES}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"form": "hard"}, "form is one of binary, scaling, fusion, not 'hard'"),
        ({"threshold": 1.0}, "threshold must be 0 or more and below 1,"),
        ({"threshold": 0.5, "form": "binary"}, r"below 0\.5"),
        ({"threshold": -0.1}, "threshold must be 0 or more"),
        ({"scale": 0.0}, "scale must be above 0"),
        ({"sharpness": (2.0, 1.0)}, "sharpness is"),
        ({"sharpness": (0.0, 1.0)}, "sharpness is"),
        ({"sparsity": (0.3, 0.2)}, "sparsity is"),
        ({"sparsity": (0.3, 1.0)}, "sparsity is"),
        ({"penalty": -1.0}, "penalty must be 0 or more"),
        ({"anneal": 0}, "anneal must be 1 or more"),
        ({"vector": 0}, "vector must be 1 or more"),
        ({"hidden": (), "tower": ()}, "give hidden or tower at least one size"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        AdaSparse(tiny.schema("click"), **options)


def test_a_pruner_alone_says_where_it_belongs():
    with pytest.raises(RuntimeError, match="outside of the model"):
        pruners(make("adasparse"))[0](torch.zeros(2, 7, dtype=torch.double))

"""What a GPU must do as the CPU does; skipped, with this reason, where there is none."""

import copy

import pytest
import torch

from mtlkit.balance import EVERY_BALANCER
from mtlkit.train import evaluate, fit, fit_replicas, predict, seeded
from tests import tiny
from tests.models import registry
from tests.models.test_grid import OWN

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def pair(name):
    """The same model on both devices."""
    with seeded(2):
        model = registry.make(name)
    return model, copy.deepcopy(model).cuda()


@pytest.mark.parametrize("name", registry.EVERY)
def test_forward_losses_and_gradients_agree_with_the_cpu(name):
    here, there = pair(name)
    batch = tiny.all_rows(registry.table(name))
    for model, rows in ((here, batch), (there, batch.to("cuda"))):
        model.losses(model(rows), rows).sum().backward()
    for (key, a), b in zip(here.named_parameters(), there.parameters(), strict=True):
        expected = torch.zeros_like(a) if a.grad is None else a.grad
        found = torch.zeros_like(b) if b.grad is None else b.grad
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("rule", EVERY_BALANCER)
def test_every_balancer_trains_there_and_waits_for_nothing_but_its_own_numbers(rule):
    with seeded(3):
        model = registry.make("mmoe")
    history = fit(
        model, registry.table(rows=64), epochs=2, batch_size=16, device="cuda", progress=False,
        balancer=OWN.get(rule, EVERY_BALANCER[rule])(),
    )  # fmt: skip
    assert history.steps == 8 and next(model.parameters()).is_cuda
    assert all(p.isfinite().all() for p in model.parameters())


def test_training_predictions_and_metrics_agree_with_the_cpu():
    table = tiny.learnable(2_000)
    found = {}
    for device in ("cpu", "cuda"):
        with seeded(1):
            model = registry.SHARING["shared-bottom"](table.schema, **registry.SIZES)
        fit(model, table, epochs=3, batch_size=256, device=device, precision="fp32", progress=False)
        found[device] = (predict(model, table)["click"], evaluate(model, table)["click"]["auc"])
    assert abs(found["cpu"][0] - found["cuda"][0]).max() < 0.01
    assert found["cpu"][1] == pytest.approx(found["cuda"][1], abs=1e-3)


def test_replicas_train_there_as_on_the_cpu():
    found = {}
    for device in ("cpu", "cuda"):
        models = []
        for seed in range(3):
            with seeded(seed):
                models.append(registry.make("mmoe"))
        fit_replicas(models, registry.table(rows=64), epochs=2, batch_size=16, device=device)
        found[device] = [p.detach().cpu() for model in models for p in model.parameters()]
    for here, there in zip(*found.values(), strict=True):
        torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4)

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gammaln, log_softmax, logsumexp

from mtlkit.losses import log_poisson_tail, task_losses
from tests import tiny


def random_logits(schema, rows, seed=1):
    generator = torch.Generator().manual_seed(seed)
    shapes = {t.name: (rows, t.outputs) if t.outputs > 1 else (rows,) for t in schema.tasks}
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name, shape in shapes.items()
    }


def slow_loss(task, z, y, censored):
    """One row, one task, in plain Python."""
    if task.kind == "binary":
        p = 1 / (1 + math.exp(-z))
        return -(y * math.log(p) + (1 - y) * math.log(1 - p))
    if task.kind == "multiclass":
        return -log_softmax(z)[int(y)]
    if task.kind == "regression":
        s = (math.log1p(y) if task.log1p else y) - task.location
        return (z - s / task.scale) ** 2
    if censored:
        return -stats.poisson.logsf(y - 1, math.exp(z))
    return math.exp(z) - y * z


def test_every_kind_equals_a_slow_loop_over_rows():
    schema = tiny.schema()
    table = tiny.table(schema)
    batch = tiny.all_rows(table)
    logits = random_logits(schema, len(table))
    result = task_losses(schema, logits, batch).detach().numpy()
    for i, task in enumerate(schema.tasks):
        rows = [
            slow_loss(
                task,
                logits[task.name][r].detach().numpy(),
                float(batch.labels[r, i]),
                bool(batch.censored[r, i]),
            )
            for r in range(len(table))
            if batch.observed[r, i]
        ]
        assert 0 < len(rows) < len(table)
        assert result[i] == pytest.approx(np.mean(rows), rel=1e-9), task.name


def test_gradients_equal_finite_differences():
    schema = tiny.schema()
    table = tiny.table(schema, rows=12)
    batch = tiny.all_rows(table)
    logits = random_logits(schema, len(table))
    names = list(logits)

    def losses(*values):
        return task_losses(schema, dict(zip(names, values, strict=True)), batch)

    assert torch.autograd.gradcheck(losses, tuple(logits.values()))


def test_order_of_tasks_follows_the_schema_when_kinds_are_interleaved():
    schema = tiny.schema("orders", "click", "rating", "purchase", "category")
    table = tiny.table(schema)
    batch = tiny.all_rows(table)
    logits = random_logits(schema, len(table))
    together = task_losses(schema, logits, batch)
    for i, name in enumerate(schema.task_names):
        alone = table.select_tasks(name)
        loss = task_losses(alone.schema, {name: logits[name]}, tiny.all_rows(alone))
        assert together[i].item() == pytest.approx(loss.item(), rel=1e-12)


@pytest.mark.parametrize("extreme", [1e4, -1e4, math.inf, math.nan])
def test_empty_mask_gives_zero_and_no_gradient_whatever_the_logits(extreme):
    schema = tiny.schema()
    table = tiny.table(schema, rows=5)
    batch = tiny.all_rows(table)
    batch.observed[:] = False
    logits = {
        name: torch.full_like(z, extreme).detach().requires_grad_()
        for name, z in random_logits(schema, 5).items()
    }
    losses = task_losses(schema, logits, batch)
    assert losses.tolist() == [0.0] * schema.num_tasks
    losses.sum().backward()
    for z in logits.values():
        assert z.grad is None or z.grad.abs().sum() == 0


def test_unobserved_rows_get_no_gradient_and_change_nothing():
    schema = tiny.schema()
    table = tiny.table(schema)
    batch = tiny.all_rows(table)
    logits = random_logits(schema, len(table))
    before = task_losses(schema, logits, batch)
    before.sum().backward()
    for i, task in enumerate(schema.tasks):
        gradient = logits[task.name].grad
        assert gradient[~batch.observed[:, i]].abs().sum() == 0
        assert gradient[batch.observed[:, i]].abs().sum() > 0
    batch.labels = torch.where(batch.observed, batch.labels, 1.0)
    torch.testing.assert_close(task_losses(schema, logits, batch), before)


def test_large_logits_stay_finite_for_binary_and_multiclass():
    schema = tiny.schema("click", "category")
    batch = tiny.all_rows(tiny.table(schema))
    logits = {k: (z * 1e4).detach() for k, z in random_logits(schema, len(batch)).items()}
    assert task_losses(schema, logits, batch).isfinite().all()


def test_low_precision_logits_are_lifted_to_float32():
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema))
    logits = {k: z.detach().bfloat16() for k, z in random_logits(schema, len(batch)).items()}
    lifted = {k: z.float() for k, z in logits.items()}
    low, full = task_losses(schema, logits, batch), task_losses(schema, lifted, batch)
    assert low.dtype == torch.float32
    assert torch.equal(low, full)


def test_missing_logits_are_named():
    schema = tiny.schema("click", "orders")
    batch = tiny.all_rows(tiny.table(schema))
    with pytest.raises(KeyError, match="orders"):
        task_losses(schema, {"click": torch.zeros(len(batch))}, batch)


def tail_by_sums(count, rate):
    """log P(Y >= count), the log of a long sum of probabilities."""
    if count <= 0:
        return 0.0
    k = np.arange(count, count + 200_000)
    return min(0.0, float(logsumexp(k * np.log(rate) - rate - gammaln(k + 1))))


@pytest.mark.parametrize(
    ("count", "rate"),
    [
        (0, 2.0), (1, 0.5), (3, 2.5), (3, 30.0), (50, 49.0), (50, 1.0), (200, 0.01), (1000, 600.0),
        (1000, 300.0), (5000, 1000.0), (40_000, 30_000.0), (10, 1e-30), (2, 200.0),
    ],
)  # fmt: skip
def test_log_poisson_tail_equals_the_sum_of_probabilities_far_into_the_tail(count, rate):
    z = torch.tensor([math.log(rate)], dtype=torch.float64, requires_grad=True)
    value = log_poisson_tail(torch.tensor([float(count)]), z)
    expected = tail_by_sums(count, rate)
    assert value.item() == pytest.approx(expected, rel=1e-8, abs=1e-9)
    value.sum().backward()
    step = 1e-5
    rise = tail_by_sums(count, rate * math.exp(step)) - tail_by_sums(count, rate * math.exp(-step))
    assert z.grad.item() == pytest.approx(rise / (2 * step), rel=1e-4, abs=1e-6)


def test_log_poisson_tail_never_gives_nan():
    counts = torch.tensor([0.0, 1.0, 7.0, 1e3, 1e6]).repeat_interleave(7)
    z = torch.tensor([-1e3, -80.0, -1.0, 0.0, 5.0, 80.0, 800.0]).repeat(5).requires_grad_()
    value = log_poisson_tail(counts, z)
    value.sum().backward()
    assert value.isfinite().all() and (value <= 0).all()
    assert z.grad.isfinite().all() and (z.grad >= 0).all()


def test_censored_row_at_zero_says_nothing():
    schema = tiny.schema("units")
    batch = tiny.all_rows(tiny.table(schema, rows=4))
    batch.observed[:], batch.censored = True, torch.ones(4, 1, dtype=torch.bool)
    batch.labels = torch.zeros(4, 1)
    z = torch.randn(4, requires_grad=True)
    loss = task_losses(schema, {"units": z}, batch)
    loss.sum().backward()
    assert loss.item() == 0 and z.grad.abs().sum() == 0

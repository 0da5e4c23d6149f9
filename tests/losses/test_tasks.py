import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gammaln, log_softmax, logsumexp

from mtlkit.losses import log_poisson_tail, poisson_loss, row_losses, task_losses
from mtlkit.metrics import poisson_deviance
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
    return math.exp(z) - y * z + (y * math.log(y) - y if y else 0.0)


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


# --- counts ----------------------------------------------------------------------------------


def test_the_loss_of_a_count_is_half_its_deviance_and_never_below_zero():
    rng = np.random.default_rng(0)
    for dtype in (torch.float32, torch.float64):
        y = torch.tensor(rng.poisson(10 ** rng.uniform(-2, 5, 4000)), dtype=dtype)
        near = y.clamp(min=0.5).log() + torch.tensor(rng.normal(size=4000) * 1e-4, dtype=dtype)
        for z in (near, torch.tensor(rng.normal(size=4000) * 3, dtype=dtype)):
            rows = poisson_loss(z, y)
            assert (rows >= 0).all()
            pairs = zip(y.tolist(), z.tolist(), strict=True)
            half = [poisson_deviance([a], [math.exp(b)]) / 2 for a, b in pairs]
            rel, absolute = (1e-3, 5e-5) if dtype == torch.float32 else (1e-6, 1e-9)
            assert rows.double().numpy() == pytest.approx(half, rel=rel, abs=absolute)


def test_the_gradient_of_a_count_is_that_of_the_likelihood():
    y = torch.tensor([0.0, 0.25, 1.0, 3.0, 40.0, 1e4])
    z = torch.linspace(-4, 9.2, 6).requires_grad_()
    (poisson_loss(z, y) * 0.3).sum().backward()
    plain = z.detach().clone().requires_grad_()
    ((plain.exp() - y * plain) * 0.3).sum().backward()
    assert torch.equal(z.grad, plain.grad)
    doubles = z.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: poisson_loss(x, y.double()), (doubles,))
    assert torch.autograd.gradgradcheck(lambda x: poisson_loss(x, y.double()), (doubles,))


def test_a_perfect_rate_loses_nothing_and_pulls_nowhere():
    y = torch.tensor([1.0, 2.0, 7.0, 1000.0])
    z = y.log().requires_grad_()
    rows = poisson_loss(z, y)
    rows.sum().backward()
    assert rows.tolist() == [0.0] * 4
    assert (z.grad.abs() <= 2e-6 * y).all()
    assert poisson_loss(torch.tensor([-2.0]), torch.zeros(1)).item() == pytest.approx(math.exp(-2))


# --- row by row, without a branch on data ----------------------------------------------------


def test_task_losses_are_the_mean_of_the_observed_row_losses():
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema))
    logits = random_logits(schema, len(batch))
    rows = row_losses(schema, logits, batch)
    assert rows.shape == batch.labels.shape
    assert (rows[~batch.observed] == 0).all() and (rows >= 0).all()
    for i in range(schema.num_tasks):
        seen = rows[batch.observed[:, i], i]
        assert task_losses(schema, logits, batch)[i].item() == pytest.approx(seen.mean().item())


def test_jacrev_of_row_losses_equals_a_loop_of_backward_passes():
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema, rows=9))
    assert (batch.censored & batch.observed).any()
    logits = random_logits(schema, len(batch))
    jacobian = torch.func.jacrev(lambda z: row_losses(schema, z, batch))(logits)
    rows = row_losses(schema, logits, batch)
    for r in range(len(batch)):
        for i in range(schema.num_tasks):
            one = torch.autograd.grad(rows[r, i], list(logits.values()), retain_graph=True)
            for name, gradient in zip(logits, one, strict=True):
                torch.testing.assert_close(jacobian[name][r, i], gradient, rtol=1e-12, atol=1e-14)


def test_losses_and_their_gradients_walk_through_the_device_meta():
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema)).to("meta")
    assert batch.censored is not None
    drawn = random_logits(schema, len(batch))
    logits = {name: z.detach().to("meta").requires_grad_() for name, z in drawn.items()}
    losses = task_losses(schema, logits, batch)
    losses.sum().backward()
    assert losses.device.type == "meta" and losses.shape == (schema.num_tasks,)


def test_losses_can_be_exported_and_equal_the_eager_ones():
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema))
    logits = {n: z.detach() for n, z in random_logits(schema, len(batch)).items()}

    class Losses(torch.nn.Module):
        def forward(self, logits):
            return task_losses(schema, logits, batch)

    exported = torch.export.export(Losses(), (logits,)).module()
    torch.testing.assert_close(exported(logits), task_losses(schema, logits, batch))

"""Chained outcomes: products and complements in log space, joint labels, joint losses, order."""

import itertools
from decimal import Decimal, localcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlkit.losses.chain import (
    chained,
    joint_labels,
    joint_losses,
    log1mexp,
    log_complement,
    log_joint,
    order_penalty,
    parents_first,
    path,
)
from mtlkit.schema import Task
from tests import chains, tiny

NAMES = ("click", "purchase", "return")
ENDS = (-40.0, -17.5, -1.0, 0.0, 2.0, 17.5, 40.0)


def chain_schema(*parents):
    """Tasks "0", "1", ...; ``parents[i]`` is the parent of task i + 1."""
    tasks = [Task("0"), *(Task(str(i + 1), given=str(p)) for i, p in enumerate(parents))]
    return tiny.schema("click").with_tasks(tasks)


def exact(logits):
    """P and 1 - P of the whole chain with 60 digits: (Decimal, Decimal, ...)."""
    with localcontext() as context:
        context.prec = 60
        p = Decimal(1)
        for z in logits:
            p /= 1 + (-Decimal(z)).exp()
        return p, 1 - p, p.ln(), (1 - p).ln()


def test_log1mexp_keeps_its_digits_from_one_end_to_the_other():
    points = torch.tensor([-1e-30, -1e-10, -1e-3, -0.5, -0.6931, -0.6932, -1.0, -20.0, -80.0])
    x = points.clone().requires_grad_()
    y = log1mexp(x)
    y.sum().backward()
    with localcontext() as context:
        context.prec = 60
        values = [(1 - Decimal(v).exp()).ln() for v in points.tolist()]
        slopes = [-Decimal(v).exp() / (1 - Decimal(v).exp()) for v in points.tolist()]
    expected = torch.tensor([float(v) for v in values])
    torch.testing.assert_close(y.detach(), expected, rtol=5e-7, atol=0)
    torch.testing.assert_close(x.grad, torch.tensor([float(v) for v in slopes]), rtol=1e-6, atol=0)
    assert log1mexp(torch.zeros(1)) == -torch.inf


@pytest.mark.parametrize("length", [1, 2, 3])
def test_product_and_complement_are_right_to_float32_at_logits_of_40(length):
    schema = chain_schema(*range(length - 1))
    grid = list(itertools.product(ENDS, repeat=length))
    columns = torch.tensor(grid, dtype=torch.float32).unbind(1)
    logits = {str(i): z for i, z in enumerate(columns)}
    last = str(length - 1)
    p, q = log_joint(schema, logits)[last], log_complement(schema, logits)[last]
    expected_p = torch.tensor([float(exact(row)[2]) for row in grid])
    expected_q = torch.tensor([float(exact(row)[3]) for row in grid])
    torch.testing.assert_close(p, expected_p, rtol=5e-7, atol=1e-38)
    # one rounding of log P = -120 in float32 is a relative error of 4e-6 in P, and in 1 - P
    torch.testing.assert_close(q, expected_q, rtol=1e-5, atol=1e-38)


def test_products_of_sigmoids_fail_where_the_log_space_does_not():
    z = torch.tensor([40.0, 40.0])
    assert torch.log(1 - z.sigmoid().prod()).isinf()  # the formula as it stands in the paper
    schema = chain_schema(0)
    ours = log_complement(schema, {"0": z[:1], "1": z[1:]})["1"]
    assert ours.isfinite() and abs(float(ours) - float(exact([40, 40])[3])) < 1e-5


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_gradients_of_the_joint_loss_are_right_to_float32_at_logits_of_40(label):
    schema = chain_schema(0, 1)
    grid = list(itertools.product(ENDS, repeat=3))
    z = torch.tensor(grid, dtype=torch.float32, requires_grad=True)
    logits = {str(i): column for i, column in enumerate(z.unbind(1))}
    space = log_joint if label else log_complement
    (-space(schema, logits)["2"]).sum().backward()
    with localcontext() as context:
        context.prec = 60
        expected = []
        for row in grid:
            p, q, *_ = exact(row)
            # -d log P / dz_i = -(1 - p_i);  -d log(1 - P) / dz_i = P (1 - p_i) / (1 - P)
            factor = Decimal(-1) if label else p / q
            expected.append([float(factor / (1 + Decimal(v).exp())) for v in row])
    assert z.grad.isfinite().all()
    torch.testing.assert_close(z.grad, torch.tensor(expected), rtol=1e-5, atol=1e-37)


def test_gradients_of_the_joint_loss_agree_with_finite_differences():
    schema = chain_schema(0, 0, 2, 1)
    batch = tiny.all_rows(tiny.table(schema, 30))
    batch.labels = batch.labels.double()
    z = (3 * torch.randn(30, 5, dtype=torch.float64)).requires_grad_()

    def loss(z):
        logits = dict(zip(schema.task_names, z.unbind(1), strict=True))
        return joint_losses(schema, logits, batch)

    assert torch.autograd.gradcheck(loss, (z,))


trees = st.integers(1, 5).flatmap(
    lambda n: st.tuples(*(st.integers(0, i) for i in range(n)))  # parent of task i + 1
)
numbers = st.floats(-1e4, 1e4, width=32)


@settings(max_examples=100, deadline=None)
@given(trees, st.data())
def test_a_child_is_never_more_likely_than_its_parent(parents, data):
    schema = chain_schema(*parents)
    rows = data.draw(
        st.lists(
            st.lists(numbers, min_size=schema.num_tasks, max_size=schema.num_tasks),
            min_size=1,
            max_size=4,
        )
    )
    z = torch.tensor(rows, dtype=torch.float32)
    logits = dict(zip(schema.task_names, z.unbind(1), strict=True))
    p, q = log_joint(schema, logits), log_complement(schema, logits)
    for name in chained(schema):
        parent = schema.task(name).given
        assert (p[name] <= p[parent]).all()
        assert (q[name] >= q[parent] - 1e-6 * q[parent].abs()).all()
        assert order_penalty(schema, p)[name] == 0
    for name in schema.task_names:
        torch.testing.assert_close(p[name].exp() + q[name].exp(), torch.ones(len(z)))


def test_parents_come_first_whatever_the_order_of_the_schema():
    schema = chains.schema("return", "purchase", "dwell", "click", "cart")
    order = parents_first(schema)
    assert order == ("click", "purchase", "return", "dwell", "cart")
    assert path(schema, "return") == ("click", "purchase", "return")
    assert chained(schema) == ("purchase", "return", "cart")
    z = {name: torch.randn(5) for name in schema.task_names}
    expected = z["click"].sigmoid() * z["purchase"].sigmoid() * z["return"].sigmoid()
    torch.testing.assert_close(log_joint(schema, z)["return"].exp(), expected)
    assert "dwell" not in log_joint(schema, z)


def test_joint_labels_of_every_case():
    schema = chains.schema("click", "purchase", "return")
    n = None  # not observed
    cases = {
        (0, n, n): (0, 0, 0),  # no click: nothing can follow, and that is known
        (1, 0, n): (1, 0, 0),
        (1, 1, 0): (1, 1, 0),
        (1, 1, 1): (1, 1, 1),
        (1, n, n): (1, n, n),  # clicked, and what came then was not seen
        (1, 1, n): (1, 1, n),
        (n, n, n): (n, n, n),
    }
    given_labels = torch.tensor([[v or 0.0 for v in case] for case in cases])
    observed = torch.tensor([[v is not None for v in case] for case in cases])
    labels, known = joint_labels(schema, given_labels, observed)
    expected = list(cases.values())
    assert known.tolist() == [[v is not None for v in row] for row in expected]
    assert labels.tolist() == [[float(v or 0) for v in row] for row in expected]


def test_joint_labels_leave_roots_and_other_kinds_alone():
    table = chains.table(chains.schema())
    labels, known = joint_labels(table.schema, table.labels, table.observed)
    for name in ("click", "dwell"):
        i = table.schema.task_index(name)
        assert torch.equal(labels[:, i], table.labels[:, i])
        assert torch.equal(known[:, i], table.observed[:, i])


def test_joint_losses_equal_a_loop_over_rows():
    schema = chains.schema()
    batch = tiny.all_rows(chains.table(schema, 60))
    logits = {name: torch.randn(60, dtype=torch.float64) for name in schema.task_names}
    losses = joint_losses(schema, logits, batch)
    for i, task in enumerate(schema.tasks):
        rows = []
        for r in range(60):
            names, p, known, happened = path(schema, task.name), 1.0, True, True
            if not task.is_binary:
                if batch.observed[r, i]:
                    label = (torch.log1p(batch.labels[r, i]).item() - 1.0) / 0.5
                    rows.append((logits[task.name][r].item() - label) ** 2)
                continue
            for name in names:
                j = schema.task_index(name)
                p *= logits[name][r].sigmoid().item()
                if known and happened:
                    known = bool(batch.observed[r, j])
                    happened = known and bool(batch.labels[r, j] == 1)
            if known:
                rows.append(-torch.tensor(p if happened else 1 - p).log().item())
        assert len(rows) > 5
        assert losses[i].item() == pytest.approx(sum(rows) / len(rows), rel=1e-5)


def test_rows_whose_joint_label_is_unknown_give_no_gradient_and_no_nan():
    schema = chains.schema("click", "purchase")
    batch = tiny.all_rows(chains.table(schema, 6, complete=True))
    batch.labels[:], batch.observed[:] = torch.tensor([1.0, 0.0]), torch.tensor([True, False])
    z = {n: torch.full((6,), 1e4, requires_grad=True) for n in schema.task_names}
    losses = joint_losses(schema, z, batch)
    assert losses[1] == 0 and losses.isfinite().all()
    losses[1].backward()
    assert all(v.grad is None or (v.grad == 0).all() for v in z.values())


def test_an_empty_batch_gives_zero():
    schema = chains.schema()
    batch = chains.table(schema, 3).batch(torch.arange(0))
    losses = joint_losses(schema, {n: torch.empty(0) for n in schema.task_names}, batch)
    assert (losses == 0).all()


def test_the_penalty_is_the_mean_excess_over_the_parent():
    schema = chains.schema("click", "purchase")
    p = {"click": torch.tensor([0.2, 0.6, 0.5]), "purchase": torch.tensor([0.5, 0.1, 0.6])}
    log_p = {name: v.log() for name, v in p.items()}
    assert order_penalty(schema, log_p)["purchase"].item() == pytest.approx((0.3 + 0.1) / 3)
    rows = torch.tensor([[True, True], [True, True], [True, False]])
    assert order_penalty(schema, log_p, rows)["purchase"].item() == pytest.approx(0.15)

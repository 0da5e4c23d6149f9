"""Rules of the gradients themselves: GradNorm, DB-MTL, MoCo, SDMGrad, GradDrop, ExcessMTL,
MetaBalance, each against its equations written out a second time."""

import copy

import pytest
import torch
import torchjd.aggregation as torchjd
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlkit.balance.elementwise import ExcessMTL, GradDrop, MetaBalance
from mtlkit.balance.engine.gramian import TaskGradients
from mtlkit.balance.gradnorm import GradNorm, gradnorm_gradient
from mtlkit.balance.remembered import DualBalancing, MoCo, SDMGrad
from mtlkit.schema import Schema, SchemaError, Task

LOSSES = torch.tensor([0.7, 0.2, 1.3], dtype=torch.float64)


def gradients(seed=0, tasks=3, layers=7, rows=4, halves=False):
    generator = torch.Generator().manual_seed(seed)

    def draw():
        return torch.randn(tasks, layers + rows, generator=generator, dtype=torch.float64)

    two = (draw(), draw()) if halves else None
    matrix = (two[0] + two[1]) / 2 if halves else draw()
    blocks = {"first": slice(0, 3), "second": slice(3, layers), "table": slice(layers, None)}
    blocks["table"] = slice(layers, layers + rows)
    return TaskGradients(matrix, blocks, layers, two)


def schema(tasks=3):
    return Schema(tuple(Task(f"task {i}") for i in range(tasks)))


ALL = {
    "DualBalancing": lambda: DualBalancing(),
    "MoCo": lambda: MoCo(),
    "SDMGrad": lambda: SDMGrad(),
    "GradDrop": lambda: GradDrop(),
    "ExcessMTL": lambda: ExcessMTL(),
    "MetaBalance": lambda: MetaBalance("task 1"),
}


@pytest.mark.parametrize("name", ALL)
def test_one_task_alone_keeps_its_direction(name):
    balancer = MetaBalance("task 0") if name == "MetaBalance" else ALL[name]()
    g = gradients(tasks=1, halves=True)
    update = balancer.bind(schema(1)).combine(LOSSES[:1], g)
    cosine = torch.cosine_similarity(update, g.matrix[0], dim=0)
    assert float(cosine) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_a_saved_rule_continues_bit_for_bit(name):
    whole, other = ALL[name]().bind(schema()), ALL[name]().bind(schema())
    for step in range(5):
        whole.combine(LOSSES, gradients(step, halves=True))
    other.load_state_dict(whole.state_dict())
    twin = copy.deepcopy(whole)
    for step in range(5, 10):
        g = gradients(step, halves=True)
        expected = whole.combine(LOSSES, g)
        assert torch.equal(other.combine(LOSSES, g), expected)
        assert torch.equal(twin.combine(LOSSES, g), expected)


@pytest.mark.parametrize("name", ALL)
def test_a_task_without_labels_neither_moves_nor_remembers(name):
    balancer, two = ALL[name]().bind(schema()), ALL[name]().bind(schema())
    balancer.combine(LOSSES, gradients(1, halves=True))
    two.combine(LOSSES, gradients(1, halves=True))
    g, losses = gradients(2, halves=True), LOSSES.clone()
    for matrix in (g.matrix, *g.halves):
        matrix[2] = 0
    losses[2] = 0
    update = balancer.combine(losses, g)
    assert update.isfinite().all()
    memory = balancer.state_dict()
    for entry in ("mean", "squares", "first", "norms"):
        if entry in memory:
            assert torch.equal(memory[entry][2], two.state_dict()[entry][2])
    for matrix in (g.matrix, *g.halves):  # and no label at all is no movement
        matrix[:] = 0
    assert balancer.combine(torch.zeros(3), g).abs().sum() == 0


@pytest.mark.parametrize("name", ALL)
def test_float32_gradients_give_a_float32_update_near_the_exact_one(name):
    g = gradients(3, halves=True)
    exact = ALL[name]().bind(schema()).combine(LOSSES, g)
    rough = TaskGradients(
        g.matrix.float(), g.blocks, g.lasting, tuple(half.float() for half in g.halves)
    )
    update = ALL[name]().bind(schema()).combine(LOSSES.float(), rough)
    assert update.dtype == torch.float32
    if name != "GradDrop":  # which draws other random numbers in float32
        torch.testing.assert_close(update.double(), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["DualBalancing", "MoCo", "SDMGrad", "ExcessMTL"])
def test_the_order_of_tasks_does_not_matter(name):
    order = [2, 0, 1]
    one, two = ALL[name]().bind(schema()), ALL[name]().bind(schema())
    for step in range(4):
        g = gradients(step, halves=True)
        turned = TaskGradients(
            g.matrix[order], g.blocks, g.lasting, tuple(half[order] for half in g.halves)
        )
        torch.testing.assert_close(
            one.combine(LOSSES, g), two.combine(LOSSES[order], turned), rtol=1e-9, atol=1e-12
        )


# --- GradNorm -----------------------------------------------------------------------------------


def test_gradnorm_gradient_is_that_of_its_loss_with_the_targets_held_fixed():
    weights = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64, requires_grad=True)
    norms = torch.tensor([2.0, 0.3, 1.0], dtype=torch.float64)
    ratio = torch.tensor([0.9, 0.5, 1.2], dtype=torch.float64)
    weighted = weights * norms
    target = (weighted.mean() * (ratio / ratio.mean()) ** 1.5).detach()
    (weighted - target).abs().sum().backward()
    ours = gradnorm_gradient(weights.detach(), norms, ratio, 1.5)
    torch.testing.assert_close(ours, weights.grad)


def run_gradnorm(balancer, norms, losses, steps=600):
    gramian = torch.diag(norms**2)
    for loss in [losses[0]] + [losses[1]] * steps:
        weights = balancer.weights(loss, gramian)
    return weights


def test_gradnorm_comes_to_rest_where_every_norm_is_its_target():
    norms = torch.tensor([4.0, 1.0, 0.5], dtype=torch.float64)
    start, now = LOSSES, LOSSES * torch.tensor([0.9, 0.3, 0.6])
    balancer = GradNorm(alpha=0.5, learning_rate=0.01).bind(schema())
    weights = run_gradnorm(balancer, norms, (start, now), 3000)
    ratio = torch.tensor([0.9, 0.3, 0.6], dtype=torch.float64)
    expected = (ratio / ratio.mean()) ** 0.5 / norms
    expected = 3 * expected / expected.sum()
    torch.testing.assert_close(weights, expected, rtol=0.05, atol=0.02)
    assert float(weights.sum()) == pytest.approx(3.0)


def test_a_lagging_task_gains_weight_and_alpha_zero_ignores_progress():
    norms = torch.ones(3, dtype=torch.float64)
    start, now = LOSSES, LOSSES * torch.tensor([1.0, 0.5, 0.5])  # the first task lags
    pulled = run_gradnorm(GradNorm(alpha=1.5).bind(schema()), norms, (start, now))
    assert pulled[0] > 1.2 > 1 > pulled[1]  # the flipped sign of a known bug fails here
    flat = run_gradnorm(GradNorm(alpha=0.0).bind(schema()), norms, (start, now))
    torch.testing.assert_close(flat, torch.ones_like(flat), rtol=0, atol=0.05)


def test_gradnorm_does_not_depend_on_the_units_of_gradients_and_losses():
    norms = torch.tensor([4.0, 1.0, 0.5], dtype=torch.float64)
    now = LOSSES * torch.tensor([0.9, 0.3, 0.6])
    one = run_gradnorm(GradNorm().bind(schema()), norms, (LOSSES, now), 50)
    for unit in (1e4, 1e-9):  # Adam's own guard against zero would feel the small one
        other = run_gradnorm(
            GradNorm().bind(schema()), norms * unit, (LOSSES * unit, now * unit), 50
        )
        torch.testing.assert_close(one, other)


def test_gradnorm_starts_from_given_or_averaged_losses_and_waits_for_them():
    gramian = torch.eye(3, dtype=torch.float64)
    warm = GradNorm(warmup=3).bind(schema())
    for factor in (1.0, 2.0, 3.0):
        assert warm.weights(LOSSES * factor, gramian).tolist() == [1.0, 1.0, 1.0]
    warm.weights(LOSSES, gramian)
    torch.testing.assert_close(warm.start, LOSSES * 2)
    given = GradNorm(initial={"task 0": 7.0}).bind(schema())
    given.weights(LOSSES, gramian)
    assert given.in_order("initial", 3, 0.0).tolist() == [7.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="initial"):
        GradNorm(initial={"task 0": 0.0})
    with pytest.raises(SchemaError, match="task 9"):
        GradNorm(initial={"task 9": 1.0}).bind(schema())
    with pytest.raises(ValueError, match="warmup"):
        GradNorm(warmup=0)


def test_gradnorm_remembers_bit_for_bit_and_leaves_absent_tasks_alone():
    gramian = torch.diag(torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64))
    one, two = GradNorm().bind(schema()), GradNorm().bind(schema())
    for _ in range(5):
        one.weights(LOSSES, gramian)
    before = one.logits.clone()
    part = LOSSES * torch.tensor([1.0, 0.0, 1.0])
    weights = one.weights(part, gramian)
    assert weights[1] == 0 and float(weights.sum()) == pytest.approx(2.0)
    assert one.logits[1] == before[1] and one.logits[0] != before[0]
    two.load_state_dict(one.state_dict())
    for _ in range(5):
        assert torch.equal(one.weights(LOSSES, gramian), two.weights(LOSSES, gramian))


def test_gradnorm_steps_along_its_loss_through_the_softmax_from_given_losses():
    norms = torch.tensor([4.0, 1.0, 0.5], dtype=torch.float64)
    initial = {"task 0": 3.0, "task 2": 0.9}
    ours = GradNorm(0.7, 0.05, initial=initial).bind(schema())
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.05)
    start = torch.tensor([3.0, float(LOSSES[1]), 0.9], dtype=torch.float64)
    for step in range(40):
        losses = LOSSES * (1 - 0.01 * step * torch.arange(3))
        weights = 3 * logits.softmax(0)
        torch.testing.assert_close(
            ours.weights(losses, torch.diag(norms**2)), weights.detach(), rtol=1e-6, atol=1e-8
        )
        ratio = losses / start
        target = ((weights * norms).mean() * (ratio / ratio.mean()) ** 0.7).detach()
        adam.zero_grad()
        ((weights * norms - target).abs().sum() / norms.mean()).backward()
        adam.step()


# --- running means ------------------------------------------------------------------------------


def test_db_mtl_rescales_log_gradients_to_the_largest_norm():
    g = gradients(0)
    rows = g.matrix / LOSSES.unsqueeze(1)
    norms = rows.norm(dim=1)
    expected = (rows / norms.unsqueeze(1)).sum(0) * norms.max()
    torch.testing.assert_close(DualBalancing().bind(schema()).combine(LOSSES, g), expected)


def test_db_mtl_is_blind_to_the_scale_of_a_loss():
    scale = torch.tensor([1e3, 1.0, 1e-3], dtype=torch.float64)
    one, two = DualBalancing().bind(schema()), DualBalancing().bind(schema())
    for step in range(4):
        g = gradients(step)
        scaled = TaskGradients(g.matrix * scale.unsqueeze(1), g.blocks, g.lasting)
        torch.testing.assert_close(one.combine(LOSSES, g), two.combine(LOSSES * scale, scaled))


def test_running_means_cover_the_layers_and_take_table_rows_as_they_come():
    balancer = DualBalancing(decay=0.75).bind(schema())
    first, second = gradients(0), gradients(1)
    balancer.combine(LOSSES, first)
    update = balancer.combine(LOSSES, second)
    logs = [g.matrix / LOSSES.unsqueeze(1) for g in (first, second)]
    rows = logs[1].clone()
    rows[:, :7] = 0.75 * logs[0][:, :7] + 0.25 * logs[1][:, :7]
    norms = rows.norm(dim=1)
    torch.testing.assert_close(update, (rows / norms.unsqueeze(1)).sum(0) * norms.max())


def test_losses_that_have_no_logarithm_are_refused_by_name():
    with pytest.raises(ValueError, match=r"task 1.*minimum"):
        DualBalancing().bind(schema()).combine(torch.tensor([0.5, -0.1, 0.2]), gradients())


def test_moco_with_frozen_gradients_comes_to_the_min_norm_point():
    g = gradients(4)
    balancer = MoCo(gamma=0.05)
    for _ in range(3000):
        update = balancer.combine(LOSSES, g)
    shares = balancer.shares
    inner = g.matrix @ g.matrix.T
    slope, norm = inner @ shares, shares @ inner @ shares
    assert (slope >= norm - 1e-6).all()  # optimality on the simplex
    torch.testing.assert_close(update, 3 * shares @ g.matrix)


def project(v):
    """The nearest point of the simplex, by bisection."""
    low, high = v.min() - 1, v.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (v - middle).clamp(min=0).sum() > 1 else (low, middle)
    return (v - low).clamp(min=0)


@pytest.mark.parametrize("name", ["MoCo", "SDMGrad"])
def test_shares_follow_their_equations_step_by_step_while_a_task_comes_and_goes(name):
    beta, gamma, rho, strength, rate = 0.4, 0.2, 0.3, 0.5, 0.15
    rule = MoCo(beta, gamma, rho) if name == "MoCo" else SDMGrad(strength, rate, steps=3)
    shares, means = torch.full((3,), 1 / 3, dtype=torch.float64), {}
    for step in range(8):
        g, losses = gradients(step, halves=True), LOSSES.clone()
        here = [0, 2] if step in (0, 3, 4) else [0, 1, 2]
        for i in {0, 1, 2} - set(here):
            losses[i] = 0.0
            for matrix in (g.matrix, *g.halves):
                matrix[i] = 0.0
        update = rule.combine(losses, g)
        held = shares[here].sum()
        part = shares[here] / held
        if name == "MoCo":
            rows = g.matrix[here].clone()
            for row, i in zip(rows, here, strict=True):
                row[:7] = means[i] + beta * (row[:7] - means[i]) if i in means else row[:7]
                means[i] = row[:7].clone()
            inner = rows @ rows.T
            inner = inner / inner.diagonal().mean() + rho * torch.eye(len(here)).double()
            part = project(part - gamma * inner @ part)
            expected = len(here) * part @ rows
        else:
            inner = g.halves[0][here] @ g.halves[1][here].T
            inner = inner / inner.diagonal().abs().mean()
            even = torch.full_like(part, strength / len(here))
            for _ in range(3):
                part = project(part - rate * inner @ (part + even))
            expected = len(here) / (1 + strength) * (part + even) @ g.matrix[here]
        shares[here] = held * part
        torch.testing.assert_close(update, expected, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(rule.shares, shares, rtol=1e-9, atol=1e-12)


def test_sdmgrad_weights_solve_their_problem_and_large_strength_is_equal_weighting():
    g = gradients(5, halves=True)
    same = TaskGradients(g.matrix, g.blocks, g.lasting, (g.matrix, g.matrix))
    balancer = SDMGrad(strength=0.3, steps=4000)
    update = balancer.combine(LOSSES, same)
    shares = balancer.shares
    slope = g.matrix @ (g.matrix.T @ (shares + 0.1))
    assert (slope >= shares @ slope - 1e-6).all()
    torch.testing.assert_close(update, (3 * (shares + 0.1) / 1.3) @ g.matrix)
    equal = SDMGrad(strength=1e9).combine(LOSSES, same)
    torch.testing.assert_close(equal, g.matrix.sum(0), rtol=1e-6, atol=1e-6)


def test_sdmgrad_multiplies_different_halves_and_so_does_not_count_noise_as_norm():
    tasks, width = 2, 4000
    noise = [torch.randn(tasks, width, dtype=torch.float64) for _ in range(2)]
    noise = [n * torch.tensor([[5.0], [0.1]], dtype=torch.float64) for n in noise]
    signal = torch.zeros(tasks, width, dtype=torch.float64)
    signal[0, 0], signal[1, 1] = 1.0, 30.0  # the noisy task has the smaller true gradient
    halves = (signal + noise[0], signal + noise[1])
    whole = TaskGradients((halves[0] + halves[1]) / 2, {}, width, halves)
    apart = SDMGrad(strength=0.0, steps=2000)
    apart.combine(LOSSES[:2], whole)
    together = SDMGrad(strength=0.0, steps=2000)
    together.combine(LOSSES[:2], TaskGradients(whole.matrix, {}, width, (whole.matrix,) * 2))
    # min-norm trusts the small gradient; the noise hides from one batch that it is small
    assert apart.shares[0] > together.shares[0] + 0.2


# --- number by number ---------------------------------------------------------------------------


def test_graddrop_keeps_one_sign_where_tasks_disagree_and_all_where_they_agree():
    g = gradients(0)
    balancer = GradDrop(seed=3)
    update = balancer.combine(LOSSES, g)
    positive, negative = g.matrix.clamp(min=0).sum(0), g.matrix.clamp(max=0).sum(0)
    assert ((update == positive) | (update == negative)).all()
    agree = (g.matrix > 0).all(0) | (g.matrix < 0).all(0)
    assert agree.any() and torch.equal(update[agree], g.matrix.sum(0)[agree])
    assert torch.equal(GradDrop(leak=1.0).combine(LOSSES, g), g.matrix.sum(0))


def test_graddrop_draws_each_sign_as_often_as_its_share_of_gradient():
    matrix = torch.tensor([[3.0], [-1.0]], dtype=torch.float64).expand(2, 40_000).contiguous()
    update = GradDrop().combine(LOSSES[:2], TaskGradients(matrix, {}, 0))
    share = float((update == 3.0).double().mean())
    assert share == pytest.approx(0.75, abs=0.01)  # five standard errors


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10_000), st.floats(-6, 6))
def test_graddrop_agrees_with_a_loop_over_numbers(tasks, seed, exponent):
    matrix = gradients(seed, tasks=tasks).matrix * 10**exponent
    losses = torch.ones(tasks)
    update = GradDrop(leak=0.25, seed=1).combine(losses, TaskGradients(matrix, {}, 0))
    drawn = torch.rand(matrix.shape[1], generator=torch.Generator().manual_seed(1)).double()
    for n in range(matrix.shape[1]):
        values = matrix[:, n].tolist()
        share = 0.5 * (1 + sum(values) / sum(abs(v) for v in values))
        up = share > float(drawn[n])
        expected = sum(v * (1.0 if (v > 0) == up else 0.25) for v in values)
        assert float(update[n]) == pytest.approx(expected, rel=1e-9)


def test_excess_risk_shifts_weight_to_the_task_with_far_to_go():
    balancer = ExcessMTL(rate=0.1)
    near, far = torch.full((1, 6), 1.0).double(), torch.full((1, 6), 1.0).double()
    squares, logs, first = torch.zeros(2, 6).double(), torch.zeros(2).double(), None
    for step in range(6):
        matrix = torch.cat([near * 0.5**step, far])
        update = balancer.combine(LOSSES[:2], TaskGradients(matrix, {}, 6))
        squares += matrix**2
        risk = (matrix**2 / squares.sqrt()).sum(1)
        first = risk if first is None else first
        logs += 0.1 * risk / first
        weights = 2 * logs.softmax(0)
        torch.testing.assert_close(update, weights @ matrix)
    assert weights[1] > weights[0]


def test_metabalance_brings_helpers_to_the_main_tasks_size_in_every_block():
    g = gradients(0)
    update = MetaBalance("task 1", relax=1.0).bind(schema()).combine(LOSSES, g)
    for columns in g.blocks.values():
        block = g.matrix[:, columns]
        unit = block / block.norm(dim=1, keepdim=True)
        torch.testing.assert_close(update[columns], unit.sum(0) * block[1].norm())
    plain = MetaBalance("task 1", relax=0.0).bind(schema()).combine(LOSSES, g)
    torch.testing.assert_close(plain, g.matrix.sum(0))


def test_metabalance_half_way_and_one_sided():
    matrix = torch.tensor([[4.0, 0.0], [0.0, 1.0], [0.5, 0.0]], dtype=torch.float64)
    g = TaskGradients(matrix, {"all": slice(0, 2)}, 2)
    scales = {
        "always": [0.5 * 1 / 4 + 0.5, 1.0, 0.5 * 2 + 0.5],
        "larger": [0.5 * 1 / 4 + 0.5, 1.0, 1.0],
        "smaller": [1.0, 1.0, 0.5 * 2 + 0.5],
    }
    for when, expected in scales.items():
        update = MetaBalance("task 1", relax=0.5, when=when).bind(schema()).combine(LOSSES, g)
        torch.testing.assert_close(update, torch.tensor(expected).double() @ matrix)


def test_metabalance_follows_running_norms_and_is_fair_to_a_task_that_comes_late():
    decay, relax = 0.75, 0.6
    balancer = MetaBalance("task 1", relax=relax, decay=decay).bind(schema())
    seen = [[], [], []]  # norms of each task's block, over the batches that had the task
    for step in range(6):
        g, losses = gradients(step), LOSSES.clone()
        if step < 3:  # the last task comes late, as a rare outcome does
            g.matrix[2], losses[2] = 0.0, 0.0
        update = balancer.combine(losses, g)
        for i in range(3):
            if losses[i] > 0:
                seen[i].append([float(g.matrix[i, c].norm()) for c in g.blocks.values()])
        for b, columns in enumerate(g.blocks.values()):
            usual = []
            for norms in seen:
                shares = [decay ** (len(norms) - 1 - n) for n in range(len(norms))]
                total = sum(s * row[b] for s, row in zip(shares, norms, strict=True))
                usual.append(total / sum(shares) if norms else None)
            expected = g.matrix[1, columns].clone()
            for i in (0, 2):
                if usual[i] is not None:
                    scale = relax * usual[1] / usual[i] + 1 - relax
                    expected += scale * g.matrix[i, columns]
            torch.testing.assert_close(update[columns], expected)


def test_metabalance_leaves_a_block_alone_that_the_main_task_does_not_reach():
    matrix = torch.tensor([[4.0, 3.0], [1.0, 0.0]], dtype=torch.float64)
    g = TaskGradients(matrix, {"both": slice(0, 1), "helper": slice(1, 2)}, 2)
    update = MetaBalance("task 1", relax=1.0).bind(schema(2)).combine(LOSSES[:2], g)
    assert update.tolist() == [1.0 + 1.0, 3.0]


def test_metabalance_refuses_other_blocks_than_it_remembers():
    balancer = MetaBalance("task 1").bind(schema())
    balancer.combine(LOSSES, gradients())
    with pytest.raises(ValueError, match=r"norms of \(3, 3\) .* given \(3, 1\)"):
        balancer.combine(LOSSES, TaskGradients(gradients().matrix, {"all": slice(0, 11)}, 0))


def test_excess_risk_without_anything_that_lasts_is_refused():
    with pytest.raises(ValueError, match='shared="parameters"'):
        ExcessMTL().combine(LOSSES, TaskGradients(gradients().matrix, {}, 0))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_is_refused_before_it_is_remembered(name, bad):
    balancer, twin = ALL[name]().bind(schema()), ALL[name]().bind(schema())
    for rule in (balancer, twin):
        rule.combine(LOSSES, gradients(1, halves=True))
    g = gradients(2, halves=True)
    g.matrix[1, 3] = bad
    with pytest.raises(FloatingPointError, match="gradient entry of task 'task 1'"):
        balancer.combine(LOSSES, g)
    g = gradients(3, halves=True)
    assert torch.equal(balancer.combine(LOSSES, g), twin.combine(LOSSES, g))


# --- TorchJD as an independent reference --------------------------------------------------------


def test_graddrop_agrees_with_torchjd_on_the_same_random_numbers():
    matrix = gradients(7).matrix.float()
    torch.manual_seed(5)
    theirs = torchjd.GradDrop()(matrix)
    ours = GradDrop(seed=5).combine(LOSSES, TaskGradients(matrix, {}, 0))
    torch.testing.assert_close(ours, theirs)


def test_excess_risk_agrees_with_torchjd_but_for_its_unscaled_first_step():
    ours, theirs = ExcessMTL(rate=0.05), torchjd.ExcessMTLWeighting(robust_step_size=0.05)
    for step in range(6):
        matrix = gradients(step, rows=0).matrix
        update = ours.combine(LOSSES, TaskGradients(matrix, {}, 7))
        weights = theirs(matrix)
        if step == 0:
            first = matrix.abs().sum(1)  # g^2 / sqrt(g^2): its first risk is added as it stands
        expected = weights * torch.exp(0.05 * (1 - first))
        expected = 3 * expected / expected.sum()
        torch.testing.assert_close(update, expected @ matrix, rtol=1e-4, atol=1e-5)


def test_sdmgrad_agrees_with_torchjd_where_both_run_to_the_end():
    g = gradients(5, halves=True)
    same = TaskGradients(g.matrix, g.blocks, g.lasting, (g.matrix, g.matrix))
    update = SDMGrad(strength=0.3, rate=0.1, steps=5000).combine(LOSSES, same)
    weighting = torchjd.SDMGradWeighting(lr=0.05, momentum=0.5, n_iter=5000, lambda_=0.3)
    weights = weighting(g.matrix @ g.matrix.T)
    torch.testing.assert_close(update, 3 * weights @ g.matrix, rtol=1e-4, atol=1e-4)


def test_impossible_options_are_refused_by_name():
    for make, name in (
        (lambda: DualBalancing(decay=1.5), "decay"),
        (lambda: MoCo(beta=-0.1), "beta"),
        (lambda: MoCo(gamma=0.0), "gamma"),
        (lambda: MoCo(rho=-1.0), "rho"),
        (lambda: SDMGrad(steps=0), "steps"),
        (lambda: GradDrop(leak=2.0), "leak"),
        (lambda: ExcessMTL(rate=0.0), "rate"),
        (lambda: MetaBalance("click", relax=3.0), "relax"),
        (lambda: MetaBalance("click", decay=1.0), "decay"),
        (lambda: MetaBalance("click", when="never"), "when"),
    ):
        with pytest.raises(ValueError, match=name):
            make()
    with pytest.raises(SchemaError, match="return"):
        MetaBalance("return").bind(schema())
    with pytest.raises(RuntimeError, match="bind"):
        MetaBalance("task 0").combine(LOSSES, gradients())

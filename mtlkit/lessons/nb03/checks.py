"""Checkers of notebook 03: the update under a weighted loss, dominated points, an honest test."""

import math

import numpy as np
import torch

from mtlkit.course.learner.checker import (
    checker,
    observed,
    require,
    require_close,
    require_shape,
)


def step(v, a, for_v, for_heads, weights, rate):
    combined = weights @ for_v
    return v - rate * combined, a - rate * weights * for_heads


def step_stub(v, a, for_v, for_heads, weights, rate):
    return ..., ...


def one_sum_for_all(v, a, for_v, for_heads, weights, rate):
    """Moves each head by the sum over all heads."""
    return v - rate * weights @ for_v, a - rate * (weights * for_heads).sum()


def heads_unweighted(v, a, for_v, for_heads, weights, rate):
    """Forgets the weights in the heads."""
    return v - rate * weights @ for_v, a - rate * for_heads


def shared_unweighted(v, a, for_v, for_heads, weights, rate):
    """Adds the gradients for the shared layer without their weights."""
    return v - rate * for_v.sum(dim=0), a - rate * weights * for_heads


def uphill(v, a, for_v, for_heads, weights, rate):
    """Adds the gradient instead of subtracting it."""
    return step(v, a, for_v, for_heads, weights, -rate)


def heads_uphill(v, a, for_v, for_heads, weights, rate):
    """Adds the gradients of the heads instead of subtracting them."""
    return step(v, a, for_v, -for_heads, weights, rate)


def averaged(v, a, for_v, for_heads, weights, rate):
    """Takes the mean over the tasks where the total loss is a sum."""
    return v - rate * weights @ for_v / len(weights), a - rate * weights * for_heads


def along_the_inputs(v, a, for_v, for_heads, weights, rate):
    """Multiplies the weights along the inputs of `for_v`, not along its tasks."""
    return v - rate * (weights * for_v).sum(dim=0), a - rate * weights * for_heads


def summed_over_the_inputs(v, a, for_v, for_heads, weights, rate):
    """Adds up the inputs of `for_v`, not its tasks."""
    return v - rate * for_v @ weights, a - rate * weights * for_heads


BY_ROWS = (
    "The rows of `for_v` are the tasks and its columns the inputs: weight k belongs to row k, and "
    "the sum goes over the rows."
)


@checker(
    "3.1",
    solution=step,
    stub=step_stub,
    wrong=[
        (
            one_sum_for_all,
            "You move every head by the sum over the heads: each then follows the other heads' "
            "mistakes. Head k gets only its own.",
        ),
        (heads_unweighted, "You forgot the weights in the heads."),
        (shared_unweighted, "You add the gradients for v without their weights."),
        (uphill, "You walk uphill: subtract the gradient."),
        (heads_uphill, "Your heads walk uphill: subtract the gradient."),
        (averaged, "The total loss is a sum, not a mean: do not divide."),
        (along_the_inputs, BY_ROWS),
        (summed_over_the_inputs, BY_ROWS),
    ],
    praise="The shared layer hears the weighted sum, each head its own weighted loss.",
)
def weighted_update(answer, seed):
    generator = torch.Generator().manual_seed(3 + seed)
    for inputs, tasks, rate in ((2, 2, 0.5), (3, 3, 0.2), (4, 3, 0.1), (3, 1, 0.2)):
        x = torch.randn(5, inputs, generator=generator).double()
        y = torch.randn(5, tasks, generator=generator).double()
        v = torch.randn(inputs, generator=generator).double().requires_grad_()
        a = torch.randn(tasks, generator=generator).double().requires_grad_()
        weights = 0.3 + 2 * torch.rand(tasks, generator=generator).double()
        losses = ((x @ v)[:, None] * a - y).square().mean(dim=0)  # (task,)
        own = [torch.autograd.grad(loss, (v, a), retain_graph=True) for loss in losses]
        for_v = torch.stack([part[0] for part in own])  # (task, inputs)
        for_heads = torch.stack([part[1][k] for k, part in enumerate(own)])  # (task,)
        of_total = torch.autograd.grad(weights @ losses, (v, a))
        found = answer(v.detach(), a.detach(), for_v, for_heads, weights, rate)
        require_shape(found[0], (inputs,), "The new v has shape {found}, it should be {wanted}.")
        require_shape(found[1], (tasks,), "The new a has shape {found}, it should be {wanted}.")
        for name, new, old, gradient in zip("va", found, (v, a), of_total, strict=True):
            require_close(
                new, old - rate * gradient,
                f"The new {name} is not {name} minus rate times the gradient of the weighted sum.",
            )  # fmt: skip


def beaten(points):
    as_good = (points[None, :, :] >= points[:, None, :]).all(axis=2)
    better = (points[None, :, :] > points[:, None, :]).any(axis=2)
    return (as_good & better).any(axis=1)


def beaten_stub(points):
    return ...


def better_in_all(points):
    """Asks that the rival is better in every aim, and so misses a rival that ties in one."""
    return (points[None, :, :] > points[:, None, :]).all(axis=2).any(axis=1)


def itself_too(points):
    """Lets each point dominate itself."""
    return (points[None, :, :] >= points[:, None, :]).all(axis=2).any(axis=1)


def twins_too(points):
    """Lets a point be dominated by another one that is equal to it."""
    as_good = (points[None, :, :] >= points[:, None, :]).all(axis=2)
    return (as_good & ~np.eye(len(points), dtype=bool)).any(axis=1)


def better_in_one(points):
    """Calls a point dominated as soon as a rival is better in one aim."""
    return (points[None, :, :] > points[:, None, :]).any(axis=2).any(axis=1)


def by_sum(points):
    """Adds up the aims and keeps the best sum."""
    total = points.sum(axis=1)
    return total < total.max()


def the_front(points):
    """Marks the points that nothing dominates."""
    return ~beaten(points)


@checker(
    "3.2",
    solution=beaten,
    stub=beaten_stub,
    wrong=[
        (
            better_in_all,
            "A rival that ties in one aim and is better in another dominates as well.",
        ),
        (
            itself_too,
            "You call even the best point dominated: no point dominates itself. Ask for `>` in at "
            "least one aim.",
        ),
        (twins_too, "Equal points do not dominate each other: ask for `>` in at least one aim."),
        (
            better_in_one,
            "A rival that is better in one aim is not enough: it must be at least as good in all.",
        ),
        (
            by_sum,
            "You compare the sum of the aims. A sum has weights again; compare aim by aim.",
        ),
        (the_front, "It is the other way round: true means that a rival dominates the point."),
    ],
    praise="What is left is the Pareto front: a choice among wishes, not a better model.",
)
def pareto(answer, seed):
    random = np.random.default_rng(5 + seed)
    cases = [
        np.array([[3.0, 3], [1, 2]]),
        np.array([[0.0, 3], [1, 2], [2, 0], [1, 1], [0, 2], [2, 0]]),  # with twins on the front
        np.array([[1.0, 5, 0], [1, 5, 0], [1, 4, 0], [0, 6, 2]]),
    ]
    for count, aims in ((1, 2), (12, 2), (20, 3), (9, 1)):
        cases.append(random.integers(0, 5, size=(count, aims)).astype(float))
    for points in cases:
        found = answer(points)
        require_shape(found, (len(points),))
        for i, point in enumerate(points):
            slow = any((rival >= point).all() and (rival > point).any() for rival in points)
            require(
                bool(found[i]) == slow,
                "Among {count} points with {aims} aim(s), point {point} should be {slow}.",
                count=len(points), aims=points.shape[1], point=point.tolist(), slow=str(slow),
            )  # fmt: skip


def unmasks(improvement):
    return improvement([0.60, 0.65], 0.70) > 0


def unmasks_stub(improvement):
    return ...


def with_a_winner(improvement):
    """Tests with a run that beats the separate network: praise is right there."""
    return improvement([0.60, 0.75], 0.70) > 0


def with_a_falling_run(improvement):
    """Tests with a run that gets worse, for which even the unfair measure finds no praise."""
    return improvement([0.65, 0.60], 0.70) > 0


def with_a_flat_run(improvement):
    """Tests with a run that stays where it began."""
    return improvement([0.60, 0.60], 0.70) > 0


def trusts_everybody(improvement):
    """Never finds anything."""
    return False


def the_wrong_way_round(improvement):
    """Returns true for an honest measure."""
    return improvement([0.60, 0.65], 0.70) <= 0


MEASURES = (  # (name, measure, whether it praises a loser that improves)
    ("the last epoch minus the separate network", lambda r, s: r[-1] - s, False),
    ("the same in per cent", lambda r, s: 100 * (r[-1] - s) / s, False),
    ("the logarithm of their ratio", lambda r, s: math.log(r[-1] / s), False),
    ("the colleague's", lambda r, s: 100 * (max(r) - r[0]) / r[0], True),
    ("the last epoch minus the first", lambda r, s: r[-1] - r[0], True),
    ("the last epoch by itself", lambda r, s: r[-1], True),
)
BEATS = "Your run beats the separate network, so praise for it is right. Let it lose."
NO_RISE = (
    "Your run ends no higher than it began; there even an unfair measure may find no praise. Let "
    "it improve and still lose."
)


@checker(
    "3.3",
    solution=unmasks,
    stub=unmasks_stub,
    wrong=[
        observed(with_a_winner, BEATS),
        observed(with_a_falling_run, NO_RISE),
        observed(with_a_flat_run, NO_RISE),
        (
            trusts_everybody,
            "No measure fools your test, not even one that praises every run: it must say true.",
        ),
        (
            the_wrong_way_round,
            "It is the other way round: true means that the measure was fooled.",
        ),
    ],
    praise="A case with a known answer is worth more than a table of gains.",
)
def honest_test(answer):
    for name, measure, praises in MEASURES:

        def improvement(run, alone, measure=measure):
            return measure([float(score) for score in run], float(alone))

        improvement.__name__ = name
        if answer(improvement) == praises:
            continue
        tried = [([float(score) for score in run], float(alone)) for run, alone in answer.asked]
        if not praises:
            require(not any(max(run) > alone for run, alone in tried), BEATS)
            require(False, "You reject an honest measure: {name}.", name=name)
        require(not any(run[-1] <= run[0] for run, _ in tried), NO_RISE)
        require(False, "This measure fools your test: {name}.", name=name)

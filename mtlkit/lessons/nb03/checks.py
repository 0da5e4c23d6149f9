"""Checkers of notebook 03: the update under a weighted loss, dominated points, an honest test."""

import numpy as np
import torch

from mtlkit.course.learner.checker import checker, require, require_close, require_shape


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


def averaged(v, a, for_v, for_heads, weights, rate):
    """Takes the mean over the tasks where the total loss is a sum."""
    return v - rate * weights @ for_v / len(weights), a - rate * weights * for_heads


def along_the_inputs(v, a, for_v, for_heads, weights, rate):
    """Multiplies the weights along the inputs of `for_v`, not along its tasks."""
    return v - rate * (weights * for_v).sum(dim=0), a - rate * weights * for_heads


def summed_over_the_inputs(v, a, for_v, for_heads, weights, rate):
    """Adds up the inputs of `for_v`, not its tasks."""
    return v - rate * for_v @ weights, a - rate * weights * for_heads


@checker(
    "3.1",
    solution=step,
    stub=step_stub,
    wrong=[
        (one_sum_for_all, "other heads' mistakes"),
        (heads_unweighted, "weights in the heads"),
        (shared_unweighted, "without their weights"),
        (uphill, "uphill"),
        (averaged, "a sum, not a mean"),
        (along_the_inputs, "weight k belongs to row k"),
        (summed_over_the_inputs, "weight k belongs to row k"),
    ],
    praise="The shared layer hears the weighted sum, each head its own weighted loss.",
)
def weighted_update(answer):
    generator = torch.Generator().manual_seed(3)
    for inputs, tasks, rate in ((2, 2, 0.5), (4, 3, 0.1), (3, 1, 0.2)):
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
        given = (v.detach(), a.detach(), for_v, for_heads, weights, rate)
        found = answer(*(x.clone() if isinstance(x, torch.Tensor) else x for x in given))
        require(
            isinstance(found, tuple | list) and len(found) == 2,
            "Two things are asked for: the new v, then the new a.",
        )
        require_shape(found[0], (inputs,), "The new v has shape {found}, it should be {wanted}.")
        require_shape(found[1], (tasks,), "The new a has shape {found}, it should be {wanted}.")
        if tasks > 1:
            _name_the_mistake(found, given)
        for name, new, old, gradient in zip("va", found, given[:2], of_total, strict=True):
            require_close(
                new, old - rate * gradient,
                f"The new {name} is not {name} minus rate times the gradient of the weighted sum.",
            )  # fmt: skip


def _name_the_mistake(found, given):
    def same(mistake, place):
        return torch.allclose(found[place], mistake(*given)[place], atol=1e-7)

    require(not same(uphill, 0), "You walk uphill: subtract the gradient.")
    require(not same(uphill, 1), "Your heads walk uphill: subtract the gradient.")
    if found[0].shape == given[4].shape:  # as many inputs as tasks: nothing else warns
        for mistake in (along_the_inputs, summed_over_the_inputs):
            require(
                not same(mistake, 0),
                "The rows of `for_v` are the tasks and its columns the inputs: weight k belongs to "
                "row k, and the sum goes over the rows.",
            )
    require(not same(shared_unweighted, 0), "You add the gradients for v without their weights.")
    require(not same(averaged, 0), "The total loss is a sum, not a mean: do not divide.")
    require(
        not same(one_sum_for_all, 1),
        "You move every head by the sum over the heads: each then follows the other heads' "
        "mistakes. Head k gets only its own.",
    )
    require(not same(heads_unweighted, 1), "You forgot the weights in the heads.")


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
        (better_in_all, "ties in one aim"),
        (itself_too, "dominates itself"),
        (better_in_one, "in one aim is not enough"),
        (by_sum, "sum"),
        (the_front, "the other way round"),
    ],
    praise="What is left is the Pareto front: a choice among wishes, not a better model.",
)
def pareto(answer):
    best_first = np.asarray(answer(np.array([[3.0, 3], [1, 2]])))
    require_shape(best_first, (2,))
    require(
        not best_first.all(),
        "You call even the best point dominated: no point dominates itself. Ask for `>` in at "
        "least one aim.",
    )
    points = np.array([[0.0, 3], [1, 2], [2, 0], [1, 1], [0, 2], [2, 0]])
    wanted = beaten(points)  # only (1, 1) and (0, 2)
    found = np.asarray(answer(points))
    require_shape(found, (6,))
    require(found.dtype == bool, "Return true and false for each point, not numbers.")
    require(
        not np.array_equal(found, ~wanted),
        "It is the other way round: true means that a rival dominates the point.",
    )
    require(
        not np.array_equal(found, better_in_one(points)),
        "A rival that is better in one aim is not enough: it must be at least as good in all.",
    )
    require(
        not np.array_equal(found, better_in_all(points)),
        "A rival that ties in one aim and is better in the other dominates as well.",
    )
    require(
        not np.array_equal(found, by_sum(points)),
        "You compare the sum of the aims. A sum has weights again; compare aim by aim.",
    )
    generator = np.random.default_rng(5)
    for count, aims in ((1, 2), (12, 2), (20, 3), (9, 1)):
        points = generator.integers(0, 5, size=(count, aims)).astype(float)
        found = np.asarray(answer(points))
        require_shape(found, (count,))
        for i, point in enumerate(points):
            slow = any((rival >= point).all() and (rival > point).any() for rival in points)
            require(
                bool(found[i]) == slow,
                "Among {count} points with {aims} aim(s), point {point} should be {slow}.",
                count=count, aims=aims, point=point.tolist(), slow=str(slow),
            )  # fmt: skip


def unmasks(improvement):
    return improvement([0.60, 0.65], 0.70) > 0


def unmasks_stub(improvement):
    return ...


def with_a_winner(improvement):
    """Tests with a run that beats the single-task network: praise is right there."""
    return improvement([0.60, 0.75], 0.70) > 0


def with_a_falling_run(improvement):
    """Tests with a run that gets worse, for which even the unfair measure finds no praise."""
    return improvement([0.65, 0.60], 0.70) > 0


def trusts_everybody(improvement):
    """Never finds anything."""
    return False


def the_wrong_way_round(improvement):
    """Returns true for an honest measure."""
    return improvement([0.60, 0.65], 0.70) <= 0


MEASURES = [  # (name, measure, whether it praises a loser that improves)
    ("the last epoch minus the single-task network", lambda r, s: 100 * (r[-1] - s) / s, False),
    ("the best epoch minus the single-task network", lambda r, s: max(r) - s, False),
    ("the colleague's", lambda r, s: 100 * (max(r) - r[0]) / r[0], True),
    ("the last epoch minus the first", lambda r, s: r[-1] - r[0], True),
]


@checker(
    "3.3",
    solution=unmasks,
    stub=unmasks_stub,
    wrong=[
        (with_a_winner, "beats the single-task"),
        (with_a_falling_run, "gets worse"),
        (trusts_everybody, "fools your test"),
        (the_wrong_way_round, "the other way round"),
    ],
    praise="A case with a known answer is worth more than a table of gains.",
)
def honest_test(answer):
    found = []
    for name, measure, _ in MEASURES:
        seen: list[tuple[list[float], float]] = []

        def watched(run, alone, measure=measure, seen=seen):
            seen.append((list(run), alone))
            return measure(run, alone)

        value = answer(watched)
        if value is ... or value is None:
            require(False, "Return true or false.")
        require(
            isinstance(value, bool | np.bool_),
            "Return true or false, not the improvement itself: compare it with 0.",
        )
        found.append((name, bool(value), seen))
    wanted = [praises for _, _, praises in MEASURES]
    verdicts = [value for _, value, _ in found]
    require(
        verdicts != [not praises for praises in wanted],
        "It is the other way round: true means that the measure was fooled.",
    )
    for (name, value, seen), praises in zip(found, wanted, strict=True):
        if value == praises:
            continue
        if value:
            require(
                not any(max(run) > alone for run, alone in seen),
                "Your run beats the single-task network, so praise for it is right. Let it lose.",
            )
            require(False, "You reject an honest measure: {name}.", name=name)
        require(
            not any(run[-1] <= run[0] for run, _ in seen),
            "Your run gets worse from epoch to epoch; there even an unfair measure finds no "
            "praise. Let it improve and still lose.",
        )
        require(False, "This measure fools your test: {name}.", name=name)

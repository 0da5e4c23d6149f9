"""A landscape of two tasks over a plane, to watch how balancers walk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mtlkit.balance.base import Balancer
from mtlkit.balance.engine.gramian import TaskGradients
from mtlkit.balance.two_tasks import Step, together
from mtlkit.schema import Schema, Task

Array = NDArray[np.float64]
TASKS = ("task 1", "task 2")
# The starts of Navon et al. 2022; from the first and the third one also walk Liu, B. et al. 2021.
STARTS = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
PARETO = ((-7.0, -8.36), (7.0, -8.36))  # ends of the Pareto set, a nearly straight line
LEAST = 5e-6


def toy_gradients(x: Array, scale: float = 1.0) -> tuple[Array, Array]:
    """L1 and L2 at the points x (point, 2), and their gradients: (point, task), (point, task, 2).

    L_k = up f_k + down q_k, with up = max(tanh(x2 / 2), 0) and down = max(tanh(-x2 / 2), 0),
    f_1 = log max(|(-x1 - 7) / 2 + tanh(x2)|, 5e-6) + 6,
    f_2 = log max(|(-x1 + 3) / 2 - tanh(x2) + 2|, 5e-6) + 6,
    q_1 = ((x1 - 7)^2 + 0.1 (x2 + 8)^2) / 10 - 20, q_2 = ((x1 + 7)^2 + 0.1 (x2 + 8)^2) / 10 - 20.

    Above x2 = 0 each task has a narrow valley, on whose sides its gradient is huge; below, each is
    a bowl, around (7, -8.4) or (-7, -8.4). ``scale`` multiplies L1. On the border itself the slope
    is that of both sides together.
    Source: Liu, B. et al. 2021 (CAGrad, arXiv 2110.14048); Navon et al. 2022 (Nash-MTL, arXiv
    2202.01017) with scale 0.1.
    """
    x1, x2 = x[:, 0], x[:, 1]
    side, bend, height = np.tanh(x2 / 2), np.tanh(x2), 0.1 * (x2 + 8) ** 2
    up, down = np.maximum(side, 0), np.maximum(-side, 0)
    slope = 0.5 * (1 - side**2)
    up_slope, down_slope = slope * (x2 >= 0), -slope * (x2 <= 0)
    sign, centre = np.array([[1.0], [-1.0]]), np.array([[7.0], [-7.0]])
    u = (-x1 + np.array([[-7.0], [3.0]])) / 2 + sign * bend + np.array([[0.0], [2.0]])
    size = np.abs(u)  # (task, point), as all that follows
    f = np.log(np.maximum(size, LEAST)) + 6
    f_slope = (size > LEAST) / np.where(size > LEAST, u, 1)
    off = x1 - centre
    q = (off**2 + height) / 10 - 20
    gradients = np.empty((len(x), 2, 2))
    gradients[:, :, 0] = (-0.5 * up * f_slope + down * off / 5).T
    along = up * f_slope * sign * (1 - bend**2) + down * 0.02 * (x2 + 8)
    gradients[:, :, 1] = (along + (up_slope * f + down_slope * q)).T
    factor = np.array([scale, 1.0])
    return (up * f + down * q).T * factor, gradients * factor[:, None]


def walk(
    balancers: Mapping[str, Callable[[], Balancer]],
    starts: Sequence[Sequence[float]] = STARTS,
    *,
    steps: int = 1_000,
    learning_rate: float = 0.02,
    scale: float = 1.0,
    point_by_point: bool = False,
) -> dict[str, Array]:
    """Where each balancer walks from each start: {name: (start, steps + 1, 2)}.

    ``balancers`` {name: function that makes a new one}; each start gets its own, bound to two tasks
    named "task 1" and "task 2". Adam moves all points side by side; it works number by number, so
    none feels another. The papers take a learning rate of 0.001 and 35,000 steps or more; the
    defaults here walk as far in fewer, longer steps, and may jump over what is narrow. The
    landscape has no noise, so both halves of a "batch" are the whole.

    Most rules have a closed form for two tasks (``two_tasks``), which moves all starts at once;
    ``point_by_point=True`` asks the rules themselves, many times as slowly, for the same answer.
    """
    schema = Schema(tuple(Task(name, "regression") for name in TASKS))
    rules = {name: [make().bind(schema) for _ in starts] for name, make in balancers.items()}
    forms = {
        name: (None if point_by_point else together(mine)) or _each(mine)
        for name, mine in rules.items()
    }
    places = {name: slice(i * len(starts), (i + 1) * len(starts)) for i, name in enumerate(forms)}
    x = np.tile(np.asarray(starts, dtype=np.float64), (len(forms), 1))  # (point, 2)
    mean, square = np.zeros_like(x), np.zeros_like(x)  # of Adam
    update = np.empty_like(x)
    paths = np.empty((len(x), steps + 1, 2))
    paths[:, 0] = x
    for step in range(1, steps + 1):
        losses, gradients = toy_gradients(x, scale)
        losses[losses == 0] = 1e-12  # 0 would mean: no label
        for name, form in forms.items():
            update[places[name]] = form(losses[places[name]], gradients[places[name]])
        mean += 0.1 * (update - mean)
        square += 0.001 * (update**2 - square)
        size = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        x = x - learning_rate * mean / (1 - 0.9**step) / size
        paths[:, step] = x
    return {name: paths[place] for name, place in places.items()}


def _each(rules: Sequence[Balancer]) -> Step:
    """The update (point, 2) of one rule a point, asked one after the other."""
    started = False

    def step(losses: Array, gradients: Array) -> Array:
        nonlocal started
        update = gradients.sum(1)
        given, rows = torch.from_numpy(losses), torch.from_numpy(gradients)  # (point, task, 2)
        inner = rows @ rows.transpose(1, 2)  # (point, task, task)
        for point, rule in enumerate(rules):
            if rule.needs_gradients:
                found = TaskGradients(rows[point], {"x": slice(0, 2)}, 2, (rows[point],) * 2)
                update[point] = rule.combine(given[point], found).numpy()
            elif rule.needs_gramian and started:  # the checks of ``weights`` cost more than rules
                weights = rule.task_weights(given[point], inner[point])
                update[point] = weights.numpy() @ gradients[point]
            else:
                weights = rule.weights(given[point], inner[point])
                update[point] = weights.numpy() @ gradients[point]
        started = True
        return update

    return step

"""A landscape of two tasks over a plane, to watch how balancers walk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mtlkit.balance.base import Balancer
from mtlkit.balance.fixed import EqualWeights
from mtlkit.balance.gramian import TaskGradients
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
    up_slope = np.where(x2 >= 0, 0.5 * (1 - side**2), 0)
    down_slope = np.where(x2 <= 0, -0.5 * (1 - side**2), 0)
    losses, gradients = np.empty((len(x), 2)), np.empty((len(x), 2, 2))
    inside = (-x1 - 7) / 2 + bend, (-x1 + 3) / 2 - bend + 2
    for k, (u, sign, centre) in enumerate(zip(inside, (1, -1), (7, -7), strict=True)):
        steep = np.abs(u) > LEAST
        f = np.log(np.maximum(np.abs(u), LEAST)) + 6
        f_slope = np.where(steep, 1 / np.where(steep, u, 1), 0)
        q = ((x1 - centre) ** 2 + height) / 10 - 20
        losses[:, k] = up * f + down * q
        gradients[:, k, 0] = -0.5 * up * f_slope + down * (x1 - centre) / 5
        gradients[:, k, 1] = up * f_slope * sign * (1 - bend**2) + down * 0.02 * (x2 + 8)
        gradients[:, k, 1] += up_slope * f + down_slope * q
    factor = np.array([scale, 1.0])
    return losses * factor, gradients * factor[:, None]


def walk(
    balancers: Mapping[str, Callable[[], Balancer]],
    starts: Sequence[Sequence[float]] = STARTS,
    *,
    steps: int = 1_000,
    learning_rate: float = 0.02,
    scale: float = 1.0,
) -> dict[str, Array]:
    """Where each balancer walks from each start: {name: (start, steps + 1, 2)}.

    ``balancers`` {name: function that makes a new one}; each start gets its own, bound to two tasks
    named "task 1" and "task 2". Adam moves all points side by side; it works number by number, so
    none feels another. The papers take a learning rate of 0.001 and 35,000 steps or more; the
    defaults here walk as far in fewer, longer steps, and may jump over what is narrow. The
    landscape has no noise, so both halves of a "batch" are the whole.
    """
    schema = Schema(tuple(Task(name, "regression") for name in TASKS))
    rules = [make().bind(schema) for make in balancers.values() for _ in starts]
    x = np.tile(np.asarray(starts, dtype=np.float64), (len(balancers), 1))  # (point, 2)
    mean, square = np.zeros_like(x), np.zeros_like(x)  # of Adam
    paths = np.empty((len(x), steps + 1, 2))
    paths[:, 0] = x
    for step in range(1, steps + 1):
        losses, gradients = toy_gradients(x, scale)
        update = gradients.sum(1)
        given = torch.from_numpy(np.where(losses == 0, 1e-12, losses))  # 0 would mean: no label
        rows = torch.from_numpy(gradients)  # (point, task, 2)
        inner = rows @ rows.transpose(1, 2)  # (point, task, task)
        for point, rule in enumerate(rules):
            if rule.needs_gradients:
                found = TaskGradients(rows[point], {"x": slice(0, 2)}, 2, (rows[point],) * 2)
                update[point] = rule.combine(given[point], found).numpy()
            elif rule.needs_gramian and step > 1:  # the checks of ``weights`` cost more than rules
                weights = rule.task_weights(given[point], inner[point])
                update[point] = weights.numpy() @ gradients[point]
            elif not isinstance(rule, EqualWeights):
                weights = rule.weights(given[point], inner[point])
                update[point] = weights.numpy() @ gradients[point]
        mean += 0.1 * (update - mean)
        square += 0.001 * (update**2 - square)
        size = np.sqrt(square / (1 - 0.999**step)) + 1e-8
        x = x - learning_rate * mean / (1 - 0.9**step) / size
        paths[:, step] = x
    return dict(zip(balancers, np.split(paths, len(balancers)), strict=True))

"""Rules that follow running means of the task gradients instead of one noisy batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtlkit.balance.base import Balancer
from mtlkit.balance.engine.gramian import TaskGradients, gramian
from mtlkit.balance.positive import PositiveLosses
from mtlkit.balance.solvers import project_simplex


class DualBalancing(PositiveLosses):
    """Dual-balancing (DB-MTL): gradients of log L_i, all scaled up to the largest norm, and added.

    m_i <- m_i + (1 - decay) (grad L_i / L_i - m_i)          (the first batch starts it)
    update = sum over i of  max_j ||m_j|| / ||m_i|| * m_i

    The running mean covers the shared layers; embedding rows and representations, which change with
    the batch, enter with this batch's gradient. Heads get the plain gradient of their own loss (in
    the paper, of its logarithm). LibMTL's code starts m at 0 and can let the decay fade, as
    decay / batch^sigma. The logarithm needs positive losses: see ``minimum`` in ``PositiveLosses``.

    Lin et al. 2023 (arXiv 2308.12029).
    """

    needs_gradients, weighs_heads = True, False
    memory = ("mean", "started")

    def __init__(self, decay: float = 0.9, minimum: Mapping[str, float] | None = None) -> None:
        super().__init__(minimum)
        self.decay = _share("decay", decay)
        self.mean: Tensor | None = None
        self.started: Tensor | None = None

    def combine(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """Sum of the rescaled running means, (number,)."""
        here = self.trained(losses, gradients)
        matrix = gradients.matrix
        if not len(here):
            return matrix.sum(0)
        numbers = losses.detach().to("cpu", torch.float64)[here]
        excess = self.excess(numbers, here, self.tasks)  # (k,)
        rows = matrix[here] / excess.to(matrix).unsqueeze(1)  # gradients of log L
        rows = _running_mean(self, rows, here, gradients.lasting, 1 - self.decay)
        norms = gramian(rows).diagonal().sqrt()
        return (norms.max() / norms).to(matrix) @ rows


class MoCo(Balancer):
    """MoCo: the min-norm direction of running means of the gradients, approached step by step.

    y_i <- y_i + beta (grad L_i - y_i)
    lambda <- nearest point of the simplex to  lambda - gamma (Y Y^T + rho I) lambda
    update = k * Y^T lambda,   k the number of tasks in the batch (the sum convention)

    Y Y^T is divided by the mean of its diagonal, so that gamma and rho have no unit; the paper's
    step is unscaled. y starts as the first batch's gradient, and beta and gamma stay as they are
    (LibMTL: from 0, and both fall as 1 / sqrt(batch)). The running means cover the shared layers;
    embedding rows and representations, which change with the batch, enter with this batch's
    gradient. Heads get the plain gradient of their own loss.

    Raises ``ValueError`` for beta outside [0, 1], gamma not above 0 or rho below 0.

    Fernando et al. 2023, Mitigating gradient bias in multi-objective learning (ICLR, arXiv
    2210.12624).
    """

    needs_gradients, weighs_heads = True, False
    memory = ("mean", "started", "shares")

    def __init__(self, beta: float = 0.5, gamma: float = 0.1, rho: float = 0.0) -> None:
        if not (gamma > 0 and rho >= 0):
            raise ValueError(f"gamma must be above 0 and rho 0 or more, not {gamma} and {rho}.")
        self.beta = _share("beta", beta)
        self.gamma, self.rho = gamma, rho
        self.mean: Tensor | None = None
        self.started: Tensor | None = None
        self.shares: Tensor | None = None

    def combine(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """The weighted sum of the running means, (number,)."""
        here = self.trained(losses, gradients)
        matrix = gradients.matrix
        if not len(here):
            return matrix.sum(0)
        rows = _running_mean(self, matrix[here], here, gradients.lasting, self.beta)
        inner = gramian(rows)
        inner = inner / inner.diagonal().mean() + self.rho * torch.eye(len(here)).to(inner)
        shares = _restrict(self.full("shares", self.tasks, 1 / self.tasks), here)
        moved = torch.as_tensor(project_simplex((shares - self.gamma * inner @ shares).numpy()))
        _store(self.full("shares", self.tasks, 0.0), here, moved)
        return (len(here) * moved).to(matrix) @ rows


class SDMGrad(Balancer):
    """SDMGrad: a min-norm direction tied to the mean gradient, its weights from two half batches.

    With G' and G'' the task gradients of the two halves of the batch, independent of each other,
    and g_0 the mean of the tasks:
    w <- nearest point of the simplex to  w - rate * G' (G''^T w + strength * g''_0),
    ``steps`` times
    update = k * (G^T w + strength * g_0) / (1 + strength),   k the number of tasks in the batch

    The product of one noisy batch with itself would be too large by its noise; that of independent
    halves is right on average. It is divided by the mean size of its diagonal, so that the rate has
    no unit. w is kept between batches. Large ``strength`` is equal weighting. Heads get the plain
    gradient of their own loss. Twice as many backward passes as the other methods, on the same
    rows; the paper draws separate batches.

    Xiao, Ban and Ji 2023 (NeurIPS, arXiv 2305.18409).
    """

    needs_gradients, needs_halves, weighs_heads = True, True, False
    memory = ("shares",)

    def __init__(self, strength: float = 0.3, rate: float = 0.1, steps: int = 20) -> None:
        if strength < 0 or rate <= 0 or steps < 1:
            raise ValueError(
                "strength must be 0 or more, rate more than 0 and steps 1 or more, not "
                f"{strength}, {rate} and {steps}."
            )
        self.strength, self.rate, self.steps = strength, rate, steps
        self.shares: Tensor | None = None

    def combine(self, losses: Tensor, gradients: TaskGradients) -> Tensor:
        """The tied combination of the whole batch's gradients, (number,)."""
        here = self.trained(losses, gradients)
        matrix = gradients.matrix
        if not len(here):
            return matrix.sum(0)
        assert gradients.halves is not None
        first, second = (half[here] for half in gradients.halves)
        inner = gramian(first, second)  # (k, k), not symmetric
        size = inner.diagonal().abs().mean()
        inner = inner / size if size > 0 else inner
        shares = _restrict(self.full("shares", self.tasks, 1 / self.tasks), here)
        pull = self.strength / len(here)
        for _ in range(self.steps):
            slope = inner @ (shares + pull)
            shares = torch.as_tensor(project_simplex((shares - self.rate * slope).numpy()))
        _store(self.full("shares", self.tasks, 0.0), here, shares)
        weights = len(here) * (shares + pull) / (1 + self.strength)
        return self.note(weights.to(matrix)) @ matrix[here]


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, not {value}.")
    return value


def _running_mean(
    balancer: DualBalancing | MoCo, rows: Tensor, here: Tensor, lasting: int, pace: float
) -> Tensor:
    """Move the memory of the shared layers towards rows (k, number); rows with it in place."""
    if balancer.mean is None:
        balancer.mean = rows.new_zeros(balancer.tasks, lasting)
    balancer.mean = balancer.mean.to(rows)
    started = balancer.full("started", balancer.tasks, 0.0)
    here = here.to(rows.device)
    now = rows[:, :lasting]
    old = torch.where(started[here.cpu()].to(rows).unsqueeze(1) > 0, balancer.mean[here], now)
    mean = old + pace * (now - old)
    balancer.mean[here] = mean
    started[here.cpu()] = 1.0
    return torch.cat([mean, rows[:, lasting:]], dim=1)


def _restrict(shares: Tensor, here: Tensor) -> Tensor:
    """Shares of the present tasks, made to sum to 1."""
    part = shares[here]
    return part / part.sum() if part.sum() > 0 else torch.full_like(part, 1 / len(part))


def _store(shares: Tensor, here: Tensor, part: Tensor) -> None:
    """Give the present tasks new shares; together they keep what they had of the whole."""
    whole = shares[here].sum()
    shares[here] = part * (whole if whole > 0 else len(part) / len(shares))

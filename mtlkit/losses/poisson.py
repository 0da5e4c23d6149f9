"""The losses of counts: half the Poisson deviance, and the tail of a count that was cut off."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_SERIES_TERMS = 32


def poisson_loss(log_rate: Tensor, count: Tensor) -> Tensor:
    """Return e^z - y z + y log y - y elementwise, z = log_rate and y = count: 0 or more.

    That is half the Poisson deviance, the negative log-likelihood less its least value, which is
    reached at e^z = y; y log y is 0 at y = 0. From y = 1 on it is computed as y (e^d - 1 - d),
    d = z - log y: a difference of large numbers would round a good guess of a large count below 0.
    It is exactly 0 only where its gradient, e^z - y, is zero within rounding. Differentiable in
    ``log_rate`` only.
    """
    return _PoissonLoss.apply(log_rate, count)


class _PoissonLoss(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, y: Tensor) -> Tensor:
        apart = z - torch.where(y > 0, y, 1.0).log()  # d
        large = y * (torch.expm1(apart) - apart)
        return torch.where(y >= 1, large, z.exp() - y - y * apart).clamp(min=0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        z, y = ctx.saved_tensors
        return gradient * z.exp() - gradient * y, None


def log_poisson_tail(count: Tensor, log_rate: Tensor) -> Tensor:
    """Return log P(Y >= count) for Y Poisson with rate e^log_rate, elementwise.

    With rate r: P(Y >= y) = P(y, r), the regularised lower incomplete gamma function (Abramowitz
    and Stegun 1964, 26.4.21), and 1 for y <= 0. Where that underflows, the series
    log P = y log r - r - log y! + log(1 + r/(y+1) + r^2/((y+1)(y+2)) + ...) takes over, so the far
    tail keeps its value and its gradient. Differentiable in ``log_rate`` only.
    """
    return _LogPoissonTail.apply(count, log_rate)[0]


class _LogPoissonTail(torch.autograd.Function):
    """log P and its slope; the slope is an output only because the backward pass needs it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(count: Tensor, log_rate: Tensor) -> tuple[Tensor, Tensor]:
        # float64 throughout; on the CPU where the device lacks it or the gamma functions (MPS)
        home = torch.device("cpu") if log_rate.device.type == "mps" else log_rate.device
        z = log_rate.detach().to(home, torch.float64)
        y = count.to(home, torch.float64)
        inside = y > 0
        y = torch.where(inside, y, 1.0)
        rate = z.exp()
        # each branch of the formula where it is accurate: log P in the tail, log(1 - Q) beyond
        low = torch.special.gammainc(y, rate)
        high = torch.special.gammaincc(y, rate)
        value = torch.where(low < 0.5, low.log(), torch.log1p(-high))
        point = y * z - rate - torch.lgamma(y)  # log of (rate x density of the count y - 1)
        value = torch.where(low < 1e-280, point - y.log() + _log_series(y, rate), value)
        # d log P / d log r = r e^-r r^(y-1) / ((y-1)! P)
        slope = torch.where(inside, (point - value).exp(), 0.0)
        value = torch.where(inside, value, 0.0)
        own = (log_rate.device, log_rate.dtype)
        return value.to(*own), slope.to(*own)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Any) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[None, Tensor]:
        (slope,) = ctx.saved_tensors
        return None, gradient * slope


def _log_series(y: Tensor, rate: Tensor) -> Tensor:
    """log(1 + r/(y+1) + r^2/((y+1)(y+2)) + ...), for rates well below y."""
    total, term = torch.ones_like(rate), torch.ones_like(rate)
    rate = torch.minimum(rate, y)
    for k in range(1, _SERIES_TERMS):
        term = term * rate / (y + k)
        total = total + term
    ratio = rate / (y + _SERIES_TERMS)  # the rest is close to a geometric series
    return (total + term * ratio / (1 - ratio)).log()

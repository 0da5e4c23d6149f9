"""Rules of gradients for exactly two tasks in closed form, at many points of a plane at once.

With two tasks most rules are one line: what the general solvers find by iteration is a formula in
|g_1|^2, |g_2|^2 and <g_1, g_2>. ``walk`` uses these formulas because a rule called point by point
costs hundreds of times as much; ``together`` is None for a rule that has none here. The tests hold
each formula to its rule. What the numbers mean stands in the rules' own docstrings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtlkit.balance.alignment import IMTLG, AlignedMTL
from mtlkit.balance.bargaining import LIMIT, FairGrad, NashMTL
from mtlkit.balance.base import Balancer
from mtlkit.balance.cone import UPGrad
from mtlkit.balance.conflict_averse import CAGrad
from mtlkit.balance.elementwise import ExcessMTL, GradDrop, MetaBalance
from mtlkit.balance.fixed import EqualWeights
from mtlkit.balance.min_norm import MGDA
from mtlkit.balance.remembered import DualBalancing, MoCo, SDMGrad
from mtlkit.balance.solvers import LARGEST
from mtlkit.balance.surgery import GradVac, PCGrad

Array = NDArray[np.float64]
Step = Callable[[Array, Array], Array]  # losses (point, task), G (point, task, number) -> update


def together(rules: Sequence[Balancer]) -> Step | None:
    """The update (point, number) of equal new rules, one a point; None where only they know it.

    The function that is returned takes losses (point, 2) and gradients (point, 2, number) and is
    called once a step: it holds the memory of all points, and draws from the rules' generators.
    No gradient may be zero.
    """
    form = _FORMS.get(type(rules[0]))
    return form(rules) if form else None


def _products(G: Array) -> tuple[Array, Array]:
    """|g_i|^2 (point, task) and <g_1, g_2> (point,)."""
    return np.einsum("ptn,ptn->pt", G, G), np.einsum("pn,pn->p", G[:, 0], G[:, 1])


def _mix(weights: Array, G: Array) -> Array:
    return np.einsum("pt,ptn->pn", weights, G)


def _pair(first: Array) -> Array:
    """Shares of both tasks, (point, task), from that of the first, kept between 0 and 1."""
    first = np.minimum(np.maximum(first, 0.0), 1.0)
    return np.stack([first, 1 - first], axis=1)


def _nearest_shares(v: Array) -> Array:
    """The point of the simplex nearest to v, (point, task)."""
    return _pair((v[:, 0] - v[:, 1] + 1) / 2)


def _equal(rules: Sequence[EqualWeights]) -> Step:
    return lambda losses, G: G.sum(1)


def _mgda(rules: Sequence[MGDA]) -> Step | None:
    if rules[0].normalise != "none" or rules[0].weigh != "raw":
        return None

    def step(losses: Array, G: Array) -> Array:
        squares, inner = _products(G)
        spread = squares.sum(1) - 2 * inner  # |g_1 - g_2|^2
        apart = spread > 1e-15 * squares.min(1)
        first = np.where(apart, (squares[:, 1] - inner) / np.where(apart, spread, 1), 0.5)
        return 2 * _mix(_pair(first), G)

    return step


def _pcgrad(rules: Sequence[PCGrad | UPGrad]) -> Step:
    def step(losses: Array, G: Array) -> Array:
        squares, inner = _products(G)
        return _mix(1 - np.minimum(inner, 0)[:, None] / squares, G)

    return step


def _gradvac(rules: Sequence[GradVac]) -> Step:
    usual, beta = np.zeros(len(rules)), rules[0].beta

    def step(losses: Array, G: Array) -> Array:
        nonlocal usual
        squares, inner = _products(G)
        norms = np.sqrt(squares)
        cosine = np.clip(inner / norms.prod(1), -1, 1)
        sine = np.maximum(np.sqrt(1 - np.minimum(usual**2, 1)), 1e-3)
        grow = np.where(cosine < usual, usual * np.sqrt(1 - cosine**2) / sine - cosine, 0)
        usual = (1 - beta) * usual + beta * cosine
        return _mix(1 + grow[:, None] * norms[:, ::-1] / norms, G)

    return step


def _cagrad(rules: Sequence[CAGrad]) -> Step:
    c, rescale = rules[0].c, rules[0].rescale

    def step(losses: Array, G: Array) -> Array:
        # min over w of w q + radius sqrt(A w^2 + 2 B w + |g_2|^2), w the share of task 1
        squares, inner = _products(G)
        A, B = squares.sum(1) - 2 * inner, inner - squares[:, 1]
        q = (squares[:, 0] - squares[:, 1]) / 2  # <g_1 - g_2, g_0>
        radius = c * np.sqrt(np.maximum(squares.sum(1) + 2 * inner, 0)) / 2
        bend = radius**2 * A - q**2
        area = np.maximum(squares.prod(1) - inner**2, 0)
        curved = bend > 0
        lowest = -q * np.sqrt(area / np.where(curved, bend, 1)) - B
        lowest = np.where(curved, lowest / np.where(A > 0, A, 1), np.where(q > 0, 0.0, 1.0))
        w = _pair(lowest)
        length = np.sqrt((_mix(w, G) ** 2).sum(1))  # |g_w|
        share = radius / np.where(length > 0, length, 1)
        weights = 1 + 2 * share[:, None] * w
        return _mix(weights / (1 + c**2) if rescale else weights, G)

    return step


def _imtl_g(rules: Sequence[IMTLG]) -> Step:
    def step(losses: Array, G: Array) -> Array:
        squares, inner = _products(G)
        norms = np.sqrt(squares)
        opposed = 1 + inner / norms.prod(1) <= 2e-12
        weights = 2 * norms[:, ::-1] / norms.sum(1, keepdims=True)
        return _mix(np.where(opposed[:, None], 0, weights), G)

    return step


def _nash(rules: Sequence[NashMTL]) -> Step | None:
    if not rules[0].rescale:
        return None

    def step(losses: Array, G: Array) -> Array:
        squares, inner = _products(G)
        norms = np.sqrt(squares)
        meet = np.maximum(1 + inner / norms.prod(1), LIMIT**-2)
        return _mix(np.sqrt(squares.mean(1) / meet)[:, None] / norms, G)

    return step


def _fairgrad(rules: Sequence[FairGrad]) -> Step | None:
    alpha = rules[0].alpha
    if not rules[0].rescale or alpha == 0:
        return None
    power = 1 / alpha

    def step(losses: Array, G: Array) -> Array:
        squares, inner = _products(G)
        rho = np.clip(inner / np.sqrt(squares.prod(1)), -1, 1)
        norms = np.sqrt(squares / squares.mean(1, keepdims=True))
        z = _bargain(rho, norms, power, 1 + LARGEST**-2)  # as ``solvers.fair``: first with a ridge
        y = (z * norms ** ((alpha - 1) / (alpha + 1))).max(1)
        ridge = (LARGEST**-2 * z * norms * (z / norms) ** power).max(1)  # its part of (K w)_i
        tame = (y ** (0.5 + 0.5 * power) < 0.1 * LARGEST) | (ridge < 0.5)
        if tame.any():
            exact = _bargain(np.where(tame, rho, 0), norms, power, 1.0)
            z = np.where(tame[:, None], exact, z)
        z = z * np.minimum(1, LIMIT / z.max(1, keepdims=True))
        return _mix(z / norms, G)

    return step


def _bargain(rho: Array, norms: Array, power: float, diagonal: float) -> Array:
    """z_i = w_i n_i with (K w)_i = w_i^-power, (point, task); K_ii = diagonal n_i^2.

    With s = log(z_2 / z_1) the two equations become one: u + power s + (power - 1) log(n_1 / n_2) =
    0, u = log((rho + d e^s) / (d + rho e^s)), d the diagonal. The flatter of u(s) and s(u) is
    k(v) = log((d e^v + |rho|) / (d + |rho| e^v)), whose slope is below 1: Newton's method ends in a
    few steps.
    """
    target = (power - 1) * np.log(norms[:, 0] / norms[:, 1])
    apart, size = rho < 0, np.abs(rho)
    outer, inner = np.where(apart, 1.0, power), np.where(apart, power, 1.0)
    v = np.zeros_like(target)
    for _ in range(50):
        e = np.exp(v)
        above, below = diagonal * e + size, diagonal + size * e
        flat = np.log(above / below)
        slope = outer + inner * (diagonal / above - size / below) * e
        move = (outer * v + inner * flat + target) / slope
        v = v - move
        if np.abs(move).max() <= 1e-12:
            break
    else:
        if np.abs(move).max() > 1e-8:
            raise ArithmeticError("The fair weights of two tasks are not found in 50 steps.")
    e = np.exp(v)
    q = np.where(apart, (diagonal * e + size) / (diagonal + size * e), e)  # z_2 / z_1
    first = (norms[:, 0] ** (power - 1) / (diagonal + rho * q)) ** (1 / (1 + power))
    return np.stack([first, first * q], axis=1)


def _aligned(rules: Sequence[AlignedMTL]) -> Step | None:
    noise = rules[0].noise
    if rules[0].scale != "min":
        return None

    def step(losses: Array, G: Array) -> Array:
        K = G @ G.transpose(0, 2, 1)
        values, V = np.linalg.eigh(K / np.trace(K, axis1=1, axis2=2)[:, None, None])
        kept = values > 2 * noise * values[:, 1:]
        lowest = np.where(kept, values, np.inf).min(1, keepdims=True)
        stretch = np.where(kept, np.sqrt(lowest / np.where(kept, values, 1)), 0)
        return _mix(np.einsum("pte,pe->pt", V, V.sum(1) * stretch), G)

    return step


def _graddrop(rules: Sequence[GradDrop]) -> Step:
    leak = rules[0].leak

    def step(losses: Array, G: Array) -> Array:
        total, size = G.sum(1), np.abs(G).sum(1)
        positive = 0.5 * (1 + total / np.where(size > 0, size, 1))
        drawn = np.stack([torch.rand(G.shape[2], generator=r.generator).numpy() for r in rules])
        kept = np.where(positive > drawn, np.maximum(G, 0).sum(1), np.minimum(G, 0).sum(1))
        return leak * total + (1 - leak) * kept

    return step


def _running(pace: float) -> Callable[[Array], Array]:
    """m <- m + pace (rows - m), which the first rows start."""
    mean: Array | None = None

    def move(rows: Array) -> Array:
        nonlocal mean
        mean = rows if mean is None else mean + pace * (rows - mean)
        return mean

    return move


def _moco(rules: Sequence[MoCo]) -> Step:
    rule, shares, mean = rules[0], np.full((len(rules), 2), 0.5), _running(rules[0].beta)

    def step(losses: Array, G: Array) -> Array:
        nonlocal shares
        Y = mean(G)
        K = Y @ Y.transpose(0, 2, 1)
        slope = _mix(shares, K) / (np.trace(K, axis1=1, axis2=2)[:, None] / 2) + rule.rho * shares
        shares = _nearest_shares(shares - rule.gamma * slope)
        return 2 * _mix(shares, Y)

    return step


def _db_mtl(rules: Sequence[DualBalancing]) -> Step:
    rule, mean = rules[0], _running(1 - rules[0].decay)

    def step(losses: Array, G: Array) -> Array:
        excess = rule.excess(torch.from_numpy(losses.min(0)), torch.arange(2), 2).numpy()
        excess = excess + (losses - losses.min(0))
        rows = mean(G / excess[:, :, None])
        norms = np.sqrt(_products(rows)[0])
        return _mix(norms.max(1, keepdims=True) / norms, rows)

    return step


def _sdmgrad(rules: Sequence[SDMGrad]) -> Step:
    rule, shares = rules[0], np.full((len(rules), 2), 0.5)
    pull = rule.strength / 2

    def step(losses: Array, G: Array) -> Array:
        nonlocal shares
        K = G @ G.transpose(0, 2, 1)
        K = K / (np.trace(K, axis1=1, axis2=2)[:, None, None] / 2)
        for _ in range(rule.steps):
            shares = _nearest_shares(shares - rule.rate * _mix(shares + pull, K))
        return _mix(2 * (shares + pull) / (1 + rule.strength), G)

    return step


def _excess_mtl(rules: Sequence[ExcessMTL]) -> Step:
    rate, logs = rules[0].rate, np.zeros((len(rules), 2))
    seen: Any = 0.0
    first: Array | None = None

    def step(losses: Array, G: Array) -> Array:
        nonlocal logs, seen, first
        seen = seen + G**2
        risk = (G**2 / np.sqrt(np.where(seen > 0, seen, 1))).sum(2)
        first = risk if first is None else first
        logs = logs + rate * risk / first
        logs = logs - logs.mean(1, keepdims=True)
        high = np.exp(logs - logs.max(1, keepdims=True))
        return _mix(2 * high / high.sum(1, keepdims=True), G)

    return step


def _metabalance(rules: Sequence[MetaBalance]) -> Step | None:
    rule = rules[0]
    if rule.schema is None:
        return None
    main = rule.schema.task_index(rule.main)
    size, count = np.zeros((len(rules), 2)), 0

    def step(losses: Array, G: Array) -> Array:
        nonlocal size, count
        count += 1
        size = rule.decay * size + (1 - rule.decay) * np.sqrt(_products(G)[0])
        ratio = size[:, [main]] / size
        if rule.when != "always":
            ratio = np.minimum(ratio, 1) if rule.when == "larger" else np.maximum(ratio, 1)
        scale = rule.relax * ratio + 1 - rule.relax
        scale[:, main] = 1.0
        return _mix(scale, G)

    return step


_FORMS: dict[type[Balancer], Callable[[Any], Step | None]] = {
    EqualWeights: _equal,
    MGDA: _mgda,
    PCGrad: _pcgrad,
    UPGrad: _pcgrad,
    GradVac: _gradvac,
    CAGrad: _cagrad,
    IMTLG: _imtl_g,
    NashMTL: _nash,
    FairGrad: _fairgrad,
    AlignedMTL: _aligned,
    GradDrop: _graddrop,
    MoCo: _moco,
    DualBalancing: _db_mtl,
    SDMGrad: _sdmgrad,
    ExcessMTL: _excess_mtl,
    MetaBalance: _metabalance,
}

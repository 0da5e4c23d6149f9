"""Checkers of notebook 06: MGDA for two tasks, PCGrad, a rule whose solver fails in silence."""

import numpy as np
import torch

from mtlkit.course.learner.checker import checker, require, require_close, require_shape


def share(g1, g2):
    if torch.equal(g1, g2):
        return torch.tensor(0.5)
    lowest = (g2 - g1) @ g2 / ((g1 - g2) @ (g1 - g2))
    return lowest.clamp(0, 1)


def share_stub(g1, g2):
    return ...


def no_clamp(g1, g2):
    """Takes the lowest point of the parabola, even where a share would be negative."""
    return (g2 - g1) @ g2 / ((g1 - g2) @ (g1 - g2))


def of_the_second(g1, g2):
    """Returns the share of task 2."""
    return 1 - share(g1, g2)


def ratio_of_norms(g1, g2):
    """Takes only the sizes, and forgets the angle."""
    return g2 @ g2 / (g1 @ g1 + g2 @ g2)


def always_half(g1, g2):
    """Mixes both alike, which is equal weighting."""
    return torch.tensor(0.5)


@checker(
    "6.1",
    solution=share,
    stub=share_stub,
    wrong=[
        (no_clamp, "between 0 and 1"),
        (of_the_second, "share of task 2"),
        (ratio_of_norms, "angle"),
        (always_half, "equal weighting"),
    ],
    praise="The shortest mixture: no small step against it raises either loss.",
)
def shortest_mixture(answer):
    def vector(*numbers):
        return torch.tensor(numbers, dtype=torch.float64)

    long, short = vector(4.0, 1.0), vector(1.0, 0.0)
    found = float(answer(long, short))
    require(found != 0.5, "Half of each is equal weighting; the shortest mixture is another one.")
    require(
        0 <= found <= 1 and 0 <= float(answer(short, long)) <= 1,
        "Your share is {found}; a mixture has shares between 0 and 1 only.",
        found=found if not 0 <= found <= 1 else float(answer(short, long)),
    )
    g1, g2 = vector(3.0, 0.0), vector(-1.0, 1.0)
    found = float(answer(g1, g2))
    right = float(share(g1, g2))
    require(abs(found - (1 - right)) > 1e-9, "That is the share of task 2; task 1 has the rest.")
    require(
        abs(found - float(ratio_of_norms(g1, g2))) > 1e-9,
        "You use the sizes only. The angle between the gradients counts as well.",
    )
    generator = torch.Generator().manual_seed(6)
    for size in (0.1, 1.0, 10.0):
        for _ in range(8):
            g1 = size * torch.randn(4, generator=generator, dtype=torch.float64)
            g2 = torch.randn(4, generator=generator, dtype=torch.float64)
            a = torch.as_tensor(answer(g1, g2), dtype=torch.float64)
            d = a * g1 + (1 - a) * g2
            tried = torch.linspace(0, 1, 10_001, dtype=torch.float64).unsqueeze(1)
            lengths = (tried * g1 + (1 - tried) * g2).norm(dim=1)
            require(
                bool(d.norm() <= lengths.min() + 1e-9),
                "With a = {a} the mixture has length {length}; a = {better} makes it {least}.",
                a=float(a), length=float(d.norm()), better=float(tried[lengths.argmin()]),
                least=float(lengths.min()),
            )  # fmt: skip
            least = min(float(d @ g1), float(d @ g2))
            require(
                least >= float(d @ d) - 1e-9,
                "A step against your mixture raises the loss of one task.",
            )


def surgery(G, orders):
    total = torch.zeros_like(G[0])
    for i, others in enumerate(orders):
        mine = G[i].clone()
        for j in others:
            inner = mine @ G[j]
            if inner < 0:
                mine = mine - inner / (G[j] @ G[j]) * G[j]
        total = total + mine
    return total


def surgery_stub(G, orders):
    return ...


def against_the_changed(G, orders):
    """Projects against gradients that were changed already."""
    G = G.clone()
    for i, others in enumerate(orders):
        for j in others:
            inner = G[i] @ G[j]
            if inner < 0:
                G[i] = G[i] - inner / (G[j] @ G[j]) * G[j]
    return G.sum(0)


def always_projects(G, orders):
    """Takes the common part away even where the gradients agree."""
    total = torch.zeros_like(G[0])
    for i, others in enumerate(orders):
        mine = G[i].clone()
        for j in others:
            mine = mine - (mine @ G[j]) / (G[j] @ G[j]) * G[j]
        total = total + mine
    return total


def mean_of_tasks(G, orders):
    """Averages the changed gradients instead of adding them."""
    return surgery(G, orders) / len(G)


def asks_the_old_one(G, orders):
    """Uses the inner product of the untouched g_i, not of what is left of it."""
    total = torch.zeros_like(G[0])
    for i, others in enumerate(orders):
        mine = G[i].clone()
        for j in others:
            inner = G[i] @ G[j]
            if inner < 0:
                mine = mine - inner / (G[j] @ G[j]) * G[j]
        total = total + mine
    return total


def not_squared(G, orders):
    """Divides by the norm of g_j where the squared norm belongs."""
    total = torch.zeros_like(G[0])
    for i, others in enumerate(orders):
        mine = G[i].clone()
        for j in others:
            inner = mine @ G[j]
            if inner < 0:
                mine = mine - inner / G[j].norm() * G[j]
        total = total + mine
    return total


def changes_in_place(G, orders):
    """Writes into G: right numbers at first, but the caller's gradients are spoilt."""
    result = surgery(G, orders)
    G.mul_(0)
    return result


MISTAKES = (
    (mean_of_tasks, "You take the mean over the tasks; PCGrad adds the changed gradients."),
    (always_projects, "You also project where the gradients agree; only a conflict is repaired."),
    (
        against_the_changed,
        "You project against gradients that you have changed before; g_j is always the original.",
    ),
    (
        asks_the_old_one,
        "You ask the untouched g_i; after a first repair, what is left of it (g_i') counts.",
    ),
    (not_squared, "You divide by the norm of g_j; its squared norm belongs there."),
)


@checker(
    "6.2",
    solution=surgery,
    stub=surgery_stub,
    wrong=[
        (mean_of_tasks, "mean"),
        (always_projects, "agree"),
        (against_the_changed, "original"),
        (asks_the_old_one, "untouched"),
        (not_squared, "squared norm"),
        (changes_in_place, "leave `G`"),
    ],
    praise="Original partners, changed self, and a sum at the end: that is PCGrad.",
)
def gradient_surgery(answer):
    generator = torch.Generator().manual_seed(2)
    for tasks, width in ((2, 3), (3, 4), (4, 3), (6, 5)):
        for _ in range(4):
            G = torch.randn(tasks, width, generator=generator, dtype=torch.float64)
            G = G - 0.6 * G.mean(0)  # more conflicts
            draws = torch.rand(tasks, tasks, generator=generator).argsort(1).tolist()
            orders = [[j for j in row if j != i] for i, row in enumerate(draws)]
            kept = G.clone()
            found = answer(G, orders)
            require_shape(found, (width,))
            require(
                torch.equal(G, kept),
                "You changed the gradients that you were given; leave `G` as it is (use clone).",
            )
            wanted = _slowly(G, orders)
            if torch.allclose(found, wanted, atol=1e-9):
                continue
            for mistake, sentence in MISTAKES:
                require(not torch.allclose(found, mistake(G.clone(), orders)), sentence)
            require_close(found, wanted, "With these gradients PCGrad's update is another one.")
    agree = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    found = answer(agree, [[1, 2], [0, 2], [1, 0]])
    require_close(found, agree.sum(0), "Without any conflict the update is the plain sum.")


def _slowly(G, orders):
    """The slow reference, in plain Python numbers."""
    rows = G.tolist()
    total = [0.0] * len(rows[0])
    for i, others in enumerate(orders):
        mine = list(rows[i])
        for j in others:
            inner = sum(a * b for a, b in zip(mine, rows[j]))
            if inner < 0:
                part = inner / sum(b * b for b in rows[j])
                mine = [a - part * b for a, b in zip(mine, rows[j])]
        total = [a + b for a, b in zip(total, mine)]
    return torch.tensor(total, dtype=G.dtype)


def unsolved(nash):
    K = np.array([[1.0, 2.0], [2.0, 100.0]])
    a = nash(K)
    return not np.allclose(K @ a, 1 / a, rtol=1e-3)


def unsolved_stub(nash):
    return ...


def on_the_identity(nash):
    """Tests at a place where equal weights are the right answer."""
    a = nash(np.eye(3))
    return not np.allclose(np.eye(3) @ a, 1 / a)


def never_trusts(nash):
    """Calls each function broken."""
    return True


def looks_for_ones(nash):
    """Looks for equal weights only, and misses a solver that stops early."""
    a = nash(np.diag([1.0, 100.0]))
    return bool(np.allclose(a, a[0]))


def exactly(nash):
    """Compares floating-point numbers with !=, which no solver in the world survives."""
    K = np.array([[1.0, 2.0], [2.0, 100.0]])
    a = nash(K)
    return bool((K @ a != 1 / a).any())


def two_tasks_by_norm(nash):
    """Expects 1 / norm, which is right only where all gradients are at right angles."""
    K = np.array([[1.0, 0.5, 0.2], [0.5, 4.0, -1.0], [0.2, -1.0, 9.0]])
    return not np.allclose(nash(K), 1 / np.sqrt(np.diagonal(K)), rtol=1e-2)


def _solves(K):
    a = 1 / np.sqrt(np.diagonal(K))
    for _ in range(20_000):  # coordinate by coordinate: K_ii a^2 + r a - 1 = 0
        old = a.copy()
        for i in range(len(a)):
            rest = K[i] @ a - K[i, i] * a[i]
            a[i] = (-rest + np.sqrt(rest**2 + 4 * K[i, i])) / (2 * K[i, i])
        if np.abs(a - old).max() < 1e-13:
            break
    return a


@checker(
    "6.3",
    solution=unsolved,
    stub=unsolved_stub,
    wrong=[
        (on_the_identity, "equal weights are right"),
        (never_trusts, "solves its equation"),
        (looks_for_ones, "stopped early"),
        (exactly, "np.allclose"),
        (two_tasks_by_norm, "solves its equation"),
    ],
    praise="You put the answer back into the equation, where the easy answer is wrong.",
)
def silent_solver(answer):
    def equal(K):
        return np.ones(len(K))

    def nearly(K):  # as right as a solver can be
        return _solves(K) * (1 + 1e-9)

    def early(K):  # part of the way, and not equal
        return np.sqrt(_solves(K))

    require(
        bool(answer(equal)),
        "A function that always returns ones passes your test. Does it use a K for which equal "
        "weights are right?",
    )
    require(
        bool(answer(nearly)) == bool(answer(_solves)),
        "You call weights broken that are right to nine digits; compare with np.allclose.",
    )
    require(
        not bool(answer(_solves)),
        "You reject a function that solves its equation for every K (to 12 digits).",
    )
    require(
        bool(answer(early)),
        "A solver that stopped early passes your test: its weights differ, but K a is not 1 / a.",
    )

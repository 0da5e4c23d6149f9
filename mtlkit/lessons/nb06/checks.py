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
        (
            no_clamp,
            "Your share leaves the range where the lowest point does; a mixture has shares between "
            "0 and 1 only.",
        ),
        (of_the_second, "That is the share of task 2; task 1 has the rest."),
        (
            ratio_of_norms,
            "You use the sizes only. The angle between the gradients counts as well.",
        ),
        (
            always_half,
            "Half of each is equal weighting; the shortest mixture is another one.",
        ),
    ],
    praise="The shortest mixture: no small step against it raises either loss.",
)
def shortest_mixture(answer, seed):
    generator = torch.Generator().manual_seed(6 + seed)
    pairs = [((4.0, 1.0), (1.0, 0.0)), ((1.0, 0.0), (4.0, 1.0)), ((3.0, 0.0), (-1.0, 1.0))]
    cases = [tuple(torch.tensor(g).double() for g in pair) for pair in pairs]
    for size in (0.1, 1.0, 10.0):
        for _ in range(6):
            g1 = size * torch.randn(4, generator=generator).double()
            cases.append((g1, torch.randn(4, generator=generator).double()))
    tried = torch.linspace(0, 1, 10_001).double()
    for g1, g2 in cases:
        found = answer(g1, g2)
        require(found.dim() == 0, "Return one number, the share of task 1.")
        lengths = (tried[:, None] * g1 + (1 - tried[:, None]) * g2).norm(dim=1)
        best, a = float(tried[lengths.argmin()]), float(found)
        require(
            abs(a - best) <= 2e-3,  # what a search in float32, or on a grid, finds is as good
            "With a = {a} the mixture has length {length}; a = {best} makes it {least}.",
            a=a, length=float((a * g1 + (1 - a) * g2).norm()), best=best,
            least=float(lengths.min()),
        )  # fmt: skip


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


def own_norm(G, orders):
    """Divides by the squared norm of what is changed, not of the partner."""
    total = torch.zeros_like(G[0])
    for i, others in enumerate(orders):
        mine = G[i].clone()
        for j in others:
            inner = mine @ G[j]
            if inner < 0:
                mine = mine - inner / (mine @ mine) * G[j]
        total = total + mine
    return total


@checker(
    "6.2",
    solution=surgery,
    stub=surgery_stub,
    wrong=[
        (mean_of_tasks, "You take the mean over the tasks; PCGrad adds the changed gradients."),
        (
            always_projects,
            "You also project where the gradients agree; only a conflict is repaired.",
        ),
        (
            against_the_changed,
            "You project against gradients that you have changed before; g_j is always the "
            "original.",
        ),
        (
            asks_the_old_one,
            "You ask the untouched g_i; after a first repair, what is left of it (g_i') counts.",
        ),
        (not_squared, "You divide by the norm of g_j; its squared norm belongs there."),
        (own_norm, "You divide by the squared norm of g_i'; that of g_j belongs there."),
    ],
    praise="Original partners, changed self, and a sum at the end: that is PCGrad.",
)
def gradient_surgery(answer, seed):
    generator = torch.Generator().manual_seed(2 + seed)
    for tasks, width in ((2, 3), (3, 4), (4, 3), (6, 5)):
        for _ in range(4):
            G = torch.randn(tasks, width, generator=generator, dtype=torch.float64)
            G = G - 0.6 * G.mean(0)  # more conflicts
            draws = torch.rand(tasks, tasks, generator=generator).argsort(1).tolist()
            orders = [[j for j in row if j != i] for i, row in enumerate(draws)]
            found = answer(G, orders)
            require_shape(found, (width,))
            require_close(
                found, _slowly(G, orders), "With these gradients PCGrad's update is another one."
            )
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
    w = nash(K)
    return not np.allclose(K @ w, 1 / w, rtol=1e-3)


def unsolved_stub(nash):
    return ...


def on_the_identity(nash):
    """Tests at a place where equal weights are the right answer."""
    w = nash(np.eye(3))
    return not np.allclose(np.eye(3) @ w, 1 / w)


def on_a_diagonal(nash):
    """Tests at a diagonal K, where a rule that knows no angles is right."""
    K = np.diag([1.0, 100.0])
    w = nash(K)
    return not np.allclose(K @ w, 1 / w, rtol=1e-3)


def only_the_sum(nash):
    """Asks only whether w'K w is the number of tasks, which a rescaling can arrange."""
    K = np.array([[1.0, 2.0], [2.0, 100.0]])
    w = nash(K)
    return not np.isclose(w @ K @ w, 2, rtol=1e-3)


def only_the_first(nash):
    """Compares the first number of both sides."""
    K = np.array([[1.0, 2.0], [2.0, 100.0]])
    w = nash(K)
    return not np.isclose((K @ w)[0], 1 / w[0], rtol=1e-3)


def too_generous(nash):
    """Lets both sides differ by up to 0.5."""
    K = np.array([[1.0, 0.5], [0.5, 4.0]])
    w = nash(K)
    return not np.allclose(K @ w, 1 / w, atol=0.5)


def never_trusts(nash):
    """Calls each function broken."""
    return True


def always_trusts(nash):
    """Calls no function broken."""
    return False


def other_way_round(nash):
    """Returns true for weights that solve the equation."""
    return not unsolved(nash)


def looks_for_ones(nash):
    """Looks for equal weights only, and misses a solver that stops early."""
    w = nash(np.array([[1.0, 2.0], [2.0, 100.0]]))
    return bool(np.allclose(w, w[0]))


def exactly(nash):
    """Compares floating-point numbers with !=, which no solver in the world survives."""
    K = np.array([[1.0, 2.0], [2.0, 100.0]])
    w = nash(K)
    return bool((K @ w != 1 / w).any())


def two_tasks_by_norm(nash):
    """Expects 1 / norm, which is right only where all gradients are at right angles."""
    K = np.array([[1.0, 0.5, 0.2], [0.5, 4.0, -1.0], [0.2, -1.0, 9.0]])
    return not np.allclose(nash(K), 1 / np.sqrt(np.diagonal(K)), rtol=1e-2)


def _solves(K):
    a = 1 / np.sqrt(np.diagonal(K))
    for _ in range(20_000):  # coordinate by coordinate: K_ii a^2 + r a - 1 = 0
        old = a.copy()
        for i in range(len(a)):
            a[i] = _solved_for(K, a, i)
        if np.abs(a - old).max() < 1e-13:
            break
    return a


def _solved_for(K, a, i):
    rest = K[i] @ a - K[i, i] * a[i]
    return (-rest + np.sqrt(rest**2 + 4 * K[i, i])) / (2 * K[i, i])


def _rescaled(a, K):  # so that a'K a is the number of tasks, which the equation implies
    return a * np.sqrt(len(K) / (a @ K @ a))


def _mirrored(K):  # the same lengths; right as long as all angles are
    return 2 * np.diag(np.diagonal(K)) - K


def _one_only(K, place, factor=1.3):  # equation `place` holds, the others do not
    a = _solves(K) * factor
    a[place] = _solved_for(K, a, place)
    return a


RULES = (  # (name, nash, whether it does not solve its equation)
    ("a function that solves its equation to 12 digits", _solves, False),
    ("a function that solves its equation to 9 digits", lambda K: _solves(K) * (1 + 1e-9), False),
    ("a function that solves its equation to 7 digits", lambda K: _solves(K) * (1 - 1e-7), False),
    ("a function that always returns ones", lambda K: np.ones(len(K)), True),
    ("a function that always returns halves", lambda K: np.ones(len(K)) / 2, True),
    ("equal weights, rescaled", lambda K: _rescaled(np.ones(len(K)), K), True),
    ("1 / norm, right where all angles are right", lambda K: 1 / np.sqrt(np.diagonal(K)), True),
    ("a function that takes each angle for its opposite", lambda K: _solves(_mirrored(K)), True),
    ("a solver that stopped early", lambda K: np.sqrt(_solves(K)), True),
    ("a solver that stopped early, rescaled", lambda K: _rescaled(np.sqrt(_solves(K)), K), True),
    ("weights that are 10 % too large", lambda K: 1.1 * _solves(K), True),
    ("weights that are 5 % too small", lambda K: 0.95 * _solves(K), True),
    ("weights that solve the first equation only", lambda K: _one_only(K, 0), True),
    ("small weights that solve the first equation only", lambda K: _one_only(K, 0, 0.8), True),
    ("weights that solve the last equation only", lambda K: _one_only(K, -1), True),
)


TOO_STRICT = (
    "You reject weights that solve the equation to nine digits: compare with np.allclose, since no "
    "solver is exact."
)


@checker(
    "6.3",
    solution=unsolved,
    stub=unsolved_stub,
    wrong=[
        (
            on_the_identity,
            "A function that always returns ones passes your test, so does 1 / norm. For your K "
            "they are right: take one with numbers off its diagonal.",
        ),
        (
            on_a_diagonal,
            "The rule 1 / norm, which knows no angles, passes your test: for your K it is right. "
            "Take one with numbers off its diagonal.",
        ),
        (
            only_the_sum,
            "Weights that are only rescaled pass your test: compare `K @ w` with `1 / w`, number "
            "by number.",
        ),
        (
            only_the_first,
            "Weights that solve only the first equation pass your test: compare all of them.",
        ),
        (
            too_generous,
            "Weights that are 10 % too large pass your test: compare more closely.",
        ),
        (never_trusts, TOO_STRICT),
        (always_trusts, "Your test finds no function broken, whatever it returns."),
        (other_way_round, "It is the other way round: true means that it does not solve."),
        (
            looks_for_ones,
            "You only look whether the weights are equal; a solver that stopped early passes.",
        ),
        (exactly, TOO_STRICT),
        (
            two_tasks_by_norm,
            "You expect 1 / norm, which solves the equation only where all angles are right, and "
            "reject a function that solves it.",
        ),
    ],
    praise="You put the answer back into the equation, where the easy answer is wrong.",
)
def silent_solver(answer):
    for name, rule, broken in RULES:

        def nash(K, rule=rule):
            a = rule(np.array(K.numpy() if torch.is_tensor(K) else K, dtype=float))
            return torch.from_numpy(a) if torch.is_tensor(K) else a

        nash.__name__ = name
        found = answer(nash)
        require(found or not broken, "Your test trusts {name}.", name=name)
        require(not found or broken, "You reject {name}.", name=name)

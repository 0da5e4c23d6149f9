"""The closed forms for two tasks are the rules themselves, which here are the slow reference."""

import numpy as np
import pytest

from mtlkit.balance import BALANCERS, MGDA, AlignedMTL, FairGrad, MetaBalance, NashMTL, PCGrad
from mtlkit.balance.toy import STARTS, TASKS, _each, walk
from mtlkit.balance.two_tasks import together
from mtlkit.schema import Schema, Task

SCHEMA = Schema(tuple(Task(name, "regression") for name in TASKS))
LOW = dict.fromkeys(TASKS, -25.0)
RULES = {
    "equal": BALANCERS["equal"],
    "mgda": MGDA,
    "pcgrad": PCGrad,
    "gradvac": BALANCERS["gradvac"],
    "gradvac, quick": lambda: BALANCERS["gradvac"](beta=0.5),
    "cagrad": BALANCERS["cagrad"],
    "cagrad, wide": lambda: BALANCERS["cagrad"](c=0.95, rescale=True),
    "cagrad, none": lambda: BALANCERS["cagrad"](c=0.0),
    "imtl-g": BALANCERS["imtl-g"],
    "nash-mtl": NashMTL,
    "fairgrad": FairGrad,
    "fairgrad, near nash": lambda: FairGrad(alpha=1.0),
    "fairgrad, strict": lambda: FairGrad(alpha=5.0),
    "fairgrad, lax": lambda: FairGrad(alpha=0.5),
    "aligned-mtl": AlignedMTL,
    "upgrad": BALANCERS["upgrad"],
    "graddrop": BALANCERS["graddrop"],
    "graddrop, leaky": lambda: BALANCERS["graddrop"](leak=0.3, seed=5),
    "moco": BALANCERS["moco"],
    "moco, tied": lambda: BALANCERS["moco"](beta=0.2, gamma=0.3, rho=0.5),
    "db-mtl": lambda: BALANCERS["db-mtl"](minimum=LOW),
    "sdmgrad": BALANCERS["sdmgrad"],
    "sdmgrad, free": lambda: BALANCERS["sdmgrad"](strength=0.0, rate=0.5, steps=3),
    "excess-mtl": lambda: BALANCERS["excess-mtl"](rate=0.5),
    "metabalance": lambda: MetaBalance("task 1"),
    "metabalance, larger": lambda: MetaBalance("task 2", relax=0.4, when="larger"),
    "metabalance, smaller": lambda: MetaBalance("task 2", decay=0.5, when="smaller"),
}


def new(make, points):
    return [make().bind(SCHEMA) for _ in range(points)]


def some_gradients(steps, points):
    """Two gradients at each point, alike and opposed, of sizes 0.01 to 100: (step, point, 2, 2)."""
    rng = np.random.default_rng(7)
    G = rng.normal(size=(steps, points, 2, 2))
    G[:, ::3, 1] = -G[:, ::3, 0] + 0.05 * G[:, ::3, 1]  # nearly opposed
    G[:, 1::3, 1] = G[:, 1::3, 0] + 0.05 * G[:, 1::3, 1]  # nearly parallel
    return G * 10.0 ** rng.uniform(-2, 2, size=(steps, points, 2, 1))


@pytest.mark.parametrize("name", RULES)
def test_a_closed_form_gives_the_updates_of_its_rule(name):
    steps, points = 6, 30
    G = some_gradients(steps, points)
    losses = np.random.default_rng(8).uniform(-20, 10, size=(steps, points, 2))
    form, slow = together(new(RULES[name], points)), _each(new(RULES[name], points))
    for step in range(steps):
        size = np.linalg.norm(G[step], axis=2).max(1)[:, None]
        found, wanted = form(losses[step], G[step]), slow(losses[step], G[step])
        np.testing.assert_allclose(found / size, wanted / size, rtol=1e-6, atol=1e-9)


def test_equal_and_opposed_gradients_are_no_trouble():
    one, other = np.array([3.0, 4.0]), np.array([-6.0, -8.0])
    G = np.array([[one, one], [one, -one], [one, other]])
    losses = np.ones((3, 2))
    for name in ("mgda", "pcgrad", "imtl-g", "nash-mtl", "fairgrad", "aligned-mtl", "cagrad, none"):
        found = together(new(RULES[name], 3))(losses, G)
        wanted = _each(new(RULES[name], 3))(losses, G)
        np.testing.assert_allclose(found, wanted, atol=1e-5, err_msg=name)


def test_walks_by_closed_forms_are_those_of_the_rules():
    # not from (0, 0): on the axis of symmetry Adam makes large steps of what is mere rounding
    starts = [start for start in STARTS if start != (0.0, 0.0)] + [(0.3, 0.1)]
    options = {"starts": starts, "steps": 60, "learning_rate": 0.05}
    quick, slow = walk(RULES, **options), walk(RULES, **options, point_by_point=True)
    for name in RULES:
        np.testing.assert_allclose(quick[name], slow[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FairGrad(alpha=0.0),
        lambda: MGDA("l2"),
        lambda: NashMTL(rescale=False),
        lambda: AlignedMTL("mean"),
        type("OwnRule", (PCGrad,), {}),
    ],
)
def test_a_rule_without_a_closed_form_is_asked_itself(make):
    assert together(new(make, 3)) is None
    options = {"starts": [(9.0, 9.0), (0.0, 0.0)], "steps": 5}
    quick, slow = (
        walk({"own": make}, **options),
        walk({"own": make}, **options, point_by_point=True),
    )
    np.testing.assert_array_equal(quick["own"], slow["own"])

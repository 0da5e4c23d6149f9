"""Operations of a row, as counted and as computed on paper: gates and mixing are in it."""

from itertools import pairwise

import pytest
import torch

from mtlkit.models import (
    CGC,
    PLE,
    SHARING,
    STAR,
    AdaTT,
    CrossStitch,
    MMoE,
    OMoE,
    SharedBottom,
    SingleTask,
    flops_per_row,
    width_for,
)  # fmt: skip
from mtlkit.models.adapt.apg import GeneratedLinear
from mtlkit.schema import Dense, Schema, Task
from tests.models import registry

WIDTH, HIDDEN, TOWER, TASKS = 7, (6, 5), (4,), 3
SCHEMA = Schema(tuple(Task(f"t{n}") for n in range(TASKS)), dense=(Dense("x", WIDTH),))
SIZES = {"hidden": HIDDEN, "tower": TOWER}
EXPERT = 2 * (7 * 6 + 6 * 5)
TOWERS = TASKS * 2 * (5 * 4 + 4 * 1)


def mixing(experts):
    return 2 * experts * HIDDEN[-1]  # a product and a sum for each number of each expert


def gate(experts, inputs=WIDTH):
    return 2 * inputs * experts


PAPER = {
    "one network a task": (SingleTask, {}, TASKS * EXPERT + TOWERS),
    "shared bottom": (SharedBottom, {}, EXPERT + TOWERS),
    "cross-stitch": (CrossStitch, {}, TASKS * EXPERT + 2 * 9 * (6 + 5) + TOWERS),
    "omoe": (OMoE, {"experts": 3}, 3 * EXPERT + gate(3) + mixing(3) + TOWERS),
    "mmoe": (MMoE, {"experts": 3}, 3 * EXPERT + TASKS * (gate(3) + mixing(3)) + TOWERS),
    "cgc": (
        CGC,
        {"own_experts": 2, "shared_experts": 1},
        7 * EXPERT + TASKS * (gate(3) + mixing(3) + HIDDEN[-1]) + TOWERS,  # own plus shared
    ),
    "ple": (
        PLE,
        {"levels": 2, "own_experts": 1, "shared_experts": 1},
        4 * EXPERT + TASKS * (gate(2) + mixing(2) + 5) + gate(4) + mixing(4)
        + 4 * 2 * (5 * 6 + 6 * 5) + TASKS * (gate(2, 5) + mixing(2) + 5) + TOWERS,
    ),
    "adatt": (
        AdaTT,
        {"levels": 1, "experts": 1, "shared_modules": 1},
        4 * EXPERT + TASKS * (gate(4) + mixing(4) + 5) + TOWERS,  # plus the residual
    ),
}  # fmt: skip


def batch_of(rows: int):
    table = registry.table("article", rows)
    batch = table.batch(torch.arange(rows))
    batch.dense = torch.randn(rows, WIDTH)
    batch.labels, batch.observed = torch.zeros(rows, TASKS), torch.ones(rows, TASKS).bool()
    return batch


@pytest.mark.parametrize("case", PAPER)
@pytest.mark.parametrize("rows", [1, 13])
def test_the_count_is_that_on_paper_for_any_number_of_rows(case, rows):
    kind, options, operations = PAPER[case]
    assert flops_per_row(kind(SCHEMA, **SIZES, **options), batch_of(rows)) == operations


def cores_of_tasks(model):
    """The networks in the layers of single tasks that make weights, once a scenario."""
    layers = [m for t in model.schema.task_names for own in model.task_modules(t)
              for m in own.modules() if isinstance(m, GeneratedLinear)]  # fmt: skip
    return [layer.core for layer in layers]


@pytest.mark.parametrize("name", registry.EVERY)
def test_every_model_is_counted_and_left_as_it_was(name):
    model, batch = registry.make(name), registry.table(name).batch(torch.arange(17))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    found = flops_per_row(model, batch)
    inside = model.parameter_count()
    scenarios = model.schema.num_scenarios  # a row uses the numbers of one
    used = inside["tasks"] + inside["scenarios"] // scenarios
    for core in cores_of_tasks(model):  # APG's: used once a scenario, the unknown one included
        used -= sum(p.numel() for p in core.parameters()) * (1 - (scenarios + 1) / 17)
    assert found > used > 0  # each number of a tower is used once a row at least
    assert model.training and not any(p.grad is not None for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    model.eval()
    assert flops_per_row(model, batch) == found and not model.training


def test_an_expert_more_costs_an_expert_a_gate_column_and_its_mixing():
    counts = [flops_per_row(MMoE(SCHEMA, experts=n, **SIZES), batch_of(5)) for n in (1, 2, 3)]
    steps = [later - sooner for sooner, later in pairwise(counts)]
    assert steps == [EXPERT + TASKS * (gate(1) + mixing(1))] * 2


def test_a_batch_without_rows_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        flops_per_row(SharedBottom(SCHEMA, **SIZES), batch_of(0))


def test_the_models_of_the_paper_are_those_of_the_registry_that_read_a_row_once():
    assert {kind for kind, *_ in PAPER.values()} <= set(SHARING.values())


def test_width_for_finds_the_width_that_comes_nearest():
    def bottom(width):
        return SharedBottom(SCHEMA, hidden=(width,), tower=())

    per_unit, rest = WIDTH + 1 + TASKS, TASKS  # a unit's weights, its bias, its share of the heads
    for wanted in (1, 40, 1000, 12_345):
        best = min(range(1, 2000), key=lambda w: abs(w * per_unit + rest - wanted))
        assert width_for(bottom, wanted) == best
    with pytest.raises(ValueError, match="must use the width"):
        width_for(lambda width: bottom(3), 1000)


def test_width_for_makes_operations_equal_whatever_the_number_of_scenarios():
    from tests import tiny

    def made(width, scenarios, kind=STAR):
        more = {"auxiliary": ()} if kind is STAR else {}
        return kind(tiny.schema(scenarios=scenarios), hidden=(width,), tower=(), **more)

    found = {}
    for scenarios in (2, 12):
        batch = tiny.all_rows(tiny.table(tiny.schema(scenarios=scenarios), 2_000))
        goal = flops_per_row(made(40, scenarios, SharedBottom), batch)
        state = torch.random.get_rng_state()
        width = width_for(lambda w, s=scenarios: made(w, s), flops=goal, batch=batch)
        assert torch.equal(torch.random.get_rng_state(), state)
        sizes = [flops_per_row(made(w, scenarios), batch) for w in (width - 1, width, width + 1)]
        assert sizes[0] < goal < sizes[2] and 0 < width < 40
        found[scenarios] = width
    assert abs(found[12] - found[2]) <= 1  # 12 have six times the parameters
    for wrong in ({}, {"parameters": 9, "flops": 9, "batch": batch}, {"flops": 9}):
        with pytest.raises(ValueError, match="parameters, or else flops and a batch"):
            width_for(lambda w: made(w, 2), **wrong)


def test_width_for_counts_no_embedding_and_draws_no_number():
    from tests import tiny

    def made(width, dim):
        return MMoE(tiny.schema(), embedding_dim=dim, hidden=(width,))

    state = torch.random.get_rng_state()
    width = width_for(lambda w: made(w, 4), 3000)
    assert torch.equal(torch.random.get_rng_state(), state)
    count = made(width, 4).parameter_count()
    assert abs(count["total"] - count["embedding"] - 3000) < 100
    assert width == width_for(lambda w: made(w, 4), count["total"] - count["embedding"])

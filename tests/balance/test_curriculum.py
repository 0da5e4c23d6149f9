"""The curriculum: levels of losses that come in one after the other."""

import pytest
import torch

from mtlkit.balance import EVERY_BALANCER, Curriculum, TaskGradients
from mtlkit.models import SharedBottom
from mtlkit.schema import SchemaError
from mtlkit.train import fit, seeded
from tests import chains

LEVELS = [("click",), ("cart",), ("purchase", "return")]


def weights_over_epochs(balancer, epochs=5):
    rows = []
    for _ in range(epochs):
        rows.append(balancer.weights(torch.ones(5)).tolist())
        balancer.end_epoch(torch.ones(5))
    return rows


def test_levels_rise_in_straight_lines_one_after_the_other():
    balancer = Curriculum(LEVELS, start=1, length=2, floor=0.2).bind(chains.schema())
    click_cart_purchase = [row[:3] for row in weights_over_epochs(balancer, 7)]
    expected = [
        [1, 0.2, 0.2], [1, 0.2, 0.2], [1, 0.6, 0.2], [1, 1, 0.2], [1, 1, 0.6], [1, 1, 1], [1, 1, 1],
    ]  # fmt: skip
    torch.testing.assert_close(torch.tensor(click_cart_purchase), torch.tensor(expected))


def test_a_task_shares_its_levels_weight_and_one_without_a_level_keeps_1():
    balancer = Curriculum(LEVELS).bind(chains.schema())
    assert weights_over_epochs(balancer, 3) == [
        [1, 0, 0, 0, 1], [1, 1, 0, 0, 1], [1, 1, 1, 1, 1],
    ]  # fmt: skip


def test_with_fade_a_level_leaves_while_the_next_comes_in():
    balancer = Curriculum(LEVELS, length=2, fade=True).bind(chains.schema())
    rows = torch.tensor(weights_over_epochs(balancer, 6))[:, :3]
    expected = [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [0, 0, 1]]
    torch.testing.assert_close(rows, torch.tensor(expected))


def test_without_levels_they_follow_the_chain_of_given():
    balancer = Curriculum(floor=0.1).bind(chains.schema("return", "click", "cart", "purchase"))
    assert balancer.weights(torch.ones(4)).tolist() == pytest.approx([0.1, 1, 0.1, 0.1])
    balancer.end_epoch(torch.ones(4))
    assert balancer.weights(torch.ones(4)).tolist() == pytest.approx([0.1, 1, 1, 1])
    assert balancer.level_weights(0.5) == pytest.approx([1, 0.55, 0.1])


def test_time_may_count_steps_and_is_remembered():
    balancer = Curriculum(LEVELS, length=4, every="step").bind(chains.schema())
    seen = [balancer.weights(torch.ones(5))[1].item() for _ in range(3)]
    assert seen == [0, 0.25, 0.5]
    twin = Curriculum(LEVELS, length=4, every="step").bind(chains.schema())
    twin.load_state_dict(balancer.state_dict())
    assert twin.weights(torch.ones(5))[1].item() == 0.75


def test_a_task_without_a_label_in_the_batch_has_weight_0():
    balancer = Curriculum(LEVELS).bind(chains.schema())
    assert balancer.weights(torch.tensor([1.0, 1, 1, 1, 0])).tolist() == [1, 0, 0, 0, 0]


def test_a_level_that_has_not_come_in_does_not_train():
    table = chains.table(chains.schema(), 40)
    with seeded(0):
        model = SharedBottom(table.schema, **chains.SIZES)
    before = [p.detach().clone() for p in model.task_parameters("return")]
    click = [p.detach().clone() for p in model.task_parameters("click")]
    fit(model, table, epochs=2, balancer=Curriculum(LEVELS), batch_size=20, progress=False)
    after = model.task_parameters("return")
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert not torch.equal(model.task_parameters("click")[0], click[0])


def own(name):
    """A rule by its short name, with what it needs for tiny chains."""
    kind = EVERY_BALANCER[name]
    needs = {"fixed": ({"click": 2.0},), "schedule": ({"click": (2.0, 0.9)},)}
    return kind("click") if name == "metabalance" else kind(*needs.get(name, ()))


@pytest.mark.parametrize("name", EVERY_BALANCER)
def test_every_balancer_works_inside_a_curriculum(name):
    table = chains.table(chains.schema(), 40)
    with seeded(0):
        model = SharedBottom(table.schema, **chains.SIZES)
    before = [p.detach().clone() for p in model.shared_parameters()]
    balancer = Curriculum(LEVELS, every="step", length=2, balancer=own(name))
    fit(model, table, epochs=2, balancer=balancer, batch_size=20, progress=False, device="cpu")
    assert balancer.time == 4
    assert all(p.isfinite().all() for p in model.parameters())
    assert any(
        not torch.equal(p, b) for p, b in zip(model.shared_parameters(), before, strict=True)
    )


def test_the_inner_rule_sees_scaled_losses_and_its_weights_are_scaled():
    schema, losses = chains.schema(), torch.tensor([0.5, 0.25, 0.2, 0.1, 2.0])
    outer = Curriculum(LEVELS, start=0, length=2, floor=0.5, balancer=EVERY_BALANCER["log-sum"]())
    outer.bind(schema)
    scale = torch.tensor([1, 0.5, 0.5, 0.5, 1])
    # log-sum has w = 1 / L: of the loss s L the weight is 1 / (s L), and s times that is 1 / L
    torch.testing.assert_close(outer.weights(losses), 1 / losses)
    fixed = Curriculum(LEVELS, floor=0.5, balancer=own("fixed")).bind(schema)
    torch.testing.assert_close(fixed.weights(losses), scale * torch.tensor([2.0, 1, 1, 1, 1]))


@pytest.mark.parametrize("name", ["mgda", "pcgrad", "upgrad", "graddrop", "sdmgrad"])
def test_the_inner_rule_combines_scaled_gradients(name):
    matrix = torch.randn(5, 7)
    scale = torch.tensor([1, 0.5, 0.25, 0.25, 1])
    losses, halves = torch.rand(5) + 0.1, (matrix + 0.1, matrix - 0.1)
    levels = [("click",), ("cart",), ("purchase", "return")]
    outer = Curriculum(levels, floor=0.25, length=3, balancer=own(name)).bind(chains.schema())
    outer.end_epoch(torch.full((5,), torch.nan))  # a third of the way for cart: 1/4 + 3/4 * 1/3
    outer_step = outer.combine(losses, TaskGradients(matrix, {"a": slice(0, 7)}, 7, halves))
    scaled = scale.unsqueeze(1) * matrix
    parts = tuple(scale.unsqueeze(1) * half for half in halves)
    plain = own(name).bind(chains.schema())
    expected = plain.combine(scale * losses, TaskGradients(scaled, {"a": slice(0, 7)}, 7, parts))
    torch.testing.assert_close(outer_step, expected)


@pytest.mark.parametrize("name", ["famo", "dwa"])
def test_the_inner_rule_hears_of_the_step_and_of_the_epochs_end_in_scaled_losses(name):
    levels = [("click",), ("cart",), ("purchase", "return")]
    outer = Curriculum(levels, floor=0.5, length=4, balancer=own(name)).bind(chains.schema())
    plain = own(name).bind(chains.schema())
    for epoch in range(4):
        cart, later = 0.5 + 0.125 * epoch, 0.5
        scale = torch.tensor([1, cart, later, later, 1], dtype=torch.float64)
        for _ in range(2):
            before, after = torch.rand(2, 5, dtype=torch.float64) + 0.1
            expected = scale * plain.weights(scale * before)
            torch.testing.assert_close(outer.weights(before), expected)
            outer.after_step(after)
            plain.after_step(scale * after)
        mean = torch.rand(5, dtype=torch.float64)
        outer.end_epoch(mean)
        plain.end_epoch(scale * mean)


def test_a_run_inside_a_curriculum_is_resumed_exactly(tmp_path):
    table = chains.table(chains.schema(), 40)
    options = {"epochs": 2, "batch_size": 10, "progress": False, "device": "cpu"}
    options["schedule"] = "constant"  # the first run is a part of the second
    ends = []
    for steps in (None, 5):
        with seeded(0):
            model = SharedBottom(table.schema, **chains.SIZES)
        path = tmp_path / f"{steps}.pt"
        if steps is not None:
            fit(
                model, table, balancer=Curriculum(LEVELS, floor=0.1, balancer=own("famo")),
                checkpoint=path, max_steps=steps, **options,
            )  # fmt: skip
        fit(
            model, table, balancer=Curriculum(LEVELS, floor=0.1, balancer=own("famo")),
            checkpoint=path, resume=True, **options,
        )  # fmt: skip
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*ends)


@pytest.mark.parametrize(
    "options",
    [{"every": "day"}, {"length": 0}, {"start": -1}, {"floor": 2}, {"levels": []},
     {"levels": [("click",), ("click",)]}],
)  # fmt: skip
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError):
        Curriculum(**options)


def test_an_unknown_task_and_a_missing_schema_are_named():
    with pytest.raises(SchemaError, match="'sale'"):
        Curriculum([("click",), ("sale",)]).bind(chains.schema())
    with pytest.raises(RuntimeError, match="bind"):
        Curriculum().weights(torch.ones(5))

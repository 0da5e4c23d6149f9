"""The curriculum: levels of losses that come in one after the other."""

import pytest
import torch

from mtlkit.balance import Curriculum
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

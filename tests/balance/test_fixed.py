import math

import pytest
import torch

from mtlkit.balance import EqualWeights, FixedWeights
from mtlkit.schema import Schema, SchemaError, Task

SCHEMA = Schema((Task("click"), Task("cart", weight=0.5), Task("purchase", weight=4.0)))


def test_equal_weights_are_one_and_detached():
    losses = torch.rand(3, requires_grad=True)
    weights = EqualWeights().weights(losses)
    assert weights.tolist() == [1.0, 1.0, 1.0]
    assert not weights.requires_grad
    assert not EqualWeights().needs_gramian


def test_fixed_weights_follow_the_order_of_tasks_and_default_to_one():
    balancer = FixedWeights({"purchase": 3, "click": 0.25}).bind(SCHEMA)
    losses = torch.rand(3, dtype=torch.float64, requires_grad=True)
    weights = balancer.weights(losses)
    assert weights.tolist() == [0.25, 1.0, 3.0]
    assert weights.dtype == losses.dtype and not weights.requires_grad
    (weights * losses).sum().backward()
    assert losses.grad.tolist() == [0.25, 1.0, 3.0]


def test_weights_of_the_schema_are_the_default():
    assert FixedWeights.from_schema(SCHEMA).weights(torch.rand(3)).tolist() == [1.0, 0.5, 4.0]


def test_state_survives_a_round_trip():
    saved = FixedWeights({"click": 2.0}).bind(SCHEMA).state_dict()
    restored = FixedWeights({}).bind(SCHEMA)
    restored.load_state_dict(saved)
    assert restored.weights(torch.rand(3)).tolist() == [2.0, 1.0, 1.0]


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_impossible_weight_is_refused_by_name(weight):
    with pytest.raises(ValueError, match="cart"):
        FixedWeights({"cart": weight})


def test_unknown_task_and_missing_order_are_refused():
    with pytest.raises(SchemaError, match="return"):
        FixedWeights({"return": 1.0}).bind(SCHEMA)
    with pytest.raises(RuntimeError, match="bind"):
        FixedWeights({"click": 1.0}).weights(torch.rand(3))

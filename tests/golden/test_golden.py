"""The numbers that must not move: see golden.py; a change that means to move one freezes anew."""

import json

import pytest
import torch

from tests.golden import golden

STORED = json.loads(golden.VALUES.read_text(encoding="utf-8"))
TOLERANCE = 1e-4  # ten steps on another processor differ in their last digits


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("part", "compute"),
    [
        ("shop", lambda: golden.shop_values() | golden.schema_values()),
        ("weights", golden.model_values),
        ("training", golden.training_values),
        ("training as practised", golden.practised_values),
    ],
)
def test_what_is_frozen_has_not_moved(part, compute):
    assert golden.differences({part: compute()}, {part: STORED[part]}, TOLERANCE) == []


def test_the_freeze_covers_every_balancer_architecture_and_pooling():
    frozen = {name.split(":")[0] for name in STORED["training"]}
    assert set(golden.EVERY_BALANCER) <= frozen
    assert set(golden.factories(golden.tiny_shop().schema)) <= frozen
    assert {f"pooling {name}" for name in golden.POOLINGS} <= frozen


def test_a_moved_number_is_told_by_name():
    stored = {"training": {"equal: ten steps": [1.0, 2.0]}}
    found = {"training": {"equal: ten steps": [1.0, 2.001]}}
    assert golden.differences(found, stored, TOLERANCE) == [
        "training: equal: ten steps: [1.0, 2.0] -> [1.0, 2.001]"
    ]
    assert golden.differences(stored, stored, 0.0) == []

"""Which precision "auto" chooses, on processors that this machine need not be."""

import pytest
import torch

from mtlkit.models import MMoE, ScenarioTowers
from mtlkit.train import device, fit
from tests import tiny

CPU = torch.device("cpu")


@pytest.fixture
def processor(monkeypatch):
    """Give the CPU these instructions, and a layer this gain; counts the measurements."""
    asked = []

    def pretend(*, tiles=False, bfloat16=False, gain=1.0):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16, raising=False)
        monkeypatch.setattr(device, "bfloat16_gain", lambda: asked.append(gain) or gain)
        monkeypatch.setattr(device, "_measured", [])
        return asked

    return pretend


@pytest.mark.parametrize(
    ("instructions", "fast", "measured"),
    [
        ({}, False, 0),
        ({"gain": 3.0}, False, 0),
        ({"tiles": True, "gain": 0.5}, True, 0),
        ({"bfloat16": True, "gain": 1.1}, False, 1),
        ({"bfloat16": True, "gain": 1.3}, True, 1),
    ],
)
def test_a_cpu_with_bfloat16_products_is_asked_once_and_others_never(
    processor, instructions, fast, measured
):
    asked = processor(**instructions)
    assert [device.has_fast_bfloat16(CPU) for _ in range(3)] == [fast] * 3
    assert len(asked) == measured


def test_auto_follows_the_measurement_where_products_outweigh_conversions(processor):
    small, large = MMoE(tiny.schema(), hidden=(16,)), MMoE(tiny.schema(), hidden=(512, 512))
    for gain, expected in ((1.3, "bf16"), (1.1, "fp32")):
        processor(bfloat16=True, gain=gain)
        assert device.choose_precision("auto", CPU, large, 2048) == expected
        assert device.choose_precision("auto", CPU, small, 2048) == "fp32"


def test_auto_counts_the_products_of_one_scenario(processor):
    processor(tiles=True)
    one, many = (tiny.schema(scenarios=number) for number in (2, 40))
    for schema in (one, many):  # 40 scenarios have twenty times the weights of 2, a row has not
        model = ScenarioTowers(schema, hidden=(16,), tower=(32, 32))
        assert device.choose_precision("auto", CPU, model, 2048) == "fp32"
    large = ScenarioTowers(one, hidden=(512, 512))
    assert device.choose_precision("auto", CPU, large, 2048) == "bf16"


def test_another_process_s_answer_is_not_measured_again(processor):
    asked = processor(bfloat16=True, gain=1.3)
    device.remember_fast_bfloat16(False)
    assert not device.has_fast_bfloat16(CPU) and asked == []


def test_the_gain_is_a_ratio_and_leaves_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert 0 < device.bfloat16_gain(repeats=1) < 20
    assert torch.equal(torch.rand(1), expected)


def test_a_resumed_run_keeps_the_precision_that_auto_chose_before(tmp_path, monkeypatch):
    table = tiny.learnable(200)
    options = {"checkpoint": tmp_path / "run.pt", "resume": True, "progress": False}
    options |= {"batch_size": 50, "device": "cpu", "schedule": "constant"}
    for epochs, answer in ((1, "bf16"), (2, "fp32")):
        monkeypatch.setattr(
            "mtlkit.train.loop.choose_precision",
            lambda precision, *_, answer=answer: answer if precision == "auto" else precision,
        )
        history = fit(MMoE(table.schema), table, epochs=epochs, **options)
    assert history.steps == 8

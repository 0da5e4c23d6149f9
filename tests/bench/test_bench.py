import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mtlkit.bench import (
    balancing,
    commands,
    comparing,
    optimizers,
    replicas,
    scenarios,
    sequences,
    training,
)
from mtlkit.bench.training import BATCH, PlainMMoE, make_data, measure_training
from mtlkit.layers import POOLINGS
from mtlkit.models import MMoE
from tests import tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data():
    return make_data(600)


def ours(schema):
    return MMoE(schema, embedding_dim=16, experts=4, hidden=(128, 64), tower=(32,))


def copy_plain_into(model, plain):
    model.embedding.table.data = torch.cat([e.weight.data for e in plain.embeddings])
    for e, expert in enumerate(plain.experts):
        for layer, linear in enumerate(m for m in expert if isinstance(m, nn.Linear)):
            model.experts.weights[layer].data[e] = linear.weight.data.T
            model.experts.biases[layer].data[e, 0] = linear.bias.data
    for gate, tower, own_gate, own_tower in zip(
        plain.gates, plain.towers, model.gates, model.towers, strict=True
    ):
        own_gate.linear.load_state_dict(gate.state_dict())
        own_tower.load_state_dict(tower.state_dict())


def test_the_plain_loop_trains_the_same_model(data):
    plain, model = PlainMMoE(), ours(data.schema)
    copy_plain_into(model, plain)
    batch = tiny.all_rows(data)
    logits = model(batch)
    expected = plain(batch.categorical, batch.dense)
    torch.testing.assert_close(
        torch.stack(list(logits.values()), 1), expected, rtol=1e-4, atol=1e-5
    )
    count = sum(p.numel() for p in plain.parameters())
    assert model.parameter_count()["total"] == count
    assert model.parameter_count()["embedding"] == 207_000 * 16


def test_the_two_models_start_equally_large(data):
    plain, model = PlainMMoE(), ours(data.schema)
    sizes = {
        "table": (plain.embeddings[0].weight, model.embedding.table),
        "first layer": (plain.experts[0][0].weight, model.experts.weights[0]),
        "second layer": (plain.experts[0][2].weight, model.experts.weights[1]),
        "gate": (plain.gates[0].weight, model.gates[0].linear.weight),
        "tower": (plain.towers[0][0].weight, model.towers[0][0].weight),
    }
    for name, (a, b) in sizes.items():
        assert b.std().item() == pytest.approx(a.std().item(), rel=0.15), name


def test_operations_equal_those_that_torch_counts(data):
    plain = PlainMMoE()
    counter = FlopCounterMode(display=False)
    with counter:
        plain(data.categorical, data.dense).sum().backward()
    # the gradient with respect to the dense columns is not needed, but comes with the block
    assert counter.get_total_flops() == len(data) * training.operations_per_sample()


def test_data_has_the_workload_s_shape_and_a_signal(data):
    assert sum(c.size for c in data.schema.categorical) == 207_000
    assert len(data.schema.categorical) == 16 and data.schema.dense_width == 8
    assert BATCH == 2048
    many = make_data(20_000)
    best = (
        many.dense @ torch.linalg.lstsq(many.dense, many.labels[:, 0] - many.labels[:, 0].mean())[0]
    )
    assert torch.corrcoef(torch.stack([best, many.labels[:, 0]]))[0, 1] > 0.1
    assert 0.1 < many.labels.mean() < 0.5
    assert torch.equal(make_data(600).labels, data.labels)


def test_measure_training_compares_every_program_with_the_plain_loop():
    result = measure_training(rows=2000, rounds=1)
    assert result["plain loop"]["times plain loop"] == 1
    assert {"fit, adam, fp32", "fit, lazy_adam, fp32"} <= set(result)
    for name, values in result.items():
        if name.startswith("fit"):
            assert values["samples/s"] > 0 and 0 < values["AUC click"] < 1
            ratio = values["samples/s"] / result["plain loop"]["samples/s"]
            assert values["times plain loop"] == pytest.approx(ratio)
    assert json.loads(json.dumps(result)) == result


def test_what_fit_is_measured_at_is_the_bare_loop_to_the_last_bit():
    train, validation = make_data(5_000), make_data(500, seed=2)
    _, ours = training.train_ours(train, validation, 3, optimizer="adam", precision="fp32")
    _, bare = training.train_bare(train, validation, 3, precision="fp32")
    assert ours == bare


def test_measure_import_subtracts_the_time_of_torch(monkeypatch):
    times = {"import torch": 1.0, "import torch, mtlkit": 1.25}
    monkeypatch.setattr(commands, "_seconds_of", lambda program: times.get(program, 1.5))
    result = commands.measure_import(rounds=2)
    assert result["beyond torch, seconds"]["torch, then mtlkit"] == pytest.approx(0.25)


def test_seconds_of_runs_the_program_in_another_process():
    assert commands._seconds_of("import time; time.sleep(0.2)") >= 0.2
    with pytest.raises(subprocess.CalledProcessError):
        commands._seconds_of("import no_such_module")


def test_market_is_measured_in_a_process_of_its_own(capsys):
    assert commands.main(["market", "--rows", "2000", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["rows"] == 2000
    assert result["peak memory, megabytes"] > result["table, megabytes"] > 0
    assert result["rows a second"] == pytest.approx(2000 / result["seconds for the rows"])


def test_table_shows_every_value():
    text = commands.as_table(
        {"rows": 3, "speed": {"samples/s": 12345.6, "ratio": 2.345678, "n": 2}}
    )
    assert text.splitlines() == [
        "rows   3", "speed", "  samples/s  12,346", "  ratio      2.346", "  n          2",
    ]  # fmt: skip
    assert commands.as_table({"speed": {"times": 2.0, "ms": 1e3}}) == "speed  2 times, 1,000 ms"


def test_command_line_lists_the_benchmarks():
    done = subprocess.run(
        [sys.executable, "-m", "mtlkit.bench", "--help"],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=True, timeout=120,
    )  # fmt: skip
    names = ["training", "balance", "optimizers", "compare", "import", "market", "replicas"]
    for name in [*names, "scenarios", "sequences"]:
        assert name in done.stdout


def test_every_step_of_balancing_is_compared_with_one_of_equal_weighting(monkeypatch):
    chosen = ("equal", "uw", "famo", "gradnorm", "pcgrad", "metabalance")
    kinds = {name: balancing.EVERY_BALANCER[name] for name in chosen}
    monkeypatch.setattr(balancing, "EVERY_BALANCER", kinds)
    monkeypatch.setattr(balancing, "BATCH", 16)
    result = balancing.measure_steps(tasks=3, steps=2)
    places = {"pcgrad, representation", "metabalance, representation"}
    assert set(result) == {*chosen, *places}
    assert all(v > 0 for row in result.values() for v in row.values())
    text = commands.as_table({"3 tasks": result})
    assert "times equal weighting" in text and len(text.splitlines()) == 1 + len(result)


def test_optimizers_are_compared_on_tables_of_growing_size():
    result = optimizers.measure_optimizers(steps=1, largest=30_000)
    assert list(result) == ["10,000 rows", "30,000 rows"]
    small, large = (row["rows touched by a batch"] for row in result.values())
    assert 1000 < small < large < 30_000
    for row in result.values():
        ratio = row["lazy_adam, milliseconds"] / row["adam, milliseconds"]
        assert row["lazy_adam, times adam"] == pytest.approx(ratio)


def test_a_step_of_several_networks_is_compared_with_one_of_one(capsys):
    arguments = ["replicas", "--count", "3", "--batch", "4", "8", "--steps", "2", "--device", "cpu"]
    assert commands.main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["replicas"], result["device"]) == (3, "cpu")
    for batch in ("batch 4", "batch 8"):
        row = result[batch]
        ratio = row["all, milliseconds"] / row["one, milliseconds"]
        assert row["solo steps"] == pytest.approx(ratio) and ratio > 0
        ratio = row["all, milliseconds"] / row["plain loop, milliseconds"]
        assert row["plain steps"] == pytest.approx(ratio)


def test_the_plain_network_is_the_one_that_is_stacked():
    model, plain = replicas.network(replicas.SCHEMA), replicas.PlainNetwork()
    with torch.no_grad():
        for n, expert in enumerate(plain.experts):
            model.experts.weights[0][n], model.experts.biases[0][n] = expert.weight.T, expert.bias
        for own, gate in zip(model.gates, plain.gates, strict=True):
            own.linear.load_state_dict(gate.state_dict())
        for own, tower in zip(model.towers, plain.towers, strict=True):
            own.load_state_dict(tower.state_dict())
    batch = replicas._batch(9, torch.device("cpu"))
    outputs, logits = plain(batch), model(batch)
    torch.testing.assert_close(torch.stack(list(logits.values()), 1), outputs)
    torch.testing.assert_close(model.losses(logits, batch), plain.losses(outputs, batch))


def test_layers_of_scenarios_are_compared_by_form_and_number(capsys):
    arguments = ["scenarios", "--numbers", "2", "5", "--batch", "64", "--steps", "1"]
    assert commands.main([*arguments, "--json", "--memory", "20"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["rows"], result["layers"]) == (64, "256 x 128 x 64")
    for kind, own in (("STAR", 257 * 128 + 129 * 64), ("adapters of rank 8", 8 * (384 + 192))):
        few, _ = rows = [result[kind][f"{n} scenarios"] for n in (2, 5)]
        for row in rows:
            one = row["segments"]
            assert row["parameters a scenario"] == own
            ratio = one["milliseconds"] / few["segments"]["milliseconds"]
            assert one["times 2 scenarios"] == pytest.approx(ratio) and ratio > 0
            naive = row["all, then masked"]
            ratio = naive["milliseconds"] / one["milliseconds"]
            assert naive["times segments"] == pytest.approx(ratio) and ratio > 0
            assert all(kept > 0 for kept in row["kept, megabytes"].values())
    # 64 rows times 41,152 numbers, in three copies of four bytes
    star = result["STAR"]["2 scenarios"]
    assert star["gathered a row"] == "left out: about 32 megabytes, more than 20"
    assert "gathered a row" not in star["kept, megabytes"]
    assert result["adapters of rank 8"]["2 scenarios"]["gathered a row"]["milliseconds"] > 0


def test_poolings_are_compared_by_form_and_by_events(capsys, monkeypatch):
    monkeypatch.setattr(sequences, "LONGEST", 12)
    arguments = ["sequences", "--rows", "60", "--steps", "1", "--numbers", "50", "100", "--json"]
    assert commands.main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["places when padded"] == 60 * 12 > result["events"] >= 24
    assert set(result["skewed"]) == set(result["by events"]) == set(POOLINGS)
    for name, row in result["skewed"].items():
        assert list(row) == list(sequences.FORMS)
        for form in list(row)[1:]:
            ratio = row[form]["milliseconds"] / row["ragged"]["milliseconds"]
            assert row[form]["times ragged"] == pytest.approx(ratio) and ratio > 0
        few, more = result["by events"][name].values()
        assert few["times"] == 1
        assert more["times"] == pytest.approx(more["milliseconds"] / few["milliseconds"])


@pytest.mark.parametrize("name", POOLINGS)
def test_forms_of_poolings_compute_the_same(name):
    pool = POOLINGS[name](4, ("user",), 7).double()
    rows, fields = torch.randn(21, 4).double(), torch.randn(3, 1, 4).double()
    offsets = torch.tensor([0, 7, 14, 21])  # equally long, so that padding adds no event
    ragged, padded, alone = (form(pool, rows, offsets, fields)
                             for form in sequences.FORMS.values())  # fmt: skip
    torch.testing.assert_close(padded, ragged)
    torch.testing.assert_close(alone, ragged)


def test_the_three_forms_compute_the_same():
    scenario = torch.tensor([3, 0, 3, 2, 0, 0])
    for model in (scenarios.Star(4, 5, (4, 3)), scenarios.LowRank(4, 5, (4, 3), 2)):
        model.double()
        x = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
        found = []
        for form in scenarios.FORMS.values():
            y = form(model, x, scenario, 4)
            found.append([y, *torch.autograd.grad(y.square().sum(), [x, *model.parameters()])])
        torch.testing.assert_close(found[1], found[0])
        torch.testing.assert_close(found[2], found[0])


@pytest.mark.slow
def test_a_comparison_is_timed_in_one_process_and_in_two():
    result = comparing.measure_comparing(2_000, rounds=1, jobs=2, seeds=1)
    assert result["same numbers"] and result["runs"] == result["processes"] == 2
    for name, ratio in result["times as fast"].items():
        quotient = result["seconds"]["one process"] / result["seconds"][name]
        assert ratio == pytest.approx(quotient)

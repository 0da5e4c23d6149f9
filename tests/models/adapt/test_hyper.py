"""What all models with generated or masked layers promise, whatever their equations."""

import pytest
import torch

from mtlkit.data import Table
from mtlkit.models import ESMM, SHARING, Link
from mtlkit.schema import SchemaError
from tests import tiny
from tests.models import registry
from tests.models.adapt.hyper import SIZES, batch_of, make, table_of

READS_SCENARIO = [
    ("apg", {}), ("apg", {"rows": True}), ("hamur", {}), ("hamur", {"rows": False}),
    *(("adasparse", {"form": form}) for form in ("binary", "scaling", "fusion")), ("m2m", {}),
]  # fmt: skip
CASES = [*READS_SCENARIO, ("adaptdhm", {"clusters": 2})]
AROUND = [case for case in CASES if case[0] != "m2m"]  # those that stand around any sharing model


@pytest.mark.parametrize(("name", "own"), CASES)
@pytest.mark.parametrize("scenarios", [2, 12])
def test_at_evaluation_rows_keep_their_order_and_depend_on_no_other(name, own, scenarios):
    table, model = table_of(scenarios), make(name, scenarios, **own).eval()
    whole = model(tiny.all_rows(table))
    order = torch.randperm(len(table))
    mixed = model(table.batch(order))
    for row in range(len(table)):
        alone = model(table.batch(torch.tensor([row])))
        for task, logits in whole.items():
            torch.testing.assert_close(alone[task][0], logits[row], rtol=1e-9, atol=1e-11)
    for task, logits in whole.items():
        torch.testing.assert_close(mixed[task], logits[order], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("name", "own"), READS_SCENARIO)
def test_batches_without_a_scenario_train_and_give_it_no_gradient(name, own):
    table, model = table_of(), make(name, **own)
    table.scenario[table.scenario == 1] = 0
    for rows in (torch.arange(len(table)), torch.tensor([0]), torch.tensor([1])):
        batch = table.batch(rows)
        model.zero_grad()
        model.losses(model(batch), batch).sum().backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        for module in model.modules():
            for stacked in getattr(module, "stacked", ()):
                assert getattr(module, stacked).grad[1].abs().sum() == 0


@pytest.mark.parametrize(("name", "own"), CASES)
@pytest.mark.parametrize("start", [True, False])
def test_every_parameter_has_a_gradient_and_changes_the_outputs(name, own, start):
    batch, model = batch_of(rows=60), make(name, start=start, **own)
    if start:  # one step first: what is silent at the start learns by then
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        model.losses(model(batch), batch).sum().backward()
        optimizer.step()
        model.zero_grad()
    model.losses(model(batch), batch).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert without == []
    model.eval()
    before = model(batch)
    for key, p in model.named_parameters():
        kept = p.detach().clone()
        with torch.no_grad():
            p += 0.3 * torch.randn_like(p)
            after = model(batch)
            p.copy_(kept)
        assert any(not torch.equal(after[task], before[task]) for task in before), key


@pytest.mark.parametrize(("name", "own"), READS_SCENARIO)
def test_the_scenario_is_read_and_the_unknown_one_trains_no_other(name, own):
    table, model = table_of(), make(name, **own).eval()
    logits = []
    for scenario in range(4):
        table.scenario[:] = scenario
        logits.append(model(tiny.all_rows(table))["click"])
    for one in range(4):
        for other in range(one):
            assert not torch.allclose(logits[one], logits[other])
    model.train()
    batch = tiny.all_rows(table)  # all unknown
    model.losses(model(batch), batch).sum().backward()
    for module in model.modules():
        for stacked in getattr(module, "stacked", ()):
            assert getattr(module, stacked).grad.abs().sum() == 0


@pytest.mark.parametrize(("name", "own"), READS_SCENARIO)
def test_a_new_scenario_starts_as_the_unknown_one_and_learns_alone(name, own):
    table, model = table_of(), make(name, **own).eval()
    grown = model.extend(scenario="ads")
    larger = model.schema.extend(scenario="ads")
    columns = table._columns() | {"scenario": table.scenario.clone()}
    columns["scenario"][::5] = larger.unknown_scenario
    columns["scenario"][::10] = larger.scenario_index("ads")
    batch = tiny.all_rows(Table(larger, **columns | {"dense": table.dense.float()}))
    batch.dense = table.dense
    before = model(tiny.all_rows(table))
    for task, logits in grown(batch).items():
        assert torch.equal(logits, before[task])
    assert all(p.shape[0] == 3 for m in model.modules() for p in own_values(m))
    assert all(p.shape[0] == 4 for m in grown.modules() for p in own_values(m))
    batch.scenario[:] = larger.scenario_index("ads")
    grown.train()
    grown.losses(grown(batch), batch).sum().backward()
    for module in grown.modules():
        for values in own_values(module):
            assert values.grad[:3].abs().sum() == 0 and values.grad[3].abs().sum() > 0
    with pytest.raises(SchemaError):
        model.extend(scenario="place 0")


def own_values(module):
    """Parameters of single scenarios."""
    return [getattr(module, stacked) for stacked in getattr(module, "stacked", ())]


@pytest.mark.parametrize("network", [n for n in SHARING if n != "article"])
@pytest.mark.parametrize(("name", "own"), AROUND)
def test_they_stand_around_any_sharing_model(name, own, network):
    batch, model = batch_of(), make(name, network=network, **own)
    model.losses(model(batch), batch).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters()) or (
        network == "stem"  # its gates of other tasks have a gradient from some tasks alone
    )


@pytest.mark.parametrize(("name", "own"), CASES)
def test_a_link_stands_around_them(name, own):
    def inside(schema):
        return type(make(name, **own))(schema, **SIZES, **own)

    model = ESMM(registry.schema(), inside)
    assert isinstance(model, Link)
    batch = tiny.all_rows(registry.table())
    losses = model.losses(model(batch), batch)
    losses.sum().backward()
    assert losses.isfinite().all()
    assert all(p.grad is not None for p in model.parameters())

"""Runs with a sampler: resumed bit for bit, told apart, and never sampled where they are judged."""

import pytest
import torch

from mtlkit.data import (
    BalancedScenarios,
    DownsampledNegatives,
    HomogeneousBatches,
    Join,
    ShardedTable,
    write_shards,
)
from mtlkit.models import SharedBottom, Trees
from mtlkit.schema import SchemaError
from mtlkit.train import evaluate, fit, seeded
from mtlkit.train.checkpoint import CheckpointError
from mtlkit.train.row_prior import RowPrior
from tests import tiny

SAMPLERS = [HomogeneousBatches(), BalancedScenarios(0.3), DownsampledNegatives("click", 0.4)]
OPTIONS = {
    "epochs": 3, "batch_size": 16, "seed": 4, "device": "cpu", "progress": False,
    "learning_rate": 0.01, "schedule": "constant",
}  # fmt: skip


def table_of(rows=150, seed=0):
    schema = tiny.schema("click", "rating", scenarios=3)
    table = tiny.table(schema, rows, seed)
    table.scenario[rows // 10 :] = 0  # one head, two tails and an unknown one
    table.scenario[:5] = schema.unknown_scenario
    return table


def model_for(table, seed=0):
    with seeded(seed):
        return SharedBottom(table.schema, embedding_dim=3, hidden=(6,), tower=(4,), dropout=0.1)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("sampler", "accumulate"), [*((sampler, 1) for sampler in SAMPLERS), (SAMPLERS[1], 3)]
)
def test_a_run_resumes_bit_for_bit_within_an_epoch_and_between_two(tmp_path, sampler, accumulate):
    table, validation = table_of(), table_of(60, seed=1)
    options = OPTIONS | {"sampler": sampler, "accumulate": accumulate}
    whole = model_for(table)
    history = fit(whole, table, validation, **options)
    of_epoch = -(-sampler.over(table).batch_count(16) // accumulate)
    assert history.steps == 3 * of_epoch
    for steps in (of_epoch - 1, of_epoch, of_epoch + 2):
        file = tmp_path / f"{steps}.pt"
        fit(
            model_for(table), table, validation, max_steps=steps, checkpoint=file,
            checkpoint_every=1, **options,
        )  # fmt: skip
        again = model_for(table, seed=9)
        found = fit(again, table, validation, checkpoint=file, resume=True, **options)
        assert found.rows[-1]["train"] == history.rows[-1]["train"]
        assert found.rows[-1]["validation"] == history.rows[-1]["validation"]
        for name, value in weights(whole).items():
            assert torch.equal(value, again.state_dict()[name]), (steps, name)


def test_a_run_over_shards_with_negatives_left_out_resumes_bit_for_bit(tmp_path):
    write_shards(table_of(), tmp_path / "shards", rows_per_shard=40)
    table = ShardedTable(tmp_path / "shards")
    options = OPTIONS | {"sampler": SAMPLERS[2], "row_prior": None}
    whole, again = model_for(table), model_for(table, seed=9)
    fit(whole, table, **options)
    fit(model_for(table), table, max_steps=7, checkpoint=tmp_path / "run.pt", **options)
    fit(again, table, checkpoint=tmp_path / "run.pt", resume=True, **options)
    for name, value in weights(whole).items():
        assert torch.equal(value, again.state_dict()[name])


OTHERS = [
    (None, "its sampler is {'class': 'BalancedScenarios'.*here it is None"),
    (HomogeneousBatches(), "sampler class is 'BalancedScenarios', here it is 'HomogeneousB"),
    (BalancedScenarios(0.4), r"its sampler power is 0\.3, here it is 0\.4"),
]


@pytest.mark.parametrize(("other", "words"), OTHERS)
def test_a_checkpoint_of_a_run_with_another_sampler_is_refused(tmp_path, other, words):
    table, file = table_of(), tmp_path / "run.pt"
    options = OPTIONS | {"checkpoint": file}
    fit(model_for(table), table, max_steps=5, sampler=BalancedScenarios(0.3), **options)
    with pytest.raises(CheckpointError, match=words):
        fit(model_for(table), table, resume=True, sampler=other, **options)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
def test_validation_and_evaluation_read_every_row_once(sampler):
    table, validation = table_of(), table_of(60, seed=1)
    model = model_for(table)
    history = fit(model, table, validation, **OPTIONS | {"sampler": sampler, "epochs": 1})
    assert history.rows[0]["validation"] == evaluate(model, validation)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
def test_what_is_learned_is_what_the_sampler_gives(sampler):
    # a second way to the same weights: the batches by hand, in a loop of its own
    table = table_of()
    options = {"optimizer": "sgd", "row_prior": 0.3, "epochs": 2, "sampler": sampler}
    model, own = model_for(table), model_for(table)
    for m in (model, own):
        for part in m.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0  # its draws would be others
    fit(model, table, **OPTIONS | options)
    rule = torch.optim.SGD(own.parameters(), lr=0.01)
    prior = RowPrior(own.embeddings(), table, 0.3)  # paid by rows of the table as they are
    for epoch in range(2):
        for batch in sampler.over(table).batches(16, seed=4, epoch=epoch):
            rule.zero_grad()
            prior.forget()
            own.losses(own(batch), batch).sum().backward()
            prior.pull(len(batch))
            rule.step()
    for name, value in own.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_what_is_no_sampler_is_refused_by_name():
    table = table_of()
    for wrong, told in ((HomogeneousBatches, "HomogeneousBatches"), ("balanced", "'balanced'")):
        with pytest.raises(ValueError, match=rf"sampler must be a sampler, .* not {told}\."):
            fit(model_for(table), table, sampler=wrong, **OPTIONS)
    with pytest.raises(SchemaError, match="not of a Join"):
        join = Join({"a": table, "b": table_of(seed=2)})
        fit(SharedBottom(join.schema), join, sampler=SAMPLERS[0], **OPTIONS)
    plain = table.select_tasks(["click"])
    with pytest.raises(ValueError, match="takes no sampler: leave it out"):
        fit(Trees(plain.schema), plain, sampler=SAMPLERS[1])

"""The prior on embedding rows: the posterior mode it promises, and nothing for rows not read."""

import pytest
import torch

from mtlkit.models import MMoE, SharedBottom, SingleTask
from mtlkit.train import evaluate, fit, seeded
from mtlkit.train.row_prior import RowPrior, reads
from tests import tiny

SIZES = {"embedding_dim": 3, "hidden": (8,), "tower": ()}


def model_for(table, kind=SharedBottom, seed=0):
    with seeded(seed):
        return kind(table.schema, **SIZES)


def test_one_step_on_all_rows_is_a_step_on_the_posterior():
    table = tiny.table(tiny.schema("click", "dwell"), 60)
    table.observed[:] = True
    model, by_hand = model_for(table), model_for(table)
    options = {"optimizer": "sgd", "learning_rate": 0.1, "precision": "fp32", "device": "cpu"}
    fit(model, table, epochs=1, batch_size=60, row_prior=0.2, progress=False, **options)
    batch = tiny.all_rows(table)
    read = by_hand.embedding.ids(batch).unique()
    loss = by_hand.losses(by_hand(batch), batch).sum()
    ridge = by_hand.embedding.table[read].square().sum() / (2 * 0.2**2)
    total = loss + ridge / 60  # the sum over rows, divided by their number like the loss
    for p, g in zip(
        by_hand.parameters(), torch.autograd.grad(total, list(by_hand.parameters())), strict=True
    ):
        p.data -= 0.1 * g
    for a, b in zip(model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_the_instalments_of_an_epoch_add_up_to_the_whole_prior():
    table = tiny.table(tiny.schema(), 50)
    model = model_for(table)
    embedding = model.embedding
    prior = RowPrior([embedding], table, 0.3)
    total = torch.zeros_like(embedding.table)
    for batch in table.batches(8, shuffle=True, seed=1):
        embedding.table.grad = torch.zeros_like(embedding.table)
        prior.forget()
        embedding(batch)
        prior.pull(batch.rows)
        total += embedding.table.grad * batch.rows
    seen = reads([embedding], table)[0] > 0
    assert seen.any() and not seen.all()
    expected = torch.where(seen.unsqueeze(1), embedding.table / 0.3**2, 0.0)
    torch.testing.assert_close(total, expected)
    prior.close()
    assert embedding.noted is None


def test_reads_are_counted_as_a_loop_counts_them():
    table = tiny.table(tiny.schema(), 30)
    embedding = model_for(table).embedding
    slow = torch.zeros(len(embedding.table))
    for row in range(30):
        for i in embedding.ids(table.batch(torch.tensor([row]))).tolist():
            slow[i] += 1
    assert torch.equal(reads([embedding], table)[0], slow)


@pytest.mark.parametrize("kind", [SharedBottom, MMoE, SingleTask])
def test_sparse_and_dense_gradients_get_the_same_pull(kind):
    table = tiny.table(tiny.schema(), 64)
    found = []
    for optimizer, decay in (("sgd", 0.0), ("sgd", 1e-12)):  # sparse, dense
        model = model_for(table, kind)
        fit(
            model, table, epochs=2, batch_size=16, optimizer=optimizer, weight_decay=decay,
            learning_rate=0.05, row_prior=0.1, device="cpu", progress=False,
        )  # fmt: skip
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_ids_with_few_rows_are_held_back_and_frequent_ones_hardly():
    torch.manual_seed(0)
    table = tiny.learnable(4_000)
    users = torch.arange(4_000) // 2 % 11  # the field is made rare below
    table.categorical[:, 0] = users
    sizes = {}
    for prior in (None, 0.05):
        model = model_for(table)
        fit(model, table, epochs=3, batch_size=200, row_prior=prior, device="cpu", progress=False)
        rows = model.embedding.table.detach()
        sizes[prior] = rows.norm(dim=1)
    assert (sizes[0.05] < sizes[None]).all()


def test_a_prior_that_is_none_is_refused():
    table = tiny.table(tiny.schema("click"), 8)
    with pytest.raises(ValueError, match="row_prior must be above 0, not 0"):
        fit(model_for(table), table, row_prior=0.0, progress=False)


def test_resume_with_another_prior_is_refused_and_with_the_same_is_exact(tmp_path):
    table = tiny.table(tiny.schema(), 40)
    options = {"epochs": 2, "batch_size": 8, "device": "cpu", "progress": False, "row_prior": 0.1}
    options["schedule"] = "constant"  # the interrupted run is a part of the whole one
    whole = model_for(table)
    fit(whole, table, **options)
    file = tmp_path / "run.pt"
    fit(model_for(table), table, checkpoint=file, max_steps=3, **options)
    again = model_for(table, seed=4)
    with pytest.raises(ValueError, match=r"row_prior is 0\.1, here it is None"):
        fit(again, table, checkpoint=file, resume=True, **(options | {"row_prior": None}))
    fit(again, table, checkpoint=file, resume=True, **options)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert evaluate(whole, table) == evaluate(again, table)

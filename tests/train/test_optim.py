import pytest
import torch
from torch import nn

from mtlkit.models import SharedBottom, SingleTask
from mtlkit.train import fit, seeded
from mtlkit.train.optim import Optimizers, RowAdam, clip_gradients
from tests import tiny


def sparse_gradient(shape, rows, values):
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, shape, check_invariants=True)


def test_row_adam_equals_adam_while_every_step_touches_every_row():
    start = torch.randn(4, 3, dtype=torch.float64)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    a, b = RowAdam([ours], 0.01), torch.optim.Adam([theirs], 0.01)  # not fused: another code
    for step in range(20):
        gradient = torch.randn(4, 3, dtype=torch.float64)
        theirs.grad = gradient
        ours.grad = gradient if step % 2 else sparse_gradient((4, 3), [0, 1, 2, 3], gradient)
        a.step(), b.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_row_adam_equals_torch_s_sparse_adam_on_touched_rows():
    start = torch.randn(6, 3, dtype=torch.float64)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    a, b = RowAdam([ours], 0.01), torch.optim.SparseAdam([theirs], 0.01)
    for rows in ([0, 2], [2, 5], [2, 2], [4, 0]):  # a repeated id adds up
        values = torch.randn(2, 3, dtype=torch.float64)
        for p in (ours, theirs):
            p.grad = sparse_gradient((6, 3), rows, values)
        a.step(), b.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    assert torch.equal(ours[[1, 3]], start[[1, 3]])


def test_sgd_with_touched_rows_equals_dense_sgd_by_hand():
    table = tiny.learnable(rows=200)
    with seeded(0):
        model = SharedBottom(table.schema, embedding_dim=4, hidden=(8,), tower=())
    by_hand = SharedBottom(table.schema, embedding_dim=4, hidden=(8,), tower=())
    by_hand.load_state_dict(model.state_dict())
    fit(
        model, table, epochs=2, batch_size=50, optimizer="sgd", learning_rate=0.1,
        schedule="constant", row_prior=None, precision="fp32", progress=False, seed=7,
    )  # fmt: skip
    for epoch in range(2):
        for batch in table.batches(50, shuffle=True, seed=7, epoch=epoch):
            loss = by_hand.losses(by_hand(batch), batch).sum()
            gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
            with torch.no_grad():
                for p, g in zip(by_hand.parameters(), gradients, strict=True):
                    p -= 0.1 * g
    for (name, p), q in zip(model.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(p, q, msg=name)


@pytest.mark.parametrize("name", ["adam", "adamw", "lazy_adam", "sgd"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_every_optimizer_trains_every_model_and_gives_dense_gradients_back(name, decay):
    schema = tiny.schema()
    table = tiny.table(schema)
    model = SingleTask(schema, embedding_dim=4, hidden=(8,), tower=())
    before = [p.detach().clone() for p in model.parameters()]
    fit(model, table, epochs=1, optimizer=name, weight_decay=decay, progress=False)
    assert all(not torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
    assert not any(e.sparse_gradient for e in model.embeddings())


def test_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="adamw"):
        Optimizers("adagrad", SharedBottom(tiny.schema()), 1e-3)


def test_clipping_equals_torchs_and_counts_the_rows_of_sparse_gradients():
    def parameters(sparse):
        generator = torch.Generator().manual_seed(4)
        layer, table = nn.Parameter(torch.zeros(3, 2)), nn.Parameter(torch.zeros(5, 2))
        layer.grad = torch.randn(3, 2, generator=generator)
        rows = torch.randn(2, 2, generator=generator)
        whole = torch.sparse_coo_tensor(torch.tensor([[1, 4]]), rows, (5, 2), check_invariants=True)
        table.grad = whole.coalesce() if sparse else whole.to_dense()
        return [layer, table, nn.Parameter(torch.zeros(1))]  # the last one has no gradient

    for largest in (0.5, 100.0):
        expected = parameters(False)
        norm = torch.nn.utils.clip_grad_norm_(expected, largest)
        for sparse in (False, True):
            ours = parameters(sparse)
            torch.testing.assert_close(clip_gradients(ours, largest), norm)
            for a, b in zip(ours[:2], expected[:2], strict=True):
                torch.testing.assert_close(a.grad.to_dense(), b.grad, rtol=1e-5, atol=1e-7)

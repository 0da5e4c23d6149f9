import numpy as np
import pytest
import torch
from torch import nn

from mtlkit.layers import (
    MLP,
    ExpertBank,
    FieldEmbedding,
    Gate,
    Lookup,
    Towers,
    mix,
    sum_repeated,
)
from mtlkit.schema import Categorical, Schema
from tests import tiny


def slow_embedding(layer, schema, batch, pooling="mean"):
    """The same vector, row by row and field by field."""
    table = layer.table
    starts, start = {}, 0
    for field in schema.categorical:
        starts[field.name] = start
        start += field.size
    scenario_start = start
    start += schema.num_scenarios + 1 if layer.layout.with_scenario else 0
    for sequence in schema.sequences:
        if sequence.shares is None:
            starts[sequence.name] = start
            start += sequence.size
        else:
            starts[sequence.name] = starts[sequence.shares]
    assert len(table) == start
    rows = []
    for r in range(len(batch)):
        parts = [
            table[starts[f.name] + batch.categorical[r, c]]
            for c, f in enumerate(schema.categorical)
        ]
        if layer.layout.with_scenario:
            parts.append(table[scenario_start + batch.scenario[r]])
        for sequence in schema.sequences:
            values, offsets = batch.sequences[sequence.name]
            ids = values[offsets[r] : offsets[r + 1]]
            total = torch.zeros(layer.embedding_dim, dtype=table.dtype)
            for i in ids:
                total = total + table[starts[sequence.name] + i]
            if pooling == "mean" and len(ids) > 0:
                total = total / len(ids)
            parts.append(total)
        parts.append(batch.dense[r].to(table.dtype))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("scenario_field", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_field_embedding_equals_a_slow_loop_in_value_and_gradient(pooling, scenario_field, sparse):
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema, rows=15))
    layer = FieldEmbedding(schema, 3, pooling=pooling, scenario_field=scenario_field).double()
    layer.sparse_gradient = sparse
    x = layer(batch)
    expected = slow_embedding(layer, schema, batch, pooling)
    assert x.shape == (15, layer.width)
    torch.testing.assert_close(x, expected)
    weights = torch.randn_like(x)
    (slow,) = torch.autograd.grad((expected * weights).sum(), layer.table)
    (x * weights).sum().backward()
    gradient = layer.table.grad
    assert gradient.is_sparse == sparse
    torch.testing.assert_close(gradient.to_dense() if sparse else gradient, slow)


def test_sequence_that_shares_moves_the_rows_of_its_field():
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema, rows=6))
    layer = FieldEmbedding(schema, 4)
    ids = layer.ids(batch)
    viewed = batch.sequences["viewed"][0]
    start = layer.layout.field_starts["item"]
    fields = 6 * layer.layout.num_fields
    assert torch.equal(ids[fields : fields + len(viewed)], viewed + start)


def test_empty_sequences_give_zero_and_no_rows_give_an_empty_vector():
    schema = tiny.schema()
    table = tiny.table(schema, rows=4)
    for name in table.sequences:
        table.sequences[name] = (
            torch.zeros(0, dtype=torch.int64),
            torch.zeros(5, dtype=torch.int64),
        )
    layer = FieldEmbedding(schema, 4)
    x = layer(tiny.all_rows(table))
    sequences = x[:, layer.layout.num_fields * 4 : -schema.dense_width]
    assert sequences.shape == (4, 8) and sequences.abs().sum() == 0
    assert layer(table.batch(torch.zeros(0, dtype=torch.int64))).shape == (0, layer.width)


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="pooling"):
        FieldEmbedding(tiny.schema(), pooling="max")


def test_sum_repeated_equals_a_dense_sum():
    ids = torch.tensor([5, 2, 5, 0, 2, 5])
    rows = torch.randn(6, 3, dtype=torch.float64)
    touched, summed = sum_repeated(ids, rows)
    dense = torch.zeros(7, 3, dtype=torch.float64).index_add(0, ids, rows)
    assert touched.tolist() == [0, 2, 5] and touched.dtype == torch.int64
    torch.testing.assert_close(summed, dense[touched])


@pytest.mark.parametrize("largest", [1, 40, 2**40, 2**61])  # the last do not fit beside positions
@pytest.mark.parametrize("count", [0, 1, 2, 33, 1000])
def test_sum_repeated_adds_up_ids_of_any_size(largest, count):
    rng = np.random.default_rng(count)
    ids = rng.integers(0, largest, count, endpoint=True)
    ids[count // 2 :] = ids[: count - count // 2]  # so that ids repeat
    rows = rng.normal(size=(count, 2))
    touched, summed = sum_repeated(torch.from_numpy(ids), torch.from_numpy(rows))
    expected, group = np.unique(ids, return_inverse=True)
    by_hand = np.zeros((len(expected), 2))
    np.add.at(by_hand, group, rows)
    assert touched.tolist() == expected.tolist()
    torch.testing.assert_close(summed, torch.from_numpy(by_hand))


def test_expert_bank_equals_a_loop_of_linear_layers():
    torch.manual_seed(0)
    bank = ExpertBank(5, (4, 3), 3).double()
    nn.init.normal_(bank.biases[0])
    x = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    loop = []
    for e in range(3):
        mlp = MLP(5, (4, 3)).double()
        for layer, linear in enumerate(m for m in mlp if isinstance(m, nn.Linear)):
            linear.weight.data = bank.weights[layer][e].T.clone()
            linear.bias.data = bank.biases[layer][e, 0].clone()
        loop.append(mlp)
    out, expected = bank(x), torch.stack([mlp(x) for mlp in loop])
    assert out.shape == (3, 7, 3)
    torch.testing.assert_close(out, expected)
    scale = torch.randn_like(out)
    (a,) = torch.autograd.grad((out * scale).sum(), x, retain_graph=True)
    (b,) = torch.autograd.grad((expected * scale).sum(), x, retain_graph=True)
    torch.testing.assert_close(a, b)
    (out * scale).sum().backward()
    (expected * scale).sum().backward()
    for e, mlp in enumerate(loop):
        torch.testing.assert_close(bank.weights[0].grad[e], mlp[0].weight.grad.T)
        torch.testing.assert_close(bank.biases[1].grad[e, 0], mlp[2].bias.grad)


def test_expert_bank_drops_units_only_in_training():
    bank = ExpertBank(5, (64,), 2, dropout=0.5)
    x = torch.rand(30, 5)
    dropped = (bank(x) == 0).float().mean()
    bank.eval()
    kept = (bank(x) == 0).float().mean()
    assert dropped > kept + 0.2
    assert torch.equal(bank(x), bank(x))


def test_expert_bank_needs_an_expert():
    with pytest.raises(ValueError, match="experts"):
        ExpertBank(5, (4,), 0)


def test_gate_is_a_softmax_without_bias_and_starts_nearly_equal():
    gate = Gate(6, 4)
    x = torch.randn(50, 6)
    assert [name for name, _ in gate.named_parameters()] == ["linear.weight"]
    torch.testing.assert_close(gate(x).sum(1), torch.ones(50))
    assert (gate(x) - 0.25).abs().max() < 0.05
    assert torch.equal(gate(torch.zeros(1, 6)), torch.full((1, 4), 0.25))


def test_mix_equals_a_loop_over_experts():
    gate, experts = torch.rand(5, 3), torch.randn(3, 5, 2)
    expected = sum(gate[:, e : e + 1] * experts[e] for e in range(3))
    torch.testing.assert_close(mix(gate, experts), expected)


def test_mlp_without_sizes_is_the_identity_and_its_output_layer_may_be_negative():
    x = torch.randn(100, 4)
    assert torch.equal(MLP(4, ())(x), x)
    assert (MLP(4, (8,))(x) >= 0).all()
    assert (MLP(4, (8,), outputs=1)(x) < 0).any()


def test_scenario_that_is_a_field_already_is_not_added_again():
    schema = tiny.schema()
    listed = Schema(
        schema.tasks, (*schema.categorical, Categorical("scenario", 3)), scenarios=schema.scenarios
    )
    assert FieldEmbedding(schema, 4).layout.with_scenario
    assert not FieldEmbedding(listed, 4).layout.with_scenario
    assert FieldEmbedding(listed, 4).width == 3 * 4


def test_an_encoder_adds_what_is_known_of_an_id_in_the_field_and_in_sequences_that_share_it():
    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema, rows=9))
    facts = torch.randn(6, 5)  # one row an item
    encoder = Lookup(facts, torch.nn.Linear(5, 3))
    layer = FieldEmbedding(schema, 3, encoders={"item": encoder}).double()
    encoder.double()
    plain = FieldEmbedding(schema, 3).double()
    with torch.no_grad():
        plain.table.copy_(layer.table)
        start = layer.layout.field_starts["item"]
        plain.table[start : start + 6] += encoder(torch.arange(6))
    torch.testing.assert_close(layer(batch), plain(batch))
    layer(batch).sum().backward()
    assert encoder.encoder.weight.grad.abs().sum() > 0
    assert "layout.encoders.0.features" in layer.state_dict()


def test_each_sequence_may_have_a_pooling_of_its_own_or_a_module():
    class Newest(torch.nn.Module):
        """The last entry's row beside the row's own item, zero where there is none."""

        width = 6

        def forward(self, rows, offsets, fields):
            padded = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
            last = torch.where(offsets[1:] > offsets[:-1], offsets[1:] - 1, len(rows))
            return torch.cat([padded[last], fields[:, 1]], dim=1)

    schema = tiny.schema()
    batch = tiny.all_rows(tiny.table(schema, rows=9))
    layer = FieldEmbedding(schema, 3, pooling={"viewed": Newest(), "words": "sum"})
    mean = FieldEmbedding(schema, 3)
    assert layer.width == mean.width + 3
    x = layer(batch)
    start = layer.layout.num_fields * 3
    values, offsets = batch.sequences["viewed"]
    rows = layer.table[values + layer.layout.field_starts["item"]]
    for row in range(9):
        first, end = offsets[row], offsets[row + 1]
        expected = rows[end - 1] if end > first else torch.zeros(3)
        torch.testing.assert_close(x[row, start : start + 3], expected)
        torch.testing.assert_close(x[row, start + 3 : start + 6], x[row, 3:6])  # the item itself


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": {"nothing": "sum"}}, "names 'nothing', which is no sequence"),
        ({"pooling": {"words": "max"}}, 'pooling is "mean", "sum", .* or a module, not'),
        ({"encoders": {"price": torch.nn.Identity()}}, "'price', which is no categorical field"),
    ],
)
def test_poolings_and_encoders_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        FieldEmbedding(tiny.schema(), 3, **options)
    with pytest.raises(ValueError, match="one row an id"):
        Lookup(torch.arange(6), torch.nn.Identity())
    few = Lookup(torch.randn(4, 2), torch.nn.Linear(2, 3))
    with pytest.raises(ValueError, match=r"encoders\['item'\] knows 4 ids; the field has 6"):
        FieldEmbedding(tiny.schema(), 3, encoders={"item": few})
    narrow = Lookup(torch.randn(6, 2), torch.nn.Linear(2, 1))
    layer = FieldEmbedding(tiny.schema(), 3, encoders={"item": narrow})
    with pytest.raises(ValueError, match="gives 1 numbers an id; the embedding has 3"):
        layer(tiny.all_rows(tiny.table(tiny.schema(), 4)))


def test_the_unknown_scenario_adds_nothing_until_training_has_rows_of_it():
    schema = tiny.schema("click", sequences=False)
    table = tiny.table(schema, rows=30)
    layer = FieldEmbedding(schema, 3)
    strange = tiny.all_rows(table)
    strange.scenario = torch.full_like(strange.scenario, schema.unknown_scenario)
    assert layer(strange)[:, 6:9].abs().sum() == 0
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(tiny.all_rows(table)).square().sum().backward()
        optimizer.step()
    assert layer(strange)[:, 6:9].abs().sum() == 0
    assert layer(tiny.all_rows(table))[:, 6:9].abs().sum() > 0


def test_towers_give_each_task_its_own_and_refuse_an_unknown_one():
    schema = tiny.schema("click", "category")
    towers = Towers(schema, 4, (5,))
    x = torch.randn(7, 4)
    logits = towers({"click": x, "category": -x})
    assert logits["click"].shape == (7,) and logits["category"].shape == (7, 3)
    torch.testing.assert_close(logits["category"], towers.of("category")(-x))
    torch.testing.assert_close(towers(x)["click"], logits["click"])
    assert [len(part) for part in (towers, towers[:1])] == [2, 1]
    with pytest.raises(ValueError, match="Unknown task 'dwell'"):
        towers.of("dwell")

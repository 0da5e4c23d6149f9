"""What every pooling of the registry promises, by its name."""

import copy
import inspect
from functools import partial

import pytest
import torch
from torch import nn

from mtlkit.layers import POOLINGS, FieldEmbedding, SiLUAttention, SoftmaxAttention, use_route
from mtlkit.layers.pooling import CausalTransformer, GRUPooling, TargetAttention
from mtlkit.layers.ragged import by_length
from mtlkit.models import MMoE, SharedBottom
from mtlkit.models.export import export_served, served_inputs
from mtlkit.schema import Schema, Task
from mtlkit.schema import Sequence as SequenceField
from tests import tiny

NAMES = [*POOLINGS]
CUTS = [name for name in NAMES if "max_length" in inspect.signature(POOLINGS[name]).parameters]
ORDERED = ("gru", "transformer")
DIM, FIELDS, LONGEST = 4, ("user", "item"), 6
COUNTS = (3, 0, 1, 6, 2, 0, 5, 1)
SMALL = {"embedding_dim": 3, "hidden": (8,), "tower": (6,)}


def made(name, max_length=LONGEST, seed=0, **options):
    torch.manual_seed(seed)
    return POOLINGS[name](DIM, FIELDS, max_length, **options).double()


def histories(counts=COUNTS, seed=0):
    """Events (n, dim), offsets and fields of rows with these numbers of events, in float64."""
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *counts]).cumsum(0)
    rows = torch.randn(int(offsets[-1]), DIM, generator=generator, dtype=torch.float64)
    fields = torch.randn(len(counts), len(FIELDS), DIM, generator=generator, dtype=torch.float64)
    return rows, offsets, fields


def one(pool, events, fields):
    """The vector of a single row by itself: events (n, dim), fields (field, dim) -> (dim,)."""
    return pool(events, torch.tensor([0, len(events)]), fields.unsqueeze(0))[0]


def mlp(net, x):
    for layer in net:
        x = x @ layer.weight.T + layer.bias if isinstance(layer, nn.Linear) else x.clamp(min=0)
    return x


def target_of(pool, fields):
    return pool.target.map.weight @ fields.flatten() + pool.target.map.bias


def norm(layer, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + layer.eps).sqrt() * (
        layer.weight) + layer.bias  # fmt: skip


def slow_din(pool, events, fields):
    t = target_of(pool, fields)
    return sum(mlp(pool.score, torch.cat([e, t, e * t, e - t])) * e for e in events)


def slow_query(pool, events, fields, counting):
    activated = nn.functional.silu if counting else (lambda x: x)
    q = activated(pool.query.weight @ target_of(pool, fields) + pool.query.bias)
    inner, heads = len(q), []
    both = activated(events @ pool.keys.weight.T + pool.keys.bias)
    width = inner // pool.heads
    for h in range(pool.heads):
        part = slice(h * width, (h + 1) * width)
        key, value = both[:, :inner][:, part], both[:, inner:][:, part]
        scores = key @ q[part] / width**0.5
        if counting:
            weights = scores * scores.sigmoid() / pool.max_length
        else:
            weights = scores.exp() / scores.exp().sum()
        heads.append(weights @ value)
    return pool.out.weight @ torch.cat(heads)


def slow_gru(pool, events, fields):
    h = events.new_zeros(DIM)
    for x in events:
        i = pool.gru.weight_ih_l0 @ x + pool.gru.bias_ih_l0
        r = pool.gru.weight_hh_l0 @ h + pool.gru.bias_hh_l0
        reset, update = ((i + r)[: 2 * DIM]).sigmoid().chunk(2)
        new = (i[2 * DIM :] + reset * r[2 * DIM :]).tanh()
        h = (1 - update) * new + update * h
    return h


def slow_transformer(pool, events, fields):
    x = events + pool.positions[: len(events)].flip(0)
    for block in pool.blocks:
        inner = block.out.in_features
        q, k, v = (norm(block.first, x) @ block.qkv.weight.T + block.qkv.bias).split(inner, 1)
        width, states = inner // block.heads, []
        for i in range(len(x)):
            heads = []
            for h in range(block.heads):
                part = slice(h * width, (h + 1) * width)
                scores = (k[: i + 1, part] @ q[i, part] / width**0.5).exp()
                heads.append(scores / scores.sum() @ v[: i + 1, part])
            y = x[i] + block.out.weight @ torch.cat(heads) + block.out.bias
            states.append(y + mlp(block.layer, norm(block.second, y)))
        x = torch.stack(states)
    return norm(pool.norm, x[-1])


SLOW = {
    "mean": lambda pool, events, fields: events.mean(0),
    "sum": lambda pool, events, fields: events.sum(0),
    "target": slow_din,
    "softmax": partial(slow_query, counting=False),
    "silu": partial(slow_query, counting=True),
    "gru": slow_gru,
    "transformer": slow_transformer,
}


def padded_alone(pool, name, rows, offsets, fields):
    """Row by row by formula, from the newest ``max_length`` events; zeros without events."""
    longest = pool.max_length if name in CUTS else len(rows)
    result = []
    for row in range(len(fields)):
        events = rows[offsets[row] : offsets[row + 1]][-longest:]
        result.append(SLOW[name](pool, events, fields[row]) if len(events) else rows.new_zeros(DIM))
    return torch.stack(result)


@pytest.mark.parametrize("form", ["segments", "gathered"])
@pytest.mark.parametrize("max_length", [LONGEST, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_pooling_equals_its_formula_row_by_row_in_value_and_gradient(name, max_length, form):
    pool, (rows, offsets, fields) = made(name, max_length), histories()
    rows.requires_grad_(), fields.requires_grad_()
    read = [rows, fields, *pool.parameters()]
    with use_route(form):
        found = pool(rows, offsets, fields)
    expected = padded_alone(pool, name, rows, offsets, fields)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    weights = torch.randn_like(found)
    options = {"allow_unused": True, "materialize_grads": True}
    slow = torch.autograd.grad((expected * weights).sum(), read, **options)
    fast = torch.autograd.grad((found * weights).sum(), read, **options)
    for one_gradient, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one_gradient, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_differences(name):
    rows, offsets, fields = histories((2, 0, 3))
    pool = made(name)
    inputs = (rows.requires_grad_(), fields.requires_grad_())
    assert torch.autograd.gradcheck(lambda r, f: pool(r, offsets, f), inputs)


@pytest.mark.parametrize("counts", [(0, 2, 0), (0, 0), (0,), ()])
@pytest.mark.parametrize("name", NAMES)
def test_rows_without_events_are_zero_and_leave_gradients_finite(name, counts):
    pool, (rows, offsets, fields) = made(name), histories(counts)
    rows.requires_grad_(), fields.requires_grad_()
    found = pool(rows, offsets, fields)
    assert found.shape == (len(counts), DIM)
    assert (found[torch.tensor(counts, dtype=torch.int64) == 0] == 0).all()
    if found.requires_grad:
        found.square().sum().backward()
    for leaf in (rows, fields, *pool.parameters()):
        assert found.isfinite().all() and (leaf.grad is None or leaf.grad.isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_see_each_other(name):
    pool, (rows, offsets, fields) = made(name), histories()
    found = pool(rows, offsets, fields)
    for row in range(len(fields)):
        alone = one(pool, rows[offsets[row] : offsets[row + 1]], fields[row])
        torch.testing.assert_close(found[row], alone)
    order = torch.randperm(len(COUNTS))
    parts = [rows[offsets[row] : offsets[row + 1]] for row in order]
    lengths = torch.tensor([0, *map(len, parts)])
    mixed = pool(torch.cat(parts), lengths.cumsum(0), fields[order])
    torch.testing.assert_close(mixed, found[order])


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_events_counts_where_it_is_said_to(name):
    pool, (rows, _, fields) = made(name), histories((5,))
    found, turned = (one(pool, events, fields[0]) for events in (rows, rows.flip(0)))
    same = torch.allclose(found, turned, rtol=1e-9, atol=1e-12)
    assert same == (name not in ORDERED)


@pytest.mark.parametrize("name", CUTS)
def test_the_newest_events_stay_where_a_row_is_too_long(name):
    pool, (rows, _, fields) = made(name), histories((LONGEST + 3,))
    found = one(pool, rows, fields[0])
    torch.testing.assert_close(found, one(pool, rows[3:], fields[0]))
    changed = torch.cat([rows[:3] + 5, rows[3:]])
    torch.testing.assert_close(found, one(pool, changed, fields[0]))
    newer = torch.cat([rows[:3], -2 * rows[3:4], rows[4:]])  # a norm hides what all numbers share
    assert not torch.allclose(found, one(pool, newer, fields[0]))


def test_silu_attention_counts_and_softmax_attention_does_not():
    rows, _, fields = histories((3,))
    twice = torch.cat([rows, rows])
    counts = {"silu": 2, "sum": 2, "target": 2, "softmax": 1, "mean": 1}
    for name, factor in counts.items():
        pool = made(name)
        single, double = (one(pool, events, fields[0]) for events in (rows, twice))
        torch.testing.assert_close(double, factor * single)
        assert single.abs().max() > 1e-4
    pool = made("target", softmax=True)
    torch.testing.assert_close(one(pool, twice, fields[0]), one(pool, rows, fields[0]))


@pytest.mark.parametrize("layers", [1, 2])
def test_an_event_reads_older_ones_alone(layers):
    pool, (rows, _, _) = made("transformer", layers=layers), histories((5,))
    counts = torch.tensor([5])
    whole = pool.states(rows.unsqueeze(0), counts)[0]
    changed = rows.clone()
    changed[3] *= -2  # a norm hides what is added to all numbers of an event
    later = pool.states(changed.unsqueeze(0), counts)[0]
    torch.testing.assert_close(later[:3], whole[:3], rtol=0, atol=0)
    assert ((later - whole)[3:].abs().sum(1) > 1e-6).all()
    with torch.no_grad():  # positions count from the newest: without them a prefix is a history
        pool.positions.zero_()
    whole = pool.states(rows.unsqueeze(0), counts)[0]
    for end in range(1, 6):
        prefix = pool.states(rows[:end].unsqueeze(0), torch.tensor([end]))[0]
        torch.testing.assert_close(prefix, whole[:end])


def test_a_bucket_pads_no_row_to_more_than_twice_its_events():
    counts = torch.randint(0, 200, (300,), generator=torch.Generator().manual_seed(0))
    seen = []
    for rows, longest in by_length(counts):
        own = counts[rows]
        assert own.max() == longest < 2 * own.min()
        seen.append(rows)
    together = torch.cat(seen)
    assert len(seen) <= 9 and len(together.unique()) == len(together) == int((counts > 0).sum())


def test_a_target_is_a_field_by_its_name_or_learned():
    rows, offsets, fields = histories()
    for kind in (TargetAttention, SoftmaxAttention, SiLUAttention):
        torch.manual_seed(0)
        pool = kind(DIM, FIELDS, LONGEST, target="item").double()
        found = pool(rows, offsets, fields)
        other = fields.clone()
        other[:, 0] += 1
        torch.testing.assert_close(pool(rows, offsets, other), found, rtol=0, atol=0)
        other[:, 1] += 1
        assert not torch.allclose(pool(rows, offsets, other), found)
        with pytest.raises(ValueError, match=r"target names 'shop'.* read are user, item\."):
            kind(DIM, FIELDS, LONGEST, target="shop")
        bare = kind(DIM, (), LONGEST).double()
        assert bare(rows, offsets, fields[:, :0]).shape == (len(COUNTS), DIM)
    pool = SoftmaxAttention(DIM, FIELDS, LONGEST, learned=True).double()
    found = pool(rows, offsets, fields)
    torch.testing.assert_close(pool(rows, offsets, fields + 1), found, rtol=0, atol=0)
    with pytest.raises(ValueError, match="either target= or learned=True"):
        SoftmaxAttention(DIM, FIELDS, LONGEST, target="item", learned=True)
    with pytest.raises(ValueError, match="heads must be 1 or more, not 0"):
        SoftmaxAttention(DIM, FIELDS, LONGEST, heads=0)
    with pytest.raises(ValueError, match="layers and heads must be 1 or more"):
        CausalTransformer(DIM, FIELDS, LONGEST, layers=0)


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_stays_finite_and_near(name):
    pool, (rows, offsets, fields) = made(name).float(), histories((40, 0, 3, 1))
    exact = pool(rows.float(), offsets, fields.float())
    half = [x.to(torch.bfloat16).requires_grad_() for x in (rows, fields)]
    with torch.autocast("cpu", torch.bfloat16):
        found = pool(half[0], offsets, half[1])
    assert found.dtype == torch.bfloat16 and found.isfinite().all()
    torch.testing.assert_close(found.float(), exact, rtol=0.1, atol=0.1)
    found.float().square().sum().backward()
    assert half[0].grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in pool.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_dict_holds_all_that_a_pooling_is(name):
    first, second, inputs = made(name, seed=1), made(name, seed=2), histories()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(*inputs), second(*inputs))
    assert torch.equal(copy.deepcopy(first)(*inputs), first(*inputs))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_served_on_meta_and_by_row_whatever_its_pooling(name):
    schema = tiny.schema("click", "purchase")
    sequences = tuple(
        SequenceField(s.name, s.size, s.shares, max_length=4) for s in schema.sequences
    )
    schema = Schema(schema.tasks, schema.categorical, schema.dense, sequences, schema.scenarios)
    torch.manual_seed(0)
    model = SharedBottom(schema, inputs=partial(FieldEmbedding, pooling=name), **SMALL).eval()
    served = export_served(model).module()
    for rows in (1, 2, 9):
        batch = tiny.all_rows(tiny.table(schema, rows, seed=rows))
        columns = [torch.from_numpy(c) for c in served_inputs(schema, batch).values()]
        for found, expected in zip(served(*columns), model.predict(batch).values(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    batch = tiny.all_rows(tiny.table(schema, 3))
    weights = dict(model.named_parameters())

    def row_losses(weights):
        return model.row_losses(torch.func.functional_call(model, weights, (batch,)), batch)

    with use_route("gathered"):
        gradients = torch.func.jacrev(row_losses)(weights)
    losses = model.row_losses(model(batch), batch)
    options = {"retain_graph": True, "allow_unused": True, "materialize_grads": True}
    for row, task in ((0, 0), (1, 1), (2, 0)):
        slow = torch.autograd.grad(losses[row, task], list(weights.values()), **options)
        for key, expected in zip(weights, slow, strict=True):
            torch.testing.assert_close(gradients[key][row, task], expected, rtol=1e-4, atol=1e-6)
    far, batch = model.to("meta"), batch.to("meta")
    losses = far.losses(far(batch), batch)
    losses.sum().backward()
    assert losses.device.type == "meta"


def test_what_makes_a_pooling_may_stand_in_its_place():
    schema = tiny.schema()
    chosen = {"viewed": partial(TargetAttention, target="item"), "words": GRUPooling}
    layer = FieldEmbedding(schema, 3, pooling=chosen)
    assert [type(pool) for pool in layer.layout.poolings] == [TargetAttention, GRUPooling]
    assert layer.layout.poolings[0].target.column == 1
    assert layer.layout.poolings[1].max_length == schema.sequences[1].max_length
    model = MMoE(schema, inputs=partial(FieldEmbedding, pooling=chosen), experts=2, **SMALL)
    _, options = model.made_with
    kept = options["inputs"].keywords["pooling"]["viewed"]
    assert kept.func is TargetAttention and kept.keywords == {"target": "item"}
    with pytest.raises(ValueError, match=r"pooling is .* or a module, not 3"):
        FieldEmbedding(schema, 3, pooling=3)


def test_a_sequence_alone_is_pooled_without_any_field():
    schema = Schema((Task("click"),), sequences=(SequenceField("seen", size=5),))
    for name in NAMES:
        layer = FieldEmbedding(schema, 3, pooling=name)
        assert layer(tiny.all_rows(tiny.table(schema, 6))).shape == (6, 3)

"""Encoders of a product: what each computes, by hand, and what it must not look at."""

import itertools
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from mtlkit.data.augment import augment
from mtlkit.layers import (
    MODALITIES,
    AttributesEncoder,
    Augmented,
    FieldEmbedding,
    Lookup,
    PictureEncoder,
    ProductInputs,
    WordsEncoder,
)
from mtlkit.layers.part import PartEmbedding
from mtlkit.schema import Categorical, Dense, SchemaError, Sequence, Task
from mtlkit.shop.market import Market
from mtlkit.train import seeded
from tests import products

SCHEMA = products.schema()
SUBSETS = [s for n in (1, 2, 3) for s in itertools.combinations(MODALITIES, n)]


def randomised(module):
    """The module in float64 with no parameter at its start, so that each one shows."""
    with seeded(1):
        for p in module.parameters():
            nn.init.normal_(p, std=0.3)
    return module.double().eval()


def picture_by_hand(encoder, picture):
    """A picture (28, 28) -> (dim,): sums over patches, no convolution."""
    if not picture.any():
        return encoder.missing
    h = torch.zeros(encoder.patches.out_channels, 9, 9, dtype=picture.dtype)  # padded by one place
    for y, x in itertools.product(range(7), repeat=2):
        patch = picture[4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        h[:, y + 1, x + 1] = torch.einsum("cij,ij->c", encoder.patches.weight[:, 0], patch)
        h[:, y + 1, x + 1] += encoder.patches.bias
    h[:, 1:8, 1:8] = h[:, 1:8, 1:8].clamp(min=0)
    g = torch.zeros(encoder.places.out_channels, 4, 4, dtype=picture.dtype)
    for y, x in itertools.product(range(4), repeat=2):
        around = h[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
        g[:, y, x] = torch.einsum("cdij,dij->c", encoder.places.weight, around)
        g[:, y, x] += encoder.places.bias
    return encoder.last.weight @ g.clamp(min=0).flatten() + encoder.last.bias


def words_by_hand(layer, batch):
    values, offsets = batch.sequences["title"]
    return torch.stack(
        [
            sum((layer.table[w] for w in values[a:b]), torch.zeros(3).double()) / max(int(b - a), 1)
            for a, b in itertools.pairwise(offsets)
        ]
    )


def attributes_by_hand(layer, batch):
    """Seller, brand, the mean of other brands, log_weight and size; the scenario where it is."""
    seller, brand = layer.table[:5], layer.table[5:9]
    values, offsets = batch.sequences["others"]
    rows = []
    for i, (a, b) in enumerate(itertools.pairwise(offsets)):
        s, t = batch.categorical[i]
        others = brand[values[a:b]].sum(0) / max(int(b - a), 1)
        own = [seller[s], brand[t]]
        if layer.layout.with_scenario:
            own.append(layer.table[9 + batch.scenario[i]])
        rows.append(torch.cat([*own, others, batch.dense[i, :1], batch.dense[i, 785:]]))
    return torch.stack(rows)


@pytest.mark.parametrize("scenarios", [1, 3])
@pytest.mark.parametrize("modalities", SUBSETS)
def test_the_vector_is_that_of_each_modality_by_hand_side_by_side(modalities, scenarios):
    schema = products.schema(scenarios)
    batch = products.batch(schema, double=True)
    layer = randomised(ProductInputs(schema, 3, modalities=modalities))
    parts = []
    if "attributes" in modalities:
        parts.append(attributes_by_hand(layer.attributes, batch))
    if "words" in modalities:
        parts.append(words_by_hand(layer.words, batch))
    if "picture" in modalities:
        pictures = batch.dense[:, 1:785].reshape(-1, 28, 28)
        parts.append(torch.stack([picture_by_hand(layer.picture, p) for p in pictures]))
    found = layer(batch)
    assert found.shape == (13, layer.width)
    torch.testing.assert_close(found, torch.cat(parts, dim=1), rtol=1e-12, atol=1e-12)
    for name, part in zip([m for m in MODALITIES if m in modalities], parts, strict=True):
        torch.testing.assert_close(found[:, layer.slices[name]], part, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("modalities", SUBSETS)
def test_what_is_left_out_is_not_read_and_has_no_parameters(modalities):
    layer = randomised(ProductInputs(SCHEMA, 3, modalities=modalities))
    batch, other = (products.batch(SCHEMA, seed=s, double=True) for s in (0, 1))
    changed = {  # a batch whose columns of one modality are those of other rows
        "attributes": replace(
            batch, categorical=other.categorical,
            dense=torch.cat([other.dense[:, :1], batch.dense[:, 1:785], other.dense[:, 785:]], 1),
            sequences=batch.sequences | {"others": other.sequences["others"]},
        ),
        "words": replace(
            batch, sequences=batch.sequences | {"title": other.sequences["title"]}
        ),
        "picture": replace(batch, dense=torch.cat(
            [batch.dense[:, :1], other.dense[:, 1:785].roll(1, 0), batch.dense[:, 785:]], 1
        )),
    }  # fmt: skip
    before = layer(batch)
    for name in MODALITIES:
        after = layer(changed[name])
        assert torch.equal(before, after) == (name not in modalities)
        for kept, part in layer.slices.items():
            assert torch.equal(before[:, part], after[:, part]) == (kept != name)
    assert {name for name, _ in layer.named_children()} - {"augmented"} == set(modalities)
    layer(batch).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())


def test_rows_permute_and_a_row_depends_on_no_other_row():
    layer = randomised(ProductInputs(SCHEMA, 3))
    table = products.table(SCHEMA, rows=9)
    table.dense = table.dense.double()
    whole = layer(table.batch(torch.arange(9)))
    order = torch.tensor([5, 0, 8, 3, 1, 2, 7, 4, 6])
    torch.testing.assert_close(layer(table.batch(order)), whole[order], rtol=1e-12, atol=1e-12)
    layer.train()
    for row in range(9):
        alone = layer(table.batch(torch.tensor([row])))
        torch.testing.assert_close(alone[0], whole[row], rtol=1e-12, atol=1e-12)
    assert layer(table.batch(torch.tensor([], dtype=torch.int64))).shape == (0, layer.width)


def test_gradients_of_all_parts_agree_with_finite_differences():
    layer = randomised(ProductInputs(SCHEMA, 3))
    batch = products.batch(SCHEMA, rows=5, double=True)
    names, values = zip(*layer.named_parameters(), strict=True)

    def outputs(*parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, given, (batch,))

    assert torch.autograd.gradcheck(outputs, values, fast_mode=True)


def test_pictures_come_in_three_shapes_and_others_are_refused():
    encoder, flat = PictureEncoder(5), torch.rand(4, 784)
    expected = encoder(flat)
    assert expected.shape == (4, 5) and encoder.width == 5
    assert torch.equal(encoder(flat.reshape(4, 28, 28)), expected)
    assert torch.equal(encoder(flat.reshape(4, 1, 28, 28)), expected)
    for wrong in ((4, 783), (4, 27, 28), (4, 3, 28, 28), (784,)):
        with pytest.raises(ValueError, match=r"pictures must be \(n, 784\)"):
            encoder(torch.rand(wrong))
    with pytest.raises(ValueError, match="divide by 255 first"):
        encoder(torch.zeros(4, 784, dtype=torch.uint8))
    assert 3_000 < sum(p.numel() for p in PictureEncoder(16).parameters()) < 8_000


def test_a_missing_picture_starts_at_zero_and_teaches_the_layers_nothing():
    encoder = PictureEncoder(5)
    nn.init.ones_(encoder.last.bias)
    none = encoder(torch.zeros(3, 784))
    assert not none.any()
    none.sum().backward()
    assert torch.equal(encoder.missing.grad, torch.full((5,), 3.0))
    assert not any(p.grad.any() for n, p in encoder.named_parameters() if n != "missing")
    one_pixel = torch.zeros(1, 784)
    one_pixel[0, 400] = 1e-6
    assert encoder(one_pixel).any()


def test_with_his_initialisation_a_layer_keeps_the_size_of_what_goes_in():
    with seeded(0):
        encoder = PictureEncoder(400, channels=(400, 400))
        x = torch.randn(20, 784)
    first = encoder.patches(x.reshape(-1, 1, 28, 28)).relu()
    assert 0.7 < first.square().mean().item() < 1.3
    middle = encoder.places(first)[:, :, 1:, 1:].relu()  # without the margin of zeros
    assert 0.7 < middle.square().mean().item() < 1.3


def test_pictures_are_augmented_in_training_alone_and_by_the_seed():
    layer, pictures = Augmented(rotate_degrees=20), torch.rand(6, 784)
    pictures[2] = 0.0

    def seen(seed):
        with seeded(seed):
            return layer(pictures)

    one = seen(3)
    assert torch.equal(one, seen(3)) and not torch.equal(one, seen(4))
    with seeded(3):
        seed = int(torch.randint(2**62, ()))
        again = layer(pictures)
    assert torch.equal(one, augment(pictures, seed, 20.0)) and not torch.equal(one, again)
    assert not one[2].any()  # no picture stays no picture
    assert layer.eval()(pictures) is pictures
    before = torch.get_rng_state()
    layer(pictures)
    assert torch.equal(before, torch.get_rng_state())
    for wrong in (-1, float("nan"), float("inf")):
        for name in ("rotate_degrees", "scale", "shift"):
            with pytest.raises(ValueError, match=f"{name} is {wrong}; give the largest amount"):
                Augmented(**{name: wrong})


def test_product_inputs_augment_the_picture_and_nothing_else():
    batch = products.batch(SCHEMA)
    for told, amounts in ((True, {}), ({"shift": 4.0, "scale": 0.0}, {"shift": 4.0, "scale": 0.0})):
        layer = ProductInputs(SCHEMA, 3, augmented=told)
        plain = layer.eval()(batch)
        with seeded(5):
            found = layer.train()(batch)
        with seeded(5):
            seed = int(torch.randint(2**62, ()))
        expected = layer.picture(augment(batch.dense[:, 1:785], seed, **amounts))
        part = layer.slices["picture"]
        assert torch.equal(found[:, part], expected) and not torch.equal(found, plain)
        assert torch.equal(found[:, : part.start], plain[:, : part.start])
    layer = ProductInputs(SCHEMA, 3)
    assert torch.equal(layer.train()(batch), layer.eval()(batch))


def test_the_order_of_modalities_does_not_matter():
    with seeded(0):
        one = ProductInputs(SCHEMA, 3)
    with seeded(0):
        other = ProductInputs(SCHEMA, 3, modalities=["picture", "words", "attributes"])
    batch = products.batch(SCHEMA)
    assert list(one.slices) == list(MODALITIES) and torch.equal(one(batch), other(batch))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modalities": ()}, "one or more of attributes, words, picture"),
        ({"modalities": ("words", "sound")}, "one or more of attributes, words, picture"),
        ({"modalities": ("words", "words")}, "each once"),
        ({"modalities": "words"}, r"a list of names: modalities=\('words',\)"),
        ({"picture": "photo"}, "'photo' of 784 pixels; the schema has none"),
        ({"picture": "size"}, "'size' of 784 pixels; that of the schema is 2 wide"),
        ({"without": ("pixel",)}, "without= leaves it out"),
        ({"without": ("colour",)}, "without has 'colour', which is no input field"),
        ({"without": "brand"}, r"without is a list of fields: without=\('brand',\)"),
        ({"without": ("title",)}, "No words are left to read: title are all left out"),
        ({"without": ("seller", "brand", "log_weight", "size")}, "No attribute is left to read"),
        ({"modalities": ("words",), "augmented": True}, 'name "picture" among the modalities'),
        ({"modalities": ("words",), "encoder": nn.Identity()}, 'name "picture" among the mod'),
        ({"encoder": nn.Identity()}, r"Identity has no width.* set encoder\.width"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_do(options, words):
    with pytest.raises(ValueError, match=words):
        ProductInputs(SCHEMA, 3, **options)


def test_words_are_sequences_with_ids_of_their_own():
    assert WordsEncoder(SCHEMA, 3).width == 3 and len(WordsEncoder(SCHEMA, 3).table) == 7
    with pytest.raises(SchemaError, match="'others', which is no sequence with ids of its own"):
        WordsEncoder(SCHEMA, 3, names=("others",))
    with pytest.raises(SchemaError, match="names has 'text', which is no input field"):
        WordsEncoder(SCHEMA, 3, names=("text",))


def test_what_stands_beside_a_sequence_goes_with_it_or_not_at_all():
    """The shop's sessions: item, category and gap are one event; what was typed is words."""
    table = Market("shopper").sessions(50)
    schema, batch = table.schema, table.batch(torch.arange(50))
    assert [s.name for s in schema.sequences if s.size] == ["query", "history_gap"]

    def read(encoder):
        assert encoder(batch).shape == (50, encoder.width)
        return [s.name for s in encoder.schema.sequences]

    events = ["history", "history_category", "history_gap"]
    assert read(AttributesEncoder(schema, 3)) == events
    assert AttributesEncoder(schema, 3).width == 3 * (len(schema.categorical) + 1) + 4
    for left_out, kept in [
        (("item",), []),
        (("history",), []),
        (("category",), ["history", "history_gap"]),
        (("history_gap",), ["history", "history_category"]),
    ]:
        assert read(AttributesEncoder(schema, 3, without=left_out)) == kept
    assert read(WordsEncoder(schema, 3)) == ["query"]
    inputs = ProductInputs(schema, 3, modalities=("attributes", "words"))
    assert read(inputs.words) == ["query"] and inputs(batch).shape == (50, inputs.width)
    before = inputs(batch)
    gaps, offsets = batch.sequences["history_gap"]
    batch.sequences["history_gap"] = (gaps.roll(1), offsets)
    after = inputs(batch)
    changed = [not torch.equal(before[:, p], after[:, p]) for p in inputs.slices.values()]
    assert changed == [True, False]
    with pytest.raises(SchemaError, match=r"'history_gap', which is no .*, or stands beside one"):
        WordsEncoder(schema, 3, names=("history_gap",))
    with pytest.raises(SchemaError, match="'history_gap', which stands beside 'history': name bo"):
        PartEmbedding(schema, 3, ["item", "history_gap"])
    with pytest.raises(SchemaError, match="No words are left to read: query are all left out"):
        ProductInputs(schema, 3, modalities=("words",), without=("query",))


def test_words_keep_what_stands_beside_them():
    schema = replace(SCHEMA, sequences=(*SCHEMA.sequences, Sequence("bold", 3, beside="title")))
    assert [s.name for s in WordsEncoder(schema, 3).schema.sequences] == ["title", "bold"]
    assert [s.name for s in AttributesEncoder(schema, 3).schema.sequences] == ["others"]
    words = partial(ProductInputs, schema, 3, modalities=("words",))
    assert [s.name for s in words(without=("bold",)).words.schema.sequences] == ["title"]
    with pytest.raises(SchemaError, match="No words are left to read: title, bold"):
        words(without=("title",))


def test_an_answer_cannot_be_read():
    """A field of a task's name is no schema; one that tells it otherwise is left out by name."""
    for field in ({"categorical": (Categorical("category", 4),), "sequences": ()},
                  {"dense": (Dense("style"), Dense("pixel", 784))}):  # fmt: skip
        with pytest.raises(SchemaError, match="both an input field and a task"):
            products.schema(**field)
    batch = products.batch(SCHEMA, double=True)
    layer = randomised(ProductInputs(SCHEMA, 3, without=("brand", "log_weight")))
    # with brand goes the history of brands; the table has no row of them
    assert layer.attributes.width == 3 + 2 and len(layer.attributes.table) == 5
    before = layer(batch)
    batch.categorical[:, 1] = 3 - batch.categorical[:, 1]
    batch.dense[:, 0] += 1.0
    batch.sequences["others"][0].zero_()
    assert torch.equal(layer(batch), before)
    batch.dense[:, 785:] += 1.0
    assert not torch.equal(layer(batch), before)


def test_ids_of_the_parts_are_those_that_are_looked_up():
    schema = products.schema(3)
    layer, batch = ProductInputs(schema, 3), products.batch(schema)
    for part in (layer.attributes, layer.words):
        part.noted = []
        part(batch)
        assert torch.equal(torch.cat(part.noted), part.ids(batch))
        assert int(part.ids(batch).max()) < len(part.table)


def test_impressions_read_the_pictures_of_items_by_the_encoder_of_products():
    """Shared by declaration: one module in two models, each of which trains it."""
    from mtlkit.models import MMoE, SharedBottom
    from mtlkit.train import fit
    from tests import tiny

    encoder = PictureEncoder(3)
    inputs = partial(ProductInputs, encoder=encoder)
    classify = SharedBottom(SCHEMA, embedding_dim=3, hidden=(8,), inputs=inputs)
    impressions = tiny.schema("click", "purchase", scenarios=1)  # 6 items: an unknown one and 5
    pictures = torch.rand(6, 784)
    pictures[0] = 0.0  # of the unknown item there is none
    looked_up = {"item": Lookup(pictures, encoder)}
    inputs = partial(FieldEmbedding, encoders=looked_up)
    rank = MMoE(impressions, embedding_dim=3, experts=2, hidden=(8,), inputs=inputs).eval()
    assert {id(p) for p in encoder.parameters()} <= {id(p) for p in rank.parameters()}
    assert {id(p) for p in encoder.parameters()} <= {id(p) for p in classify.parameters()}

    batch = tiny.all_rows(tiny.table(impressions, 20))
    x, layout = rank.embed(batch), rank.embedding.layout
    item = batch.categorical[:, 1]
    own = rank.embedding.table[item + layout.field_starts["item"]]
    torch.testing.assert_close(x[:, 3:6], own + encoder(pictures)[item])
    assert torch.equal(x[item == 0][:, 3:6], own[item == 0]) and (item == 0).any()

    before = rank.predict(batch)
    fit(classify, products.table(SCHEMA, 40), epochs=1, batch_size=8, progress=False)
    after = rank.predict(batch)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    started = {k: v.clone() for k, v in encoder.state_dict().items()}
    fit(rank, tiny.table(impressions, 40), epochs=1, batch_size=8, progress=False)
    assert all(not torch.equal(v, started[k]) for k, v in encoder.state_dict().items())


def test_by_default_every_network_has_an_encoder_of_its_own():
    from mtlkit.models import STEM, SingleTask

    for kind in (SingleTask, STEM):
        model = kind(SCHEMA, embedding_dim=3, hidden=(8,), inputs=ProductInputs)
        encoders = [m for m in model.modules() if isinstance(m, PictureEncoder)]
        assert len({id(e) for e in encoders}) == len(encoders) == (3 if kind is SingleTask else 4)


def test_a_table_of_several_scenarios_may_hide_the_scenario():
    schema = products.schema(3)
    hidden = ProductInputs(schema, 3, scenario_field=False)
    assert hidden.width == ProductInputs(schema, 3).width - 3
    batch = products.batch(schema)
    before = hidden(batch)
    batch.scenario.zero_()
    assert torch.equal(hidden(batch), before)


def test_double_precision_and_autocast_set_the_type_of_the_vector():
    layer, batch = ProductInputs(SCHEMA, 3), products.batch(SCHEMA)
    assert layer(batch).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        near = layer(batch)
    torch.testing.assert_close(near.float(), layer(batch), rtol=0.05, atol=0.05)
    assert layer.double()(batch).dtype == torch.float64


def test_a_convolution_agrees_with_an_unfolded_product():
    encoder = PictureEncoder(4).double()
    x = torch.rand(3, 1, 28, 28).double()
    columns = functional.unfold(x, 4, stride=4)  # (n, 16, place)
    by_product = encoder.patches.weight.flatten(1) @ columns + encoder.patches.bias[:, None]
    torch.testing.assert_close(encoder.patches(x).flatten(2), by_product)


def test_attributes_and_words_alone_are_embeddings_for_any_model():
    from mtlkit.models import SharedBottom

    schema = products.schema(tasks=(Task("cheap"),))
    for inputs in (AttributesEncoder, WordsEncoder):
        model = SharedBottom(schema, embedding_dim=3, hidden=(4,), tower=(), inputs=inputs)
        assert len(list(model.embeddings())) == 1
        assert model(products.batch(schema))["cheap"].shape == (13,)

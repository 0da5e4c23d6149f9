"""save, load, predict: equal predictions from a file, and no other file is read."""

import inspect
import io
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import mtlkit
from mtlkit import Encoder, MultiTaskModel, Task, prepare
from mtlkit.data.packed import pack, unpack
from mtlkit.data.vocabulary import learn
from mtlkit.layers import FieldEmbedding, SumPooling, Towers, field_inputs
from mtlkit.models import ADAPTING, LINKS, SHARING, Constant, Trees
from mtlkit.own import envelope, load, save
from mtlkit.schema import SchemaError
from mtlkit.train import predict
from mtlkit.train.checkpoint import CheckpointError, save_checkpoint
from tests.data.test_doors import SAMPLES
from tests.models import registry
from tests.own.frames import OPTIONS, TASKS, dense_only, raw

CART = Task("cart", given="click")
LABELS = ["click", "cart", "buy", "kind", "dwell", "units"]
WITH_CART = (TASKS[0], CART, *TASKS[1:])


def frame(rows=300, seed=0):
    return raw(rows, seed).with_columns(cart=pl.Series(np.arange(rows) % 3 == 0).cast(pl.Int64))


def ready(name="mmoe"):
    """Prepared rows that an architecture of the registries can read."""
    if name == "article":
        return prepare(dense_only(), ["click", Task("buy", given="click")])
    tasks = WITH_CART if name == "esm2" else TASKS
    drop = [] if name == "esm2" else ["cart"]
    return prepare(frame(), tasks, time="day", drop=drop, **OPTIONS)


def make(name, schema):
    own = {"via": {"buy": "cart"}} if name == "esm2" else registry.ARGUMENTS.get(name, {})
    if name == "article":
        return SHARING[name](schema, hidden=8)
    if name in LINKS:
        return LINKS[name](schema, partial(mtlkit.MMoE, experts=2, **registry.SIZES), **own)
    return (SHARING | ADAPTING)[name](schema, **registry.SIZES, **own)


def trained(data, model):
    mtlkit.fit(model, data.train, epochs=1, batch_size=64, progress=False)
    return model


def strange(rows):
    """Later rows: unseen values everywhere, gaps, columns in another order and one more."""
    places = ["mars", None, "feed"] * 100
    later = rows.with_columns(
        brand=pl.Series((["neu", None, "a"] * 100)[: len(rows)]), more=pl.lit(1),
        place=pl.Series(places[: len(rows)]), shop=pl.Series(range(len(rows))),
        words=pl.Series(([["x", "?"], [], None] * 100)[: len(rows)]),
        price=pl.lit(None, pl.Float64),
    )  # fmt: skip
    return later.select(sorted(later.columns, reverse=True))


def same(one, other):
    assert list(one) == list(other)
    for name, values in one.items():
        assert np.array_equal(values, other[name]), name


def same_encoder(one, other):
    states = one.state_dict(), other.state_dict()
    for name, column in states[0].pop("vocabulary").items():
        assert column.equal(states[1]["vocabulary"][name])
    kinds = [unpack(state.pop("scenario type"))["type"].dtype for state in states]
    states[1].pop("vocabulary")
    assert states[0] == states[1] and kinds[0] == kinds[1]


@pytest.mark.parametrize("name", registry.EVERY)
def test_every_architecture_predicts_the_same_from_a_file(name, tmp_path):
    data = ready(name)
    model = trained(data, make(name, data.schema))
    save(tmp_path / "model.mtlkit", model, data)
    before = torch.get_rng_state()
    again = load(tmp_path / "model.mtlkit")
    assert torch.get_rng_state().equal(before)
    assert type(again.model) is type(model) and again.schema == model.schema
    assert not again.model.training
    same_encoder(again.encoder, data.encoder)
    whole = dense_only() if name == "article" else frame()
    wanted = predict(model, data.test)
    same(again.predict(whole[data.test.row_id.numpy()]), wanted)
    bare = whole.drop("click", "buy").select(sorted(whole.drop("click", "buy").columns))
    same(again.predict(bare[data.test.row_id.numpy()]), wanted)
    if name != "article":
        odd = strange(whole[:60])
        same(
            again.predict(odd),
            predict(model, data.encoder.transform(odd.drop(LABELS, strict=False))),
        )
    joint = getattr(model, "predict_joint", None)
    if joint is not None:
        batch = data.test.batch(torch.arange(len(data.test)))
        same(*({k: v.numpy() for k, v in m.predict_joint(batch).items()}
               for m in (again.model.eval(), model.eval())))  # fmt: skip


def test_the_doors_of_predict_are_those_of_prepare(tmp_path):
    data = ready()
    save(tmp_path / "m", make("mmoe", data.schema), data)
    again = load(tmp_path / "m")
    rows = frame()[:7]
    rows.write_parquet(tmp_path / "rows.parquet")
    wanted = again.predict(rows)
    for door in (rows.to_dict(as_series=False), rows.lazy(), str(tmp_path / "rows.parquet")):
        same(again.predict(door), wanted)
    assert {len(v) for v in again.predict(rows[:0]).values()} == {0}
    for name, values in again.predict(rows, batch_size=2).items():
        assert values == pytest.approx(wanted[name], rel=1e-5)
    with pytest.raises(SchemaError, match="'brand' is missing"):
        again.predict(rows.drop("brand"))
    with pytest.raises(SchemaError, match="'age' has type String"):
        again.predict(rows.with_columns(pl.col("age").cast(pl.String)))


def test_labels_and_keys_are_not_needed_and_not_read(tmp_path):
    data = ready()
    save(tmp_path / "m", make("mmoe", data.schema), data)
    again, rows = load(tmp_path / "m"), frame()[:9]
    wanted = again.predict(rows)
    same(again.predict(rows.with_columns(click=pl.lit("?"), units=pl.lit(-5))), wanted)
    same(again.predict(rows.drop("click", "day", "user")), wanted)
    assert again.encoder.keys == ["user", "day"]  # scoring leaves them as they were


def test_new_rows_come_as_dictionaries_and_with_columns_that_hold_nothing(tmp_path):
    data = ready()
    save(tmp_path / "m", make("mmoe", data.schema), data)
    again, rows = load(tmp_path / "m"), frame()[:3].drop(LABELS)
    same(again.predict(rows.to_dicts()), again.predict(rows))
    bare = rows.with_columns(price=pl.lit(None, dtype=pl.Float64), brand=pl.lit(None))
    wanted = again.predict(bare)
    same(again.predict(bare.to_dicts()[:1]), again.predict(bare[:1]))  # every gap of type Null
    same(again.predict(bare.with_columns(price=pl.lit(None, dtype=pl.String))), wanted)


STRANGERS = {  # column -> how it is written otherwise than in training
    "brand": lambda rows: pl.col("brand").str.to_uppercase(),
    "shop": lambda rows: pl.col("shop") + 1000,
    "place": lambda rows: "place " + pl.col("place"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_column_of_which_training_knew_nothing_is_warned_of(name, tmp_path):
    data = prepare(frame(), TASKS, drop=["day", "cart"], **OPTIONS)
    save(tmp_path / "m", make("mmoe", data.schema), data)
    again, rows = load(tmp_path / "m"), frame(90).drop(LABELS)
    rows = rows.filter(pl.all_horizontal(pl.col("brand", "place").is_not_null()))[:60]
    odd = rows.with_columns(STRANGERS[name](rows).alias(name))
    with pytest.warns(
        UserWarning, match=f"None of the .. values of column '{name}' was in tr"
    ) as w:
        again.predict(odd)
    assert w[0].filename == __file__ and len(w) == 1
    few = odd.with_columns(pl.when(pl.int_range(60) < 15).then(name))  # too few to tell
    one = pl.concat([odd[:59], rows[59:]])  # one that is known
    some = rows.with_columns(
        pl.lit(None, dtype=rows.schema[name]).alias(name)
    )  # gaps are no values
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for known in (rows, few, some, rows[:0], one):
            again.predict(known)


@pytest.mark.parametrize("make_it", [
    lambda s: mtlkit.MMoE(s, inputs=partial(FieldEmbedding, pooling="sum"), **registry.SIZES),
    lambda s: mtlkit.MMoE(s, inputs=partial(FieldEmbedding, pooling={"words": "sum"}), experts=2),
    lambda s: mtlkit.MMoE(schema=s, inputs=field_inputs, hidden=[5, 4]),
    lambda s: mtlkit.ESMM(s),
    lambda s: mtlkit.ESMM(s, mtlkit.SingleTask),
    lambda s: mtlkit.ESMM(s, network=partial(partial(mtlkit.MMoE, experts=3), embedding_dim=4)),
    lambda s: mtlkit.SharedBottom(s, embedding_dim=4).double(),
    lambda s: mtlkit.SharedBottom(s.select(["units", "click"]), embedding_dim=4),
])  # fmt: skip
def test_every_way_to_make_a_model_is_kept(make_it, tmp_path):
    data = ready()
    model = make_it(data.schema)
    save(tmp_path / "m", model, data)
    again = load(tmp_path / "m")
    same(again.predict(data.frame), predict(model, data.encoder.transform(data.frame)))
    assert [p.dtype for p in again.model.parameters()] == [p.dtype for p in model.parameters()]


class Plain(nn.Module):
    """A module of one's own."""

    def __init__(self, width, size=4):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.layer = nn.Linear(width, size)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, batch):
        return self.layer(self.norm(batch.dense))


class Own(MultiTaskModel):
    """A model of one's own."""

    def __init__(self, schema, hidden=4):
        super().__init__(schema)
        self.embedding = field_inputs(schema, 3)
        self.towers = Towers(schema, self.embedding.width, (hidden,))


def wrapped(tmp_path):
    data = prepare(frame(), ["click", Task("kind", "multiclass", classes=3)], drop=["day", "cart"])
    model = mtlkit.wrap(Plain(data.schema.dense_width), data.schema)
    model.module.calls.fill_(3)
    save(tmp_path / "m", trained(data, model), data)
    return data, model


def test_a_wrapped_module_is_loaded_into_a_new_one(tmp_path):
    data, model = wrapped(tmp_path)
    with pytest.raises(CheckpointError, match=r"weights of a Plain, .* load\(path, module=...\)"):
        load(tmp_path / "m")
    width = data.schema.dense_width
    for module in (Plain(width), lambda schema: Plain(schema.dense_width)):
        again = load(tmp_path / "m", module=module)
        same(again.predict(data.frame), predict(model, data.encoder.transform(data.frame)))
        assert again.model.module.calls == 3
    with pytest.raises(CheckpointError, match=r"'layer.weight' is of shape \(4, .* in the file"):
        load(tmp_path / "m", module=Plain(width, size=5))
    with pytest.raises(CheckpointError, match=r"'calls' is of shape .* and missing in the mod"):
        load(tmp_path / "m", module=nn.Linear(3, 3))
    with pytest.raises(SchemaError, match=r"needs a torch.nn.Module"):
        load(tmp_path / "m", module=lambda schema: 5)


def test_a_model_of_ones_own_is_loaded_into_a_new_one(tmp_path):
    data = ready()
    model = trained(data, Own(data.schema))
    save(tmp_path / "m", model, data)
    with pytest.raises(CheckpointError, match="Own stands in no registry"):
        load(tmp_path / "m")
    for module in (Own(data.schema), Own):
        again = load(tmp_path / "m", module=module)
        same(again.predict(data.frame), predict(model, data.encoder.transform(data.frame)))
    with pytest.raises(CheckpointError, match="does not fit Own"):
        load(tmp_path / "m", module=Own(data.schema, hidden=5))
    other = prepare(frame(), TASKS, drop=["day", "cart"], **OPTIONS)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        load(tmp_path / "m", module=Own(other.schema))
    with pytest.raises(CheckpointError, match="make the module of the stored schema"):
        load(tmp_path / "m", module=Own(data.schema.select(["click"])))


@pytest.mark.parametrize(("make_it", "words"), [
    (lambda s: mtlkit.MMoE(s, inputs=lambda s, d: FieldEmbedding(s, d)), "inputs= of MMoE is of"),
    (lambda s: mtlkit.MMoE(s, inputs=partial(FieldEmbedding, pooling=SumPooling())), "pooling= of"),
    (lambda s: mtlkit.ESMM(s, Own), "argument 2 of ESMM is of your own: Own"),
    (lambda s: mtlkit.ESMM(s, partial(Own, hidden=3)), "argument 2 of ESMM is of your own"),
    (lambda s: Constant(ready().train), "Constant stands in no registry"),
])  # fmt: skip
def test_what_no_file_can_name_is_asked_for(make_it, words, tmp_path):
    data = ready()
    model = make_it(data.schema)
    save(tmp_path / "m", model, data)
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path / "m")
    again = load(tmp_path / "m", module=make_it)
    same(again.predict(data.frame), predict(model, again.table(data.frame)))


def test_a_model_does_not_hold_what_it_was_made_with_if_that_may_be_large():
    data = ready()
    (argument,), _ = Constant(data.train).made_with
    assert argument.kind == "Table"


@pytest.mark.parametrize("kind", [*SHARING.values(), *LINKS.values(), *ADAPTING.values(), Own])
def test_noting_arguments_leaves_a_class_its_signature(kind):
    shown = inspect.signature(kind)
    assert list(shown.parameters) == list(inspect.signature(kind.__init__).parameters)[1:]
    assert "schema" in shown.parameters and "options" not in shown.parameters
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        kind(ready().schema, depth=3)


def test_a_model_keeps_the_signature_of_its_call():
    model = Own(ready().schema)
    assert "schema" not in inspect.signature(model).parameters
    assert list(inspect.signature(model.forward).parameters) == ["batch"]


def test_a_compiled_model_is_saved_as_the_model_inside(tmp_path):
    data = ready()
    model = make("mmoe", data.schema)
    save(tmp_path / "m", torch.compile(model), data)
    same(load(tmp_path / "m").predict(data.frame[:5]), predict(model, load(tmp_path / "m").table(
        data.frame[:5])))  # fmt: skip


def test_what_cannot_be_saved_is_refused_and_nothing_is_written(tmp_path):
    data = ready()
    model = make("mmoe", data.schema)
    other = prepare(frame(), TASKS, drop=["day", "cart"], **OPTIONS)
    for wrong, with_data, words in (
        (Trees(data.schema), data, "Trees are no weights"),
        (nn.Linear(2, 2), data, "no model of tasks"),
        (model, other, "encoded by another encoder"),
        (model, data.split, "save needs what prepare returned or a fitted Encoder, not a Split"),
        (model, Encoder([Task("click")]), "has not been fitted"),
    ):
        with pytest.raises(ValueError, match=words):
            save(tmp_path / "folder" / "m", wrong, with_data)
    assert list(tmp_path.iterdir()) == []
    save(tmp_path / "folder" / "m", model, data.encoder)
    assert [p.name for p in (tmp_path / "folder").iterdir()] == ["m"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    data = prepare(frame(60), ["click"], keys=["user"], drop=["day", "cart"], scenario="place")
    path = tmp_path_factory.mktemp("saved") / "m"
    save(path, mtlkit.SharedBottom(data.schema, embedding_dim=2, hidden=(3,), tower=()), data)
    return path


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_wherever_the_damage_is(file, tmp_path_factory, data):
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    if how == "flip":
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    elif how == "cut":
        del content[place:]
    else:
        content[place:place] = b"x"
    path = file.with_name("damaged")
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="damaged"):  # the file's own name is in each sentence
        load(path)


class Stranger:
    def __reduce__(self):
        return (Path.touch, (Path("was run"),))


def enveloped(path, body):
    import hashlib

    path.write_bytes(b"mtlkit model 1 " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return path


def test_a_file_from_a_stranger_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inside = io.BytesIO()
    torch.save({"plan": Stranger()}, inside)
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        load(enveloped(tmp_path / "m", inside.getvalue()))
    assert not (tmp_path / "was run").exists()


def content_of(path):
    return envelope.read_envelope(path)


@pytest.mark.parametrize(("change", "words"), [
    (lambda c: c["plan"].update(call="os.system"), "'os.system', which this version"),
    (lambda c: c["plan"].update(call="field_inputs"), "cannot be made anew"),
    (lambda c: c["plan"]["options"].update(experts=3), "unexpected keyword argument 'experts'"),
    (lambda c: c["plan"].pop("args"), "cannot be made anew: 'args'"),
    (lambda c: c.pop("encoder"), "no model that can be read: 'encoder'"),
    (lambda c: c["encoder"].pop("scale"), "no model that can be read: 'scale'"),
    (lambda c: c["schema"].update(fields=[]), "Unknown schema entry 'fields'"),
    (lambda c: c["schema"].update(encoding="other"), "another encoder"),
    (lambda c: c["weights"].pop("towers.towers.click.0.weight", None) or c["weights"].popitem(),
     "missing in the file"),
    (lambda c: c["weights"].update(more=torch.ones(2)), "'more' is of shape .* missing in the mod"),
    (lambda c: c["encoder"]["vocabulary"].update(brand=torch.zeros(9, dtype=torch.uint8)),
     "values of column 'brand' cannot be read"),
])  # fmt: skip
def test_content_that_does_not_fit_is_refused(file, tmp_path, change, words):
    content = content_of(file)
    change(content)
    envelope.write_envelope(tmp_path / "m", content)
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path / "m")


def test_other_files_are_refused_by_what_they_are(tmp_path, file):
    save_checkpoint(tmp_path / "checkpoint", {"a": 1})
    (tmp_path / "empty").touch()
    (tmp_path / "later").write_bytes(file.read_bytes().replace(b"model 1 ", b"model 2 ", 1))
    inside = io.BytesIO()
    torch.save([1], inside)
    enveloped(tmp_path / "list", inside.getvalue())
    for name, words in (
        ("checkpoint", "no model that mtlkit.save wrote"), ("empty", "no model that mtlkit.save"),
        ("later", "of format 2, and this mtlkit reads format 1"), ("list", "holds a list"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=words):
            load(tmp_path / name)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_vocabulary_of_any_type_comes_back_as_it_was(kind):
    try:
        vocabulary = learn(SAMPLES[kind].alias("x"))
    except SchemaError:
        return
    again = unpack(pack({"x": vocabulary}))["x"]
    assert again.dtype == vocabulary.dtype and again.to_list() == vocabulary.to_list()


@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("role", ["categorical", "scenario"])
def test_an_encoder_of_any_type_reads_the_same_after_a_round_trip(kind, role):
    rows = pl.DataFrame({"a": [1, 2, 3, 4], "x": SAMPLES[kind], "click": [0, 1, 0, 1]})
    options = {"categorical": ["a", "x"]} if role == "categorical" else {"scenario": "x"}
    encoder = Encoder([Task("click")], **({"categorical": ["a"]} | options))
    try:
        encoder.fit(rows)
    except SchemaError:
        return
    again = Encoder.from_state_dict(encoder.state_dict())
    one, other = encoder.transform(rows), again.transform(rows)
    assert one.categorical.equal(other.categorical) and one.scenario.equal(other.scenario)
    assert one.schema == other.schema
    same_encoder(again, encoder)


def test_saving_warns_of_nothing(tmp_path):
    data = ready()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(tmp_path / "m", make("mmoe", data.schema), data)
        load(tmp_path / "m").predict(data.frame)

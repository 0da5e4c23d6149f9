"""A trained model learns of one scenario more, and nothing that it knew moves."""

from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import NamedTuple

import polars as pl
import pytest
import torch
from torch import nn

from mtlkit import Encoder, Table, Task, evaluate, fit, predict
from mtlkit.data import Join
from mtlkit.data.agreement import require_inputs
from mtlkit.layers import EmbeddingTable, FieldEmbedding, Lookup
from mtlkit.layers.adapted import OfScenarios
from mtlkit.layers.shifted import Shifts
from mtlkit.models import ADAPTING, LINKS, SHARING, Constant, SharedBottom, Trees
from mtlkit.models import wrap as wrap_module
from mtlkit.models.adapt.adaptdhm import ClusterLinear
from mtlkit.models.adapt.hmoe import LabelGate
from mtlkit.models.adapt.one_each import ScenarioEmbedding
from mtlkit.schema import Categorical, Scenario, SchemaError
from mtlkit.train import seeded
from tests import tiny
from tests.models import registry

NEW = "ads"
CASES = [(name, name) for name in (*SHARING, *ADAPTING)]
CASES += [(link, network) for link in LINKS for network in SHARING if network != "article"]
# a link keeps nothing for a scenario, so each scenario model meets two of them
CASES += [*zip(cycle(LINKS), ADAPTING), *zip(cycle([*LINKS][::-1]), ADAPTING)]


def schema_of(name):
    known = registry.schema(name)
    return known if known.scenarios else replace(known, scenarios=(Scenario("a"), Scenario("b")))


def make(name, network):
    """A model of the registries with weights and statistics as if it had been trained."""
    with seeded(5):
        model = registry.make(name, network)
        if name == "article":
            model = SHARING[name](schema_of(name), hidden=8)
        for p in model.parameters():
            nn.init.normal_(p, std=0.3)  # the unknown scenario's row too
        model(tiny.all_rows(tiny.table(model.schema, 60, seed=3)))
    return model.eval()


READ_OTHERS = {"hinet", "m3oe"}  # a row reads other scenarios' experts, and trains them
DISCOVER = {"adaptdhm"}  # its sets are those of clusters


class Sets(NamedTuple):
    """Where a tensor holds something for each scenario, and how many rows each has."""

    start: int
    rows: int
    unknown: bool  # whether a last set is that of the unknown scenario
    pairs: bool = False  # whether it holds something for each pair of scenarios, first and last


def sets_of_scenarios(model):
    """{parameter or buffer: its ``Sets``}: all that one scenario more makes larger."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, ScenarioEmbedding | Shifts):
            found[f"{name}.table"] = Sets(0, module.rows, unknown=True)
        elif isinstance(module, EmbeddingTable):
            if module.layout.with_scenario:  # users and items come before the scenarios
                found[f"{name}.table"] = Sets(11 + 6, 1, unknown=True)
        elif isinstance(module, OfScenarios) and not isinstance(module, ClusterLinear):
            own = [*module.stacked, *(key for key, _ in module.named_buffers(recurse=False))]
            found |= {
                f"{name}.{key}": Sets(0, 1, False, isinstance(module, LabelGate)) for key in own
            }
    return found


def scores(model, table):
    return {task: torch.from_numpy(values) for task, values in predict(model, table).items()}


def old_and_new_table(known, rows=40):
    """Rows of known scenarios and of none; the same for a schema in which the latter is the new
    one in every other row."""
    table = tiny.table(known, rows, seed=2)
    table.scenario[::3] = known.unknown_scenario
    larger = known.extend(scenario=NEW)
    columns = table._columns() | {"scenario": table.scenario.clone()}
    columns["scenario"][::3] = larger.unknown_scenario
    columns["scenario"][::6] = larger.scenario_index(NEW)
    return table, Table(larger, **columns)


@pytest.mark.parametrize(("name", "network"), CASES)
def test_predictions_of_known_unknown_and_new_scenarios_stay(name, network):
    model = make(name, network)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    table, larger = old_and_new_table(model.schema)
    before = scores(model, table)
    grown = model.extend(scenario=NEW)
    assert type(grown) is type(model) and grown.schema == larger.schema
    known = table.scenario != model.schema.unknown_scenario
    stacked = any(isinstance(module, OfScenarios) for module in model.modules())
    for task, values in scores(grown, larger).items():
        assert torch.equal(values[known], before[task][known]), task
        if stacked:  # products of other numbers of rows, and a mean over one set more
            torch.testing.assert_close(values, before[task], rtol=1e-5, atol=1e-6)
        else:
            assert torch.equal(values, before[task]), task
    # the model itself is what it was, and shares nothing with its successor
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert model.schema == table.schema
    theirs = {p.data_ptr() for p in grown.parameters()}
    assert not theirs & {p.data_ptr() for p in model.parameters()}
    for task, values in scores(model, table).items():
        assert torch.equal(values, before[task])


@pytest.mark.parametrize(("name", "network"), CASES)
def test_a_model_grows_by_one_set_a_table_and_by_nothing_else(name, network):
    model = make(name, network)
    grown = model.extend(scenario=NEW)
    old = dict([*model.named_parameters(), *model.named_buffers()])
    new = dict([*grown.named_parameters(), *grown.named_buffers()])
    sets, more = sets_of_scenarios(model), {"embedding": 0, "scenarios": 0}
    assert list(old) == list(new)
    for key, values in old.items():
        if key not in sets:
            assert torch.equal(values, new[key]), key
            continue
        start, rows, unknown, pairs = sets[key]
        if pairs:
            known = range(model.schema.num_scenarios)
            assert torch.equal(new[key][known][..., known], values), key
            more["scenarios"] += new[key].numel() - values.numel()
            continue
        place = start + model.schema.num_scenarios * rows
        rest = torch.cat([new[key][:place], new[key][place + rows :]])
        assert torch.equal(rest, values), key
        if unknown:  # as the unknown scenario's rows
            assert torch.equal(new[key][place : place + rows], values[place : place + rows])
        if isinstance(values, nn.Parameter):
            more["embedding" if unknown else "scenarios"] += rows * values[0].numel()
    count, larger = model.parameter_count(), grown.parameter_count()
    assert {part: larger[part] - count[part] for part in more} == more
    assert larger["shared"] == count["shared"] and larger["tasks"] == count["tasks"]


@pytest.mark.parametrize("name", ADAPTING)
def test_a_new_set_starts_as_what_the_unknown_scenario_reads(name):
    model = make(name, name)
    grown = model.extend(scenario=NEW)
    assert grown.here.sets == model.here.sets + (name not in DISCOVER)
    for before, after in zip(model.modules(), grown.modules(), strict=True):
        for key in getattr(before, "stacked", ()):
            last = getattr(after, key)[-1:]
            if name not in DISCOVER:
                assert torch.equal(last, before.every(key)[-1:]), key
            assert getattr(after, key).requires_grad
        if isinstance(after, OfScenarios):
            assert after.here is grown.here is not model.here


@pytest.mark.parametrize("name", registry.EVERY)
def test_rows_of_the_new_scenario_train_its_sets_and_no_other_scenarios(name):
    grown = make(name, "shared-bottom").extend(scenario=NEW)
    _, table = old_and_new_table(make(name, "shared-bottom").schema)
    known = table.scenario[:] = grown.schema.scenario_index(NEW)
    batch = tiny.all_rows(table)
    grown.losses(grown(batch), batch).sum().backward()
    parameters, trained = dict(grown.named_parameters()), {}
    for key, (start, rows, unknown, _) in sets_of_scenarios(grown).items():
        if key in parameters:
            end = start + (known + 1 + unknown) * rows
            sets = parameters[key].grad[start:end].reshape(known + 1 + unknown, -1)
            moved = (sets != 0).any(1).tolist()
            if name not in READ_OTHERS:
                assert not any(moved[:known] + moved[known + 1 :]), key
            module = key.rpartition(".")[0]
            trained[module] = trained.get(module, False) or moved[known]
    assert all(trained.values())  # of a product A B that starts at 0, B alone at first


@pytest.mark.parametrize("name", registry.EVERY)
def test_the_grown_model_takes_the_new_tables_and_the_old_one_the_old_tables(name):
    model = make(name, "shared-bottom")
    table, larger = old_and_new_table(model.schema)
    grown = model.extend(scenario=NEW)
    require_inputs(grown.schema, larger.schema)
    with pytest.raises(SchemaError, match=r"model = model\.extend\(scenario='ads'\)"):
        scores(model, larger)
    with pytest.raises(SchemaError, match=r"encoder\.extend\(scenario='ads'\)"):
        predict(grown, table)  # its unknown rows would be taken for the new scenario
    assert NEW in evaluate(grown, larger, by_scenario=True)


@pytest.mark.parametrize("name", registry.EVERY)
def test_a_run_of_the_grown_model_resumes_bit_for_bit_and_takes_no_other_checkpoint(name, tmp_path):
    model = make(name, "shared-bottom")
    table, larger = old_and_new_table(model.schema)
    options = {"batch_size": 16, "progress": False, "device": "cpu", "schedule": "constant"}
    options |= {"checkpoint": tmp_path / "run.pt", "resume": True}
    whole, stopped, resumed = (model.extend(scenario=NEW) for _ in range(3))
    fit(whole, larger, epochs=2, **(options | {"checkpoint": None, "resume": False}))
    fit(stopped, larger, epochs=1, **options)
    fit(resumed, larger, epochs=2, **options)
    for key, values in whole.state_dict().items():
        assert torch.equal(values, resumed.state_dict()[key]), key
    with pytest.raises(ValueError, match="belongs to another run: its schema scenarios"):
        fit(model, table, epochs=2, **options)


def test_a_model_grows_more_than_once():
    model = make("mmoe", "mmoe")
    table, _ = old_and_new_table(model.schema)
    before = scores(model, table)
    grown = model.extend(scenario="ads").extend(scenario="mail")
    assert grown.schema.scenario_names[-2:] == ("ads", "mail")
    columns = table._columns() | {"scenario": table.scenario.clone()}
    for offset in (0, 1, 2):  # ads, mail, unknown
        place = table.scenario == model.schema.unknown_scenario
        columns["scenario"][place] = model.schema.unknown_scenario + offset
        for task, values in scores(grown, Table(grown.schema, **columns)).items():
            assert torch.equal(values, before[task])


# The encoder


def frame(rows=60, places=("feed", "search")):
    return pl.DataFrame({
        "user": [i * 7 % 11 for i in range(rows)],
        "price": [float(i * 5 % 13) for i in range(rows)],
        "place": [places[i % len(places)] for i in range(rows)],
        "click": [i * 3 % 5 > 1 for i in range(rows)],
    }).cast({"click": pl.Float64})  # fmt: skip


def fitted(**options):
    spec = {"tasks": [Task("click")], "categorical": ["user"], "dense": ["price"]}
    return Encoder(**spec, scenario="place", **options).fit(frame())


def test_an_extended_encoder_says_the_same_of_what_it_knew_and_keeps_its_fingerprint():
    encoder = fitted()
    grown = encoder.extend(scenario="ads")
    assert encoder.schema.scenario_names == ("feed", "search")
    assert grown.schema.scenario_names == ("feed", "search", "ads")
    assert grown.schema.encoding == encoder.schema.encoding != ""
    rows = frame(places=("feed", "search", "ads", "elsewhere"))
    before, after = encoder.transform(rows), grown.transform(rows)
    assert before.scenario[:4].tolist() == [0, 1, 2, 2]
    assert after.scenario[:4].tolist() == [0, 1, 2, 3]
    assert torch.equal(before.categorical, after.categorical)
    assert torch.equal(before.dense, after.dense)
    assert grown.values("user") == encoder.values("user")
    # one fitted on rows of all three has other numbers (ads first) and another fingerprint
    other = Encoder(tasks=[Task("click")], categorical=["user"], dense=["price"], scenario="place")
    other.fit(frame(places=("feed", "search", "ads")))
    assert other.schema.encoding != grown.schema.encoding
    with pytest.raises(SchemaError, match="has the scenarios ads, feed, search"):
        require_inputs(grown.schema, other.schema)


def test_from_an_encoder_to_a_grown_model_and_back_to_a_file():
    encoder = fitted()
    model = SharedBottom(encoder.schema, embedding_dim=4, hidden=(8,), tower=())
    fit(model, encoder.transform(frame()), epochs=1, progress=False, device="cpu")
    later = encoder.extend(scenario="ads")
    table = later.transform(frame(places=("feed", "search", "ads")))
    grown = model.extend(scenario="ads")
    fit(grown, table, epochs=1, progress=False, device="cpu")
    assert set(evaluate(grown, table, by_scenario=True)) == {"feed", "search", "ads"}
    again = SharedBottom(later.schema, embedding_dim=4, hidden=(8,), tower=())
    again.load_state_dict(grown.state_dict())
    assert torch.equal(scores(again, table)["click"], scores(grown, table)["click"])


@pytest.mark.parametrize("what", ["encoder", "schema", "model"])
@pytest.mark.parametrize(
    ("name", "words"),
    [("feed", "'feed' is known already"), ("", "needs a name"), (3, "needs a name")],
)
def test_a_name_that_is_known_or_none_is_refused(what, name, words):
    encoder = fitted()
    model = SharedBottom(encoder.schema, embedding_dim=4, hidden=(8,), tower=())
    own = {"encoder": encoder, "schema": encoder.schema, "model": model}[what]
    with pytest.raises(SchemaError, match=words):
        own.extend(scenario=name)


def test_where_there_are_no_scenarios_there_is_none_more():
    plain = tiny.schema("click", scenarios=1)
    for own in (plain, SharedBottom(plain)):
        with pytest.raises(SchemaError, match=r"has no scenarios.*scenario=column"):
            own.extend(scenario=NEW)


# Inputs of all kinds


def test_a_model_that_never_read_the_scenario_cannot_tell_two_apart():
    one = replace(tiny.schema("click"), scenarios=(Scenario("search"),))
    with pytest.raises(SchemaError, match=r"made for the one scenario 'search'.*'ads'"):
        SharedBottom(one, embedding_dim=3).extend(scenario=NEW)


@pytest.mark.parametrize("known", [1, 3])
def test_where_the_scenario_is_no_field_of_its_own_only_its_name_is_new(known):
    scenarios = tuple(Scenario(f"place {i}") for i in range(known))
    plain = replace(tiny.schema("click"), scenarios=scenarios)
    named = replace(plain, categorical=(*plain.categorical, Categorical("scenario", 4)))
    factory = partial(FieldEmbedding, scenario_field=False)
    for schema, inputs in ((named, FieldEmbedding), (plain, factory)):
        model = SharedBottom(schema, embedding_dim=3, inputs=inputs)
        grown = model.extend(scenario=NEW)
        assert grown.schema.scenario_names[-1] == NEW
        for old, new in zip(model.parameters(), grown.parameters(), strict=True):
            assert torch.equal(old, new)


def test_poolings_and_encoders_stay_where_they_are():
    known = registry.schema()

    def inputs(schema, dim):
        picture = Lookup(torch.randn(6, 5), nn.Linear(5, dim))
        return FieldEmbedding(
            schema, dim, pooling={"words": "sum", "viewed": "mean"}, encoders={"item": picture}
        )

    model = SharedBottom(known, embedding_dim=3, hidden=(8,), tower=(), inputs=inputs)
    for p in model.parameters():
        nn.init.normal_(p)
    table, larger = old_and_new_table(known)
    for task, values in scores(model, table).items():
        assert torch.equal(scores(model.extend(scenario=NEW), larger)[task], values)


@pytest.mark.parametrize("table", ["shop", "post"])
def test_a_joined_model_grows_in_one_of_its_tables(table):
    def parts(extended):
        shop, post = tiny.schema("click"), tiny.schema("orders", sequences=False, scenarios=3)
        shop, post = replace(shop, encoding="a"), replace(post, encoding="b")
        made = {}
        for name, schema in (("shop", shop), ("post", post)):
            rows = tiny.table(schema, 20)
            rows.scenario[::3] = schema.unknown_scenario
            if extended == name:
                larger = schema.extend(scenario=NEW)
                columns = rows._columns() | {"scenario": rows.scenario.clone()}
                columns["scenario"][::3] = larger.unknown_scenario
                columns["scenario"][::6] = larger.scenario_index(NEW)
                rows = Table(larger, **columns)
            made[name] = rows
        return Join(made)

    before, after = parts(None), parts(table)
    model = SharedBottom(before.schema, embedding_dim=3, hidden=(8,), tower=())
    for p in model.parameters():
        nn.init.normal_(p)
    grown = model.extend(scenario=f"{table}/{NEW}")
    assert grown.schema == after.schema
    for old, new in zip(before.batches(20), after.batches(20), strict=True):
        expected, found = model(old), grown(new)
        for task in expected:
            assert torch.equal(found[task], expected[task])
    with pytest.raises(SchemaError, match="has the scenarios"):
        predict(model, after)
    with pytest.raises(SchemaError, match="name it as table/scenario, such as shop/ads"):
        model.extend(scenario=NEW)
    with pytest.raises(SchemaError, match="Unknown table 'mail'"):
        model.extend(scenario="mail/ads")


# What cannot grow says so


class PerScenario(SharedBottom):
    """A layer a scenario, and nothing said of how to add one."""

    def __init__(self, schema, **sizes):
        super().__init__(schema, **sizes)
        self.gates = nn.ModuleList(nn.Linear(1, 1) for _ in schema.scenarios)

    def scenario_modules(self, name):
        return [self.gates[self.schema.scenario_index(name)]]


class Grows(PerScenario):
    def add_scenario(self, scenario):
        super().add_scenario(scenario)
        self.gates.append(nn.Linear(1, 1))


class Plain(nn.Module):
    width = 1

    def __init__(self, schema=None, dim=None):
        super().__init__()
        self.rows = nn.Embedding(4, 1)

    def forward(self, batch):
        return self.rows(batch.scenario)


def test_modules_of_single_scenarios_need_a_word_on_how_to_add_one():
    with pytest.raises(SchemaError, match=r"PerScenario .*must define add_scenario"):
        PerScenario(registry.schema()).extend(scenario=NEW)
    grown = Grows(registry.schema()).extend(scenario=NEW)
    assert len(grown.gates) == 4 and grown.scenario_modules(NEW) == [grown.gates[3]]


@pytest.mark.parametrize("kind", ["inputs", "wrapped", "table"])
def test_modules_of_ones_own_that_cannot_tell_are_refused_by_name(kind):
    schema = registry.schema()
    if kind == "inputs":
        model = SharedBottom(schema, embedding_dim=1, inputs=Plain)
    elif kind == "wrapped":
        model = wrap_module(Plain(), schema.select(["click"]))
    else:
        own = type("Own", (FieldEmbedding,), {})
        own.add_scenario = FieldEmbedding.__mro__[1].add_scenario
        model = SharedBottom(schema, embedding_dim=1, inputs=own)
    with pytest.raises((SchemaError, NotImplementedError), match=r"(Plain|Own) .*add_scenario"):
        model.extend(scenario=NEW)


def test_a_wrapped_module_that_can_tell_grows():
    class Told(Plain):
        def add_scenario(self, scenario):
            weight = self.rows.weight.detach()
            self.rows = nn.Embedding.from_pretrained(torch.cat([weight, weight[3:]]))

    model = wrap_module(Told(), registry.schema().select(["click"]))
    table, larger = old_and_new_table(model.schema)
    found = scores(model.extend(scenario=NEW), larger)["click"]
    assert torch.equal(found, scores(model, table)["click"])


def test_controls_grow_where_they_do_not_read_the_scenario():
    table, larger = old_and_new_table(registry.schema())
    constant = Constant(table).extend(scenario=NEW)
    assert len(predict(constant, larger)["click"]) == len(larger)
    with pytest.raises(SchemaError, match="grow new ones"):
        Trees(registry.schema()).extend(scenario=NEW)
    one = replace(tiny.schema("click"), scenarios=(Scenario("a"), Scenario("b")))
    field = replace(one, categorical=(*one.categorical, Categorical("scenario", 3)))
    assert Trees(field).extend(scenario=NEW).schema.scenario_names == ("a", "b", NEW)

"""What every scenario model promises: whose rows read and train what. Names come from the registry,
so a new one is met by itself; models with a reference in ``slow.py`` are also compared with it."""

import copy
import pickle
from dataclasses import replace
from functools import partial
from itertools import cycle

import pytest
import torch
from torch import nn

from mtlkit import Market, evaluate
from mtlkit.layers import EmbeddingTable, FieldEmbedding
from mtlkit.layers.adapted import Here, OfScenarios
from mtlkit.layers.shifted import Shifts
from mtlkit.models import ADAPTING, LINKS, SHARING
from mtlkit.models.adapt.base import Adapting
from mtlkit.models.adapt.one_each import ScenarioEmbedding
from mtlkit.schema import Categorical, Dense, Scenario, Schema, Task
from tests import tiny
from tests.models import registry
from tests.models.adapt import slow
from tests.models.adapt.twelve import (
    SCHEMA,
    SIZES,
    TEN,
    UNKNOWN,
    as_trained,
    batch_of,
    fresh,
    of_every_row,
    plain,
    trained,
)  # fmt: skip

NEAR = {"rtol": 1e-9, "atol": 1e-11}
REFERENCES = [
    "one-for-all", "one-each", "scenario-feature", "scenario-towers", "star", "epnet", "ppnet",
    "pepnet", "mlora",
]  # fmt: skip
MEAN_OF_ALL = {"one-each", "scenario-towers"}  # an unknown row's layers are the mean of all
# What rows of other scenarios read, too, by the beginning of its name: HMoE reads what others say
# without training it; HiNet and M3oE read others' experts and train them.
READ = {
    "hmoe": ("gates.", "towers."), "hinet": ("own.", "attention.keys"), "m3oe": ("own.",),
}  # fmt: skip
TRAIN_OTHERS = {"hinet", "m3oe"}
DISCOVER = {"adaptdhm"}  # its sets are those of clusters, so a row's set is its cluster's
AROUND = [name for name, kind in ADAPTING.items() if issubclass(kind, Adapting)]
PART = {  # a part that computes while the rows' scenarios are known, where there is no network
    "hmoe": "gates.0", "sar-net": "own.0", "hinet": "own", "m3oe": "own", "m2m": "metas.0",
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", ADAPTING)
MODES = pytest.mark.parametrize("mode", ["train", "eval"])


def at(model, mode):
    """A copy in that mode, so that no forward pass of another one is remembered."""
    return copy.deepcopy(model).train(mode == "train")


def scores(model, batch, mode="eval"):
    return of_every_row(at(model, mode)(batch))


def stacked(model):
    """{name: parameter} of all that holds one set a scenario."""
    return {
        f"{name}.{key}": getattr(module, key)
        for name, module in model.named_modules()
        for key in getattr(module, "stacked", ())
    }


def trained_by(values):
    """The scenarios whose set of a stacked parameter has a gradient that is not exactly 0."""
    if values.grad is None:
        return set()
    return set((values.grad.flatten(1) != 0).any(1).nonzero().flatten().tolist())


def sets_of_rows(name, model, batch):
    """Which set of the stacked parameters each row has for its own, (batch,)."""
    return model.cluster(model.embed(batch)) if name in DISCOVER else batch.scenario


def trained_by_others(name, key):
    """Whether rows train that parameter of other scenarios than their own."""
    return name in TRAIN_OTHERS and key.startswith(READ[name])


def blocks(model):
    """{name: slices of the embedding table} where every scenario has rows of its own."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, ScenarioEmbedding | Shifts):
            starts = [s * module.rows for s in range(UNKNOWN + 1)]
            found[f"{name}.table"] = [slice(at, at + module.rows) for at in starts]
        elif isinstance(module, EmbeddingTable) and module.layout.with_scenario:
            found[f"{name}.table"] = [slice(17 + s, 18 + s) for s in range(UNKNOWN + 1)]
    return found


# Rows and their scenarios


@pytest.mark.parametrize("name", ["one-for-all", "adaptdhm"])
def test_what_is_told_no_scenario_reads_none_not_even_as_a_field(name):
    table = Market("tiny").impressions(64).select_tasks("click")
    assert "scenario" in table.schema.categorical_names
    torch.manual_seed(0)
    model = ADAPTING[name](table.schema, **SIZES).eval()
    batch = tiny.all_rows(table)
    before = of_every_row(model(batch))
    place = table.schema.categorical_names.index("scenario")
    batch.scenario = (batch.scenario + 1) % table.schema.num_scenarios
    batch.categorical[:, place] = batch.categorical[:, place] % table.schema.num_scenarios + 1
    assert torch.equal(of_every_row(model(batch)), before)


@EVERY
@MODES
def test_rows_in_another_order_give_the_same_in_that_order(name, mode):
    model, batch = trained(name), tiny.table(SCHEMA, 65)
    batch.scenario[:] = batch_of().scenario
    order = torch.randperm(65)
    one, other = tiny.all_rows(batch), batch.batch(order)
    one.dense, other.dense = one.dense.double(), other.dense.double()
    found = scores(model, other, mode)
    torch.testing.assert_close(found, scores(model, one, mode)[order], **NEAR)


@EVERY
@MODES
def test_a_row_depends_on_no_row_of_another_scenario(name, mode):
    model, batch = trained(name), batch_of(seed=0)
    before = scores(model, batch, mode)
    for scenario in (2, TEN, UNKNOWN):
        own, other = batch.scenario == scenario, batch_of(seed=5)
        for column in ("categorical", "dense"):
            values = getattr(batch, column).clone()
            values[~own] = getattr(other, column)[~own]
            setattr(other, column, values)
        other.sequences = batch.sequences
        other.scenario = torch.where(own, batch.scenario, (other.scenario + 1) % scenario)
        after = scores(model, other, mode)
        torch.testing.assert_close(after[own], before[own], **NEAR)
        assert not torch.isclose(after[~own], before[~own]).all(1).any()


@EVERY
def test_at_evaluation_a_row_depends_on_no_other_row(name):
    model, table = trained(name), tiny.table(SCHEMA, 65)
    table.scenario[:] = batch_of().scenario
    whole = tiny.all_rows(table)
    whole.dense = whole.dense.double()
    expected = scores(model, whole)
    for row in range(0, 65, 8):
        alone = table.batch(torch.tensor([row]))
        alone.dense = alone.dense.double()
        torch.testing.assert_close(scores(model, alone)[0], expected[row], **NEAR)


@EVERY
@MODES
def test_rows_train_what_belongs_to_their_scenario_and_to_no_other(name, mode):
    model, batch = trained(name).train(mode == "train"), batch_of()
    if name == "sar-net":  # or all units of one scenario's expert are at 0 in its five rows
        for own in model.own.parameters():
            own.data += 0.5 if own.dim() == 2 else 0.0
    sets = sets_of_rows(name, model, batch)
    for scenario in sets.unique().tolist() if name in DISCOVER else (0, 2, TEN, UNKNOWN):
        model.zero_grad()
        mine = sets_of_rows(name, model, batch) == scenario  # before centroids move
        of_every_row(model(batch))[mine].square().sum().backward()
        found, own = [], {scenario} - {UNKNOWN}
        for key, values in stacked(model).items():
            if not trained_by_others(name, key):
                found.append(trained_by(values))
            elif scenario == UNKNOWN:
                assert not trained_by(values), key
            elif key == "attention.keys":
                assert trained_by(values) == set(range(UNKNOWN)) - own
            else:
                assert trained_by(values) > own, key
        assert all(one in (own, set()) for one in found)
        assert found.count(own) >= len(found) * 0.7  # not where all units above are at 0
        for key, slices in blocks(model).items():
            gradient = model.get_parameter(key).grad
            moved = [s for s, rows in enumerate(slices) if (gradient[rows] != 0).any()]
            assert moved == [scenario], key


@EVERY
@MODES
def test_a_scenario_s_own_parameters_move_its_rows_alone(name, mode, scenario=TEN):
    model, batch = trained(name), batch_of()
    moved, read = copy.deepcopy(model), copy.deepcopy(model)
    sets = sets_of_rows(name, model, batch)
    if name in DISCOVER:
        scenario = int(sets.mode().values)
    with torch.no_grad():
        for key, values in stacked(moved).items():
            if key.startswith(READ.get(name, ())):
                values = read.get_parameter(key)
            values[scenario] += torch.randn_like(values[scenario])
        for key, slices in blocks(moved).items():
            moved.get_parameter(key)[slices[scenario]] += 1.0
    own, unknown = sets == scenario, sets == UNKNOWN
    before, after = scores(model, batch, mode), scores(moved, batch, mode)
    if name != "one-for-all":
        assert not torch.isclose(before[own], after[own]).all(1).any()
    assert torch.equal(before[~own & ~unknown], after[~own & ~unknown])
    if name in MEAN_OF_ALL:
        assert not torch.isclose(before[unknown], after[unknown]).all(1).any()
    elif name in REFERENCES:
        assert torch.equal(before[unknown], after[unknown])
    else:  # a new model: unknown rows move only if they read something that did
        pairs = zip(model.modules(), moved.modules(), strict=True)
        reads = any(
            not torch.equal(one.every(key)[-1], other.every(key)[-1])
            for one, other in pairs if isinstance(one, OfScenarios) for key in one.stacked
        )  # fmt: skip
        assert reads or torch.equal(before[unknown], after[unknown])
    if name in READ:
        after = scores(read, batch, mode)
        for rows in (own, ~own & ~unknown, unknown):
            assert not torch.isclose(before[rows], after[rows]).all()


FEW = {
    "one row": [TEN], "one unknown row": [UNKNOWN], "unknown rows": [UNKNOWN] * 5,
    "one scenario": [2] * 4, "few": [0, 0, 2, 2, TEN, UNKNOWN],
}  # fmt: skip


@EVERY
@MODES
def test_scenarios_without_rows_leave_outputs_and_gradients_finite(name, mode):
    first, used = fresh(name), trained(name)
    for scenario in FEW.values():
        for model in (copy.deepcopy(first), copy.deepcopy(used)):
            sets = set(sets_of_rows(name, model, batch_of(scenario)).tolist())
            logits = of_every_row(model.train(mode == "train")(batch_of(scenario)))
            logits.square().sum().backward()
            assert logits.isfinite().all()
            for key, p in model.named_parameters():
                assert p.grad is None or p.grad.isfinite().all(), key
            for key, values in stacked(model).items():
                if not trained_by_others(name, key) or sets == {UNKNOWN}:
                    assert trained_by(values) <= sets, key


@EVERY
def test_reports_tell_scenarios_by_their_names(name):
    model, table = trained(name).float(), tiny.table(SCHEMA, 260)
    table.scenario[:] = batch_of(rows=260).scenario
    found = evaluate(model, table, by_scenario=True)
    for place in ("place 2", "place 10"):
        alone = table.take((table.scenario == SCHEMA.scenario_index(place)).nonzero().flatten())
        expected = evaluate(model, alone)
        assert found[place]["dwell"] == pytest.approx(expected["dwell"], nan_ok=True)


# Slow references


@pytest.mark.parametrize("name", REFERENCES)
def test_a_model_computes_what_its_equations_say_row_by_row(name):
    model, batch = trained(name).eval(), batch_of()
    again = copy.deepcopy(model)
    found, expected = of_every_row(model(batch)), slow.logits(again, batch)
    torch.testing.assert_close(found, expected, **NEAR)
    assert (found > 0).any() and (found < 0).any() and (found != 0).all()  # no ReLU on a logit
    weights = torch.randn_like(found)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    others = dict(again.named_parameters())
    for key, p in model.named_parameters():
        one, other = (torch.zeros_like(q) if q.grad is None else q.grad for q in (p, others[key]))
        torch.testing.assert_close(one, other, **NEAR, msg=key)


def test_one_each_is_networks_apart_each_on_its_own_rows():
    model, batch = trained("one-each"), batch_of()
    model.row_losses(model(batch), batch).sum().backward()
    rows = model.network.embedding.rows
    for s in range(UNKNOWN):
        one = plain(inputs=model.network.embedding.__class__.__mro__[1], schema=one_scenario())
        mine = dict(model.network.named_parameters())
        with torch.no_grad():
            for key, p in one.named_parameters():
                p.copy_(part_of(mine[key], s, rows))
        table = tiny.table(SCHEMA, 65)
        own = table.batch((batch.scenario == s).nonzero().flatten())
        own.dense = own.dense.double()
        logits = one(own)
        theirs = {key: z[batch.scenario == s] for key, z in model(batch).items()}
        for key, z in logits.items():
            torch.testing.assert_close(theirs[key], z, **NEAR)
        one.row_losses(logits, own).sum().backward()
        for key, p in one.named_parameters():
            torch.testing.assert_close(part_of(mine[key].grad, s, rows), p.grad, **NEAR)


def one_scenario(network=SCHEMA):
    """The schema of one scenario's rows alone."""
    return Schema(network.tasks, network.categorical, network.dense, network.sequences)


def part_of(values, s, rows):
    """What scenario s has of a stacked parameter or of the tables, as a plain network has it."""
    if len(values) == rows * (UNKNOWN + 1):
        return values[s * rows : (s + 1) * rows]
    return values[s].T if values.dim() == 3 else values[s]


@MODES
def test_one_for_all_does_not_read_the_scenario(mode):
    model, batch, other = trained("one-for-all"), batch_of(), batch_of()
    other.scenario = torch.randint(0, UNKNOWN + 1, (65,))
    assert not torch.equal(other.scenario, batch.scenario)
    assert torch.equal(scores(model, other, mode), scores(model, batch, mode))


def test_one_for_all_does_not_read_the_scenario_whatever_network_is_inside():
    batch, other = batch_of(), batch_of()
    other.scenario = (batch.scenario + 1) % (UNKNOWN + 1)
    for inside in INSIDE:
        model = trained("one-for-all", network=SHARING[inside])
        assert torch.equal(scores(model, other), scores(model, batch)), inside


class OwnInputs(nn.Module):
    """Inputs of a kind of one's own: the scenario as a number."""

    def __init__(self, schema, embedding_dim):
        super().__init__()
        self.width = 1

    def forward(self, batch):
        return batch.scenario.unsqueeze(1).to(batch.dense.dtype)


def test_a_network_that_belies_the_name_of_the_model_is_refused():
    blind = partial(FieldEmbedding, scenario_field=False)
    with pytest.raises(ValueError, match=r"SharedBottom does not read the scenario.*OneForAll"):
        fresh("scenario-feature", inputs=blind)
    with pytest.raises(ValueError, match="SingleTask does not read the scenario"):
        fresh("scenario-feature", network=SHARING["single-task"], inputs=blind)
    pictures = Schema((Task("a"),), dense=(Dense("x", 5),), scenarios=SCHEMA.scenarios)
    article = SHARING["article"]
    with pytest.raises(ValueError, match="ArticleNetwork does not read the scenario"):
        ADAPTING["scenario-feature"](pictures, article)
    assert not ADAPTING["one-for-all"](pictures, partial(reads_no_inputs, article)).here.route
    with pytest.raises(ValueError, match=r"SharedBottom reads the scenario.*ScenarioFeature"):
        fresh("one-for-all", inputs=FieldEmbedding)
    named = replace(SCHEMA, categorical=(*SCHEMA.categorical, Categorical("scenario", 13)))
    with pytest.raises(ValueError, match="SharedBottom does not read the scenario"):
        fresh("scenario-feature", named, inputs=blind)
    fresh("one-for-all", named)
    fresh("scenario-feature", named)
    fresh("scenario-feature", inputs=OwnInputs)
    for name in ("one-for-all", "scenario-feature"):  # nothing to read, or to leave out
        fresh(name, one_scenario(), inputs=blind)
        fresh(name, one_scenario())


def reads_no_inputs(network, schema, **sizes):
    """A network that takes no ``inputs``."""
    sizes.pop("inputs")
    return network(schema, **sizes)


def test_the_plain_network_that_reads_the_scenario_is_the_scenario_feature():
    model, network, batch = fresh("scenario-feature"), plain(), batch_of()
    assert torch.equal(of_every_row(model(batch)), of_every_row(network(batch)))
    table = model.network.embedding.table[17 : 18 + UNKNOWN]
    assert (table[:-1] != 0).all() and (table[-1] == 0).all()


# Where a model is another one


@pytest.mark.parametrize("schema", [SCHEMA, one_scenario()], ids=["twelve", "one"])
@pytest.mark.parametrize("name", ["scenario-towers", "star", "mlora", "pepnet", "ppnet", "epnet"])
def test_at_its_start_a_model_is_its_network(name, schema):
    """Here with STAR's norm at the identity and its auxiliary network silent, and gates at 1."""
    model, network = fresh(name, schema).eval(), plain(schema)
    batch = batch_of(schema=schema)
    if schema is not SCHEMA:
        batch.scenario %= 2  # of the one scenario, or of none
    with torch.no_grad():
        for p in (*model.parameters(), *network.parameters()):
            p.mul_(5)  # no logit is near 0
        if name == "star":
            for p in stacked(model).values():  # factors of 1 stay
                p.div_(5)
            model.norm.scale.fill_(1)
            model.norm.eps = 0.0
            for tower in model.auxiliary:
                nn.init.zeros_(tower[-1].weight)
        for module in model.modules():
            if type(module).__name__ == "GateNU":
                nn.init.zeros_(module[-1].weight)
    found, expected = of_every_row(model(batch)), of_every_row(network(batch))
    assert expected.abs().mean() > 0.1
    if name in ("scenario-towers", "star"):  # products of other shapes round otherwise
        torch.testing.assert_close(found, expected, **NEAR)
    else:
        assert torch.equal(found, expected)


CHANGED = {  # which layers of a plain network a model changes, by what stands there
    "one-for-all": {},
    "scenario-feature": {},
    "epnet": {},
    "embedding-shift": {},
    "one-each": {"OwnLinear": ["bottom.0", "bottom.2", "towers.0", "towers.2"]},
    "scenario-towers": {"OwnLinear": ["towers.0", "towers.2"]},
    "star": {"StarLinear": ["bottom.0", "bottom.2", "towers.0", "towers.2"]},
    "ppnet": {"GatedLinear": ["towers.0"]},
    "pepnet": {"GatedLinear": ["towers.0"]},
    "mlora": {"LowRankLinear": ["bottom.0", "bottom.2", "towers.0", "towers.2"]},
    "apg": {"GeneratedLinear": ["bottom.0", "bottom.2", "towers.0", "towers.2"]},
    "adaptdhm": {"ClusterLinear": ["bottom.0", "bottom.2", "towers.0", "towers.2"]},
    "hamur": {"Adapter": ["bottom.1", "bottom.3", "towers.1"]},
    "adasparse": {"Pruner": ["bottom.1", "bottom.3", "towers.1"]},
}


@pytest.mark.parametrize("name", AROUND)
def test_a_model_changes_the_layers_that_it_says_and_no_other(name):
    """The sizes of ``twelve``: two layers in the bottom, one hidden layer in every tower."""
    network = fresh(name).network
    found = {}
    for tower in network.towers:
        for place, mlp in (("bottom", network.bottom), ("towers", tower)):
            for number, layer in enumerate(mlp):
                parts = layer if type(layer) is nn.Sequential else [layer]
                for kind in {type(part).__name__ for part in parts} - {"Linear", "ReLU"}:
                    found.setdefault(kind, set()).add(f"{place}.{number}")
    assert {kind: sorted(places) for kind, places in found.items()} == CHANGED[name]


def test_a_tower_of_one_scenario_and_task_moves_nothing_else():
    model, batch = trained("scenario-towers"), batch_of()
    before, moved = at(model, "eval")(batch), copy.deepcopy(model)
    with torch.no_grad():
        for p in moved.network.towers.of("category").parameters():
            p[TEN] += 1.0
    after, own = at(moved, "eval")(batch), batch.scenario == TEN
    for task, logits in before.items():
        if task == "category":
            assert not torch.isclose(after[task][own], logits[own]).any()
            own |= batch.scenario == UNKNOWN  # they read the mean
            assert torch.equal(after[task][~own], logits[~own])
        else:
            assert torch.equal(after[task], logits)


def test_an_adapter_of_full_rank_can_be_any_layer_of_the_scenario_s_own():
    layers, network, batch = trained("scenario-towers"), plain(), batch_of()
    model = as_trained(fresh("mlora", rank=100))
    weights = {key: torch.randn(UNKNOWN, *p.shape).double() for key, p in network.named_parameters()
               if "embedding" not in key}  # fmt: skip
    adapters = [(key, m) for key, m in model.network.named_modules() if hasattr(m, "rank")]
    assert len(adapters) == len(weights) / 2
    with torch.no_grad():
        for key, adapter in adapters:
            shared = adapter.shared
            assert adapter.rank == min(shared.in_features, shared.out_features)
            u, scale, v = torch.linalg.svd(
                weights[f"{key}.weight"].mT - shared.weight.T, full_matrices=False
            )
            adapter.A.copy_(u * scale.unsqueeze(1))
            adapter.B.copy_(v)
            adapter.bias.copy_(weights[f"{key}.bias"] - shared.bias)
        network.embedding.table.copy_(model.network.embedding.table)
        found = scores(model, batch)
        for s in range(UNKNOWN):
            for key, values in weights.items():
                network.get_parameter(key).copy_(values[s])
            own = batch.scenario == s
            torch.testing.assert_close(found[own], scores(network, batch)[own], **NEAR)
    assert layers.parameter_count()["scenarios"] > 0


@pytest.mark.parametrize(("rank", "expected"), [(None, (1, 1)), (2, (2, 2)), (100, (5, 3))])
def test_a_rank_is_at_most_the_smaller_side_and_the_count_says_it(rank, expected):
    model = fresh("mlora", rank=rank)
    hidden, logits = model.network.bottom[2], model.network.towers.of("category")[-1]
    assert (hidden.rank, min(logits.rank, 3)) == expected
    for layer in (hidden, logits):
        inputs, outputs = layer.shared.in_features, layer.shared.out_features
        own = sum(getattr(layer, key)[0].numel() for key in layer.stacked)
        assert own == layer.rank * (inputs + outputs) + outputs
    with pytest.raises(ValueError, match="rank must be 1 or more, not 0"):
        fresh("mlora", rank=0)


# Around any network


INSIDE = [name for name in SHARING if name != "article"]
NO_PLAIN_LAYERS = {*INSIDE} - {"single-task", "shared-bottom"}


@pytest.mark.parametrize("name", AROUND)
def test_a_scenario_model_stands_around_any_sharing_model(name):
    batch = batch_of()
    for inside in INSIDE:
        network = SHARING[inside]
        if name == "one-each" and inside in NO_PLAIN_LAYERS:
            with pytest.raises(ValueError, match=rf"in {network.__name__} .* would stay shared"):
                fresh(name, network=network)
            continue
        model = as_trained(fresh(name, network=network))
        sets = set(sets_of_rows(name, model, batch).tolist())
        logits = model(batch)
        model.losses(logits, batch).sum().backward()
        assert of_every_row(logits).isfinite().all(), inside
        assert set().union(*[trained_by(p) for p in stacked(model).values()]) in (
            set(), sets - {UNKNOWN},
        )  # fmt: skip
        expected = scores(model, batch)[:7]
        few = tiny.table(SCHEMA, 65).batch(torch.arange(7))
        few.dense, few.scenario = few.dense.double(), batch.scenario[:7]
        torch.testing.assert_close(scores(model, few), expected, **NEAR)


@EVERY
def test_where_rows_have_dense_columns_alone_a_model_fits_or_says_why(name):
    schema = Schema((Task("a"), Task("b")), dense=(Dense("x", 5),),
                    scenarios=tuple(Scenario(f"{n}") for n in range(3)))  # fmt: skip
    table = tiny.table(schema, 20)
    model = ADAPTING[name](schema, **SIZES)
    logits = model(tiny.all_rows(table))  # in training, AdaSparse's penalties come after them
    assert of_every_row({key: logits[key] for key in schema.task_names}).shape == (20, 2)
    article = partial(SHARING["article"], hidden=4)
    if name in ("star", "epnet", "ppnet", "pepnet"):
        with pytest.raises(ValueError, match="ArticleNetwork does not say how wide"):
            ADAPTING[name](schema, article)


@pytest.mark.parametrize(("name", "link"), [*zip(ADAPTING, cycle(LINKS))])
def test_inside_a_link_scenarios_stay_apart(name, link):
    table = registry.table(rows=40)
    batch = tiny.all_rows(table)
    model = LINKS[link](
        table.schema, partial(ADAPTING[name], **SIZES), **registry.ARGUMENTS.get(link, {})
    )
    for p in model.parameters():
        nn.init.normal_(p, std=0.5)
    inside = next(m for m in model.modules() if isinstance(m, ADAPTING[name]))
    mine = sets_of_rows(name, inside, batch) == 1
    rows = model.row_losses(model(batch), batch)
    rows[mine].sum().backward()
    prefix = next(key for key, m in model.named_modules() if m is inside) + "."
    found = [
        trained_by(p) for key, p in stacked(model).items()
        if not trained_by_others(name, key.removeprefix(prefix))
    ]  # fmt: skip
    assert all(one in (set(), {1}) for one in found)
    assert found.count({1}) >= len(found) * 0.6


# Copies


def copies(model, tmp_path, way):
    if way == "deepcopy":
        return copy.deepcopy(model)
    if way == "pickle":
        return pickle.loads(pickle.dumps(model))
    other = type(model)(SCHEMA, **SIZES).double().train(model.training)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt"))
    return other


@EVERY
@pytest.mark.parametrize("way", ["deepcopy", "pickle", "state_dict"])
def test_a_copy_has_its_own_place_of_routes_and_gives_the_same(name, way, tmp_path):
    model, batch, other = trained(name).eval(), batch_of(), batch_of(seed=3)
    first, second = of_every_row(model(batch)), of_every_row(model(other))
    twin = copies(model, tmp_path, way)
    mine, theirs = ({id(h) for h in holders(m)} for m in (model, twin))
    assert mine == {id(model.here)} and theirs == {id(twin.here)} and mine != theirs
    for _ in range(2):  # in turn
        assert torch.equal(of_every_row(model(batch)), first)
        assert torch.equal(of_every_row(twin(other)), second)
    outputs = []  # one in the middle of the other
    part = model.get_submodule(PART.get(name, "network.towers"))
    part.register_forward_pre_hook(lambda *_: outputs.append(twin(other)))
    assert torch.equal(of_every_row(model(batch)), first)
    assert torch.equal(of_every_row(outputs[0]), second)


def holders(model):
    """Every ``Here`` that a module of the model holds."""
    return [v for m in model.modules() for v in vars(m).values() if isinstance(v, Here)]


@EVERY
def test_a_forward_pass_that_fails_leaves_no_route_behind(name):
    model, batch = trained(name), batch_of()
    part = model.get_submodule(PART.get(name, "network.towers"))
    handle = part.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model(batch)
    handle.remove()
    assert model.here.route is None
    with pytest.raises(RuntimeError, match="outside of the model that holds it"):
        model.here.known()
    assert of_every_row(model(batch)).isfinite().all()

"""Gate maps: who weighs which expert, against slow loops, frozen gates and experts that say 1."""

from functools import partial

import polars as pl
import pytest
import torch
from torch import nn

from mtlkit import plot
from mtlkit.data import Join
from mtlkit.layers import (
    MLP,
    ExpertBank,
    ExpertLevel,
    ExpertReader,
    Gate,
    Towers,
    field_inputs,
    mix,
)
from mtlkit.models import (
    CGC,
    ESMM,
    LINKS,
    PLE,
    SHARING,
    AdaTT,
    Constant,
    CrossStitch,
    MMoE,
    MultiTaskModel,
    Trees,
    gate_map,
    wrap,
)  # fmt: skip
from tests import tiny
from tests.models import registry
from tests.models.share import slow
from tests.models.share.test_experts import NAMES, SIZES, VARIANTS, make

SCHEMA = tiny.schema(*NAMES)
WITHOUT = {"article", "single-task", "shared-bottom"}
GATED = [name for name in VARIANTS if name != "cross-stitch"]


def table_of(rows: int = 40, *, unknown: bool = False):
    table = tiny.table(SCHEMA, rows)
    table.dense = table.dense.double()
    if unknown:
        table.scenario[::5] = SCHEMA.unknown_scenario
    return table


def rows_of(frame, level, reader):
    return frame.filter((pl.col("level") == level) & (pl.col("reader") == reader))


def watched(monkeypatch, variant, model, batch):
    """{gate: (weights, outputs of its experts in order)}, as the slow loop computes them."""
    seen, plain = {}, slow.gated

    def gated(gate, x, outputs):
        scores = torch.exp(x @ gate.linear.weight.T)
        seen[gate] = (scores / scores.sum(1, keepdim=True), list(outputs))
        return plain(gate, x, outputs)

    monkeypatch.setattr(slow, "gated", gated)
    name = next(n for n in slow.SLOW if variant.startswith(n))
    slow.SLOW[name](model, model.embed(batch))
    return seen


@pytest.mark.parametrize("variant", GATED)
def test_weights_and_experts_are_those_of_the_slow_loop(variant, monkeypatch):
    model, table = make(variant).eval(), table_of()
    batch = tiny.all_rows(table)
    with torch.no_grad():
        seen = watched(monkeypatch, variant, model, batch)
        outputs = model.expert_outputs(batch)
    frame, levels = gate_map(model, table), model.expert_levels()
    assert sum(len(level.readers) for level in levels) == len(seen)
    for number, level in enumerate(levels):
        assert len(outputs[number]) == len(level.owners)
        for reader in level.readers:
            weights, experts = seen[reader.gate]
            found = rows_of(frame, number + 1, reader.name)
            assert found["expert"].to_list() == sorted(reader.experts)
            means = dict(found.select("expert", "weight").iter_rows())
            for place, expert in enumerate(reader.experts):
                assert means[expert] == pytest.approx(float(weights[:, place].mean()), abs=1e-12)
                torch.testing.assert_close(outputs[number][expert], experts[place])


def banks(variant, model) -> list[tuple[str, ExpertBank]]:
    """The banks of the last level with their owners, by hand."""
    if variant in ("omoe", "mmoe"):
        return [("shared", model.experts)]
    if variant == "stem":
        return [*zip(NAMES, model.own, strict=True), ("shared", model.common)]
    if variant.startswith("adatt"):
        last = model.levels[-1].banks
        return [(NAMES[n] if n < 3 else "shared", bank) for n, bank in enumerate(last)]
    last = model.level if variant == "cgc" else model.levels[-1]
    return [*zip(NAMES, last.own, strict=True), ("shared", last.shared)]


def note(said, task, module, given):
    said[task] = given[0].mean().item()


@pytest.mark.parametrize("variant", [v for v in GATED if v != "home-experts"])
def test_a_tower_reads_the_weight_of_an_owner_where_only_its_experts_say_one(variant):
    model, table = make(variant).eval(), table_of()
    frame = gate_map(model, table)
    last = len(model.expert_levels())
    for owner in {owner for owner, _ in banks(variant, model)}:
        with torch.no_grad():
            for name, bank in banks(variant, model):
                for parameter in bank.parameters():
                    parameter.zero_()
                bank.biases[-1].fill_(float(name == owner))
        said = {}
        for task in NAMES:
            model.towers.of(task).register_forward_pre_hook(partial(note, said, task))
        batch = tiny.all_rows(table)
        model(batch)
        marked = (model.expert_outputs(batch)[-1] == 1).all(2).all(1).tolist()
        owners = model.expert_levels()[-1].owners
        assert [name == owner for name in owners] == marked
        for task in NAMES:
            reader = "all tasks" if variant == "omoe" else task
            of_owner = rows_of(frame, last, reader).filter(pl.col("owner") == owner)
            residual = 0.0
            if variant.startswith("adatt") and task == owner:
                own = model.levels[-1].fusions[NAMES.index(task)].residual
                residual = 1.0 if own is None else own.sum().item()
            assert said[task] == pytest.approx(of_owner["weight"].sum() + residual, abs=1e-9)


class Frozen(nn.Module):
    """Weights that no row changes."""

    def __init__(self, experts):
        super().__init__()
        self.weights = torch.rand(experts).softmax(0)

    def forward(self, x):
        return self.weights.expand(len(x), -1)


@pytest.mark.parametrize("variant", GATED)
def test_frozen_gates_give_exactly_their_weights_for_every_scenario(variant):
    model = make(variant)
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Gate):
                setattr(parent, name, Frozen(child.linear.out_features))
    for by in (None, "scenario"):
        frame = gate_map(model, table_of(), by=by, batch_size=7)
        for number, level in enumerate(model.expert_levels()):
            for reader in level.readers:
                found = rows_of(frame, number + 1, reader.name)
                for place, expert in enumerate(reader.experts):
                    own = found.filter(pl.col("expert") == expert)
                    assert set(own["weight"]) == {float(reader.gate.weights[place])}
                    assert set(own["owner"]) == {level.owners[expert]}


def test_owners_and_readers_of_each_network():
    def told(model):
        frame = gate_map(model.double(), table_of())
        return [
            (list(dict.fromkeys(part["reader"])), part.unique("expert").sort("expert")["owner"])
            for _, part in frame.group_by("level", maintain_order=True)
        ]

    click, category, orders = NAMES
    one, common = [click, category, orders, "shared", "shared"], [*NAMES, "shared"]
    ple = told(PLE(SCHEMA, **SIZES))
    assert [(readers, list(owners)) for readers, owners in ple] == [(common, one), ([*NAMES], one)]
    ((readers, owners),) = told(CGC(SCHEMA, own_experts=2, shared_experts=1, **SIZES))
    assert (readers, list(owners)) == ([*NAMES], sorted([*NAMES * 2], key=NAMES.index) + ["shared"])
    first, last = told(AdaTT(SCHEMA, shared_modules=2, **SIZES))
    assert first[0] == [*NAMES, "shared 1", "shared 2"] and last[0] == [*NAMES]
    assert list(first[1]) == list(last[1]) == one
    assert told(AdaTT(SCHEMA, **SIZES))[0][0] == common
    assert told(SHARING["omoe"](SCHEMA, **SIZES))[0][0] == ["all tasks"]


@pytest.mark.parametrize("variant", GATED)
def test_the_weights_of_a_reader_sum_to_1(variant):
    frame = gate_map(make(variant), table_of(unknown=True), by="scenario")
    sums = frame.group_by("level", "reader", "scenario").agg(pl.col("weight").sum())
    assert sums.height and (sums["weight"] - 1).abs().max() < 1e-12


@pytest.mark.parametrize("variant", VARIANTS)
def test_by_scenario_is_the_map_of_the_scenario_s_rows(variant):
    model, table = make(variant), table_of(unknown=True)
    whole = gate_map(model, table, by="scenario", batch_size=7)
    names = [*SCHEMA.scenario_names, "unknown"]
    assert list(dict.fromkeys(whole["scenario"])) == names
    for number, name in enumerate(names):
        own = gate_map(model, table.take(table.scenario == number))
        part = whole.filter(pl.col("scenario") == name).drop("scenario")
        assert part.drop("weight").equals(own.drop("weight"))
        assert (part["weight"] - own["weight"]).abs().max() < 1e-12
    some = gate_map(model, table.take(table.scenario == 1), by="scenario")
    assert set(some["scenario"]) == {names[1]}


def test_a_cross_stitch_shows_its_matrices_negative_ones_too():
    model = CrossStitch(SCHEMA, **SIZES)
    with torch.no_grad():
        model.stitches[1].copy_(torch.tensor([[1.0, -0.5, 0.25], [0.0, 2.0, 0.0], [0.5, 0.5, 0.5]]))
    frame = gate_map(model, tiny.table(SCHEMA, 9))
    assert frame.filter(pl.col("level") == 2)["weight"].to_list() == [
        1.0, -0.5, 0.25, 0.0, 2.0, 0.0, 0.5, 0.5, 0.5,
    ]  # fmt: skip
    assert rows_of(frame, 1, NAMES[2])["owner"].to_list() == [*NAMES]
    with pytest.raises(ValueError, match="This CrossStitch has no level"):
        gate_map(CrossStitch(SCHEMA, hidden=()), tiny.table(SCHEMA, 9))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_model_is_as_it_was_afterwards(variant):
    model, table = make(variant).train(), table_of()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gate_map(model, table)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled() and all(p.grad is None for p in model.parameters())
    broken = table_of()
    broken.categorical[:] = 10**6
    with pytest.raises(IndexError):
        gate_map(model, broken)
    assert all(module.training and not module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", SHARING)
def test_every_architecture_has_a_map_or_says_what_it_lacks(name):
    model, table = registry.make(name), registry.table(name)
    if name in WITHOUT:
        kind = type(model).__name__
        with pytest.raises(ValueError, match=rf"^{kind} has no experts.*defines expert_levels\(\)"):
            gate_map(model, table)
        return
    frame = gate_map(model, table, by="scenario")
    assert frame.columns == ["level", "reader", "scenario", "expert", "owner", "weight"]
    assert set(frame["owner"]) <= {*model.schema.task_names, "shared"}
    assert plot.gate_map(frame).alt


def test_only_the_first_architectures_and_the_controls_are_without_experts():
    table = registry.table()
    for model in (Constant(table), Trees(table.schema)):
        with pytest.raises(ValueError, match=f"^{type(model).__name__} has no experts"):
            model.expert_levels()
    assert set(SHARING) - WITHOUT == set(slow.SLOW)


@pytest.mark.parametrize("name", LINKS)
def test_a_link_shows_the_network_inside(name):
    link, table = registry.make(name, "cgc"), registry.table(name)
    assert gate_map(link, table).equals(gate_map(link.network, table))
    batch = tiny.all_rows(table)
    pairs = zip(link.expert_outputs(batch), link.network.expert_outputs(batch), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    with pytest.raises(ValueError, match="SharedBottom has no experts"):
        gate_map(registry.make(name), table)


def test_a_join_and_a_compiled_model_are_taken():
    table = tiny.table(SCHEMA, 30)
    join = Join({"shop": table, "app": table})
    frame = gate_map(MMoE(join.schema, **SIZES), join, by="scenario", batch_size=8)
    assert set(frame["scenario"]) == set(join.schema.scenario_names)
    model = MMoE(SCHEMA, **SIZES)
    assert gate_map(torch.compile(model), table).equals(gate_map(model, table))


class Own(MultiTaskModel):
    """A model of one's own: one gate that rows change, one that they do not."""

    def __init__(self, schema, still=(0.25, 0.75), times=1):
        super().__init__(schema)
        self.embedding = field_inputs(schema, 3)
        self.bank = ExpertBank(self.embedding.width, (4,), 2)
        self.gate, self.still = Gate(self.embedding.width, 2), torch.tensor(still)
        self.towers, self.times = Towers(schema, 4), times

    def represent(self, x, batch):
        experts = self.bank(x)
        for _ in range(self.times):
            moving = mix(self.gate(x), experts)
        return (moving + (self.still[:2, None, None] * experts).sum(0),)

    def expert_levels(self):
        readers = (ExpertReader("rows", self.gate, (1, 0)), ExpertReader("all", self.still, (0, 1)))
        return [ExpertLevel(("shared", "shared"), readers)]


def test_a_model_of_one_s_own_gives_the_method_and_its_order_of_experts_is_kept():
    model, table = Own(SCHEMA), tiny.table(SCHEMA, 30)
    frame = gate_map(model, table)
    weights = model.gate(model.embed(tiny.all_rows(table))).mean(0).tolist()
    assert frame["reader"].to_list() == ["rows", "rows", "all", "all"]
    assert frame["expert"].to_list() == [0, 1, 0, 1]
    assert frame["weight"].to_list() == pytest.approx([*reversed(weights), 0.25, 0.75])


def test_a_wrapped_module_says_what_its_experts_are():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.own = Own(SCHEMA)

        def forward(self, batch):
            return self.own(batch)

        def expert_levels(self):
            return self.own.expert_levels()

    module, table = Plain(), tiny.table(SCHEMA, 30)
    assert gate_map(wrap(module, SCHEMA), table).equals(gate_map(module.own, table))
    with pytest.raises(ValueError, match=r"^MLP has no experts"):
        gate_map(wrap(MLP(3, (2,)), SCHEMA), table)


WRONG = {
    "another by": (lambda t: gate_map(MMoE(SCHEMA, **SIZES), t, by="user"), "by must be None or"),
    "no rows": (lambda t: gate_map(MMoE(SCHEMA, **SIZES), t.take([])), "has no rows"),
    "a plain module": (lambda t: gate_map(MLP(3, (2,)), t), "MLP is no model of mtlkit"),
    "no table": (lambda t: gate_map(MMoE(SCHEMA, **SIZES), [1]), "must be a Table"),
    "other inputs": (lambda t: gate_map(ESMM(registry.schema(), partial(MMoE, **SIZES)), t),
                     "scenarios"),
    "no batch": (lambda t: gate_map(MMoE(SCHEMA, **SIZES), t, batch_size=0), "batch_size must be"),
    "a gate that runs twice": (lambda t: gate_map(Own(SCHEMA, times=2), t),
                               "'rows' on level 1 ran 2 times"),
    "a tensor too long": (lambda t: gate_map(Own(SCHEMA, still=(0.1, 0.2, 0.7)), t),
                          r"'all' on level 1 is \(3,\), it must be \(2,\)"),
    "a gate of another width": (lambda t: gate_map(wider(), t),
                                r"'rows' on level 1 gave \(30, 3\), it must give \(30, 2\)"),
}  # fmt: skip


def wider():
    model = Own(SCHEMA)
    model.gate.register_forward_hook(lambda module, given, out: torch.cat([out, out[:, :1]], 1))
    model.represent = lambda x, batch: (model.gate(x)[:, :1] * model.bank(x)[0],)
    return model


@pytest.mark.parametrize("case", WRONG)
def test_what_has_no_map_is_refused_by_name(case):
    call, words = WRONG[case]
    with pytest.raises(ValueError, match=words):
        call(tiny.table(SCHEMA, 30))


@pytest.mark.parametrize(
    "owners, readers, words",
    [
        ((), [("a", (0,))], "at least one expert and one reader"),
        (("shared",), [], "at least one expert and one reader"),
        (("shared",), [("a", (0,)), ("a", (0,))], "Two readers of a level are called 'a'"),
        (("shared",), [("a", (1,))], r"'a' must weigh different experts of 0 to 0, not \(1,\)"),
        (("shared",), [("a", ())], "must weigh different experts"),
        (("b", "shared"), [("a", (1, 1))], "must weigh different experts"),
        (("b", "shared"), [("a", (1,))], "No reader weighs expert 0"),
    ],
)
def test_a_level_that_cannot_be_is_refused(owners, readers, words):
    gates = tuple(ExpertReader(name, nn.Identity(), experts) for name, experts in readers)
    with pytest.raises(ValueError, match=words):
        ExpertLevel(owners, gates)

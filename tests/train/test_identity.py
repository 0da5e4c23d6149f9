"""A checkpoint knows its run: whatever was asked for otherwise is refused when it is resumed."""

import copy
import inspect
from functools import partial

import pytest
import torch

from mtlkit.balance import EVERY_BALANCER, Curriculum, EqualWeights, FixedWeights, GradNorm
from mtlkit.data import BalancedScenarios, Join, ShardedTable, write_shards
from mtlkit.data.content import UNSEEN, content_hash
from mtlkit.layers.joined import field_inputs
from mtlkit.layers.lookup import Lookup
from mtlkit.models import ADAPTING, LINKS, SHARING, MMoE, SharedBottom, wrap
from mtlkit.train import fit, seeded
from mtlkit.train.checkpoint import CheckpointError
from mtlkit.train.described import described
from mtlkit.train.identity import FREE
from tests import tiny
from tests.balance import test_grid as grid
from tests.models import registry

SIZES = {"embedding_dim": 3, "hidden": (6,), "tower": (4,)}
TRAIN, VALIDATION = tiny.learnable(64, seed=0), tiny.learnable(48, seed=1)
USUAL = {
    "epochs": 2, "batch_size": 16, "schedule": "constant", "device": "cpu", "precision": "fp32",
    "progress": False,
}  # fmt: skip


def model_for(table, kind=SharedBottom, **more):
    with seeded(0):
        return kind(table.schema, **SIZES, **more)


class Log:
    """Does nothing at the end of an epoch."""

    def on_epoch_end(self, row):
        """Nothing."""


def changed(table, column="labels", at=(7, 1)):
    """The same table with one number changed."""
    other = table.take(torch.arange(len(table)))
    getattr(other, column)[at] = 1 - getattr(other, column)[at]
    return other


# How each argument of fit may be given otherwise, and the words of the refusal; None: it may.
CHANGES = {
    "model": (
        model_for(TRAIN, dropout=0.2),
        "its model's bottom 2 .*Dropout.*0.2",
    ),
    "train": (changed(TRAIN), "its training data"),
    "validation": (changed(VALIDATION), "its validation data"),
    "epochs": (3, None),
    "batch_size": (8, "batch_size is 16, here it is 8"),
    "sampler": (BalancedScenarios(), "sampler is None, here it is {'class': 'BalancedScenarios'"),
    "learning_rate": (1e-3, "learning_rate is 0.004, here it is 0.001"),
    "schedule": ("linear", "schedule is 'constant', here it is 'linear'"),
    "warmup_steps": (2, "warmup_steps is 0, here it is 2"),
    "accumulate": (2, "accumulate is 1, here it is 2"),
    "callbacks": ([Log()], r"its callbacks is \[\], here it is \["),
    "optimizer": ("sgd", "optimizer is 'adam', here it is 'sgd'"),
    "weight_decay": (0.1, "weight_decay is 0.0, here it is 0.1"),
    "row_prior": (None, "row_prior is 0.07, here it is None"),
    "balancer": (FixedWeights({"click": 50}), "its balancer's by_task click is 1.0, here .* 50.0"),
    "shared": ("representation", "shared is 'parameters', here it is 'representation'"),
    "clip_norm": (1.0, "clip_norm is None, here it is 1.0"),
    "patience": (5, None),
    "reference": ({"click": 0.5, "purchase": 0.5}, "reference is None, here it is {'click'"),
    "spread": ({"click": 0.1, "purchase": 0.1}, "spread is None, here it is {'click'"),
    "device": ("auto", None),
    "precision": ("bf16", "precision is 'fp32', here it is 'bf16'"),
    "seed": (1, "seed is 0, here it is 1"),
    "checkpoint_every": (3, None),
    "progress": (True, None),
    "max_steps": (7, None),
}
UNDECIDED = {"checkpoint", "resume"}  # they make a resume


def test_every_argument_of_fit_is_decided_here():
    arguments = set(inspect.signature(fit).parameters)
    assert arguments == set(CHANGES) | UNDECIDED, "say in CHANGES whether a resume may change it"
    free = {name for name, (_, words) in CHANGES.items() if words is None} | UNDECIDED
    told = {"model", "train", "validation", "balancer", "callbacks"}
    assert set(FREE) == free | told


def resumed(path, **other):
    needs_gradients = {"balancer": GradNorm(alpha=0.5)} if "shared" in other else {}
    first = {"train": TRAIN, "validation": VALIDATION, **USUAL, **needs_gradients}
    fit(model_for(TRAIN), checkpoint=path, **{**first, "epochs": 1})
    before = path.read_bytes()
    again = {"model": model_for(TRAIN), **first, **needs_gradients, **other}
    try:
        return fit(checkpoint=path, resume=True, **again)
    except CheckpointError:
        assert path.read_bytes() == before  # the run that was there can still be resumed
        raise


@pytest.mark.parametrize("argument", CHANGES)
def test_each_argument_changed_in_turn_is_refused_or_free(tmp_path, argument):
    value, words = CHANGES[argument]
    if words is None:
        assert resumed(tmp_path / "run.pt", **{argument: value}).steps >= 4
        return
    with pytest.raises(CheckpointError, match=rf"run\.pt belongs to another run: .*{words}"):
        resumed(tmp_path / "run.pt", **{argument: value})


def test_a_new_argument_counts_without_anybody_remembering(monkeypatch, tmp_path):
    monkeypatch.delitem(FREE, "progress")
    with pytest.raises(CheckpointError, match="its progress is False, here it is True"):
        resumed(tmp_path / "run.pt", progress=True)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"validation": None}, "validation data"),
        ({"train": changed(TRAIN, "dense", (0, 0))}, "training data"),
        ({"train": TRAIN.take(torch.arange(63, -1, -1))}, "training data"),
        ({"balancer": EqualWeights()}, "its balancer is 'FixedWeights', here it is 'EqualWeights'"),
        ({"model": model_for(TRAIN).double()}, "its type of numbers"),
    ],
)
def test_other_rows_rules_and_numbers_are_refused(tmp_path, other, words):
    with pytest.raises(CheckpointError, match=words):
        resumed(tmp_path / "run.pt", **other)


def test_what_is_the_same_in_other_words_is_taken(tmp_path):
    copied = TRAIN.take(torch.arange(len(TRAIN)))
    copied.row_id = copied.row_id + 1000
    copied.keys = {"user": torch.zeros(len(TRAIN), dtype=torch.int64)}
    default = FixedWeights({"click": 1.0, "purchase": 1})
    assert resumed(tmp_path / "run.pt", train=copied, balancer=default).steps == 8
    named = model_for(TRAIN, dropout=0.0)  # a default, written down
    assert resumed(tmp_path / "named.pt", model=named).steps == 8
    frozen = model_for(TRAIN)
    frozen.embedding.table.requires_grad_(False)
    with pytest.raises(CheckpointError, match="its frozen parameters"):
        resumed(tmp_path / "other.pt", model=frozen)


def test_a_balancer_inside_a_balancer_is_told_too(tmp_path):
    options = {"epochs": 1, "checkpoint": tmp_path / "run.pt", **USUAL}
    fit(model_for(TRAIN), TRAIN, balancer=Curriculum(balancer=GradNorm(alpha=0.1)), **options)
    other = Curriculum(balancer=GradNorm(alpha=0.2))
    with pytest.raises(
        CheckpointError, match=r"balancer's balancer alpha is 0\.1, here it is 0\.2"
    ):
        fit(model_for(TRAIN), TRAIN, balancer=other, resume=True, **options)


# Options of every balancer and every model, from their signatures


def wider(schema, embedding_dim):
    return field_inputs(schema, embedding_dim + 1)


def otherwise(name, value):
    """Another value for an argument, by what it is for where its type does not tell."""
    known = {
        "distribution": "dirichlet", "form": "regression", "regulariser": "log1p", "every": "step",
        "minimum": {"orders": -0.5}, "preference": {"click": 2.0}, "ideal": {"click": -0.1},
        "initial": {"click": 2.0}, "levels": [("click",), ("orders",)], "balancer": GradNorm(),
        "parameters": ["towers.0.0.weight"], "normalise": "l2", "weigh": "normalised",
        "scale": "mean", "main": "click", "when": "smaller", "weights": {"click": 3.0},
        "schedule": {"click": (2.0, 0.8)}, "inputs": wider, "method": "dr",
        "imputation": "label", "hidden": (9,), "tower": (5,), "relation": (7,),
        "auxiliary": (9,), "task_hidden": (9,), "prior": ("user",), "rank": 2,
    }  # fmt: skip
    if name in known and not (name == "levels" and isinstance(value, int)):  # of a network
        return known[name]
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value / 2 + 0.1


def arguments(kind, first):
    found = list(inspect.signature(kind.__init__).parameters.values())[first:]
    return [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


OF_BALANCERS = [(name, p) for name, kind in EVERY_BALANCER.items() for p in arguments(kind, 1)]


@pytest.mark.parametrize(("name", "argument"), OF_BALANCERS, ids=lambda v: getattr(v, "name", v))
def test_every_argument_of_every_balancer_is_told(name, argument):
    usual = {"fixed": {"weights": {"click": 2.0}}, "metabalance": {"main": "purchase"}}
    usual |= {"schedule": {"schedule": {"click": (2.0, 0.9)}}}
    given = usual.get(name, {})
    one, same = EVERY_BALANCER[name](**given), EVERY_BALANCER[name](**given)
    other = EVERY_BALANCER[name](
        **{**given, argument.name: otherwise(argument.name, argument.default)}
    )
    assert described(one) == described(same) != described(other)


OF_MODELS = [
    (name, p)
    for name, kind in (SHARING | ADAPTING | LINKS).items()
    for p in arguments(kind, 2)
    if p.name not in ("network", "via", "relations")  # nets and chains: below, and by their shapes
]


def build(name, **more):
    """The model of that name at tiny size with these arguments beside its usual ones."""
    usual = {**registry.SIZES, **registry.ARGUMENTS.get(name, {})}
    if name == "article":
        return SHARING[name](registry.schema(name), **{"hidden": 8, **more})
    if name in LINKS:
        inside = partial(SharedBottom, **registry.SIZES)
        own = registry.ARGUMENTS.get(name, {})
        return LINKS[name](registry.schema(), inside, **{**own, **more})
    return (SHARING | ADAPTING)[name](registry.schema(), **{**usual, **more})


def told(model):
    """All that a checkpoint compares of a model."""
    return described(model), {name: p.shape for name, p in model.named_parameters()}


OF_ONE = {  # other values where another class has an argument of that name
    ("article", "hidden"): 5, ("adasparse", "form"): "scaling", ("adasparse", "scale"): 3.0,
    ("adasparse", "sharpness"): (1.0, 6.0), ("adasparse", "sparsity"): (0.1, 0.25),
}  # fmt: skip


@pytest.mark.parametrize(("name", "argument"), OF_MODELS, ids=lambda v: getattr(v, "name", v))
def test_every_argument_of_every_model_is_told(name, argument):
    usual = registry.ARGUMENTS.get(name, {}).get(argument.name, argument.default)
    usual = registry.SIZES.get(argument.name, usual)
    value = OF_ONE.get((name, argument.name)) or otherwise(argument.name, usual)
    assert told(build(name)) == told(build(name)) != told(build(name, **{argument.name: value}))


def test_the_network_inside_a_link_is_told():
    one, other = (
        LINKS["esmm"](registry.schema(), partial(SharedBottom, **registry.SIZES, dropout=share))
        for share in (0.0, 0.1)
    )
    assert told(one) != told(other)


# What a run changes by itself makes no other run


@pytest.mark.parametrize("name", registry.EVERY)
def test_a_trained_model_is_described_as_a_fresh_one(name):
    fresh, used = registry.make(name), registry.make(name)
    fit(used, registry.table(name, 24), epochs=1, batch_size=8, progress=False, device="cpu")
    assert described(used) == described(fresh)


@pytest.mark.parametrize("name", EVERY_BALANCER)
def test_a_used_balancer_is_described_as_a_fresh_one(name):
    table = tiny.table(tiny.schema(), 24)
    fresh, used = grid.make(name).bind(table.schema), grid.make(name)
    with seeded(0):
        model = SharedBottom(table.schema, **SIZES)
    fit(model, table, balancer=used, epochs=2, batch_size=8, progress=False, device="cpu")
    assert described(used) == described(fresh)


def test_a_used_model_and_rule_resume_their_own_run(tmp_path):
    model, rule = model_for(TRAIN, MMoE, dropout=0.1), GradNorm(0.3)
    options = {"balancer": rule, "checkpoint": tmp_path / "run.pt", "resume": True, **USUAL}
    options |= {"optimizer": "lazy_adam"}
    fit(model, TRAIN, VALIDATION, **{**options, "epochs": 1})
    assert fit(model, TRAIN, VALIDATION, **{**options, "epochs": 3}).steps == 12


# Any module


class Net(torch.nn.Module):
    def __init__(self, act=torch.relu, rate=0.1, tables=None):
        super().__init__()
        self.act, self.rate, self.tables = act, rate, tables
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, batch):
        return self.act(self.layer(batch.dense))


def factory(n):
    return lambda x: x * n


@pytest.mark.parametrize(
    "other",
    [
        {"act": torch.sigmoid}, {"rate": 0.2}, {"tables": {"a": torch.zeros(2)}},
        {"act": factory(2)}, {"act": factory(3)}, {"act": lambda x: x + 1},
        {"act": lambda x: x + 2}, {"act": partial(torch.clamp, min=0.0)},
        {"act": partial(torch.clamp, min=1.0)}, {"tables": {"a": torch.ones(2)}},
        {"tables": {1, 2}}, {"rate": float("nan")}, {"tables": tiny.schema("click")},
        {"tables": tiny.schema("dwell")},
    ],
    ids=range(14),  # what they are has no name that stays
)  # fmt: skip
def test_a_module_of_ones_own_is_told_by_all_its_public_attributes(other):
    def wrapped(**more):
        return wrap(Net(**more), TRAIN.schema)

    assert described(wrapped(**other)) == described(copy.deepcopy(wrapped(**other)))
    assert described(wrapped(**other)) != described(wrapped())
    one = wrapped(**other)
    one.module._steps = 5  # a name that is not compared
    assert described(one) == described(wrapped(**other))


def test_functions_that_differ_in_a_number_alone_are_told_apart():
    found = [described(f) for f in (factory(2), factory(3), lambda x: x + 1, lambda x: x + 2)]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])
    assert described(factory(2)) == described(factory(2))


def test_what_holds_itself_and_what_is_strange_is_described_all_the_same():
    holder = Net()
    holder.tables = {"self": holder, "file": open, "lock": object(), "set": {3, 1, 2}}
    assert described(holder) == described(holder)
    assert described(holder)["tables"]["self"] == "a Net again"


def test_features_of_a_lookup_and_normalised_statistics():
    one, other = (Lookup(torch.full((3, 2), x), torch.nn.BatchNorm1d(2)) for x in (1.0, 2.0))
    assert described(one) != described(other)
    moved = Lookup(torch.full((3, 2), 1.0), torch.nn.BatchNorm1d(2))
    moved.encoder(torch.randn(5, 2))  # running statistics: a memory, not an option
    assert described(moved) == described(one)


# Tables


WHOLE = tiny.table(tiny.schema(), 30)
SEEN = [name for name in vars(WHOLE) if name not in UNSEEN]


def with_other(table, name):
    other = table.take(torch.arange(len(table)))
    if name == "sequences":
        values, offsets = other.sequences["words"]
        other.sequences["words"] = (values + 1, offsets)
    else:
        column = getattr(other, name)
        setattr(other, name, ~column if column.dtype == torch.bool else column + 1)
    return other


@pytest.mark.parametrize("name", SEEN)
def test_every_column_that_a_model_sees_counts(name):
    assert len(SEEN) >= 7
    same = WHOLE.take(torch.arange(len(WHOLE)))
    assert content_hash(same) == content_hash(WHOLE) != content_hash(with_other(WHOLE, name))


def test_a_column_of_the_future_counts_and_keys_truth_and_ids_do_not():
    other = WHOLE.take(torch.arange(len(WHOLE)))
    other.row_id, other.keys, other.truth = other.row_id + 1, {}, {"click": torch.zeros(30)}
    assert content_hash(other) == content_hash(WHOLE)
    other.weight = torch.ones(30)
    assert content_hash(other) != content_hash(WHOLE)


def test_sequences_cut_in_other_places_are_other_data():
    values, offsets = WHOLE.sequences["words"]
    other = WHOLE.take(torch.arange(len(WHOLE)))
    moved = offsets.clone()
    moved[1:-1] = torch.where(offsets[1:-1] > 0, offsets[1:-1] - 1, 0)
    other.sequences["words"] = (values, moved)
    assert content_hash(other) != content_hash(WHOLE)


def test_shards_and_joins_are_told_by_their_rows(tmp_path):
    folders = [
        write_shards(t, tmp_path / name, 20)
        for name, t in (("a", WHOLE), ("b", WHOLE), ("c", with_other(WHOLE, "dense")))
    ]
    a, b, c = (content_hash(ShardedTable(folder)) for folder in folders)
    assert a == b != c
    joins = [Join({"x": TRAIN, "y": t}) for t in (WHOLE, with_other(WHOLE, "dense"))]
    same = Join({"x": TRAIN, "y": WHOLE.take(torch.arange(30))})
    assert content_hash(joins[0]) == content_hash(same) != content_hash(joins[1])


def test_a_table_of_a_kind_of_its_own_may_say_its_hash():
    class Told:
        def content_hash(self):
            return "mine"

    assert content_hash(Told()) == "mine"

"""Several networks at once: each replica is its network alone, in outputs, losses and gradients."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from mtlkit.data.batch import stack_batches
from mtlkit.models import SHARING, MMoE, MultiTaskModel, Replicas, SharedBottom
from mtlkit.models.replicas import rows_of
from mtlkit.models.share.adatt import AdaTT
from mtlkit.models.share.ple import PLE
from mtlkit.schema import SchemaError
from mtlkit.train import seeded
from tests import tiny
from tests.models import registry

SIZES = {"embedding_dim": 4, "hidden": (8, 5), "tower": (6,)}
NETWORKS = {
    **{name: SHARING[name] for name in SHARING if name not in ("article", "home-experts")},
    "ple of 3": partial(PLE, levels=3, own_experts=2),
    "adatt, several experts": partial(AdaTT, levels=2, experts=2, shared_modules=2),
    "mmoe without hidden layers": partial(MMoE, hidden=()),
}


def models_of(name, count=3, schema=None):
    schema = schema or tiny.schema()
    made = []
    for seed in range(count):
        with seeded(seed):
            made.append(NETWORKS[name](schema, **{**SIZES, **options(name)}).double())
    for number, model in enumerate(made):
        generator = torch.Generator().manual_seed(number)
        for parameter in model.parameters():  # gates and stitches far from their start
            noise = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data += 0.2 * (noise - 0.5)
    return made


def options(name):
    return {"hidden": ()} if name.endswith("without hidden layers") else {}


def batches_of(count=3, rows=7, schema=None):
    found = []
    for seed in range(count):
        batch = tiny.all_rows(tiny.table(schema or tiny.schema(), rows, seed))
        batch.dense = batch.dense.double()
        found.append(batch)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_each_replica_is_its_network_alone_in_outputs_losses_and_gradients(name):
    models, batches = models_of(name), batches_of()
    several, together = Replicas(models), stack_batches(batches)
    logits = several(together)
    losses = several.losses(logits, together)
    losses.sum().backward()
    learned = [{n: p.detach().clone() for n, p in m.named_parameters()} for m in models]
    for number, (model, batch) in enumerate(zip(models, batches, strict=True)):
        alone = model(batch)
        for task, value in alone.items():
            mine = logits[task].unflatten(0, (3, -1))[number]
            torch.testing.assert_close(mine, value, msg=f"{task} of replica {number}")
        own = model.losses(alone, batch)
        torch.testing.assert_close(losses[number], own)
        own.sum().backward()
    with torch.no_grad():  # one step of size 1 on each side
        for parameter in several.parameters():
            if parameter.grad is not None:
                parameter -= parameter.grad
    several.update()
    for model, before in zip(models, learned, strict=True):
        for key, parameter in model.named_parameters():
            step = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            torch.testing.assert_close(parameter.data, before[key] - step, msg=key)


def test_every_network_of_the_room_can_be_stacked_or_is_refused_with_the_layer_that_cannot():
    for name, kind in SHARING.items():
        models = [registry.make(name) for _ in range(2)]
        if name == "home-experts":  # its statistics are those of a batch
            with pytest.raises(TypeError, match=r"FeatureGates\) has 'B' of its own"):
                Replicas(models)
        else:
            batch = tiny.all_rows(registry.table(name))
            logits = Replicas(models)(stack_batches([batch, batch]))
            for task, alone in models[1](batch).items():
                torch.testing.assert_close(logits[task][len(alone) :], alone, msg=kind.__name__)


def test_writing_back_before_a_step_moves_nothing():
    for name in NETWORKS:
        models = models_of(name)
        before = [[p.clone() for p in m.parameters()] for m in models]
        assert Replicas(models).update() == models
        for model, kept in zip(models, before, strict=True):
            for now, then in zip(model.parameters(), kept, strict=True):
                assert torch.equal(now, then), name


def test_no_weight_serves_two_replicas():
    models, together = models_of("mmoe"), stack_batches(batches_of())
    several = Replicas(models)
    several.losses(several(together), together)[1].sum().backward()
    moved = [[], [], []]
    with torch.no_grad():
        for parameter in several.parameters():
            parameter -= parameter.grad
    before = [{n: p.clone() for n, p in m.named_parameters()} for m in models]
    several.update()
    for number, model in enumerate(models):
        moved[number] = [
            n for n, p in model.named_parameters() if not torch.equal(p, before[number][n])
        ]
    assert moved[0] == moved[2] == [] and len(moved[1]) > 10


def test_weights_of_rows_and_missing_labels_count_as_alone():
    schema = tiny.schema("click", "orders", "rating")
    batches = batches_of(schema=schema)
    for number, batch in enumerate(batches):
        batch.weight = torch.rand(7, generator=torch.Generator().manual_seed(number))
        batch.weight[0] = 0
    batches[1].observed[:, 1] = False  # a task without a label in one replica alone
    models, together = models_of("shared-bottom", schema=schema), stack_batches(batches)
    several = Replicas(models)
    losses = several.losses(several(together), together)
    for number, (model, batch) in enumerate(zip(models, batches, strict=True)):
        torch.testing.assert_close(losses[number], model.losses(model(batch), batch))
        torch.testing.assert_close(several.loss_mass(together)[number], model.loss_mass(batch))
    assert losses[1, 1] == 0 and losses.isfinite().all()


def test_rows_of_a_replica_are_those_that_were_stacked():
    batches = batches_of()
    together = stack_batches(batches)
    for number, batch in enumerate(batches):
        mine = rows_of(together, number, 3)
        assert torch.equal(mine.labels, batch.labels) and torch.equal(mine.dense, batch.dense)
        for name, (values, offsets) in batch.sequences.items():
            assert torch.equal(mine.sequences[name][0], values)
            assert torch.equal(mine.sequences[name][1], offsets)


def test_what_does_not_fit_is_refused_by_name():
    schema = tiny.schema("click", "purchase")
    with pytest.raises(ValueError, match="models is empty"):
        Replicas([])
    wide = SharedBottom(schema, hidden=(9,))
    with pytest.raises(ValueError, match=r"models\[1\] \(SharedBottom\) has not the layers"):
        Replicas([SharedBottom(schema, hidden=(8,)), wide])
    with pytest.raises(ValueError, match=r"models\[1\] \(SharedBottom\)"):
        Replicas([MMoE(schema), SharedBottom(schema)])
    with pytest.raises(ValueError, match="replicas need dropout=0"):
        Replicas([SharedBottom(schema, dropout=0.1)] * 2)
    with pytest.raises(ValueError, match="experts drop units"):
        Replicas([MMoE(schema, dropout=0.1, tower=())] * 2)
    several = Replicas([MMoE(schema) for _ in range(3)])
    with pytest.raises(ValueError, match="10 rows, which are not 3 times as many"):
        several(tiny.all_rows(tiny.table(schema, 10)))


class ByNumber(SharedBottom):
    """Reads the second dimension by its number, which replicas move."""

    def represent(self, x, batch):
        return (self.bottom(torch.cat([x[:, :1], x[:, 1:]], dim=1).flip(1)),)


class OwnNumber(SharedBottom):
    def __init__(self, schema, **sizes):
        super().__init__(schema, **sizes)
        self.scale = nn.Parameter(torch.ones(()))


def test_a_network_that_would_compute_something_else_is_refused_at_its_first_batch():
    schema = tiny.schema("click", "purchase")
    together = stack_batches([tiny.all_rows(tiny.table(schema, 5, seed)) for seed in range(2)])
    with pytest.raises(TypeError, match="dimensions by their number"):
        Replicas([ByNumber(schema, **SIZES) for _ in range(2)])(together)
    with pytest.raises(TypeError, match=r"The network \(OwnNumber\) has 'scale' of its own"):
        Replicas([OwnNumber(schema, **SIZES) for _ in range(2)])


class Tied(SharedBottom):
    """One tower under two names."""

    def __init__(self, schema, **sizes):
        super().__init__(schema, **sizes)
        self.again = self.towers


def test_a_layer_in_two_places_or_a_mixture_of_frozen_and_trained_ones_is_refused():
    schema = tiny.schema("click", "purchase")
    with pytest.raises(TypeError, match=r"Tied uses 'again.* under another name"):
        Replicas([Tied(schema, **SIZES) for _ in range(2)])
    frozen, trained = (SharedBottom(schema, **SIZES) for _ in range(2))
    frozen.bottom[0].weight.requires_grad_(False)
    with pytest.raises(ValueError, match=r"models\[1\] .* has not the layers"):
        Replicas([trained, frozen])
    assert not all(p.requires_grad for p in Replicas([frozen, frozen]).parameters())


def test_models_keep_their_mode_and_are_no_part_of_the_replicas():
    schema = tiny.schema("click", "purchase")
    models: list[MultiTaskModel] = [SharedBottom(schema, **SIZES) for _ in range(2)]
    models[0].eval()
    several = Replicas(models)
    alone = sum(p.numel() for p in models[0].parameters())
    assert sum(p.numel() for p in several.parameters()) == 2 * alone
    several(stack_batches([tiny.all_rows(tiny.table(schema, 5, seed)) for seed in range(2)]))
    assert not models[0].training and models[1].training
    with pytest.raises(SchemaError):
        several.losses({"click": torch.zeros(2, 5), "purchase": torch.zeros(2, 5)},
                       replace(stack_batches(batches_of(2, 5, schema))))  # fmt: skip

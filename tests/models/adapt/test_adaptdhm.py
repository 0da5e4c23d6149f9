"""AdaptDHM: clusters of rows in the place of scenarios."""

import pytest
import torch

from mtlkit.models import AdaptDHM, OneForAll
from mtlkit.train import fit, seeded
from tests import tiny
from tests.models.adapt.hyper import NAMES, SIZES, assert_equals_a_loop, batch_of, make, table_of


def nearest(model, x):
    """The cluster of one row."""
    cosines = [float((c @ x) / (c.norm() * x.norm())) for c in model.centroids]
    return cosines.index(max(cosines))


def loop(model, x, s):
    """One row: its cluster's whole weights, (out, in)."""
    c = nearest(model, x.detach())

    def layer(own, h):
        weight = own.shared.weight * own.weight[c].T
        return weight @ h + own.shared.bias + own.bias[c]

    h = x
    for own in list(model.network.bottom)[::2]:
        h = torch.relu(layer(own, h))
    logits = {}
    for task, tower in zip(model.schema.tasks, model.network.towers, strict=True):
        hidden, _, last = tower
        logits[task.name] = layer(last, torch.relu(layer(hidden, h)))
    return logits


def spread(model, batch):
    """Put the centroids at some rows, so that no cluster is empty."""
    model.centroids = model.embed(batch).detach()[[1, 4, 6]].clone()
    return model


@pytest.mark.parametrize(("scenarios", "number"), [(2, 24), (3, 7), (12, 30)])
def test_it_equals_whole_weights_row_by_row(scenarios, number):
    batch = batch_of(scenarios, number)
    model = spread(make("adaptdhm", scenarios), batch).eval()
    assert len(model.cluster(model.embed(batch)).unique()) == 3
    assert_equals_a_loop(model, batch, loop)


def test_one_cluster_is_one_model_for_all_to_the_last_digit():
    table = tiny.table(tiny.schema(*NAMES, scenarios=3), 40)
    batch = tiny.all_rows(table)
    with seeded(4):
        plain = OneForAll(table.schema, **SIZES)
    with seeded(4):
        model = AdaptDHM(table.schema, clusters=1, **SIZES)
    for _ in range(3):  # in training and wherever the centroid has moved to
        for task, logits in plain(batch).items():
            assert torch.equal(model(batch)[task], logits)


def test_centroids_move_by_the_mean_of_their_rows_after_the_outputs_are_computed():
    batch = batch_of()
    model = spread(make("adaptdhm", momentum=0.9), batch)
    x = model.embed(batch).detach()
    model.centroids[2] = -x.sum(0) * 100  # nobody's
    before = model.centroids.clone()
    model.eval()
    still = model(batch)
    assert torch.equal(model.centroids, before)
    model.train()
    found = model(batch)
    assert all(torch.equal(found[task], still[task]) for task in still)
    expected = before.clone()
    whose = [nearest(type("", (), {"centroids": before}), row) for row in x]
    assert set(whose) == {0, 1}
    for c in (0, 1):
        mine = [row / row.norm() for row, w in zip(x, whose, strict=True) if w == c]
        expected[c] = 0.9 * before[c] + 0.1 * sum(mine) / len(mine)
    torch.testing.assert_close(model.centroids, expected)
    assert torch.equal(model.centroids[2], before[2])


def test_the_length_of_a_centroid_says_nothing():
    batch = batch_of()
    model = spread(make("adaptdhm"), batch)
    x = model.embed(batch)
    before = model.cluster(x)
    model.centroids = model.centroids * torch.tensor([[1e-3], [1.0], [1e3]])
    assert len(before.unique()) == 3 and torch.equal(model.cluster(x), before)


def test_no_scenario_is_read():
    table, model = table_of(), make("adaptdhm").eval()
    before = model(tiny.all_rows(table))
    table.scenario[:] = torch.randint(0, 4, (len(table),))
    for task, logits in model(tiny.all_rows(table)).items():
        assert torch.equal(logits, before[task])
    grown = model.extend(scenario="ads")
    assert grown.parameter_count() == model.parameter_count()


def test_centroids_take_no_gradient_are_saved_and_found_again():
    table = tiny.table(tiny.schema(*NAMES, scenarios=3), 40)
    model = AdaptDHM(table.schema, **SIZES)
    start = model.centroids.clone()
    fit(model, table, epochs=2, batch_size=8, device="cpu", progress=False)
    assert not model.centroids.requires_grad and not torch.equal(model.centroids, start)
    again = AdaptDHM(table.schema, **SIZES)
    again.load_state_dict(model.state_dict())
    batch = tiny.all_rows(table)
    again.eval(), model.eval()
    for task, logits in model(batch).items():
        assert torch.equal(again(batch)[task], logits)


def test_two_kinds_of_rows_are_told_apart():
    table = tiny.table(tiny.schema("click", scenarios=2, sequences=False), 200)
    kind = torch.arange(200) % 2
    table.dense[:] = torch.where(kind == 0, 1.0, -1.0).unsqueeze(1) * torch.tensor([1.0, 0.2, 2.0])
    with seeded(0):
        model = AdaptDHM(table.schema, **SIZES, clusters=2, momentum=0.5)
    batch = tiny.all_rows(table)
    for _ in range(20):
        model(batch)
    found = model.cluster(model.embed(batch))
    assert set(found[kind == 0].tolist()) != set(found[kind == 1].tolist())
    assert len(found[kind == 0].unique()) == len(found[kind == 1].unique()) == 1


def with_empty(**options):
    """A model whose third cluster is nobody's, its rows and their inputs."""
    batch = batch_of()
    model = spread(make("adaptdhm", momentum=0.9, **options), batch)
    x = model.embed(batch).detach()
    model.centroids[2] = -x.sum(0) * 100
    assert set(model.cluster(x).tolist()) == {0, 1}
    return model, batch, x


def test_a_cluster_that_stays_without_rows_moves_to_the_row_that_is_least_like_its_own():
    model, batch, x = with_empty(patience=3)
    nobody = model.centroids[2].clone()
    for step in range(1, 4):
        model(batch)
        assert torch.equal(model.centroids[2], nobody)
        assert model.idle.flatten().tolist() == [0, 0, step]
    cosines = []
    for row in x:
        own = model.centroids[nearest(model, row)]
        cosines.append(float((own @ row) / (own.norm() * row.norm())))
    far = cosines.index(min(cosines))
    model.eval()(batch)
    assert int(model.idle[2]) == 3 and torch.equal(model.centroids[2], nobody)
    before = model.centroids.clone()
    found, still = model.train()(batch), model.eval()(batch)
    torch.testing.assert_close(model.centroids[2], x[far] / x[far].norm())
    assert not torch.equal(model.centroids[:2], before[:2]) and int(model.idle[2]) == 0
    model.centroids = before
    for task, logits in model(batch).items():  # the outputs were computed before it moved
        assert torch.equal(found[task], logits)
    assert nearest(type("", (), {"centroids": before}), x[far]) != 2
    assert any(not torch.equal(found[task], still[task]) for task in found)


def test_a_cluster_that_was_found_again_has_rows_and_trains():
    model, batch, x = with_empty(patience=1)
    for _ in range(2):
        model(batch)
    mine = model.cluster(x) == 2
    assert mine.any()
    model(batch)["click"][mine].sum().backward()
    layer = model.network.towers[0][-1]
    assert layer.weight.grad[2].abs().sum() > 0 and int(model.idle[2]) == 0


def test_one_empty_cluster_moves_a_batch_that_which_waited_longest():
    model, batch, x = with_empty(patience=2)
    model.centroids[1] = model.centroids[2] * 1.5
    assert set(model.cluster(x).tolist()) == {0}
    model.idle[:] = torch.tensor([[0], [5], [6]])
    before = model.centroids.clone()
    model(batch)
    assert model.idle.flatten().tolist() == [0, 6, 0]
    assert torch.equal(model.centroids[1], before[1])
    assert not torch.equal(model.centroids[2], before[2])


def test_without_patience_an_empty_cluster_stays_where_it_is():
    model, batch, _ = with_empty(patience=None)
    nobody = model.centroids[2].clone()
    for _ in range(5):
        model(batch)
    assert torch.equal(model.centroids[2], nobody) and int(model.idle[2]) == 5


def test_patience_says_nothing_as_long_as_it_lasts():
    ends = []
    for patience in (None, 4):
        model, batch, _ = with_empty(patience=patience)
        for _ in range(4):
            model(batch)
        ends.append(model.centroids)
    assert torch.equal(*ends)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"clusters": 0}, "clusters must be 1 or more, not 0"),
        ({"momentum": 1.5}, r"momentum must be from 0 to 1, not 1\.5"),
        ({"momentum": -0.1}, "momentum must be from 0 to 1"),
        ({"patience": 0}, "patience must be 1 or more, or None, not 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        AdaptDHM(tiny.schema("click"), **options)

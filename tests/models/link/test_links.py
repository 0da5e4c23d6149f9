"""What holds for every link: around any sharing model, under any balancer, saved and restored."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch

from mtlkit.balance import BALANCERS, Curriculum, GradientStep
from mtlkit.models import DBMTL, ESCM2, ESMM, MMoE, SharedBottom, SingleTask
from mtlkit.schema import Task
from mtlkit.train import evaluate, fit, seeded
from tests import chains, tiny
from tests.chains import LINKS, NETWORK, SIZES, moved
from tests.covering import covering

NETWORKS = {
    "shared bottom": SharedBottom,
    "mmoe": partial(MMoE, experts=2),
    "single task": SingleTask,
}


def make(link, network=SharedBottom, seed=0, **sizes):
    with seeded(seed):
        return LINKS[link](chains.schema(), partial(network, **(SIZES | sizes)))


def batch_of(rows=40, **options):
    return tiny.all_rows(chains.table(chains.schema(), rows, **options))


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def shares(link, network, rule):
    return network != "single task" or rule in ("uw", "curriculum")


@pytest.mark.parametrize(
    ("link", "network", "rule"),
    covering(list(LINKS), list(NETWORKS), ["uw", "curriculum", "pcgrad", "gradnorm"],
             allowed=shares),
)  # fmt: skip
def test_any_link_network_and_kind_of_balancer_train_together(link, network, rule):
    # the registries' own names meet all balancers in tests/models/test_grid.py
    table = chains.table(chains.schema(), 40)
    model = make(link, NETWORKS[network], dropout=0.1)
    before = weights(model)
    history = fit(
        model, table, table, epochs=1, batch_size=20, balancer=BALANCERS[rule](),
        progress=False, device="cpu",
    )  # fmt: skip
    assert weights(model).isfinite().all() and not torch.equal(weights(model), before)
    assert all(value == value for value in history.rows[0]["train"].values())


@pytest.mark.parametrize("link", LINKS)
def test_gradients_at_the_representation_and_bfloat16_work(link):
    table = chains.table(chains.schema(), 40)
    options = {"epochs": 1, "batch_size": 20, "progress": False, "device": "cpu"}
    model = make(link, SharedBottom)
    fit(model, table, balancer=BALANCERS["mgda"](), shared="representation", **options)
    fit(model, table, precision="bf16", **options)
    assert weights(model).isfinite().all()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("link", LINKS)
def test_shared_and_task_parameters_split_the_parameters(link, network):
    model = make(link, NETWORKS[network])
    parts = [model.shared_parameters(), *(map(model.task_parameters, model.schema.task_names))]
    ids = [id(p) for part in parts for p in part]
    assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in model.parameters()}
    count = model.parameter_count()
    assert count["total"] == count["embedding"] + count["shared"] + count["tasks"]
    assert count["embedding"] == sum(e.table.numel() for e in model.embeddings()) > 0
    # what the link shares is what its network shares: towers and helpers belong to tasks
    shared = {id(p) for p in model.shared_parameters()}
    assert shared == {id(p) for p in model.network.shared_parameters()}


@pytest.mark.parametrize("link", LINKS)
def test_logits_are_conditional_and_come_in_the_schemas_order(link):
    model, batch = make(link), batch_of()
    logits, natural = model(batch), model.predict(batch)
    assert list(logits)[:5] == list(model.schema.task_names) == list(natural)
    assert all(z.shape == (40,) for z in logits.values())
    torch.testing.assert_close(natural["purchase"], logits["purchase"].detach().sigmoid())
    joint = model.predict_joint(batch)
    assert set(joint) == {"click", "cart", "purchase", "return"}
    if link not in ("aitm", "joint heads"):
        assert (joint["return"] <= joint["purchase"]).all()
        torch.testing.assert_close(joint["purchase"], natural["click"] * natural["purchase"])


@pytest.mark.parametrize("link", LINKS)
def test_every_parameter_learns_from_a_batch_with_all_labels(link):
    model, batch = make(link), batch_of(100, complete=True)
    with torch.no_grad():  # away from the rare start at which a ReLU layer passes nothing
        for p in model.parameters():
            p += 0.1 * torch.rand_like(p)
    model.losses(model(batch), batch).sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("link", LINKS)
def test_an_empty_conversion_mask_gives_no_nan_and_no_gradient(link):
    model, batch = make(link), batch_of()
    purchase = model.schema.task_index("purchase")
    batch.labels[:, 0], batch.observed[:, 0] = 1.0, True  # all clicked ...
    batch.labels[:, 2:4], batch.observed[:, 2:4] = 0.0, False  # ... and what then came is not known
    losses = model.losses(model(batch), batch)
    assert losses.isfinite().all()
    assert losses[purchase] == 0 and losses[purchase + 1] == 0
    assert not model.loss_rows(batch)[:, purchase].any()
    (losses[purchase] + losses[purchase + 1]).backward()
    assert not moved(model.parameters())


@pytest.mark.parametrize("link", LINKS)
def test_batches_of_one_row_and_of_none_pass(link):
    table, model = chains.table(chains.schema(), 3), make(link)
    for rows in (1, 0):
        batch = table.batch(torch.arange(rows))
        losses = model.losses(model(batch), batch)
        assert losses.isfinite().all()
        losses.sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("link", LINKS)
def test_a_saved_link_is_restored_and_a_resumed_run_ends_the_same(link, tmp_path):
    table, batch = chains.table(chains.schema(), 40), batch_of()
    options = {"epochs": 2, "batch_size": 20, "progress": False, "device": "cpu"}
    options["schedule"] = "constant"  # a part of the run must not know where the whole ends
    whole = make(link, SharedBottom)
    fit(whole, table, balancer=Curriculum(floor=0.5), **options)
    path = tmp_path / "run.pt"
    fit(
        make(link, SharedBottom), table, balancer=Curriculum(floor=0.5), checkpoint=path,
        max_steps=3, **options,
    )  # fmt: skip
    resumed = make(link, SharedBottom)
    fit(resumed, table, balancer=Curriculum(floor=0.5), checkpoint=path, resume=True, **options)
    assert torch.equal(weights(whole), weights(resumed))
    twin = make(link, SharedBottom, seed=1)
    assert not torch.equal(twin(batch)["purchase"], whole(batch)["purchase"])
    twin.load_state_dict(whole.state_dict())
    assert torch.equal(twin(batch)["purchase"], whole(batch)["purchase"])


def test_the_history_averages_a_joint_loss_over_impressions_and_a_conditional_one_over_clicks():
    table = chains.table(chains.schema(), 50, complete=True)
    for link in ("esmm", "dbmtl"):
        model = make(link)
        batch = tiny.all_rows(table)
        expected = model.losses(model(batch), batch).tolist()
        options = {"learning_rate": 0.0, "optimizer": "sgd", "progress": False, "device": "cpu"}
        history = fit(model, table, epochs=1, batch_size=8, **options)
        assert list(history.rows[0]["train"].values()) == pytest.approx(expected, rel=1e-4)


def test_losses_of_two_halves_of_a_batch_add_up_to_the_joint_loss():
    model, batch = make("esmm", SharedBottom), batch_of(60)
    balancer = BALANCERS["sdmgrad"]().bind(model.schema)
    losses = GradientStep(model, balancer).run(batch, nullcontext)
    torch.testing.assert_close(losses, model.losses(model(batch), batch).detach())


def test_chains_may_be_of_any_length_and_metrics_follow():
    names = [f"step {i}" for i in range(6)]
    tasks = [Task(n, given=names[i - 1] if i else None) for i, n in enumerate(names)]
    schema = tiny.schema("click").with_tasks(tasks)
    table = chains.table(schema, 400, complete=True)
    for kind in (ESMM, ESCM2, partial(DBMTL, width=4)):
        model = kind(schema, NETWORK)
        fit(model, table, epochs=1, progress=False, device="cpu")
        joint = torch.stack(list(model.predict_joint(tiny.all_rows(table)).values()))
        assert (joint.diff(dim=0) <= 0).all()
        assert set(evaluate(model, table)) == set(names)


def test_a_network_comes_with_its_own_sizes_and_the_default_one_with_the_papers():
    network = partial(MMoE, experts=3, embedding_dim=5, hidden=(7,))
    model = ESMM(chains.schema(), network)
    assert model.network.experts.experts == 3 and model.network.experts.width == 7
    assert next(model.embeddings()).embedding_dim == 5
    widths = [m.out_features for m in model.network.towers[0] if isinstance(m, torch.nn.Linear)]
    assert widths == [32, 1]  # MMoE's own default
    own = {name: LINKS[name](chains.schema()).network for name in ("esmm", "aitm", "dbmtl")}
    assert {name: len(network.bottom) for name, network in own.items()} == dict.fromkeys(own, 0)
    widths = {
        name: [m.out_features for m in network.towers[0] if isinstance(m, torch.nn.Linear)]
        for name, network in own.items()
    }
    assert widths == {"esmm": [128, 64, 32, 1], "aitm": [128, 64, 4], "dbmtl": [128, 64, 4]}

"""Several batches that make one step train as one batch of all their rows."""

import itertools
import math

import pytest
import torch
from torch import nn

from mtlkit.balance import EVERY_BALANCER, Curriculum, GradientObserver
from mtlkit.balance.engine.accumulate import shares_of
from mtlkit.data import Join
from mtlkit.models import ADAPTING, LINKS, SHARING, SharedBottom
from mtlkit.train import fit, seeded
from mtlkit.train.checkpoint import CheckpointError, load_checkpoint
from mtlkit.train.optim import OPTIMIZERS
from tests import tiny
from tests.models import registry
from tests.models.test_grid import OWN, SHARES_NOTHING, reads_gradients
from tests.train.dying import Killed, dying

PLAIN = {"device": "cpu", "precision": "fp32", "progress": False}
SMALL = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}
BALANCED = [*EVERY_BALANCER, "curriculum of pcgrad", "observed halves"]


def rule_of(name):
    if name == "curriculum of pcgrad":
        return Curriculum(balancer=EVERY_BALANCER["pcgrad"](), every="step", length=2.0)
    if name == "observed halves":
        return GradientObserver(halves=True)
    return OWN.get(name, EVERY_BALANCER.get(name))()


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def trained(name, table, *, batch_size, accumulate, balancer=None, double=True, **options):
    with seeded(3):
        model = registry.make(name)
    if double:  # so that only the order of sums can make a difference
        model = model.double()
    options = {
        "epochs": 2, "optimizer": "sgd", "learning_rate": 0.05, "row_prior": None, "seed": 1,
        **PLAIN, **options,
    }  # fmt: skip
    history = fit(
        model, table, balancer=balancer, batch_size=batch_size, accumulate=accumulate, **options
    )
    return model, history


def doubled(name, rows=14):
    table = registry.table(name, rows=rows)
    table.dense = table.dense.double()
    return table


def assert_same_run(name, table, small, several, **options):
    """Batches of ``small`` rows, ``several`` a step, against batches of all these rows."""
    balancers = options.pop("balancers", (None, None))
    one, first = trained(
        name, table, batch_size=small * several, accumulate=1, balancer=balancers[0], **options
    )
    other, second = trained(
        name, table, batch_size=small, accumulate=several, balancer=balancers[1], **options
    )
    with seeded(3):
        start = weights(registry.make(name))
    assert not torch.allclose(weights(one), start.double(), atol=1e-4)
    torch.testing.assert_close(weights(other), weights(one), rtol=1e-4, atol=1e-6)
    assert first.steps == second.steps == one.step == other.step
    for row, again in zip(first.rows, second.rows, strict=True):
        for part in ("train", "weights"):
            assert (row[part] is None) == (again[part] is None)
            for task, value in (row[part] or {}).items():
                assert again[part][task] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("rule", BALANCED)
def test_every_balancer_acts_once_on_what_all_batches_give(rule):
    # 14 rows: steps of 12 and 2 rows, the last of one batch; two epochs, as some rules go by them
    assert_same_run(
        "shared-bottom", doubled("shared-bottom"), 4, 3, balancers=(rule_of(rule), rule_of(rule))
    )


@pytest.mark.parametrize("rule", ["equal", "pcgrad"])
@pytest.mark.parametrize("name", registry.EVERY)
def test_every_model_accumulates(name, rule):
    if name in SHARES_NOTHING and reads_gradients(rule):
        pytest.skip("nothing is shared, so nothing is combined")
    if registry.make(name).batch_statistics:
        pytest.skip("its statistics are those of each part")
    balancers = tuple(rule_of(rule) for _ in range(2))
    assert_same_run(name, doubled(name), 5, 2, epochs=1, balancers=balancers)


@pytest.mark.parametrize("small", [1, 3])  # halves of odd batches: the parity of rows goes on
def test_the_halves_of_a_step_are_those_of_all_its_rows(small):
    rules = (GradientObserver(halves=True), GradientObserver(halves=True))
    assert_same_run("mmoe", doubled("mmoe", 26), small, 4, balancers=rules)
    torch.testing.assert_close(
        rules[0].between_halves, rules[1].between_halves, rtol=1e-4, atol=1e-6, equal_nan=True
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("rule", ["equal", "famo", "gradnorm", "nash-mtl", "uw"])
def test_with_a_prior_on_rows_and_clipping(optimizer, rule):
    options = {"optimizer": optimizer, "learning_rate": 0.01, "row_prior": 0.1, "clip_norm": 0.5}
    assert_same_run(
        "shared-bottom", doubled("shared-bottom"), 4, 3,
        balancers=(rule_of(rule), rule_of(rule)), **options,
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["equal", "famo", "gradnorm", "pcgrad"])
def test_batches_of_a_join_make_a_step_together(rule):
    tables = {"a": tiny.learnable(20), "b": tiny.table(tiny.schema("click", "rating"), 24)}
    losses = {}
    for several in (1, 100):
        with seeded(0):
            model = SharedBottom(Join(tables).schema, **SMALL)
        history = fit(
            model, Join(tables), epochs=1, batch_size=4, accumulate=several, seed=1,
            balancer=rule_of(rule), learning_rate=1e-9, row_prior=None, **PLAIN,
        )  # fmt: skip
        assert history.steps == (11 if several == 1 else 1)
        losses[several] = history.rows[0]["train"]
    assert losses[1] == pytest.approx(losses[100], rel=1e-5)  # nothing moved: the same means


class Normed(SharedBottom):
    """Dropout and a running mean: what a look at the batches must leave as it was."""

    def __init__(self, schema, **sizes):
        super().__init__(schema, **sizes)
        self.norm = nn.BatchNorm1d(self.embedding.width)
        self.masks = []

    def embed(self, batch):
        x = self.norm(super().embed(batch))
        if self.training and torch.is_grad_enabled():
            before = torch.get_rng_state()
            self.masks.append(torch.rand(3))
            torch.set_rng_state(before)
        return x


@pytest.mark.parametrize("rule", ["uw", "gradnorm", "famo", "pcgrad"])
def test_a_look_leaves_no_trace_in_random_numbers_and_running_statistics(rule):
    table = tiny.learnable(48)
    runs = []
    for name in ("equal", rule):
        with seeded(0):
            model = Normed(table.schema, **SMALL, dropout=0.5)
        fit(
            model, table, epochs=1, batch_size=8, accumulate=3, seed=1, balancer=rule_of(name),
            learning_rate=1e-9, row_prior=None, **PLAIN,
        )  # fmt: skip
        runs.append(model)
    plain, looked = runs
    masks = looked.masks
    if rule == "gradnorm":  # its look has a graph as well: every three batches twice
        assert len(masks) == 2 * 6
        assert all(torch.equal(masks[i], masks[i + 3]) for i in (0, 1, 2, 6, 7, 8))
        masks = masks[3:6] + masks[9:]
    assert len(masks) == 6
    assert all(torch.equal(a, b) for a, b in zip(plain.masks, masks, strict=True))
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(dict(looked.named_buffers())[name], buffer, msg=name)


@pytest.mark.parametrize("rule", ["equal", "uw", "gradnorm", "pcgrad", "moco", "famo"])
@pytest.mark.parametrize("left", [7, 14, 20])
def test_a_run_that_accumulates_resumes_bit_for_bit(tmp_path, rule, left):
    table = tiny.learnable(90)  # batches of 8: 12 an epoch, steps of 5, 5 and 2
    options = {
        "epochs": 3, "batch_size": 8, "accumulate": 5, "schedule": "cosine", "warmup_steps": 3,
        **PLAIN,
    }  # fmt: skip

    def model():
        with seeded(0):
            return SharedBottom(table.schema, **SMALL, dropout=0.3)

    whole = model()
    expected = fit(whole, table, balancer=rule_of(rule), **options)
    assert expected.steps == 3 * 3 and [row["epoch"] for row in expected.rows] == [0, 1, 2]
    options |= {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 1, "resume": True}
    calls = left * {"uw": 2, "gradnorm": 2, "famo": 3}.get(rule, 1)  # passes a batch
    with pytest.raises(Killed):
        fit(dying(model(), calls), table, balancer=rule_of(rule), **options)
    epoch, batch, steps = load_checkpoint(tmp_path / "run.pt")["position"]
    assert 0 < steps < 9 and (batch % 5 == 0) and 3 * epoch + batch // 5 == steps
    resumed = model()
    history = fit(resumed, table, balancer=rule_of(rule), **options)
    assert torch.equal(weights(resumed), weights(whole))
    assert history.steps == resumed.step == 9
    for row, other in zip(history.rows, expected.rows, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.parametrize(("batches", "several", "steps"), [(12, 1, 12), (12, 5, 3), (12, 12, 1),
                                                           (12, 99, 1), (1, 2, 1)])  # fmt: skip
def test_fit_counts_steps_and_the_model_knows_them(batches, several, steps):
    table = tiny.learnable(batches * 8)
    seen = []

    class Watched(SharedBottom):
        def forward(self, batch):
            seen.append((self.training, self.step))
            return super().forward(batch)

    model = Watched(table.schema, **SMALL)
    options = {"batch_size": 8, "accumulate": several, "seed": 1, **PLAIN}
    assert model.step == 0
    history = fit(model, table, table, epochs=2, **options)
    assert history.steps == 2 * steps
    own = [step for training, step in seen if training]
    once = [s for s in range(steps) for _ in range(min(several, batches - s * several))]
    assert own == once + [steps + s for s in once]
    assert [step for training, step in seen if not training] == [steps, 2 * steps]
    assert model.step == steps * (history.best_epoch + 1)
    ended = fit(model, table, epochs=9, max_steps=2, **options)
    assert ended.steps == model.step == 2


def test_the_weights_of_the_best_epoch_come_back_with_their_own_step(tmp_path):
    table, later = tiny.learnable(150), tiny.learnable(400, seed=1)
    options = {"epochs": 40, "patience": 2, "batch_size": 30, "accumulate": 2, **PLAIN}
    options |= {"learning_rate": 0.05, "checkpoint": tmp_path / "run.pt", "resume": True}
    for _ in range(2):  # the second time from the file
        model = SharedBottom(table.schema, **SMALL)
        history = fit(model, table, later, **options)
        assert history.steps == 3 * len(history.rows) == 3 * (history.best_epoch + 3)
        assert model.step == 3 * (history.best_epoch + 1)


def test_a_model_inside_a_model_knows_the_steps_too():
    table = registry.table(rows=20)
    model = registry.make("esmm")
    fit(model, table, epochs=1, batch_size=4, **PLAIN)
    assert model.step == model.network.step == 5


def test_a_step_of_too_few_rows_of_a_task_leaves_it_out_as_one_batch_would():
    table = doubled("shared-bottom")
    table.observed[:, 0] = table.labels[:, 0] = False
    for child in ("purchase", "cart", "dwell"):
        i = table.schema.task_index(child)
        table.observed[:, i] = table.labels[:, i] = False
    for rule in ("equal", "uw", "pcgrad", "famo"):
        assert_same_run("shared-bottom", table, 4, 3, balancers=(rule_of(rule), rule_of(rule)))


def test_a_loss_that_is_not_finite_names_the_batches_of_its_step():
    table = tiny.learnable(60)

    class Poisoned(SharedBottom):
        calls = 0

        def outputs(self, x, batch):
            logits = super().outputs(x, batch)
            self.calls += 1
            if self.calls == 6 + 5:  # of ten batches an epoch, in the last step of the second
                logits["purchase"] = logits["purchase"] + math.inf
            return logits

    with pytest.raises(FloatingPointError, match=r"'purchase' .* epoch 1, batches 4 to 5 "):
        fit(
            Poisoned(table.schema, **SMALL), table, epochs=2, batch_size=10, accumulate=4, **PLAIN
        )  # fmt: skip


@pytest.mark.parametrize("odd", [0, -1, 1.0, True, "2", None])
def test_what_is_no_number_of_batches_is_refused(odd):
    table = tiny.learnable(20)
    with pytest.raises(ValueError, match="accumulate is a whole number of batches"):
        fit(SharedBottom(table.schema, **SMALL), table, accumulate=odd, **PLAIN)


def test_a_representation_cannot_be_accumulated_and_the_model_stays_as_it_came():
    table = tiny.learnable(20)
    model = SharedBottom(table.schema, **SMALL)
    with pytest.raises(ValueError, match="accumulate adds up gradients on parameters"):
        fit(
            model, table, accumulate=2, shared="representation", balancer=rule_of("pcgrad"),
            optimizer="lazy_adam", **PLAIN,
        )  # fmt: skip
    assert not any(e.sparse_gradient or e.noted is not None for e in model.embeddings())


def test_another_number_of_batches_a_step_is_another_run(tmp_path):
    table = tiny.learnable(40)
    options = {"checkpoint": tmp_path / "run.pt", "epochs": 1, "batch_size": 8, "resume": True}
    for schedule in ("constant", "linear"):
        options |= {"checkpoint": tmp_path / f"{schedule}.pt", "schedule": schedule}
        fit(SharedBottom(table.schema, **SMALL), table, accumulate=2, **options, **PLAIN)
        with pytest.raises(CheckpointError, match="accumulate is 2, here it is 3"):
            fit(SharedBottom(table.schema, **SMALL), table, accumulate=3, **options, **PLAIN)
        with pytest.raises(CheckpointError, match="warmup_steps is 0, here it is 1"):
            fit(
                SharedBottom(table.schema, **SMALL), table, accumulate=2, warmup_steps=1,
                **options, **PLAIN,
            )  # fmt: skip


def test_shares_of_batches_sum_to_1_for_every_task_that_has_rows():
    for masses in itertools.product([0, 1, 3], repeat=3):
        shares = shares_of([torch.tensor([m, 2]) for m in masses])
        total = sum(masses)
        expected = [m / total if total else 0.0 for m in masses]
        assert shares[:, 0].tolist() == pytest.approx(expected)
        assert shares[:, 1].tolist() == pytest.approx([1 / 3] * 3)


def test_every_architecture_and_rule_was_met():
    assert {*SHARING, *ADAPTING, *LINKS} == set(registry.EVERY) and set(BALANCED) > set(
        EVERY_BALANCER
    )

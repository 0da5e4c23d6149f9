"""The learning rate of every step: it falls evenly to 0 over the steps of the whole run."""

import pytest
import torch

from mtlkit.balance import FixedWeights
from mtlkit.models import SharedBottom
from mtlkit.train import fit, seeded
from mtlkit.train.checkpoint import CheckpointError, load_checkpoint
from mtlkit.train.optim import OPTIMIZERS, Optimizers, RowAdam
from mtlkit.train.schedule import SCHEDULES, Schedule
from tests import tiny
from tests.train.dying import Killed, dying

SIZES = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}
PLAIN = {"device": "cpu", "precision": "fp32", "progress": False}


def model_for(table, dropout=0.0, seed=0):
    with seeded(seed):
        return SharedBottom(table.schema, **SIZES, dropout=dropout)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def rates_of(monkeypatch, table, **options):
    """The rates of all optimisers at every step of a run: [(one an optimiser, ...), ...]."""
    rates = []
    original = Optimizers.step

    def watched(self, done=0):
        original(self, done)
        groups = [group["lr"] for optimizer in self.all for group in optimizer.param_groups]
        rates.append(tuple(groups))

    monkeypatch.setattr(Optimizers, "step", watched)
    fit(model_for(table), table, **(PLAIN | options))
    monkeypatch.undo()
    return rates


@pytest.mark.parametrize("max_steps", [None, 7])
def test_the_falling_rate_equals_a_loop_by_hand_bit_for_bit(max_steps):
    table = tiny.table(tiny.schema(), 50)
    model, by_hand = model_for(table), model_for(table)
    options = {"epochs": 3, "batch_size": 16, "learning_rate": 0.02, "seed": 5}
    fit(model, table, max_steps=max_steps, row_prior=None, **options, **PLAIN)
    optimizer = torch.optim.Adam(by_hand.parameters(), fused=True)
    steps, done = max_steps or 3 * 4, 0
    for epoch in range(3):
        for batch in table.batches(16, shuffle=True, seed=5, epoch=epoch):
            if done == steps:
                break
            optimizer.param_groups[0]["lr"] = 0.02 * (1 - done / steps)
            optimizer.zero_grad()
            by_hand.losses(by_hand(batch), batch).sum().backward()
            optimizer.step()
            done += 1
    assert done == steps and torch.equal(weights(model), weights(by_hand))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_follows_the_rate_of_its_step(monkeypatch, name):
    table = tiny.learnable(100)
    options = {"epochs": 2, "batch_size": 20, "learning_rate": 0.04, "optimizer": name}
    rates = rates_of(monkeypatch, table, **options)
    assert len(rates[0]) == (2 if name == "lazy_adam" else 1)  # layers, tables
    assert [rate[0] for rate in rates] == pytest.approx([0.04 * (1 - t / 10) for t in range(10)])
    assert all(len(set(rate)) == 1 for rate in rates)
    constant = rates_of(monkeypatch, table, schedule="constant", **options)
    assert [set(rate) for rate in constant] == [{0.04}] * 10


@pytest.mark.parametrize(
    ("budget", "steps"),
    [({"epochs": 3}, 15), ({"epochs": 3, "max_steps": 6}, 6), ({"epochs": 1, "max_steps": 99}, 5)],
)
def test_the_rate_falls_over_the_steps_that_the_budget_allows(monkeypatch, budget, steps):
    rates = rates_of(monkeypatch, tiny.learnable(90), batch_size=20, learning_rate=1.0, **budget)
    assert [rate[0] for rate in rates] == pytest.approx([1 - t / steps for t in range(steps)])


def test_the_rate_of_a_step_is_the_length_of_a_plain_gradient_step():
    table = tiny.table(tiny.schema("click", "rating"), 30)
    batch = tiny.all_rows(table)
    model = model_for(table)
    options = {"epochs": 2, "batch_size": 30, "optimizer": "sgd", "row_prior": None}
    fit(model, table, learning_rate=0.1, **options, **PLAIN)
    by_hand = model_for(table)
    for rate in (0.1, 0.05):
        loss = by_hand.losses(by_hand(batch), batch).sum()
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for p, g in zip(by_hand.parameters(), gradients, strict=True):
                p -= rate * g
    torch.testing.assert_close(weights(model), weights(by_hand), rtol=1e-5, atol=1e-7)


def test_the_falling_rate_shrinks_the_decay_of_adamw_with_it():
    table = tiny.learnable(20)
    ends = {}
    for schedule in ("constant", "linear"):
        model = model_for(table)
        start = model.towers[0][0].weight.detach().clone()
        nothing = FixedWeights(dict.fromkeys(table.schema.task_names, 0.0))  # only decay moves it
        fit(
            model, table, balancer=nothing, epochs=2, batch_size=20, optimizer="adamw",
            weight_decay=1.0, learning_rate=0.1, schedule=schedule, **PLAIN,
        )  # fmt: skip
        ends[schedule] = (model.towers[0][0].weight.detach() / start)[start != 0]
    torch.testing.assert_close(ends["constant"], torch.full_like(ends["constant"], 0.9 * 0.9))
    torch.testing.assert_close(ends["linear"], torch.full_like(ends["linear"], 0.9 * 0.95))


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_a_cosine_is_that_of_torch_and_a_line_that_of_torch(steps):
    torchs = {
        "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps),
        "linear": lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, steps),
    }
    for name, make in torchs.items():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        theirs, rates = make(optimizer), []
        for _ in range(steps):
            rates.append(theirs.get_last_lr()[0])
            optimizer.step()
            theirs.step()
        own = Schedule(name, steps)
        assert [own.share(t) for t in range(steps)] == pytest.approx(rates, abs=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 5])
def test_a_warm_up_rises_evenly_to_the_whole_rate_and_moves_what_follows(name, warmup):
    steps = 12
    shares = [Schedule(name, steps, warmup).share(t) for t in range(steps)]
    assert shares[:warmup] == pytest.approx([(t + 1) / (warmup + 1) for t in range(warmup)])
    rest = Schedule(name, steps - warmup)
    assert shares[warmup:] == [rest.share(t) for t in range(steps - warmup)]
    assert shares[warmup] == 1 and all(0 < share <= 1 for share in shares)
    assert Schedule(name, steps, warmup).moves == (name != "constant" or warmup > 0)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("several", "max_steps"), [(1, None), (3, None), (3, 5)])
def test_every_schedule_counts_the_steps_of_the_run(
    monkeypatch, optimizer, name, several, max_steps
):
    options = {"epochs": 4, "batch_size": 20, "learning_rate": 0.04, "optimizer": optimizer}
    options |= {"schedule": name, "warmup_steps": 2, "accumulate": several}
    rates = rates_of(monkeypatch, tiny.learnable(100), max_steps=max_steps, **options)
    steps = max_steps or 4 * (5 if several == 1 else 2)
    own = Schedule(name, steps, 2)
    assert [rate[0] for rate in rates] == [0.04 * own.share(t) for t in range(steps)]
    assert all(len(set(rate)) == 1 for rate in rates)


@pytest.mark.parametrize("odd", [-1, 0.5, True, None, "2"])
def test_a_warm_up_that_is_no_number_of_steps_is_refused(odd):
    table = tiny.learnable(20)
    with pytest.raises(ValueError, match="warmup_steps is a whole number of steps"):
        fit(model_for(table), table, warmup_steps=odd, **PLAIN)


def test_a_warm_up_must_leave_steps_for_the_fall():
    table = tiny.learnable(60)
    options = {"epochs": 2, "batch_size": 20, **PLAIN}
    for schedule in ("linear", "cosine"):
        for warmup, budget in ((6, {}), (7, {}), (3, {"max_steps": 3}), (2, {"accumulate": 3})):
            with pytest.raises(ValueError, match=rf"warmup_steps \({warmup}\) must be fewer than"):
                fit(
                    model_for(table), table, warmup_steps=warmup, schedule=schedule,
                    **budget, **options,
                )  # fmt: skip
    fit(model_for(table), table, warmup_steps=99, schedule="constant", **options)
    fit(model_for(table), table, warmup_steps=5, **options)


def test_an_unknown_schedule_is_refused_by_name():
    table = tiny.learnable(20)
    with pytest.raises(ValueError, match="schedule is one of linear, cosine, constant, not 'x'"):
        fit(model_for(table), table, schedule="x", **PLAIN)


@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam"])
@pytest.mark.parametrize("after", [5, 9, 17])  # in the first, the second and the third epoch
def test_a_run_cut_off_in_mid_epoch_resumes_the_falling_rate_bit_for_bit(
    tmp_path, optimizer, after
):
    train, validation = tiny.learnable(90, seed=0), tiny.learnable(60, seed=1)
    options = {"epochs": 4, "batch_size": 16, "learning_rate": 0.03, "optimizer": optimizer}
    options |= {"row_prior": 0.07, "seed": 2, **PLAIN}
    whole = model_for(train, dropout=0.3)
    expected = fit(whole, train, validation, **options)
    options |= {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 2, "resume": True}
    with pytest.raises(Killed):
        fit(dying(model_for(train, dropout=0.3), after), train, validation, **options)
    epoch, batch, steps = load_checkpoint(tmp_path / "run.pt")["position"]
    assert steps == after - 1 and (epoch, batch) == divmod(steps, 6) and batch > 0
    resumed = model_for(train, dropout=0.3, seed=9)  # other weights: all comes from the file
    history = fit(resumed, train, validation, **options)
    assert torch.equal(weights(resumed), weights(whole))
    assert (history.steps, history.best_epoch) == (24, expected.best_epoch)
    for row, other in zip(history.rows, expected.rows, strict=True):
        assert row["train"] == other["train"] and row["validation"] == other["validation"]


def test_a_run_under_a_falling_rate_has_one_length_and_the_refusal_says_what_to_do(tmp_path):
    table = tiny.learnable(64)
    options = {"batch_size": 16, "checkpoint": tmp_path / "run.pt", **PLAIN}
    fit(model_for(table), table, epochs=2, **options)
    options |= {"resume": True}
    assert fit(model_for(table), table, epochs=2, **options).steps == 8  # finished: the same again
    for other in ({"epochs": 3}, {"epochs": 2, "max_steps": 5}):
        with pytest.raises(CheckpointError, match=r"is 8, here .* takes schedule=\"constant\""):
            fit(model_for(table), table, **other, **options)
    with pytest.raises(CheckpointError, match="schedule is 'linear', here it is 'constant'"):
        fit(model_for(table), table, epochs=2, schedule="constant", **options)


def test_rows_of_a_lazy_table_are_moved_by_the_rate_of_their_step():
    start = torch.randn(4, 3)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    a, b = RowAdam([ours], 0.01), torch.optim.Adam([theirs], 0.01, fused=True)
    for rate in (0.01, 0.006, 0.001):
        for optimizer, p in ((a, ours), (b, theirs)):
            optimizer.param_groups[0]["lr"] = rate
            p.grad = torch.ones(4, 3) * rate
            optimizer.step()
    assert torch.equal(ours, theirs)

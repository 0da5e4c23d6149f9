"""What a callback may do, and all that it may not: log, stop, set the rate; resume bit for bit."""

import math
import random

import pytest
import torch

from mtlkit.models import SharedBottom, Trees
from mtlkit.train import Rate, Stop, TensorBoard, fit, seeded
from mtlkit.train.checkpoint import CheckpointError, load_checkpoint
from mtlkit.train.optim import OPTIMIZERS
from mtlkit.train.schedule import SCHEDULES
from tests import tiny
from tests.train.dying import Killed, dying

SIZES = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}
PLAIN = {"device": "cpu", "precision": "fp32", "progress": False}
TABLE = tiny.learnable(90)
LATER = tiny.learnable(60, seed=1)


def model_for(table=TABLE, dropout=0.3):
    with seeded(0):
        return SharedBottom(table.schema, **SIZES, dropout=dropout)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def run(callbacks=(), model=None, validation=LATER, **options):
    """(model, history) of a short run; 6 steps an epoch."""
    model = model_for() if model is None else model
    options = {"epochs": 4, "batch_size": 16, "learning_rate": 0.03, **PLAIN, **options}
    return model, fit(model, TABLE, validation, callbacks=callbacks, **options)


class Calls:
    """Returns what it is told to, epoch by epoch, and keeps what it was shown."""

    def __init__(self, *answers):
        self.answers, self.rows = dict(enumerate(answers)), []

    def on_epoch_end(self, row):
        self.rows.append(row)
        return self.answers.get(row["epoch"])

    def state_dict(self):
        return {"seen": len(self.rows)}

    def load_state_dict(self, state):
        self.rows = self.rows[: state["seen"]]


def test_a_callback_sees_every_row_of_the_history():
    seen = Calls()
    _, history = run([seen])
    assert seen.rows == history.rows and len(seen.rows) == 4
    seen = Calls()
    _, history = run([seen], max_steps=8)  # the last epoch is cut short
    assert seen.rows == history.rows and len(seen.rows) == 2


class Meddler:
    """Does to its row and to random numbers whatever it can."""

    def on_epoch_end(self, row):
        torch.rand(7)
        torch.manual_seed(3)
        row["train"]["click"] = row["validation"]["click"]["auc"] = math.nan
        row["score"] = -1e9
        row.clear()


def test_a_callback_that_only_looks_changes_nothing_whatever_it_does_to_its_row():
    plain, expected = run()
    watched, history = run([Meddler(), Calls()])
    assert torch.equal(weights(plain), weights(watched))
    for row, other in zip(history.rows, expected.rows, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    assert history.best_epoch == expected.best_epoch


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_stop_ends_the_run_after_its_epoch_and_its_reason_is_noted(epoch):
    answers = [None] * epoch + [Stop("enough")]
    model, history = run([Calls(*answers), Calls()], validation=None)
    assert len(history.rows) == epoch + 1 and history.steps == 6 * (epoch + 1)
    assert history.stopped == "enough"
    _, whole = run(validation=None)
    assert whole.stopped is None
    shorter = run(epochs=epoch + 1, schedule="constant", validation=None)[0]
    stopped = run([Calls(*answers)], schedule="constant", validation=None)[0]
    assert torch.equal(weights(stopped), weights(shorter))
    assert model.step == history.steps


def test_all_callbacks_are_called_of_two_reasons_the_first_and_of_two_rates_the_last_counts():
    first, second = Calls(Rate(0.5), Stop("a")), Calls(Rate(0.01), Stop("b"))
    _, history = run([first, second])
    assert len(first.rows) == len(second.rows) == 2 and history.stopped == "a"
    assert [row["learning_rate"] for row in history.rows] == [0.03, 0.01]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_rate_holds_from_the_next_step_on_as_if_each_part_had_been_trained_with_it(
    optimizer, schedule
):
    options = {"optimizer": optimizer, "schedule": schedule, "validation": None, "epochs": 2}
    _, history = run([Calls(Rate(0.01))], **options)
    _, expected = run(**options)
    assert [row["learning_rate"] for row in history.rows] == [0.03, 0.01]
    shares = [row["rate"] / row["learning_rate"] for row in history.rows]
    assert shares == pytest.approx([row["rate"] / 0.03 for row in expected.rows])
    assert history.rows[0]["train"] == expected.rows[0]["train"]
    assert history.rows[1]["train"] != expected.rows[1]["train"]


def test_a_rate_is_the_length_of_the_steps_that_follow():
    options = {"optimizer": "sgd", "schedule": "constant", "row_prior": None, "validation": None}
    options |= {"batch_size": 90, "learning_rate": 0.1, "epochs": 2}
    model = model_for(dropout=0.0)
    run([Calls(Rate(0.02))], model, **options)
    by_hand = model_for(dropout=0.0)
    batch = tiny.all_rows(TABLE)
    for rate in (0.1, 0.02):
        loss = by_hand.losses(by_hand(batch), batch).sum()
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for p, g in zip(by_hand.parameters(), gradients, strict=True):
                p -= rate * g
    torch.testing.assert_close(weights(model), weights(by_hand), rtol=1e-5, atol=1e-7)


class Halving:
    """Halves the rate every epoch and stops once it is small: state that a resume needs."""

    def __init__(self):
        self.rate, self.losses = 0.04, torch.zeros(0)

    def on_epoch_end(self, row):
        self.rate /= 2
        self.losses = torch.cat([self.losses, torch.tensor([row["train"]["click"]])])
        return Stop("small") if self.rate < 0.004 else Rate(self.rate)

    def state_dict(self):
        return {"rate": self.rate, "losses": self.losses, "list": [1, (2.0, None)]}

    def load_state_dict(self, state):
        assert state["list"] == [1, (2.0, None)]
        self.rate, self.losses = state["rate"], state["losses"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("after", [3, 6, 7, 15, 20])
def test_a_run_with_callbacks_resumes_bit_for_bit(tmp_path, schedule, after):
    options = {"epochs": 9, "schedule": schedule, "checkpoint_every": 2}
    done = Halving()
    whole, expected = run([done], **options)
    assert expected.stopped == "small" and len(expected.rows) == 4
    options |= {"checkpoint": tmp_path / "run.pt", "resume": True}
    with seeded(0):
        model = SharedBottom(TABLE.schema, **SIZES, dropout=0.3)
    with pytest.raises(Killed):
        run([Halving()], dying(model, after), **options)
    again = Halving()
    resumed, history = run([again], **options)
    assert torch.equal(weights(resumed), weights(whole))
    assert torch.equal(again.losses, done.losses) and again.rate == done.rate
    assert history.stopped == "small" and resumed.step == whole.step
    for row, other in zip(history.rows, expected.rows, strict=True):
        assert {**row, "seconds": 0} == {**other, "seconds": 0}
    finished = Halving()
    _, history = run([finished], **options)  # stopped is stopped: the same again
    assert len(history.rows) == 4 and torch.equal(finished.losses, done.losses)


class Slotted:
    __slots__ = ("count",)

    def __init__(self):
        self.count = 0

    def on_epoch_end(self, row):
        self.count += 1


class HalfWay(Slotted):
    def state_dict(self):
        return {}


class Keeps:
    def __init__(self):
        self.best, self.writer = 0, None

    def on_epoch_end(self, row):
        return None


@pytest.mark.parametrize(("kind", "kept"), [(Slotted, "count"), (HalfWay, "count"),
                                            (Keeps, "best, writer")])  # fmt: skip
def test_state_that_cannot_be_kept_is_refused_where_a_run_may_be_resumed(tmp_path, kind, kept):
    run([kind()], epochs=1)  # nothing to resume: nothing to refuse
    options = {"checkpoint": tmp_path / "run.pt", "epochs": 1}
    run([kind()], **options)
    with pytest.raises(CheckpointError, match=rf"{kind.__name__} keeps state \({kept}\) and"):
        run([kind()], resume=True, **options)
    run([Meddler()], checkpoint=tmp_path / "other.pt", epochs=1, resume=True)  # keeps none


def test_other_callbacks_are_another_run(tmp_path):
    options = {"checkpoint": tmp_path / "run.pt", "epochs": 1, "resume": True}
    run([Calls()], **options)
    for other in ([], [Meddler()], [Calls(), Calls()]):
        with pytest.raises(CheckpointError, match="callbacks"):
            run(other, **options)


@pytest.mark.parametrize("odd", [object(), {"a": [random.Random()]}, {("k", print): 1}])
def test_a_state_that_no_checkpoint_holds_is_refused_and_leaves_no_file(tmp_path, odd):
    class Odd(Calls):
        def state_dict(self):
            return odd

    with pytest.raises(CheckpointError, match=r"state of the callback .*Odd holds a "):
        run([Odd()], checkpoint=tmp_path / "run.pt", epochs=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("odd", [print, lambda row: None, Calls, None, "log"])
def test_what_is_no_callback_is_refused_by_its_place(odd):
    with pytest.raises(ValueError, match=r"callbacks\[1\] is .* on_epoch_end\(row\)"):
        run([Calls(), odd], epochs=1)


def test_one_callback_without_its_list_is_refused():
    with pytest.raises(ValueError, match=r"callbacks is a list: callbacks=\[Calls"):
        run(Calls(), epochs=1)


@pytest.mark.parametrize("answer", [True, "stop", 0.01, Stop, {"rate": 1.0}])
def test_an_answer_that_says_nothing_is_refused(answer):
    with pytest.raises(ValueError, match=r"Calls.on_epoch_end returned .* Stop\(reason\) or Rate"):
        run([Calls(answer)], epochs=1)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan, "0.1", None, True])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(ValueError, match="Calls sets the learning rate to"):
        run([Calls(Rate(rate))], epochs=1)


class Writer:
    """Stands in for TensorBoard's SummaryWriter."""

    def __init__(self):
        self.numbers, self.flushed = {}, 0

    def add_scalar(self, name, value, epoch):
        assert (name, epoch) not in self.numbers
        self.numbers[name, epoch] = value

    def flush(self):
        self.flushed += 1


def test_tensorboard_gets_every_number_of_every_row(tmp_path):
    writer = Writer()
    _, history = run([TensorBoard(tmp_path / "runs", writer)], epochs=2)
    found = {}
    for part, task, metric, epoch, value in history.frame().select(
        "part", "task", "metric", "epoch", "value"
    ).iter_rows():  # fmt: skip
        found[f"{part}/{task} {metric}", epoch] = value
    for row in history.rows:
        found |= {(f"run/{n}", row["epoch"]): row[n] for n in ("score", "rate", "seconds")}
    assert writer.numbers == {key: v for key, v in found.items() if not math.isnan(v)}
    assert len(writer.numbers) > 20 and writer.flushed == 2
    assert not (tmp_path / "runs").exists()  # nothing is opened where a writer is given


def test_tensorboard_is_opened_late_and_may_be_resumed(tmp_path, monkeypatch):
    import sys
    from types import ModuleType

    opened = []
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = lambda folder: opened.append(folder) or Writer()
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    callback = TensorBoard(tmp_path / "runs")
    assert opened == []
    run([callback], epochs=2, checkpoint=tmp_path / "run.pt", resume=True)
    assert opened == [str(tmp_path / "runs")]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # not to be imported
    with pytest.raises(ImportError, match="pip install tensorboard"):
        run([TensorBoard(tmp_path / "runs")], epochs=1)


def test_trees_train_themselves_and_call_nobody():
    seen = Calls(Stop())
    table = tiny.learnable(300)
    fit(Trees(table.schema, rounds=2), table, callbacks=[seen])
    assert seen.rows == []


def test_the_checkpoint_holds_rate_state_and_reason(tmp_path):
    run([Calls(None, Rate(0.01), Stop("x"))], checkpoint=tmp_path / "run.pt")
    state = load_checkpoint(tmp_path / "run.pt")
    assert (state["learning_rate"], state["stopped"]) == (0.01, "x")
    assert state["callbacks"] == [{"seen": 3}]

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mtlkit.balance import EqualWeights, FixedWeights
from mtlkit.data import ShardedTable, write_shards
from mtlkit.models import MMoE, SharedBottom
from mtlkit.schema import SchemaError
from mtlkit.train import evaluate, fit, seeded
from mtlkit.train.checkpoint import CheckpointError, load_checkpoint
from mtlkit.train.device import choose_device, choose_precision, has_fast_bfloat16, place
from tests import tiny
from tests.train.dying import Killed, dying

ROOT = Path(__file__).parents[2]
SMALL = {"embedding_dim": 4, "hidden": (16, 8), "tower": (4,)}


def quiet(model, train, validation=None, **options):
    options = {"progress": False, "precision": "fp32", "device": "cpu", **options}
    return fit(model, train, validation, **options)


def make(schema, seed=0, **more):
    with seeded(seed):
        return MMoE(schema, experts=2, **SMALL, **more)


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def assert_equal_weights(a, b):
    assert set(a) == set(b)
    for name in a:
        assert torch.equal(a[name], b[name]), name


def test_fit_learns_what_there_is_to_learn():
    train, validation = tiny.learnable(4000, seed=0), tiny.learnable(2000, seed=1)
    model = make(train.schema)
    # the rate falls to 0 in these few steps, so it begins high
    history = quiet(model, train, validation, epochs=8, batch_size=200, learning_rate=0.02)
    metrics = evaluate(model, validation)
    assert metrics["click"]["auc"] > 0.85 and metrics["purchase"]["auc"] > 0.85
    assert history.steps == 8 * 20 and len(history.rows) == 8
    losses = [row["train"]["click"] for row in history.rows]
    assert losses[-1] < losses[0] - 0.1
    assert history.seconds == pytest.approx(sum(row["seconds"] for row in history.rows))


def test_one_epoch_equals_the_loop_written_by_hand():
    table = tiny.table(tiny.schema())
    model, by_hand = make(table.schema), make(table.schema)
    plain = {"learning_rate": 1e-3, "schedule": "constant", "row_prior": None}
    history = quiet(model, table, epochs=1, batch_size=16, seed=5, **plain)
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-3, fused=True)
    for batch in table.batches(16, shuffle=True, seed=5, epoch=0):
        optimizer.zero_grad()
        by_hand.losses(by_hand(batch), batch).sum().backward()
        optimizer.step()
    assert_equal_weights(weights(model), weights(by_hand))
    assert history.steps == 3 and not model.training


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    table = tiny.learnable(500)
    runs = []
    for seed in (1, 1, 2):
        model = make(table.schema, dropout=0.2)
        torch.rand(seed)  # whatever the caller drew before must not matter
        quiet(model, table, epochs=2, batch_size=64, seed=seed)
        runs.append(weights(model))
    assert_equal_weights(runs[0], runs[1])
    assert not torch.equal(runs[0]["embedding.table"], runs[2]["embedding.table"])


def test_fit_and_seeded_leave_the_caller_s_random_numbers_alone():
    table = tiny.learnable(200)
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    quiet(make(table.schema, dropout=0.5), table, epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_a_clipped_step_is_no_longer_than_rate_times_the_largest_norm():
    table = tiny.learnable(300)
    one = {"epochs": 1, "batch_size": 300, "optimizer": "sgd", "learning_rate": 0.5}
    lengths = {}
    for largest in (None, 0.01, 1e9):
        model = make(table.schema)
        start = torch.cat([w.flatten() for w in weights(model).values()])
        quiet(model, table, clip_norm=largest, **one)
        end = torch.cat([w.flatten() for w in weights(model).values()])
        lengths[largest] = float((end - start).norm())
    assert lengths[0.01] == pytest.approx(0.5 * 0.01, rel=1e-3)
    assert lengths[None] == lengths[1e9] > 0.01


def test_weights_of_tasks_scale_their_gradients():
    table = tiny.learnable(300)
    model, weighted = make(table.schema), make(table.schema)
    one = {"epochs": 1, "batch_size": 300, "optimizer": "sgd", "learning_rate": 1.0}
    start = weights(model)
    quiet(model, table, **one)
    quiet(weighted, table, balancer=FixedWeights({"click": 3.0, "purchase": 0.0}), **one)
    name = "towers.0.2.weight"  # of click alone
    moved = weights(model)[name] - start[name]
    torch.testing.assert_close(
        weights(weighted)[name] - start[name], 3 * moved, rtol=1e-4, atol=1e-6
    )
    assert torch.equal(weights(weighted)["towers.1.2.weight"], start["towers.1.2.weight"])


def test_default_weights_are_those_of_the_schema():
    table = tiny.learnable(300)
    click, purchase = table.schema.tasks
    table = table.with_tasks((replace(click, weight=0.0), purchase))
    model = make(table.schema)
    start = weights(model)
    quiet(model, table, epochs=1, optimizer="sgd", learning_rate=1.0)
    assert torch.equal(weights(model)["towers.0.2.weight"], start["towers.0.2.weight"])
    assert not torch.equal(weights(model)["towers.1.2.weight"], start["towers.1.2.weight"])


def test_fewer_rows_than_a_batch_and_a_last_batch_of_one_row_train():
    for rows, batch_size, steps in ((5, 2048, 1), (33, 16, 3)):
        table = tiny.table(tiny.schema(), rows=rows)
        history = quiet(make(table.schema), table, table, epochs=1, batch_size=batch_size)
        assert history.steps == steps
        assert all(math.isfinite(v) for v in history.rows[0]["train"].values())


def test_task_without_any_label_trains_the_others_and_reports_nan():
    table = tiny.table(tiny.schema("click", "orders"))
    table.observed[:, 0] = False
    table.labels[:, 0] = 0
    model = make(table.schema)
    history = quiet(model, table, table, epochs=2, batch_size=8)
    assert math.isnan(history.rows[0]["train"]["click"])
    assert history.rows[1]["train"]["orders"] < history.rows[0]["train"]["orders"]
    assert history.best_epoch is not None and math.isfinite(history.rows[1]["score"])


def test_training_loss_is_the_mean_over_observed_rows_of_the_epoch():
    table = tiny.table(tiny.schema("click", "rating"), rows=50)
    model = make(table.schema)
    history = quiet(model, table, epochs=1, batch_size=7, learning_rate=1e-12)
    batch = tiny.all_rows(table)
    whole = model.losses(model(batch), batch)
    for i, name in enumerate(table.schema.task_names):
        assert history.rows[0]["train"][name] == pytest.approx(whole[i].item(), rel=1e-5)


def test_training_mode_comes_back_after_validation():
    table = tiny.learnable(200)
    modes = []

    class Watched(SharedBottom):
        def forward(self, batch):
            modes.append(self.training)
            return super().forward(batch)

    quiet(Watched(table.schema, **SMALL), table, table, epochs=3, batch_size=200)
    assert modes == [True, False] * 3


def test_best_epoch_s_weights_are_restored_and_patience_stops_early():
    train, validation = tiny.learnable(150, seed=0), tiny.learnable(1000, seed=1)
    model = make(train.schema)
    options = {"batch_size": 30, "learning_rate": 0.05}
    history = quiet(model, train, validation, epochs=40, patience=3, **options)
    scores = [row["score"] for row in history.rows]
    assert len(scores) < 40
    assert history.best_epoch == max(range(len(scores)), key=scores.__getitem__)
    assert len(scores) == history.best_epoch + 1 + 3
    again = evaluate(model, validation)
    assert again == history.rows[history.best_epoch]["validation"]
    assert again != history.rows[-1]["validation"]


def test_score_uses_the_reference_in_units_of_its_spread():
    train = tiny.learnable(400)
    given = {
        "reference": {"click": 0.5, "purchase": 0.6},
        "spread": {"click": 0.1, "purchase": 0.2},
    }
    row = quiet(make(train.schema), train, train, epochs=1, **given).rows[0]
    expected = (
        (row["validation"]["click"]["auc"] - 0.5) / 0.1
        + (row["validation"]["purchase"]["auc"] - 0.6) / 0.2
    ) / 2
    assert row["score"] == pytest.approx(expected)


def test_history_frame_has_every_number():
    table = tiny.table(tiny.schema("click", "orders"), rows=60)
    history = quiet(make(table.schema), table, table, epochs=2)
    frame = history.frame()
    assert frame.columns == ["epoch", "part", "task", "metric", "value"]
    losses = frame.filter((frame["part"] == "train") & (frame["task"] == "orders"))["value"]
    assert losses.to_list() == [row["train"]["orders"] for row in history.rows]
    assert set(frame["metric"]) >= {"loss", "auc", "poisson_deviance"}


class Poisoned(SharedBottom):
    """Gives an infinite logit of orders at one step."""

    calls, at = 0, 4

    def outputs(self, x, batch):
        logits = super().outputs(x, batch)
        if self.calls == self.at:
            logits["orders"] = logits["orders"] + float("inf")
        self.calls += 1
        return logits


def test_loss_that_is_not_finite_names_task_epoch_and_batch():
    table = tiny.table(tiny.schema("click", "orders"), rows=60)
    with pytest.raises(FloatingPointError, match=r"'orders' .* epoch 1, batch 1 "):
        quiet(Poisoned(table.schema, **SMALL), table, epochs=3, batch_size=20)


def test_a_run_that_fails_leaves_the_model_with_dense_gradients():
    table = tiny.table(tiny.schema("click", "orders"), rows=60)
    model = Poisoned(table.schema, **SMALL)
    with pytest.raises(FloatingPointError):
        quiet(model, table, epochs=3, batch_size=20, optimizer="lazy_adam")
    assert not any(e.sparse_gradient for e in model.embeddings())


def test_sharded_table_trains_and_resumes_like_itself(tmp_path):
    table = tiny.table(tiny.schema(), rows=100)
    sharded = ShardedTable(write_shards(table, tmp_path / "shards", rows_per_shard=40))
    options = {"epochs": 2, "batch_size": 16, "schedule": "constant"}
    whole, resumed = make(table.schema), make(table.schema)
    history = quiet(whole, sharded, sharded, **options)
    assert history.steps == 2 * 7
    options |= {"checkpoint": tmp_path / "run.pt", "resume": True}
    quiet(resumed, sharded, sharded, max_steps=10, **options)
    quiet(resumed, sharded, sharded, **options)
    assert_equal_weights(weights(resumed), weights(whole))
    assert evaluate(whole, sharded) == evaluate(whole, table)


def test_max_steps_ends_inside_an_epoch():
    table = tiny.learnable(300)
    history = quiet(make(table.schema), table, table, epochs=3, batch_size=30, max_steps=14)
    assert history.steps == 14 and len(history.rows) == 2


@pytest.mark.parametrize("optimizer", ["adam", "lazy_adam", "sgd"])
@pytest.mark.parametrize("at", [2, 9, 10, 17])  # before any file, inside and between epochs
def test_resume_reaches_the_very_weights_of_an_uninterrupted_run(tmp_path, optimizer, at):
    train, validation = tiny.learnable(300, seed=0), tiny.learnable(100, seed=1)
    options = {"epochs": 3, "batch_size": 32, "optimizer": optimizer, "learning_rate": 0.01}
    whole = make(train.schema, dropout=0.3)
    expected = quiet(whole, train, validation, **options)
    options |= {"checkpoint": tmp_path / "run.pt", "checkpoint_every": 4, "resume": True}
    with pytest.raises(Killed):
        quiet(dying(make(train.schema, dropout=0.3), at), train, validation, **options)
    assert (tmp_path / "run.pt").exists() == (at > 3)
    resumed = make(train.schema, dropout=0.3)
    torch.rand(17)
    history = quiet(resumed, train, validation, **options)
    assert_equal_weights(weights(resumed), weights(whole))
    assert history.steps == expected.steps and history.best_epoch == expected.best_epoch
    for row, other in zip(history.rows, expected.rows, strict=True):
        assert row["train"] == other["train"] and row["validation"] == other["validation"]


def killed_run(folder):
    """Train in this process and die, at once and without any clean-up, in the second epoch."""
    train, validation = tiny.learnable(300, seed=0), tiny.learnable(100, seed=1)
    model = dying(make(train.schema, dropout=0.3), 15, lambda: os._exit(9))
    quiet(
        model, train, validation, epochs=3, batch_size=32,
        checkpoint=Path(folder) / "run.pt", checkpoint_every=3,
    )  # fmt: skip


def test_killed_process_resumes_to_the_very_weights_of_an_uninterrupted_run(tmp_path):
    code = f"from tests.train.test_loop import killed_run; killed_run({str(tmp_path)!r})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, timeout=120, check=False
    )
    assert done.returncode == 9
    epoch, batch, steps = load_checkpoint(tmp_path / "run.pt")["position"]
    assert (epoch, batch, steps) == (1, 5, 15)
    train, validation = tiny.learnable(300, seed=0), tiny.learnable(100, seed=1)
    whole, resumed = (make(train.schema, dropout=0.3) for _ in range(2))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the killed process: sums in the same order
    try:
        quiet(whole, train, validation, epochs=3, batch_size=32)
        quiet(
            resumed, train, validation, epochs=3, batch_size=32,
            checkpoint=tmp_path / "run.pt", resume=True,
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    assert_equal_weights(weights(resumed), weights(whole))


def test_finished_run_resumes_to_the_same_result_and_more_epochs_continue_it(tmp_path):
    train, validation = tiny.learnable(300, seed=0), tiny.learnable(100, seed=1)
    path = tmp_path / "run.pt"
    rate = {"batch_size": 64, "schedule": "constant"}
    options = {"checkpoint": path, "resume": True, **rate}
    first, second, whole = (make(train.schema) for _ in range(3))
    quiet(first, train, validation, epochs=2, **options)
    assert quiet(second, train, validation, epochs=2, **options).steps == 10
    assert_equal_weights(weights(first), weights(second))
    quiet(second, train, validation, epochs=4, **options)
    quiet(whole, train, validation, epochs=4, **rate)
    assert_equal_weights(weights(second), weights(whole))


def test_run_stopped_by_max_steps_continues_where_it_stopped(tmp_path):
    train = tiny.learnable(300)
    whole_run = {"epochs": 3, "batch_size": 32, "schedule": "constant"}
    options = {"checkpoint": tmp_path / "run.pt", "resume": True, **whole_run}
    stopped, whole = make(train.schema), make(train.schema)
    quiet(stopped, train, train, max_steps=14, **options)
    history = quiet(stopped, train, train, **options)
    expected = quiet(whole, train, train, **whole_run)
    assert_equal_weights(weights(stopped), weights(whole))
    assert [r["train"] for r in history.rows] == [r["train"] for r in expected.rows]


def test_checkpoint_of_another_run_is_refused_by_name(tmp_path):
    table = tiny.learnable(100)
    options = {"epochs": 1, "checkpoint": tmp_path / "run.pt"}
    quiet(make(table.schema), table, **options)
    options |= {"resume": True, "epochs": 2}
    with pytest.raises(CheckpointError, match="model is 'MMoE', here it is 'SharedBottom'"):
        quiet(SharedBottom(table.schema, **SMALL), table, **options)
    with pytest.raises(CheckpointError, match="seed is 0, here it is 3"):
        quiet(make(table.schema), table, seed=3, **options)
    with pytest.raises(CheckpointError, match="its model's experts experts is 2, here it is 3"):
        quiet(MMoE(table.schema, experts=3, **SMALL), table, **options)
    other = table.select_tasks(["click"])
    with pytest.raises(CheckpointError, match=r"schema tasks is \['click', 'purchase'\]"):
        quiet(make(other.schema), other, **options)


def test_tables_and_options_that_do_not_fit_are_refused():
    table = tiny.learnable(50)
    model = make(table.schema)
    with pytest.raises(SchemaError, match="validation table has the tasks click"):
        quiet(model, table, table.select_tasks(["click"]))
    with pytest.raises(ValueError, match="train table has no rows"):
        quiet(model, table.take(torch.tensor([])))
    with pytest.raises(ValueError, match="batch_size"):
        quiet(model, table, batch_size=0)
    with pytest.raises(ValueError, match="optimizer"):
        quiet(model, table, optimizer="magic")
    with pytest.raises(ValueError, match="clip_norm"):
        quiet(model, table, clip_norm=0.0)
    with pytest.raises(ValueError, match="precision"):
        quiet(model, table, precision="fp8")

    class Needy(EqualWeights):
        needs_gramian, weighs_heads = True, False

    with pytest.raises(ValueError, match="representation"):
        quiet(model, table, balancer=Needy(), shared="everything")


def test_bf16_trains_close_to_fp32_and_keeps_float32_weights():
    train, validation = tiny.learnable(3000, seed=0), tiny.learnable(2000, seed=1)
    auc = {}
    for precision in ("fp32", "bf16"):
        model = make(train.schema)
        options = {"epochs": 5, "batch_size": 100, "learning_rate": 5e-3}
        quiet(model, train, precision=precision, **options)
        assert all(p.dtype == torch.float32 for p in model.parameters())
        metrics = evaluate(model, validation)
        auc[precision] = [metrics[n]["auc"] for n in train.schema.task_names]
    assert auc["bf16"] == pytest.approx(auc["fp32"], abs=0.01)
    assert auc["bf16"] != auc["fp32"]


def test_device_and_precision_choices():
    cpu = torch.device("cpu")
    assert choose_device("cpu") == cpu
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    small, large = make(tiny.schema()), MMoE(tiny.schema(), hidden=(512, 512))
    assert choose_precision("fp32", cpu, large, 2048) == "fp32"
    assert choose_precision("bf16", cpu, small, 1) == "bf16"
    assert choose_precision("auto", cpu, small, 2048) == "fp32"
    assert choose_precision("auto", cpu, large, 1) == "fp32"
    fast = "bf16" if has_fast_bfloat16(cpu) else "fp32"
    assert choose_precision("auto", cpu, large, 2048) == fast
    assert choose_precision("auto", torch.device("mps"), large, 2048) == "fp32"
    table = tiny.learnable(10)
    assert place(table, cpu) is table
    assert place(table, torch.device("meta")).device.type == "meta"
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="cuda"):
            choose_device("cuda")

"""Trees where a network is expected: fit, evaluate, compare in one process or two, search_rate."""

import pytest
import torch

from mtlkit import Trees, compare, evaluate, fit
from mtlkit.balance import EqualWeights
from mtlkit.comparison.fingerprint import Fingerprints
from mtlkit.comparison.search import search_rate
from mtlkit.data.splits import Split
from mtlkit.models import Constant, SharedBottom
from mtlkit.schema import SchemaError
from mtlkit.train import predict
from tests import tiny
from tests.comparison.test_processes import assert_same_numbers, elsewhere, patient

SIZES = {"learning_rate": 0.2, "leaves": 4, "min_rows": 10, "rounds": 15}
BUDGET = {"epochs": 1, "batch_size": 64, "device": "cpu"}


def drawn(rows, seed):
    table = tiny.learnable(rows, seed)
    table.row_id = torch.arange(rows) + 10_000 * seed
    return table


SPLIT = Split(drawn(500, 0), drawn(300, 1), drawn(200, 2))
SCHEMA = SPLIT.train.schema


def grown(**options):
    trees = Trees(SCHEMA, **SIZES)
    return trees, fit(trees, SPLIT.train, SPLIT.validation, progress=False, **options)


def test_fit_grows_trees_and_tells_what_a_history_can():
    trees, history = grown(seed=4)
    by_hand = Trees(SCHEMA, **SIZES)
    by_hand.train_on(SPLIT.train, SPLIT.validation, seed=4)
    assert trees.rounds == by_hand.rounds
    for a, b in zip(*(predict(t, SPLIT.test).values() for t in (trees, by_hand)), strict=True):
        assert (a == b).all()
    assert history.steps == max(trees.rounds.values()) and history.backward_passes == 0
    assert history.best_epoch == 0 and history.best_epochs == {"click": 0, "purchase": 0}
    (row,) = history.rows
    assert row["validation"] == evaluate(trees, SPLIT.validation) and row["train"] == {}
    assert history.seconds == row["seconds"] > 0 and not trees.training
    assert set(history.frame()["part"]) == {"validation"}


def test_trees_learn_what_there_is_to_learn():
    found, floor = (evaluate(m, SPLIT.test) for m in (grown()[0], Constant(SPLIT.train)))
    for task in SCHEMA.task_names:
        assert found[task]["auc"] > 0.8 and found[task]["log_loss"] < floor[task]["log_loss"] - 0.1


def test_options_of_networks_do_not_concern_trees_and_a_checkpoint_is_refused(tmp_path):
    plain, _ = grown()
    same, _ = grown(
        epochs=1, learning_rate=9.0, schedule="constant", balancer=EqualWeights(), max_steps=1
    )
    assert plain.rounds == same.rounds
    assert (predict(plain, SPLIT.test)["click"] == predict(same, SPLIT.test)["click"]).all()
    with pytest.raises(ValueError, match="Trees learns in one go and writes no checkpoint"):
        grown(checkpoint=tmp_path / "run.pt")
    assert list(tmp_path.iterdir()) == []


def test_tables_that_do_not_fit_are_refused_as_for_a_network():
    with pytest.raises(SchemaError, match="validation table has the tasks click"):
        fit(Trees(SCHEMA), SPLIT.train, SPLIT.validation.select_tasks(["click"]))
    with pytest.raises(ValueError, match="train table has no rows"):
        fit(Trees(SCHEMA), SPLIT.train.take([]))


def contest(makers=None, **options):
    makers = makers or {
        "network": lambda seed: SharedBottom(SCHEMA, embedding_dim=4, hidden=(8,), tower=()),
        "trees": lambda seed: Trees(SCHEMA, **SIZES),
    }
    settings = {"seeds": [0, 1], "fit_options": BUDGET, "progress": False, **options}
    return compare(makers, SPLIT, **settings)


def test_a_comparison_measures_trees_and_shows_their_leaves_and_rounds():
    result = contest()
    trees, _ = grown()
    for task, metrics in evaluate(trees, SPLIT.validation).items():
        assert (result.by_seed("trees", "auc", task) == metrics["auc"]).all()  # no luck in them
    rows = {row["candidate"]: row for row in result.cost().to_dicts()}
    leaves = 4 * sum(trees.rounds.values())
    assert rows["trees"]["parameters"] == leaves == trees.parameter_count()["total"]
    assert rows["trees"]["steps"] == max(trees.rounds.values())
    assert rows["trees"]["backward_passes"] == 0 < rows["network"]["backward_passes"]
    assert "trees" in result.to_markdown()


def test_trees_grow_alike_in_another_process_and_come_back_from_a_store(tmp_path):
    notes, runs = tmp_path / "notes", tmp_path / "runs"
    notes.mkdir()
    makers = {  # trees alone: which process takes which run is left to chance
        "trees": lambda seed: Trees(SCHEMA, **SIZES),
        "fewer": lambda seed: Trees(SCHEMA, **{**SIZES, "rounds": 3}),
    }
    one = contest(makers, jobs=1)
    two = contest(makers, jobs=2, trainer=patient(notes), store=runs, store_key="tests")
    assert elsewhere(notes) and all(name.startswith("Trees") for name in elsewhere(notes))
    assert len(list(runs.iterdir())) == 4
    assert_same_numbers(one, two)


def test_a_store_reads_the_code_of_a_factory_of_trees(tmp_path):
    first = contest(store=tmp_path)
    files = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert contest(store=tmp_path).runs.equals(first.runs)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    read = Fingerprints().of
    fewer, more = lambda seed: Trees(SCHEMA, rounds=9), lambda seed: Trees(SCHEMA, rounds=8)
    assert read(fewer) != read(more)


def test_a_search_for_a_rate_scores_trees_though_it_is_not_theirs():
    schema = SCHEMA.select(["click"])
    split = Split(*(table.select_tasks(["click"]) for table in SPLIT))
    found = search_rate(lambda seed: Trees(schema, **SIZES), split, (0.01, 0.1))
    trees = Trees(schema, **SIZES)
    fit(trees, split.train, split.validation)
    expected = evaluate(trees, split.validation)["click"]["auc"]
    assert found.scores == {0.01: expected, 0.1: expected} and found.best == 0.01

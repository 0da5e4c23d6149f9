"""A folder of runs: an interrupted comparison goes on, and what changed is never taken for old."""

import errno
import json
import os

import pytest
import torch

from mtlkit.balance import BALANCERS
from mtlkit.comparison import compare
from mtlkit.comparison.store import read_run
from mtlkit.data.splits import split_random
from mtlkit.models import SharedBottom, SingleTask
from mtlkit.train import evaluate, fit
from tests import tiny
from tests.comparison.test_processes import elsewhere, patient

SPLIT = split_random(tiny.learnable(300), seed=0)
SIZES = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}
TRAINED = []  # every fit of this module, in order


def counted(model, train, validation, **options):
    TRAINED.append((type(model).__name__, options["seed"]))
    return fit(model, train, validation, **options)


def makers(tower=(4,)):
    sizes = {**SIZES, "tower": tower}
    return {
        "single": lambda seed: SingleTask(SPLIT.train.schema, **sizes),
        "shared": lambda seed: SharedBottom(SPLIT.train.schema, **sizes),
    }


def contest(folder, candidates=None, split=SPLIT, **changed):
    options = {"seeds": [0, 1], "fit_options": {"epochs": 1}, "progress": False, "jobs": 1}
    options |= {"store": folder, "trainer": counted, "store_key": "tests"} | changed
    TRAINED.clear()
    return compare(candidates or makers(), split, **options)


def test_a_second_call_reads_every_run_and_gives_the_same_table(tmp_path):
    first = contest(tmp_path)
    assert len(TRAINED) == len(list(tmp_path.iterdir())) == 4
    again = contest(tmp_path)
    assert TRAINED == []
    assert again.runs.equals(first.runs) and again.costs.equals(first.costs)
    assert again.tasks == first.tasks and again.table().equals(first.table())
    assert contest(None, store_key=None).runs.equals(first.runs)


@pytest.mark.parametrize("done", [1, 3])
def test_an_interrupted_comparison_goes_on_to_the_same_table(tmp_path, done):
    def interrupted(*tables, **options):
        if len(TRAINED) == done:
            raise KeyboardInterrupt
        return counted(*tables, **options)

    with pytest.raises(KeyboardInterrupt):
        contest(tmp_path, trainer=interrupted)
    assert len(list(tmp_path.iterdir())) == done
    result = contest(tmp_path)
    assert len(TRAINED) == 4 - done
    assert result.runs.equals(contest(tmp_path / "other").runs)


def test_another_process_keeps_its_runs_too(tmp_path):
    notes, runs = tmp_path / "notes", tmp_path / "runs"
    notes.mkdir()
    two = contest(runs, jobs=2, trainer=patient(notes))
    assert elsewhere(notes) and len(list(runs.iterdir())) == 4
    assert contest(runs, jobs=1).costs.equals(two.costs)
    assert TRAINED == []


OTHER = split_random(tiny.learnable(300), seed=1)
CHANGES = {
    "an option": {"fit_options": {"epochs": 1, "learning_rate": 2e-3}},
    "an option of the balancer": {"fit_options": {"epochs": 1, "balancer": BALANCERS["rlw"]()}},
    "the data": {"split": OTHER},
    "the rows measured": {"on": "test"},
    "the scenarios measured": {"by_scenario": False},
    "the threads": {"threads": 2},
    "the key of the code": {"store_key": "other"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_determines_a_run_is_never_taken_for_an_old_one(tmp_path, change):
    contest(tmp_path)
    contest(tmp_path, **CHANGES[change])
    assert len(TRAINED) == 4
    contest(tmp_path, **CHANGES[change])
    assert TRAINED == []
    contest(tmp_path)
    assert TRAINED == []  # the old ones are still there


def test_a_single_changed_label_is_another_data_set(tmp_path):
    contest(tmp_path)
    train = SPLIT.train.take(torch.arange(len(SPLIT.train)))
    contest(tmp_path, split=SPLIT._replace(train=train))
    assert TRAINED == []
    train.labels[7, 1] = 1 - train.labels[7, 1]
    contest(tmp_path, split=SPLIT._replace(train=train))
    assert len(TRAINED) == 4


def test_another_version_of_torch_trains_anew(tmp_path, monkeypatch):
    contest(tmp_path)
    monkeypatch.setattr(torch, "__version__", "99.0")
    contest(tmp_path)
    assert len(TRAINED) == 4


def test_new_seeds_and_candidates_add_to_what_is_there(tmp_path):
    contest(tmp_path)
    contest(tmp_path, seeds=[1, 2])
    assert [seed for _, seed in TRAINED] == [2, 2]
    more = makers() | {"third": makers()["shared"]}
    contest(tmp_path, candidates=more)
    assert TRAINED == [("SharedBottom", 0), ("SharedBottom", 1)]


def test_the_order_of_options_does_not_matter(tmp_path):
    contest(tmp_path, fit_options={"epochs": 1, "batch_size": 64})
    contest(tmp_path, fit_options={"batch_size": 64, "epochs": 1})
    assert TRAINED == []


def test_the_code_of_a_factory_counts_without_a_key_of_its_own(tmp_path):
    plain = {"trainer": fit, "store_key": None}
    first = contest(tmp_path, **plain)
    assert contest(tmp_path, **plain).costs.equals(first.costs)
    wider = contest(tmp_path, candidates=makers(tower=(5,)), **plain)
    assert wider.costs["parameters"][0] > first.costs["parameters"][0]
    assert len(list(tmp_path.iterdir())) == 8


def test_code_that_cannot_be_read_is_refused_until_it_gets_a_key(tmp_path):
    def numbers():
        yield 1

    running = numbers()
    hidden = {"a": lambda seed: running and SingleTask(SPLIT.train.schema, **SIZES)}
    with pytest.raises(ValueError, match=r"factory of 'a'.*generator.*Give store_key"):
        contest(tmp_path, candidates=hidden, trainer=fit, evaluator=evaluate, store_key=None)
    contest(tmp_path, candidates=hidden)
    assert len(TRAINED) == 2


def damage(path, how):
    text = path.read_text(encoding="utf-8")
    if how == "cut":
        path.write_text(text[: len(text) // 2], encoding="utf-8")
    elif how == "empty":
        path.write_text("", encoding="utf-8")
    elif how == "changed":
        content = json.loads(text)
        content["run"]["values"][0][3] += 0.1
        path.write_text(json.dumps(content), encoding="utf-8")
    else:
        path.write_text("[1, 2]", encoding="utf-8")


@pytest.mark.parametrize("how", ["cut", "empty", "changed", "foreign"])
def test_a_damaged_file_is_named_and_its_run_done_again(tmp_path, how):
    first = contest(tmp_path)
    victim = sorted(tmp_path.iterdir())[0]
    damage(victim, how)
    with pytest.warns(UserWarning, match=f"{victim.name} is damaged .* done again"):
        second = contest(tmp_path)
    assert len(TRAINED) == 1 and second.runs.equals(first.runs)
    assert read_run(victim) is not None


def test_a_full_disk_is_told_and_the_table_is_complete(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.warns(UserWarning, match="the disk is full.*counts now and is not kept"):
            first = contest(tmp_path)
    assert list(tmp_path.iterdir()) == [] and len(TRAINED) == 4
    assert contest(tmp_path).runs.equals(first.runs) and len(TRAINED) == 4


def test_a_file_under_the_name_of_another_run_is_not_believed(tmp_path):
    contest(tmp_path)
    one, two = sorted(tmp_path.iterdir())[:2]
    two.write_bytes(one.read_bytes())
    with pytest.warns(UserWarning, match="damaged"):
        contest(tmp_path)
    assert len(TRAINED) == 1


def test_undefined_numbers_come_back_from_the_file(tmp_path):
    table = tiny.learnable(300)
    table.labels[:, 1] = 0  # an AUC needs both classes
    split = split_random(table, seed=0)
    first = contest(tmp_path, split=split)
    assert first.runs["value"].is_nan().any()
    assert contest(tmp_path, split=split).runs.equals(first.runs) and TRAINED == []


def test_a_split_function_is_told_by_the_tables_it_draws(tmp_path):
    def drawn(add):
        return lambda seed: split_random(tiny.learnable(200, seed=seed + add), seed=seed)

    contest(tmp_path, split=drawn(0))
    contest(tmp_path, split=drawn(0))
    assert TRAINED == []
    contest(tmp_path, split=drawn(5))
    assert len(TRAINED) == 4


def test_a_key_without_a_folder_is_refused():
    with pytest.raises(ValueError, match="give store too"):
        contest(None)


def test_a_cpu_and_a_gpu_have_files_of_their_own(tmp_path, monkeypatch):
    contest(tmp_path)
    elsewhere = torch.device("meta")
    monkeypatch.setattr("mtlkit.comparison.store.choose_device", lambda device: elsewhere)
    contest(tmp_path)
    assert len(TRAINED) == 4


@pytest.mark.parametrize("path", ["runs.json", "runs.json/below"])
def test_a_file_in_place_of_the_folder_is_refused_before_any_training(tmp_path, path):
    (tmp_path / "runs.json").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueError, match="store must be a folder"):
        contest(tmp_path / path)
    assert TRAINED == [] and (tmp_path / "runs.json").read_text(encoding="utf-8") == "mine"


def test_an_option_that_cannot_be_read_is_named(tmp_path):
    options = {"epochs": 1, "balancer": (n for n in range(3))}
    with pytest.raises(ValueError, match=r"option 'balancer' of 'single'.*generator"):
        contest(tmp_path, fit_options=options)
    assert TRAINED == []

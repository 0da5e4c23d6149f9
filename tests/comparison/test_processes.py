"""Comparisons over several processes: the numbers of one, from lambdas and notebook classes."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from mtlkit.balance import BALANCERS
from mtlkit.comparison import compare
from mtlkit.comparison.plan import Plan
from mtlkit.comparison.processes import ONE_PROCESS, choose_jobs, packed
from mtlkit.data.splits import split_random
from mtlkit.models import SharedBottom, SingleTask
from mtlkit.train import device, evaluate, fit
from tests import tiny

ROOT = Path(__file__).parents[2]
SPLIT = split_random(tiny.learnable(400), seed=0)
SIZES = {"embedding_dim": 4, "hidden": (8,), "tower": (4,)}
BUDGET = {"epochs": 2, "batch_size": 32}


def candidates():
    class Deeper(SharedBottom):  # known to this function alone, as a class of a notebook is
        def __init__(self, schema):
            super().__init__(schema, embedding_dim=4, hidden=(8, 8), tower=(), dropout=0.2)

    return {
        "single": lambda seed: SingleTask(SPLIT.train.schema, **SIZES),
        "deeper": lambda seed: Deeper(SPLIT.train.schema),
    }


def contest(makers=None, split=SPLIT, **options):
    settings = {"seeds": [0, 1, 2], "fit_options": BUDGET, "progress": False, **options}
    return compare(candidates() if makers is None else makers, split, **settings)


def plan(**changed):
    options = {name: {} for name in candidates()}
    given = [candidates(), SPLIT, options, "validation", True, None, fit, evaluate, 1]
    made = Plan(*given)
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def patient(folder):
    """``fit``, but this process waits in its first run until another one has begun a run."""
    here = os.getpid()

    def train(model, train, validation, **options):
        name = f"{type(model).__name__}-{options['seed']}-{device._measured}"
        (folder / f"{os.getpid()}-{name}").touch()
        end = time.monotonic() + 120
        while os.getpid() == here and time.monotonic() < end:
            if any(not path.name.startswith(f"{here}-") for path in folder.iterdir()):
                break
            time.sleep(0.01)
        return fit(model, train, validation, **options)

    return train


def elsewhere(folder):
    """What other processes noted there."""
    names = [path.name.split("-", 1) for path in folder.iterdir()]
    return [name for process, name in names if int(process) != os.getpid()]


def assert_same_numbers(one, two):
    assert one.runs.equals(two.runs)
    assert one.costs.drop("seconds").equals(two.costs.drop("seconds"))
    assert (one.tasks, one.seeds, one.candidates) == (two.tasks, two.seeds, two.candidates)


def test_two_processes_give_the_very_numbers_of_one(tmp_path):
    rule = {"deeper": {"balancer": BALANCERS["rlw"]()}}
    one = contest(jobs=1, fit_options_for=rule)
    two = contest(jobs=2, fit_options_for=rule, trainer=patient(tmp_path))
    assert elsewhere(tmp_path)
    assert_same_numbers(one, two)
    assert one.runs["value"].n_unique() > 20


def test_a_split_function_is_drawn_anew_in_every_process(tmp_path):
    draw = lambda seed: split_random(tiny.learnable(300, seed=seed), seed=seed)  # noqa: E731
    two = contest(split=draw, jobs=2, trainer=patient(tmp_path))
    assert_same_numbers(contest(split=draw, jobs=1), two)
    assert elsewhere(tmp_path)


def test_a_run_computes_with_the_threads_asked_for_and_gives_the_callers_back():
    seen = []

    def notes(model, train, validation, **options):
        seen.append(torch.get_num_threads())
        return fit(model, train, validation, **options)

    before = torch.get_num_threads()
    for threads in (1, 2):
        contest(trainer=notes, threads=threads, seeds=[0])
    assert seen == [1, 1, 2, 2] and torch.get_num_threads() == before


def test_an_error_of_a_run_reaches_the_caller():
    def broken(seed):
        raise RuntimeError(f"no model for seed {seed}")

    with pytest.raises(RuntimeError, match="no model for seed"):
        contest({"a": candidates()["single"], "b": broken}, jobs=2)


def test_a_factory_that_hands_out_one_model_is_refused_in_other_processes_too():
    model = SingleTask(SPLIT.train.schema, **SIZES)
    with pytest.raises(ValueError, match="Build a new one in each call"):
        contest({"a": lambda seed: model, "b": lambda seed: model}, seeds=[0], jobs=2)


def locked():
    lock = threading.Lock()

    def make(seed):
        with lock:
            return SingleTask(SPLIT.train.schema, **SIZES)

    return {"a": make, "b": make}


def test_what_cannot_leave_the_process_is_said_and_auto_stays_in_it(monkeypatch):
    with pytest.raises(ValueError, match="Pass jobs=1"):
        contest(locked(), seeds=[0], jobs=2)
    monkeypatch.setenv("MTLKIT_JOBS", "2")
    with pytest.warns(UserWarning, match="One process after all"):
        result = contest(locked(), seeds=[0])
    assert_same_numbers(result, contest(locked(), seeds=[0], jobs=1))


def free(monkeypatch):
    for name in (*ONE_PROCESS, "MTLKIT_JOBS"):
        monkeypatch.delenv(name, raising=False)


def test_auto_is_the_cores_outside_tests_and_one_inside_them(monkeypatch):
    import joblib

    assert choose_jobs("auto", plan(), own_code=False) == 1  # this is a test
    free(monkeypatch)
    cores = joblib.cpu_count(only_physical_cores=True)
    if torch.cuda.is_available():
        cores = 1
    assert choose_jobs("auto", plan(), own_code=False) == cores
    assert choose_jobs("auto", plan(), own_code=True) == 1
    for name in ONE_PROCESS:
        with monkeypatch.context() as inside:
            inside.setenv(name, "smoke")
            assert choose_jobs("auto", plan(), own_code=False) == 1


def test_the_environment_says_what_auto_is_and_a_number_given_wins(monkeypatch):
    monkeypatch.setenv("MTLKIT_JOBS", "3")
    assert choose_jobs("auto", plan(), own_code=True) == 3
    assert choose_jobs(2, plan(), own_code=True) == 2
    monkeypatch.setenv("MTLKIT_JOBS", "many")
    with pytest.raises(ValueError, match="MTLKIT_JOBS is 'many'"):
        choose_jobs("auto", plan(), own_code=False)


@pytest.mark.parametrize("jobs", [0, -1, True, "two", 1.5])
def test_a_wrong_number_of_jobs_is_refused(jobs):
    with pytest.raises(ValueError, match='jobs must be "auto" or a number'):
        contest(jobs=jobs)


def test_a_wrong_number_of_threads_is_refused():
    with pytest.raises(ValueError, match="threads must be a whole number"):
        contest(threads=0)


def test_a_plan_that_travels_leaves_the_drawn_tables_behind():
    made = plan(split=lambda seed: split_random(tiny.learnable(20_000), seed=seed))
    before = len(packed(made))
    made.data(0)
    assert len(packed(made)) == before < 100_000


SCRIPT = """
import os, pathlib, time
from mtlkit import SharedBottom, compare, split_random
from tests import tiny
data = split_random(tiny.learnable(300), seed=0)
here = os.getpid()
class Mine(SharedBottom):
    pass
def make(dropout, wait):
    pathlib.Path(f"{os.getpid()}.took-part").touch()
    while wait and os.getpid() == here and len(list(pathlib.Path().glob("*.took-part"))) < 2:
        time.sleep(0.01)
    return Mine(data.train.schema, embedding_dim=4, hidden=(8,), tower=(4,), dropout=dropout)
runs = []
for jobs in (1, 2):
    makers = {"a": lambda seed: make(0.0, jobs > 1), "b": lambda seed: make(0.5, jobs > 1)}
    options = {"seeds": [0, 1], "fit_options": {"epochs": 1}, "progress": False}
    runs.append(compare(makers, data, jobs=jobs, **options))
assert runs[0].runs.equals(runs[1].runs)
print("equal")
"""


@pytest.mark.slow
def test_a_script_without_a_main_guard_may_use_processes(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, timeout=180,
        capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.stdout == "equal\n", done.stderr


def test_this_process_is_one_of_the_two_and_no_run_is_done_twice(tmp_path):
    contest(trainer=patient(tmp_path), jobs=2)
    names = [path.name.split("-", 1) for path in tmp_path.iterdir()]
    assert len(names) == len({name for _, name in names}) == 6
    processes = {int(process) for process, _ in names}
    assert len(processes) == 2 and os.getpid() in processes


def test_the_other_process_takes_this_ones_word_on_bfloat16(tmp_path, monkeypatch):
    monkeypatch.setattr("mtlkit.comparison.runs.has_fast_bfloat16", lambda device: True)
    contest(trainer=patient(tmp_path), jobs=2, fit_options={**BUDGET, "precision": "fp32"})
    assert elsewhere(tmp_path) and all(name.endswith("[True]") for name in elsewhere(tmp_path))


def test_an_error_in_the_other_process_reaches_the_caller(tmp_path):
    here = os.getpid()
    train = patient(tmp_path)

    def broken(*tables, **options):
        if os.getpid() != here:
            (tmp_path / f"{os.getpid()}-began").touch()
            raise FloatingPointError("the loss of the other process")
        return train(*tables, **options)

    with pytest.raises(FloatingPointError, match="the other process"):
        contest(trainer=broken, jobs=2)


class Two(Exception):
    """Cannot be read back: pickle calls it with its one message."""

    def __init__(self, a, b):
        super().__init__(f"{a} before {b}")


def test_an_error_that_cannot_travel_keeps_its_words(tmp_path):
    here = os.getpid()
    train = patient(tmp_path)

    def broken(*tables, **options):
        if os.getpid() != here:
            (tmp_path / f"{os.getpid()}-began").touch()
            raise Two("left", "right")
        return train(*tables, **options)

    with pytest.raises(RuntimeError, match=r"(?s)in another process failed.*left before right"):
        contest(trainer=broken, jobs=2)

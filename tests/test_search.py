"""The search for a learning rate: same start, validation only, and never a diverged run."""

import math

import pytest
import torch

from mtlkit.data.splits import Split
from mtlkit.models import SingleTask
from mtlkit.search import search_rate
from mtlkit.train import evaluate, fit, seeded
from tests import tiny

OPTIONS = {"epochs": 3, "batch_size": 20}


@pytest.fixture(scope="module")
def split():
    schema = tiny.schema("click")
    tables = [tiny.table(schema, rows=rows, seed=seed) for seed, rows in enumerate((80, 60, 40))]
    for number, table in enumerate(tables):
        table.row_id = torch.arange(len(table)) + 1000 * number
    return Split(*tables)


def factory(split):
    return lambda seed: SingleTask(split.train.schema, embedding_dim=2, hidden=(4,), tower=())


def test_each_score_is_that_of_a_run_by_hand(split):
    found = search_rate(factory(split), split, (0.01, 0.1), seed=7, fit_options=OPTIONS)
    for rate, score in found.scores.items():
        with seeded(7):
            model = factory(split)(7)
        fit(model, split.train, split.validation, seed=7, learning_rate=rate, progress=False,
            **OPTIONS)  # fmt: skip
        assert score == evaluate(model, split.validation)["click"]["auc"]
    assert found.best == max(found.scores, key=found.scores.get)


def test_the_test_rows_are_not_read(split):
    without = split._replace(test=None)
    assert search_rate(factory(split), without, (0.1,), fit_options=OPTIONS).best == 0.1


def test_a_rate_that_diverges_never_wins(split):
    options = {**OPTIONS, "optimizer": "sgd"}
    found = search_rate(factory(split), split, (0.1, 1e30), fit_options=options)
    assert found.best == 0.1
    assert found.scores[1e30] == -math.inf


def test_lower_deviance_is_the_better_score():
    schema = tiny.schema("orders")
    split = Split(tiny.table(schema, 80), tiny.table(schema, 60, seed=1), None)
    found = search_rate(factory(split), split, (1e-3, 1e-1), fit_options=OPTIONS)
    assert all(score < 0 for score in found.scores.values())


def test_several_tasks_need_a_reference():
    schema = tiny.schema("click", "orders")
    split = Split(tiny.table(schema, 80), tiny.table(schema, 60, seed=1), None)
    with pytest.raises(ValueError, match="different units"):
        search_rate(factory(split), split, (0.1,), fit_options=OPTIONS)
    reference = {"click": 0.5, "orders": 1.0}
    found = search_rate(factory(split), split, (0.1,), reference=reference, fit_options=OPTIONS)
    assert math.isfinite(found.scores[0.1])


def test_no_rates_is_refused(split):
    with pytest.raises(ValueError, match="give"):
        search_rate(factory(split), split, (), fit_options=OPTIONS)

"""The search for a learning rate: same start, validation only, and never a diverged run."""

import copy
import math

import pytest
import torch

from mtlkit.comparison.search import search_rate
from mtlkit.data.splits import Split
from mtlkit.models import SingleTask
from mtlkit.train import evaluate, fit, seeded, selection_score
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


def test_networks_that_stop_apart_score_by_the_epoch_that_each_keeps():
    schema = tiny.schema("click", "orders")
    split = Split(*(tiny.table(schema, 150, seed) for seed in range(2)), None)
    model = SingleTask(schema, embedding_dim=3, hidden=(8,), tower=())
    build = lambda seed: copy.deepcopy(model)  # noqa: E731
    options = {"epochs": 8, "batch_size": 20, "schedule": "constant", "device": "cpu"}
    reference = {"click": 0.6, "orders": 1.0}
    found = search_rate(build, split, (0.05,), reference=reference, fit_options=options)
    by_hand = build(0)
    history = fit(
        by_hand, split.train, split.validation, seed=99, learning_rate=0.05, progress=False,
        **options,
    )  # fmt: skip
    assert len(set(history.best_epochs.values())) == 2  # else one epoch would do
    kept = evaluate(by_hand, split.validation)
    assert found.scores[0.05] == pytest.approx(selection_score(schema, kept, reference=reference))


def test_with_several_starts_a_rate_scores_their_mean(split):
    build = factory(split)
    together = search_rate(build, split, (0.01, 0.1), seed=7, starts=3, fit_options=OPTIONS)
    alone = [
        search_rate(build, split, (0.01, 0.1), seed=seed, fit_options=OPTIONS).scores
        for seed in (7, 8, 9)
    ]
    for rate, score in together.scores.items():
        assert len({scores[rate] for scores in alone}) > 1
        assert score == pytest.approx(sum(scores[rate] for scores in alone) / 3)


def test_a_rate_that_diverges_from_one_of_its_starts_never_wins(split):
    class Breaks(SingleTask):
        def forward(self, *arguments, **options):
            return {
                task: z * math.nan for task, z in super().forward(*arguments, **options).items()
            }

    def build(seed):
        kind = Breaks if seed == 8 else SingleTask
        return kind(split.train.schema, embedding_dim=2, hidden=(4,), tower=())

    with pytest.raises(ValueError, match="finite"):
        search_rate(build, split, (0.1,), seed=7, starts=2, fit_options=OPTIONS)
    assert search_rate(build, split, (0.1,), seed=7, fit_options=OPTIONS).best == 0.1


def test_no_starts_are_refused(split):
    with pytest.raises(ValueError, match="starts is 0"):
        search_rate(factory(split), split, (0.1,), starts=0, fit_options=OPTIONS)


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

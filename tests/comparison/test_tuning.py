"""The same trials for everyone: the best mean score is chosen, on validation rows, and told."""

from functools import partial

import numpy as np
import pytest
import torch

from mtlkit.balance import FixedWeights
from mtlkit.comparison import compare, tune
from mtlkit.data.splits import Split
from mtlkit.models import SharedBottom, SingleTask
from tests import tiny

OPTIONS = {"fit_options": {"epochs": 2, "batch_size": 20}, "jobs": 1}


@pytest.fixture(scope="module")
def split():
    schema = tiny.schema("click", "purchase")
    tables = [tiny.table(schema, rows=rows, seed=seed) for seed, rows in enumerate((80, 60, 40))]
    for number, table in enumerate(tables):
        table.row_id = torch.arange(len(table)) + 1000 * number
    return Split(*tables)


def small(seed, kind, schema):
    return kind(schema, embedding_dim=2, hidden=(4,), tower=())


def mean_auc(metrics):
    return float(np.mean([values["auc"] for values in metrics.values()]))


def trials(split):
    def build(kind):
        return partial(small, kind=kind, schema=split.train.schema)

    rates = {f"rate {rate}": {"learning_rate": rate} for rate in (0.001, 0.1)}
    weights = {f"weight {w}": {"balancer": FixedWeights({"purchase": w})} for w in (0.1, 3.0)}
    return {
        "separate": {what: (build(SingleTask), o) for what, o in rates.items()},
        "shared": {what: (build(SharedBottom), o) for what, o in weights.items()},
    }


def test_every_score_is_the_mean_of_runs_by_compare_on_validation_rows(split):
    found = tune(trials(split), split, score=mean_auc, seeds=(5, 6), **OPTIONS)
    factory, options = trials(split)["shared"]["weight 3.0"]
    fit_options = OPTIONS["fit_options"] | options
    by_hand = compare({"one": factory}, split, seeds=(5, 6), fit_options=fit_options, jobs=1)
    wanted = np.mean([by_hand.by_seed("one", "auc", task) for task in ("click", "purchase")])
    assert found.scores["shared"]["weight 3.0"] == pytest.approx(wanted, abs=1e-12)


def test_the_best_trial_of_each_is_chosen_and_handed_on_as_compare_takes_it(split):
    found = tune(trials(split), split, score=mean_auc, seeds=(5, 6), **OPTIONS)
    turned = tune(trials(split), split, score=lambda m: -mean_auc(m), seeds=(5, 6), **OPTIONS)
    for name, scores in found.scores.items():
        assert len(set(scores.values())) == 2
        assert found.chosen[name] == max(scores, key=scores.get)
        assert turned.chosen[name] != found.chosen[name]
        assert found.factories[name] is not None
    chosen = trials(split)["separate"][found.chosen["separate"]][1]
    assert found.fit_options_for["separate"] == chosen
    again = compare(
        found.factories, split, seeds=(5,), fit_options_for=found.fit_options_for, **OPTIONS
    )
    assert again.candidates == ("separate", "shared")


def test_the_frame_tells_every_trial(split):
    found = tune(trials(split), split, score=mean_auc, seeds=(5,), **OPTIONS)
    frame = found.frame()
    assert frame.columns == ["candidate", "chosen", "trial 1", "trial 2"]
    assert frame["chosen"].to_list() == list(found.chosen.values())
    assert frame.row(0)[2:] == tuple(found.scores["separate"].values())


def test_unequal_trials_are_refused_with_the_numbers(split):
    unequal = trials(split)
    del unequal["shared"]["weight 0.1"]
    with pytest.raises(ValueError, match="same number of trials, 1 or more: separate 2, shared 1"):
        tune(unequal, split, score=mean_auc, seeds=(5,), **OPTIONS)
    with pytest.raises(ValueError, match="no candidates"):
        tune({}, split, score=mean_auc, seeds=(5,), **OPTIONS)


def test_a_score_that_is_not_finite_is_never_chosen(split):
    seen = []

    def only_the_first(metrics):
        seen.append(metrics)
        return 0.1 if len(seen) == 1 else float("nan")

    one = {"separate": trials(split)["separate"]}
    found = tune(one, split, score=only_the_first, seeds=(5,), **OPTIONS)
    assert found.chosen == {"separate": "rate 0.001"}
    with pytest.raises(ValueError, match="No trial of 'separate' has a finite score"):
        tune(one, split, score=lambda _: float("nan"), seeds=(5,), **OPTIONS)

"""Gradient surgery against constants, separate networks and trees, in three places.

Three places: six tasks whose labels differ a hundredfold in number ("six tasks"), the same on a
shop whose tasks want different things ("conflicting"), and two rich tasks that agree ("two rich
tasks"). Everyone tries four settings of rate and, where there is one, of a knob; the conflicting
shop takes over what was chosen for the first place. All train as practised, but in batches of
1,024: rules need a backward pass a task, and larger batches halve the time.
"""

from functools import partial

import numpy as np
import polars as pl
import torch

from mtlkit import Market, SharedBottom, SingleTask, Split, Trees, compare, fit
from mtlkit.balance import BALANCERS, FixedWeights, GradientObserver, NashMTL
from mtlkit.comparison import tune
from mtlkit.data.splits import split_time
from mtlkit.train import seeded

USES = (
    "small", "conflicting", "aligned", "SharedBottom", "SingleTask",
    "fixed", "equal", "rlw", "pcgrad", "mgda", "nash-mtl",
)  # fmt: skip
FRESH = 300_000  # the first row of the test log: no training row comes from there
NETWORK = {"embedding_dim": 32, "hidden": (64, 32), "tower": (16,)}
RATES = (0.004, 0.008, 0.016, 0.03)
FOREST = ((0.03, 4), (0.03, 8), (0.1, 4), (0.1, 8))  # learning rate, leaves
COUNTED = ("click", "cart", "purchase")  # the score is their mean AUC
PLACES = {
    "six tasks": ("small", {}, None),
    "conflicting": ("conflicting", {}, None),
    "two rich tasks": ("aligned", {"click_rate": 0.4}, ["click", "cart"]),
}  # {place: (preset, dials, tasks or all)}


class Nash(NashMTL):
    """Nash-MTL with weights that sum to the number of tasks, as equal weights and MGDA's do.

    Its own sum to several times as much. Adam does not care, but the prior on embedding rows does:
    beside such gradients it would hardly count.
    """

    def task_weights(self, losses, gramian):
        """Weights (k,), positive."""
        weights = super().task_weights(losses, gramian)
        return len(weights) * weights / weights.sum()


RULES = {"PCGrad": BALANCERS["pcgrad"], "MGDA": BALANCERS["mgda"], "Nash-MTL": Nash}


def tables(shop, place, size):
    """The market; training and validation days of its first rows, later days of others to test."""
    preset, dials, tasks = PLACES[place]
    market = Market(preset, seed=shop, **dials)
    rows, test = market.impressions(size.rows), market.impressions(size.test_rows, start=FRESH)
    if tasks:
        rows, test = rows.select_tasks(tasks), test.select_tasks(tasks)
    log = split_time(rows, "day", (33, 44))
    return market, Split(log.train, log.validation, test.take(test.keys["day"] >= 44))


def network(seed, schema, kind=SharedBottom):
    """A new network of the size that all have."""
    return kind(schema, **NETWORK)


def grown(seed, schema, rate, leaves, rounds):
    """Boosted trees for each task."""
    return Trees(schema, learning_rate=rate, leaves=leaves, rounds=rounds)


def share_of_rows(table):
    """{task: share of rows that have its label}."""
    return {task: float(table.mask(task).float().mean()) for task in table.schema.task_names}


def quieted(table, options):
    """{task: 1 / usual norm of its gradient with equal weights}; they sum to the tasks' number."""
    with seeded(100):
        model = network(100, table.schema)
    eye = GradientObserver()
    fit(model, table, seed=100, balancer=eye, progress=False, **(options | {"epochs": 1}))
    weights = 1 / eye.norms.nanmean(0)
    weights *= len(weights) / weights.sum()
    return dict(zip(table.schema.task_names, weights.tolist(), strict=True))


def trials(train, quiet, rounds):
    """{candidate: {trial: (factory, options of fit)}}: four trials for everyone."""
    schema, rows = train.schema, share_of_rows(train)
    shared = partial(network, schema=schema)
    by_rows = {p: FixedWeights({task: r**p for task, r in rows.items()}) for p in (0.5, 1)}
    rules = {"equal weights": BALANCERS["equal"](), "random weights": BALANCERS["rlw"]()}
    rules |= {"1 / gradient norm": FixedWeights(quiet)}
    rules |= {name: rule() for name, rule in RULES.items()}
    separate = partial(network, schema=schema, kind=SingleTask)
    found = {
        "separate networks": {f"rate {r:g}": (separate, {"learning_rate": r}) for r in RATES},
        "tuned constant": {
            f"rate {rate:g}, rows to the power {p:g}":
                (shared, {"learning_rate": rate, "balancer": rule})
            for rate in RATES[::2] for p, rule in by_rows.items()
        },
    }  # fmt: skip
    found |= {
        name: {f"rate {r:g}": (shared, {"learning_rate": r, "balancer": rule}) for r in RATES}
        for name, rule in rules.items()
    }
    forest = {
        f"rate {rate:g}, {leaves} leaves":
            (partial(grown, schema=schema, rate=rate, leaves=leaves, rounds=rounds), {})
        for rate, leaves in FOREST
    }  # fmt: skip
    return found | {"trees": forest}


def mean_auc(metrics):
    """The mean AUC of click, cart and purchase, as far as they are tasks."""
    return float(np.mean([metrics[task]["auc"] for task in COUNTED if task in metrics]))


def with_score(runs):
    """The runs' AUC, calibration and R2, and the mean AUC as one of the task "all"."""
    kept = runs.select("candidate", "task", "metric", "seed", "value")
    counted = kept.filter(pl.col("metric") == "auc", pl.col("task").is_in(COUNTED))
    score = counted.group_by("candidate", "seed", maintain_order=True).agg(pl.mean("value"))
    named = score.with_columns(pl.lit("all").alias("task"), pl.lit("auc").alias("metric"))
    kept = kept.filter(pl.col("metric").is_in(["auc", "r2_log", "pcoc"]))
    return pl.concat([kept, named.select(kept.columns)])


def search(split, every, size, store, options):
    """Everyone's best trial on validation days: ({candidate: trial}, table).

    Networks are tried from several starts, trees once, for there is no luck in them.
    """
    parts = []
    for forest, seeds in ((False, size.search_seeds), (True, 1)):
        tried = {name: own for name, own in every.items() if (name == "trees") == forest}
        parts.append(tune(
            tried, split, score=mean_auc, store=store, fit_options=options,
            seeds=range(100, 100 + seeds),
        ))  # fmt: skip
    networks, trees = parts
    return networks.chosen | trees.chosen, pl.concat([networks.frame(), trees.frame()])


def measure(split, candidates, size, store, options):
    """The chosen trials on test rows; trees are grown once and count for every seed."""
    seeds, found = list(range(size.seeds)), []
    for forest in (False, True):
        these = {name: own for name, own in candidates.items() if (name == "trees") == forest}
        made = compare(
            {name: factory for name, (factory, _) in these.items()}, split, on="test",
            seeds=seeds[:1] if forest else seeds, by_scenario=False, progress=False, store=store,
            fit_options=options, fit_options_for={name: own for name, (_, own) in these.items()},
        )  # fmt: skip
        found.append(with_score(made.runs))
    often = found[1].drop("seed").join(pl.DataFrame({"seed": seeds}), how="cross")
    return pl.concat([found[0], often.select(found[0].columns)])


def contest(shop, size, store):
    """All three places on one shop: {"runs", "chosen", "weights", "ceiling"}."""
    torch.set_num_threads(1)  # quicker for networks as small as these
    runs, chosen, weights, ceiling, picked = [], [], [], [], {}
    options = {"epochs": size.epochs, "batch_size": 1_024}
    for place in PLACES:
        market, split = tables(shop, place, size)
        quiet = quieted(split.train, options)
        every, here = trials(split.train, quiet, size.rounds), pl.lit(place).alias("place")
        if place != "conflicting":
            picked, table = search(split, every, size, store, options)
            chosen.append(table.select(here, pl.all()))
        candidates = {name: own[picked[name]] for name, own in every.items()}
        found = measure(split, candidates, size, store, options)
        runs.append(found.select(here, pl.all()))
        rows = share_of_rows(split.train)
        weights += [
            {"place": place, "task": task, "share of rows": rows[task], "1 / norm": weight}
            for task, weight in quiet.items()
        ]
        best = market.oracle(split.test, knows="features")
        ceiling.append({"place": place, "auc": mean_auc(best)})
    return {
        "runs": pl.concat(runs), "chosen": pl.concat(chosen), "weights": pl.DataFrame(weights),
        "ceiling": pl.DataFrame(ceiling),
    }  # fmt: skip

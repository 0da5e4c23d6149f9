"""The map of sharing: what purchase gains from click, and what click pays.

Two dials are turned: how related the two tasks are (``task_correlation`` of the shop) and how many
rows there are to learn from, and so how many purchases. At every point separate networks, which
each stop at their own best epoch, meet networks that share, at equal weights and at a weight of the
purchase loss that was chosen; trees stand beside them. Everyone has four trials of rate and, where
there is one, of a knob.
"""

from functools import partial
from itertools import product

import numpy as np
import polars as pl
import torch

from mtlkit import FixedWeights, Market, MMoE, SharedBottom, SingleTask, Split, Trees, compare
from mtlkit.comparison import tune
from mtlkit.data.splits import split_time

USES = ("small", "SharedBottom", "MMoE", "SingleTask", "fixed")
TASKS = ["click", "purchase"]
FRESH = 300_000  # the first row of the test log: no training row comes from there
NETWORK = {"embedding_dim": 32, "hidden": (64, 32), "tower": (16,)}
RATES = (0.004, 0.008, 0.016, 0.03)
WEIGHTS = (0.03, 0.1)  # of the purchase loss, beside 1 for the click loss
FOREST = ((0.03, 4), (0.03, 8), (0.1, 4), (0.1, 8))  # learning rate, leaves


def tables(shop, correlation, rows, test_rows):
    """Training and validation days of a log of so many rows; later days of a longer log to test.

    The test rows are the same for every number of rows.
    """
    market = Market("small", seed=shop, task_correlation=correlation)
    log = split_time(market.impressions(rows).select_tasks(TASKS), "day", (33, 44))
    fresh = market.impressions(test_rows, start=FRESH).select_tasks(TASKS)
    return market, Split(log.train, log.validation, fresh.take(fresh.keys["day"] >= 44))


def network(seed, kind, schema, **options):
    """A new network of the size that all have."""
    return kind(schema, **NETWORK, **options)


def grown(seed, schema, rate, leaves, rounds):
    """Boosted trees for each task."""
    return Trees(schema, learning_rate=rate, leaves=leaves, rounds=rounds)


def trials(schema, rounds):
    """{candidate: {trial: (factory, options of fit)}}: four trials for everyone."""
    apart = partial(SingleTask, own_stop=True)
    kinds = {"separate": apart, "shared": SharedBottom, "MMoE": MMoE}
    build = {name: partial(network, kind=kind, schema=schema) for name, kind in kinds.items()}

    def by_rate(name):
        return {f"rate {rate:g}": (build[name], {"learning_rate": rate}) for rate in RATES}

    def by_weight(name):
        return {
            f"rate {rate:g}, weight {w:g}":
                (build[name], {"learning_rate": rate, "balancer": FixedWeights({"purchase": w})})
            for rate in RATES[1:3] for w in WEIGHTS
        }  # fmt: skip

    found = {"separate": by_rate("separate")}
    for name in ("shared", "MMoE"):
        found[f"{name}, equal weights"] = by_rate(name)
        found[f"{name}, chosen weight"] = by_weight(name)
    forest = {
        f"rate {rate:g}, {leaves} leaves":
            (partial(grown, schema=schema, rate=rate, leaves=leaves, rounds=rounds), {})
        for rate, leaves in FOREST
    }  # fmt: skip
    return found | {"trees": forest}


def mean_auc(metrics):
    """The mean AUC of both tasks."""
    return float(np.mean([metrics[task]["auc"] for task in TASKS]))


def options(size):
    """What all trainings have in common: as practised."""
    return {"epochs": size.epochs, "batch_size": size.batch_size}


def choose(shop, size, store):
    """Everyone's best trial in the middle of this shop's map, by the mean AUC on validation days.

    The choice is used at every point of the map.
    """
    _, split = tables(shop, *size.middle, size.test_rows)
    return tune(
        trials(split.train.schema, size.rounds), split, score=mean_auc, store=store,
        seeds=range(100, 100 + size.search_seeds), fit_options=options(size),
    )  # fmt: skip


def ladder(schema):
    """From training as it was to training as it is, one change at a time: {candidate: as above}.

    As it was: one rate for all steps, no prior on embedding rows, one stop for all networks. The
    last rungs are candidates of the map: with a prior, and then with a chosen weight.
    """
    shared = partial(network, kind=SharedBottom, schema=schema)
    one_stop = partial(network, kind=SingleTask, schema=schema, own_stop=False)
    apart = partial(one_stop, own_stop=True)
    before = {"schedule": "constant", "row_prior": None, "learning_rate": 0.002}
    falling = {"schedule": "linear", "row_prior": None, "learning_rate": 0.004}
    return {
        "separate, as it was": (one_stop, before),
        "separate, own stops": (apart, before),
        "separate, falling rate": (apart, falling),
        "shared, as it was": (shared, before),
        "shared, falling rate": (shared, falling),
    }


def measure(split, candidates, size, store):
    """{name: (factory, options)} on test rows; trees are grown once: there is no luck in them."""
    seeds, found = list(range(size.seeds)), []
    for forest in (False, True):
        these = {name: own for name, own in candidates.items() if (name == "trees") == forest}
        made = compare(
            {name: factory for name, (factory, _) in these.items()}, split,
            seeds=seeds[:1] if forest else seeds, on="test", by_scenario=False, progress=False,
            store=store, fit_options=options(size),
            fit_options_for={name: own for name, (_, own) in these.items()},
        )  # fmt: skip
        kept = made.runs.filter(pl.col("metric").is_in(["auc", "normalized_entropy"]))
        found.append(kept.select("candidate", "task", "metric", "seed", "value"))
    often = found[1].drop("seed").join(pl.DataFrame({"seed": seeds}), how="cross")
    return pl.concat([found[0], often.select(found[0].columns)])


def contest(shop, size, store):
    """The map on one shop: {"runs", "chosen", "ceiling"}."""
    torch.set_num_threads(1)  # quicker for networks as small as these
    picked, runs, ceiling = choose(shop, size, store), [], []
    for correlation, rows in product(size.correlations, size.rows):
        market, split = tables(shop, correlation, rows, size.test_rows)
        entries = trials(split.train.schema, size.rounds)
        candidates = {name: several[picked.chosen[name]] for name, several in entries.items()}
        if (correlation, rows) == size.middle:
            candidates |= ladder(split.train.schema)
        found = measure(split, candidates, size, store)
        place = [pl.lit(correlation).alias("correlation"), pl.lit(rows).alias("rows")]
        runs.append(found.select(*place, pl.all()))
        oracle = market.oracle(split.test, knows="features")
        bought = split.train.label("purchase")[split.train.mask("purchase")].sum()
        ceiling.append({
            "correlation": correlation, "rows": rows, "purchases": int(bought),
            **{task: oracle[task]["auc"] for task in TASKS},
        })  # fmt: skip
    return {"runs": pl.concat(runs), "chosen": picked.frame(), "ceiling": pl.DataFrame(ceiling)}

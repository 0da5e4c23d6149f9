"""The map of sharing: what purchase gains from click, and what click pays.

Two dials are turned: how related the two tasks are (``task_correlation`` of the shop) and how many
rows there are to learn from, and so how many purchases. At every point separate networks, which
each have a rate of their own and stop at their own best epoch, meet networks that share, at equal
weights and at a weight of the purchase loss that was chosen; separate and shared ones without a
prior on embedding rows, and trees, stand beside them. Everyone has six trials of rate and, where
there is one, of a knob. Batches of 1,024 rows: as good as 512 at these rates, and quicker.
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
RATES = (0.003, 0.006, 0.012, 0.024, 0.048, 0.096)
WEIGHTS = (0.03, 0.1, 0.3)  # of the purchase loss, beside 1 for the click loss
FOREST = tuple(product((0.03, 0.1), (3, 5, 8)))  # learning rate, leaves
PLAIN = {"schedule": "linear", "row_prior": None}  # as practised, but for the prior
BEFORE = {"schedule": "constant", "row_prior": None}  # and at one rate for all steps


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


def by_rate(build, **options):
    """Six trials of the learning rate: {trial: (factory, options of fit)}."""
    return {f"rate {rate:g}": (build, {"learning_rate": rate, **options}) for rate in RATES}


def by_weight(build, **options):
    """Six trials of the learning rate and the weight of the purchase loss."""
    return {
        f"rate {rate:g}, weight {w:g}":
            (build, {"learning_rate": rate, "balancer": FixedWeights({"purchase": w}), **options})
        for rate in RATES[2:4] for w in WEIGHTS
    }  # fmt: skip


def apart(schema, rounds):
    """{candidate: its trials} of those that share nothing, so that each task has its own choice."""
    separate = partial(network, kind=partial(SingleTask, own_stop=True), schema=schema)
    forest = {
        f"rate {rate:g}, {leaves} leaves":
            (partial(grown, schema=schema, rate=rate, leaves=leaves, rounds=rounds), {})
        for rate, leaves in FOREST
    }  # fmt: skip
    return {
        "separate": by_rate(separate), "separate, no prior": by_rate(separate, **PLAIN),
        "separate, own stops": by_rate(separate, **BEFORE), "trees": forest,
    }  # fmt: skip


def together(schema):
    """{candidate: its trials} of those with one choice for both tasks."""
    one_stop = partial(network, kind=partial(SingleTask, own_stop=False), schema=schema)
    shared = partial(network, kind=SharedBottom, schema=schema)
    mmoe = partial(network, kind=MMoE, schema=schema)
    return {
        "shared, equal weights": by_rate(shared), "shared, chosen weight": by_weight(shared),
        "shared, chosen weight, no prior": by_weight(shared, **PLAIN),
        "MMoE, equal weights": by_rate(mmoe), "MMoE, chosen weight": by_weight(mmoe),
        "separate, as it was": by_rate(one_stop, **BEFORE),
        "shared, as it was": by_rate(shared, **BEFORE),
        "shared, equal weights, no prior": by_rate(shared, **PLAIN),
    }  # fmt: skip


LADDER = (  # only in the middle of the map: from training as it was, one change at a time
    "separate, as it was", "shared, as it was", "separate, own stops",
    "shared, equal weights, no prior",
)  # fmt: skip


def auc(metrics, tasks):
    """The mean AUC of these tasks."""
    return float(np.mean([metrics[task]["auc"] for task in tasks]))


def options(size):
    """What all trainings have in common: as practised."""
    return {"epochs": size.epochs, "batch_size": size.batch_size}


def choose(shop, size, store):
    """Everyone's best trial in the middle of this shop's map, on validation days.

    Returns ({(candidate, task): trial}, table). The choice is used at every point of the map.
    Networks are tried from several starts, trees once, for there is no luck in them.
    """
    _, split = tables(shop, *size.middle, size.test_rows)
    schema, starts = split.train.schema, range(100, 100 + size.search_seeds)
    own = apart(schema, size.rounds)
    forest = {"trees": own.pop("trees")}
    plans = [(together(schema), starts, TASKS)]
    plans += [(part, n, [t]) for part, n in ((own, starts), (forest, [100])) for t in TASKS]
    picked, found = {}, []
    for part, seeds, judged in plans:
        tuned = tune(
            part, split, score=partial(auc, tasks=judged), seeds=seeds, store=store,
            fit_options=options(size),
        )  # fmt: skip
        picked |= {(name, task): what for name, what in tuned.chosen.items() for task in judged}
        found.append(tuned.frame().with_columns(pl.lit(" and ".join(judged)).alias("judged by")))
    return picked, pl.concat(found)


def measure(split, picked, size, store):
    """Runs of {(candidate, task): trial} on test rows; trees are grown once for all starts.

    Where the tasks of a candidate have different trials, both are trained, and each task is read
    from its own.
    """
    schema, seeds, found = split.train.schema, list(range(size.seeds)), []
    every = apart(schema, size.rounds) | together(schema)
    for forest in (False, True):
        wanted = {key: what for key, what in picked.items() if (key[0] == "trees") == forest}
        entries = {f"{name}: {what}": every[name][what] for (name, _), what in wanted.items()}
        made = compare(
            {key: factory for key, (factory, _) in entries.items()}, split,
            seeds=seeds[:1] if forest else seeds, on="test", by_scenario=False, progress=False,
            store=store, fit_options=options(size),
            fit_options_for={key: own for key, (_, own) in entries.items()},
        )  # fmt: skip
        kept = made.runs.filter(pl.col("metric").is_in(["auc", "normalized_entropy"]))
        for (name, task), what in wanted.items():
            own = kept.filter(pl.col("task") == task, pl.col("candidate") == f"{name}: {what}")
            own = own.with_columns(pl.lit(name).alias("candidate"))
            if forest:
                own = own.drop("seed").join(pl.DataFrame({"seed": seeds}), how="cross")
            found.append(own.select("candidate", "task", "metric", "seed", "value"))
    return pl.concat(found)


def contest(shop, size, store):
    """The map on one shop: {"runs", "chosen", "ceiling"}."""
    torch.set_num_threads(1)  # quicker for networks as small as these
    (picked, chosen), runs, ceiling = choose(shop, size, store), [], []
    for correlation, rows in product(size.correlations, size.rows):
        market, split = tables(shop, correlation, rows, size.test_rows)
        middle = (correlation, rows) == size.middle
        here = {key: what for key, what in picked.items() if middle or key[0] not in LADDER}
        found = measure(split, here, size, store)
        place = [pl.lit(correlation).alias("correlation"), pl.lit(rows).alias("rows")]
        runs.append(found.select(*place, pl.all()))
        oracle = market.oracle(split.test, knows="features")
        bought = split.train.label("purchase")[split.train.mask("purchase")].sum()
        ceiling.append({
            "correlation": correlation, "rows": rows, "purchases": int(bought),
            **{task: oracle[task]["auc"] for task in TASKS},
        })  # fmt: skip
    return {"runs": pl.concat(runs), "chosen": chosen, "ceiling": pl.DataFrame(ceiling)}

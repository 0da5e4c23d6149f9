"""The map of sharing: what purchase gains from click, and what click pays.

Two dials are turned: how related the two tasks are (``task_correlation`` of the shop) and how many
rows there are to learn from, and so how many purchases. At every point separate networks, which
each stop at their own best epoch, meet networks that share, at equal weights and at a weight of the
purchase loss that was chosen; trees stand beside them.
"""

from functools import partial
from itertools import product

import polars as pl

from mtlkit import FixedWeights, Market, MMoE, SharedBottom, SingleTask, Split, Trees, compare
from mtlkit.data.splits import split_time

USES = ("small", "SharedBottom", "MMoE", "SingleTask", "fixed")
TASKS = ["click", "purchase"]
SEARCH_SHOP = 99  # settings are chosen on a shop that is not in the map
FRESH = 300_000  # the first row of the test log: no training row comes from there
NETWORK = {"embedding_dim": 32, "hidden": (64, 32), "tower": (16,)}
PRACTICE = {"batch_size": 512, "schedule": "linear", "row_prior": 0.07}
RATES = (0.002, 0.004, 0.008, 0.016)
WEIGHTS = (0.03, 0.1, 0.3, 1.0)  # of the purchase loss, beside 1 for the click loss
LEAVES = (4, 8, 15, 31)


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


def grown(seed, schema, leaves):
    """Trees with so many leaves each."""
    return Trees(schema, leaves=leaves)


def trials(schema):
    """{candidate: [(what is tried, factory, options of fit)]}: four trials for everyone."""
    apart = partial(SingleTask, own_stop=True)
    kinds = {"separate": apart, "shared": SharedBottom, "MMoE": MMoE}
    build = {name: partial(network, kind=kind, schema=schema) for name, kind in kinds.items()}
    by_rate = [(f"rate {rate:g}", {"learning_rate": rate}) for rate in RATES]
    by_weight = [
        (f"weight {w:g}", {"learning_rate": 0.008, "balancer": FixedWeights({"purchase": w})})
        for w in WEIGHTS
    ]
    found = {"separate": [(what, build["separate"], options) for what, options in by_rate]}
    for name in ("shared", "MMoE"):
        found[f"{name}, equal weights"] = [(what, build[name], o) for what, o in by_rate]
        found[f"{name}, chosen weight"] = [(what, build[name], o) for what, o in by_weight]
    leaves = [(f"{n} leaves", partial(grown, schema=schema, leaves=n), {}) for n in LEAVES]
    return found | {"trees": leaves}


def run(split, candidates, seeds, size, store):
    """A comparison of {name: (factory, options)}: networks of as many steps, read on test rows."""
    return compare(
        {name: factory for name, (factory, _) in candidates.items()}, split, seeds=seeds,
        on="test", by_scenario=False, progress=False, store=store,
        fit_options=PRACTICE | {"epochs": size.map_epochs},
        fit_options_for={name: options for name, (_, options) in candidates.items()},
    )  # fmt: skip


def choose(size, store):
    """The best trial of every candidate by the mean AUC of both tasks, over several starts.

    They are chosen on one shop that the map does not show, with tasks of medium correlation: its
    later days are many and none of them is read again.
    """
    _, split = tables(SEARCH_SHOP, 0.5, size.map_search_rows, size.map_test_rows)
    entries = trials(split.train.schema)
    tried = {
        f"{name}: {what}": (factory, options)
        for name, several in entries.items()
        for what, factory, options in several
    }
    found = run(split, tried, range(100, 100 + size.map_search_seeds), size, store).runs
    means = found.filter(pl.col("metric") == "auc").group_by("candidate").agg(pl.mean("value"))
    score, rows = dict(means.rows()), []
    for name, several in entries.items():
        values = {what: score[f"{name}: {what}"] for what, _, _ in several}
        numbered = {f"trial {i}": value for i, value in enumerate(values.values(), start=1)}
        rows.append({"candidate": name, "chosen": max(values, key=values.get), **numbered})
    return pl.DataFrame(rows)


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


def contest(shop, size, store):
    """The map on one shop: {"runs", "chosen", "ceiling"}."""
    picked = choose(size, store)
    names = dict(picked.select("candidate", "chosen").rows())
    runs, ceiling = [], []
    for correlation, rows in product(size.map_correlations, size.map_rows):
        market, split = tables(shop, correlation, rows, size.map_test_rows)
        candidates = {
            name: next((f, o) for what, f, o in several if what == names[name])
            for name, several in trials(split.train.schema).items()
        }
        if (correlation, rows) == size.map_ladder:
            candidates |= ladder(split.train.schema)
        found = run(split, candidates, range(size.map_seeds), size, store)
        place = [pl.lit(correlation).alias("correlation"), pl.lit(rows).alias("rows")]
        kept = found.runs.filter(pl.col("metric").is_in(["auc", "normalized_entropy"]))
        runs.append(kept.select(*place, "candidate", "task", "metric", "seed", "value"))
        oracle = market.oracle(split.test, knows="features")
        bought = split.train.label("purchase")[split.train.mask("purchase")].sum()
        ceiling.append({
            "correlation": correlation, "rows": rows, "purchases": int(bought),
            **{task: oracle[task]["auc"] for task in TASKS},
        })  # fmt: skip
    return {"runs": pl.concat(runs), "chosen": picked, "ceiling": pl.DataFrame(ceiling)}

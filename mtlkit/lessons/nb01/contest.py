"""Networks against trees, before and after: what good training is worth to separate networks.

A ladder leads from a plain network to one that is trained as practised, one change a rung. Beside
it stand the plain network without user ids, which shows what it had learned by heart, and boosted
trees. All are tuned alike and read on the same later days, whether they learned from few rows or
from many.
"""

from dataclasses import replace
from functools import partial

import polars as pl

from mtlkit import Market, SingleTask, Split, Trees, compare
from mtlkit.data.splits import split_time
from mtlkit.layers.embedding import FieldEmbedding

USES = ("small", "SingleTask")  # prefixes of the names in tests/golden/values.json
MAIN = {"click": "auc", "purchase": "auc", "dwell": "r2_log"}  # {task: its main metric}
SEARCH_SHOP = 99  # settings are chosen on a shop that is not shown
FRESH = 300_000  # the first row of the test log: no training row comes from there
RATES = (0.001, 0.003, 0.008, 0.02)
LEAVES = (4, 8, 15, 31)
PLAIN = {"batch_size": 512, "schedule": "constant", "row_prior": None}
PRIOR = PLAIN | {"row_prior": 0.07}
FALLING = PRIOR | {"schedule": "linear"}


class NoUsers(FieldEmbedding):
    """The usual inputs, but all rows have the same user."""

    def __init__(self, schema, embedding_dim):
        super().__init__(schema, embedding_dim)
        self.column = schema.categorical_names.index("user")

    def ids(self, batch):
        """Rows of the table that the batch reads, (n,)."""
        hidden = batch.categorical.clone()  # (batch, field)
        hidden[:, self.column] = 0
        return super().ids(replace(batch, categorical=hidden))


def tables(shop, rows, test_rows):
    """The market; training and validation days of its first rows, later days of others to test.

    The test rows are the same for every number of rows.
    """
    market = Market("small", seed=shop)
    log = split_time(market.impressions(rows).select_tasks(list(MAIN)), "day", (33, 44))
    fresh = market.impressions(test_rows, start=FRESH).select_tasks(list(MAIN))
    return market, Split(log.train, log.validation, fresh.take(fresh.keys["day"] >= 44))


def network(seed, schema, **options):
    """A new network for each task, each with its own best epoch."""
    return SingleTask(schema, hidden=(64, 32), tower=(16,), own_stop=True, **options)


def grown(seed, schema, leaves):
    """Trees with so many leaves each."""
    return Trees(schema, leaves=leaves, rounds=1_000)


def trials(schema):
    """{candidate: {what is tried: (factory, options of fit)}}: four trials for everyone."""
    small = partial(network, schema=schema, embedding_dim=8)
    rungs = {
        "plain network": (small, PLAIN),
        "plain, no user ids": (partial(small, inputs=NoUsers), PLAIN),
        "with a prior on rows": (small, PRIOR),
        "and a falling rate": (small, FALLING),
        "and wider embeddings": (partial(small, embedding_dim=32), FALLING),
    }
    found = {
        name: {rate: (factory, options | {"learning_rate": rate}) for rate in RATES}
        for name, (factory, options) in rungs.items()
    }
    return found | {"trees": {n: (partial(grown, schema=schema, leaves=n), {}) for n in LEAVES}}


def run(split, candidates, seeds, size, store):
    """The main metrics of {name: (factory, options)}, all trained for as many epochs."""
    found = compare(
        {name: factory for name, (factory, _) in candidates.items()}, split, seeds=seeds,
        on="test", by_scenario=False, progress=False, store=store,
        fit_options={"epochs": size.contest_epochs},
        fit_options_for={name: options for name, (_, options) in candidates.items()},
    )  # fmt: skip
    main = pl.DataFrame({"task": list(MAIN), "metric": list(MAIN.values())})
    kept = found.runs.join(main, on=["task", "metric"], how="semi", maintain_order="left")
    return kept.select("candidate", "task", "metric", "seed", "value")


def measure(split, candidates, seeds, size, store):
    """``run``, but trees are grown once and count for every seed: there is no luck in them."""
    forests = {name: entry for name, entry in candidates.items() if entry[0].func is grown}
    networks = {name: entry for name, entry in candidates.items() if name not in forests}
    once = run(split, forests, [0], size, store).drop("seed")
    often = once.join(pl.DataFrame({"seed": list(seeds)}), how="cross")
    found = run(split, networks, seeds, size, store)
    return pl.concat([found, often.select(found.columns)])


def choose(rows, size, store):
    """The best trial of every candidate by the mean main metric of its tasks, over several starts.

    They are chosen on one shop that is not shown, from as many rows: its later days are many, and
    none of them is read again.
    """
    _, split = tables(SEARCH_SHOP, rows, size.contest_test_rows)
    entries = trials(split.train.schema)
    tried = {
        f"{name}: {value:g}": entry
        for name, several in entries.items()
        for value, entry in several.items()
    }
    seeds = range(100, 100 + size.contest_search_seeds)
    means = measure(split, tried, seeds, size, store).group_by("candidate").agg(pl.mean("value"))
    score, found = dict(means.rows()), []
    for name, several in entries.items():
        values = {value: score[f"{name}: {value:g}"] for value in several}
        numbered = {f"trial {i}": value for i, value in enumerate(values.values(), start=1)}
        best = float(max(values, key=values.get))  # a rate, for trees a number of leaves
        found.append({"rows": rows, "candidate": name, "chosen": best, **numbered})
    return pl.DataFrame(found)


def contest(shop, size, store):
    """Networks against trees on one shop: {"runs", "chosen", "ceiling"}."""
    runs, picked, ceiling = [], [], []
    for rows in size.contest_rows:
        picked.append(choose(rows, size, store))
        chosen = dict(picked[-1].select("candidate", "chosen").rows())
        market, split = tables(shop, rows, size.contest_test_rows)
        entries = trials(split.train.schema).items()
        candidates = {name: several[chosen[name]] for name, several in entries}
        found = measure(split, candidates, range(size.contest_seeds), size, store)
        runs.append(found.select(pl.lit(rows).alias("rows"), pl.all()))
        oracle = market.oracle(split.test, knows="features")
        best = {task: oracle[task][metric] for task, metric in MAIN.items()}
        ceiling.append({"rows": rows, "train rows": len(split.train), **best})
    return {
        "runs": pl.concat(runs), "chosen": pl.concat(picked), "ceiling": pl.DataFrame(ceiling),
    }  # fmt: skip

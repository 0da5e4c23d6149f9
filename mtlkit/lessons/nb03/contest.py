"""Weights of losses: click beside dwell, and all six tasks of the shop in one network.

Two groups of candidates, all tuned alike on the shop's own validation days and read once on later
days of other rows. "two": the weight of dwell is turned, click keeps 1. "six": rules that set the
weights, a search among random ones, and dice that change them at every step. Separate networks and
boosted trees stand beside both.

Training is as practised (the defaults of ``fit``), but with batches of 1,024 rows: as good as 512
at these rates, and half the time.
"""

from dataclasses import dataclass
from functools import partial

import polars as pl

from mtlkit import FixedWeights, Market, SharedBottom, SingleTask, Split, Trees, compare
from mtlkit.balance import RandomLossWeighting
from mtlkit.comparison import tune
from mtlkit.data.splits import split_time
from mtlkit.lessons.nb03.rules import (
    by_base_loss,
    by_gradient_norm,
    by_loudness,
    by_rows,
    drawn,
)
from mtlkit.train.evaluation import deviance_explained

USES = ("small", "SharedBottom", "SingleTask", "equal", "fixed", "rlw")
TASKS = ("click", "cart", "purchase", "dwell", "return", "rating")
TWO = ("click", "dwell")
JUDGED = {"two": TWO, "six": ("click", "cart", "purchase", "dwell")}  # the score is their mean
METRICS = ("auc", "normalized_entropy", "pcoc", "r2", "r2_log")
FRESH = 300_000  # the first row of the test log: no training row comes from there
NETWORK = {"embedding_dim": 32, "hidden": (64, 32), "tower": (16,)}
BATCH = 1_024
RATES = (0.002, 0.004, 0.008, 0.016)
USUAL = 0.004  # the default of ``fit``
LAMBDAS = (0.01, 0.1, 1.0, 10.0)  # of dwell
FORESTS = ((0.05, 4), (0.05, 8), (0.1, 4), (0.1, 8))  # (learning rate, leaves)
ROUNDS = 600  # of trees; the best number is taken on validation rows


def tables(shop, size):
    """The market; training and validation days of its first rows, later days of others to test."""
    market = Market("small", seed=shop)
    log = split_time(market.impressions(size.rows), "day", (33, 44))
    fresh = market.impressions(size.test_rows, start=FRESH)
    return market, Split(log.train, log.validation, fresh.take(fresh.keys["day"] >= 44))


@dataclass(frozen=True)
class Trial:
    """One setting of one candidate: what is built, and how it is trained."""

    kind: type
    rate: float
    weights: dict[str, float] | None = None  # of the losses, as FixedWeights takes them
    leaves: int | None = None
    dice: bool = False  # new random weights at every step

    def entry(self, schema):
        """(factory, options of fit)."""
        if self.leaves is not None:
            return partial(grown, schema=schema, rate=self.rate, leaves=self.leaves), {}
        options = {"learning_rate": self.rate}
        if self.dice:
            options["balancer"] = RandomLossWeighting()
        elif self.weights is not None:
            options["balancer"] = FixedWeights(self.weights)
        return partial(network, kind=self.kind, schema=schema), options


def network(seed, kind, schema):
    """A new network of the size that all have."""
    return kind(schema, **NETWORK)


def grown(seed, schema, rate, leaves):
    """Trees of such a learning rate and so many leaves each."""
    return Trees(schema, learning_rate=rate, leaves=leaves, rounds=ROUNDS)


APART = {
    "separate": [Trial(SingleTask, rate) for rate in RATES],
    "trees": [Trial(Trees, rate, leaves=n) for rate, n in FORESTS],
}


def shared(tasks, train, shop):
    """{candidate: its four trials} of the networks that share a bottom."""
    if tasks == "two":
        rules = {f"λ {w:g}": {"click": 1.0, "dwell": w} for w in LAMBDAS}
    else:
        rules = {"equal": dict.fromkeys(TASKS, 1.0), "by rows": by_rows(train)}
        rules |= {"by loudness": by_loudness(train), "1 / base loss": by_base_loss(train)}
        build = partial(network, kind=SharedBottom, schema=train.schema)
        rules |= {"1 / gradient norm": by_gradient_norm(train, build, BATCH)}
    found = {name: [Trial(SharedBottom, rate, w) for rate in RATES] for name, w in rules.items()}
    if tasks == "six":
        found["random weights"] = [Trial(SharedBottom, rate, dice=True) for rate in RATES]
        draws = zip(RATES, drawn(TASKS, len(RATES), shop), strict=True)
        found["searched"] = [Trial(SharedBottom, rate, weights) for rate, weights in draws]
    return found


def measured(found, tasks):
    """The metrics of a comparison, and the score of each run as the task "all"."""
    runs = found.runs.filter(pl.col("metric").is_in(METRICS))
    runs = runs.select("candidate", "task", "metric", "seed", "value")
    extra = []
    for (name, seed), part in runs.group_by("candidate", "seed", maintain_order=True):
        metrics = {}
        for task, metric, value in part.select("task", "metric", "value").iter_rows():
            metrics.setdefault(task, {})[metric] = value
        value = deviance_explained(metrics, JUDGED[tasks])
        extra.append((name, "all", "explained", seed, value))
    return pl.concat([runs, pl.DataFrame(extra, schema=runs.schema, orient="row")])


def judge(tasks, split, shop, size, store):
    """(runs, chosen) of one group of candidates.

    Separate networks and trees share nothing, so those of the six tasks serve both groups. Their
    search leaves out return and rating, by which nobody is judged.
    """
    few, part = split.select_tasks(list(JUDGED["six"])), split
    if tasks == "two":
        part = split.select_tasks(list(TWO))
    joint = shared(tasks, part.train, shop)
    plans, options = joint | APART, {"epochs": size.epochs, "batch_size": BATCH}
    score = partial(deviance_explained, tasks=JUDGED[tasks])
    starts = range(100, 100 + size.search_seeds)

    def search(names, rows, seeds):
        trials = {
            name: {str(i): trial.entry(rows.train.schema) for i, trial in enumerate(plans[name])}
            for name in names
        }
        return tune(trials, rows, score=score, seeds=seeds, fit_options=options, store=store)

    def final(trials, rows, seeds):
        entries = {name: trial.entry(rows.train.schema) for name, trial in trials.items()}
        found = compare(
            {name: factory for name, (factory, _) in entries.items()}, rows, seeds=seeds,
            on="test", by_scenario=False, progress=False, store=store, fit_options=options,
            fit_options_for={name: own for name, (_, own) in entries.items()},
        )  # fmt: skip
        return measured(found, tasks)

    tuned = [search(joint, part, starts), search(["separate"], few, starts)]
    tuned.append(search(["trees"], few, [100]))  # there is no luck in trees
    picked = {n: plans[n][int(i)] for found in tuned for n, i in found.chosen.items()}
    chosen = [
        {"tasks": tasks, "candidate": name, "rate": picked[name].rate}
        | {"leaves": picked[name].leaves}
        | {f"weight {task}": (picked[name].weights or {}).get(task) for task in TASKS}
        | {f"trial {i}": value for i, value in enumerate(scores.values(), start=1)}
        for found in tuned
        for name, scores in found.scores.items()
    ]

    seeds = range(size.seeds)
    together = {name: picked[name] for name in joint}
    if tasks == "six":  # no candidate of the search: what its rate was worth to equal weights
        together["equal, usual rate"] = Trial(SharedBottom, USUAL, joint["equal"][0].weights)
    runs = [final(together, part, seeds), final({"separate": picked["separate"]}, split, seeds)]
    once = final({"trees": picked["trees"]}, split, [0]).drop("seed")
    often = once.join(pl.DataFrame({"seed": list(seeds)}), how="cross")
    runs = pl.concat([*runs, often.select(runs[0].columns)])
    runs = runs.filter(pl.col("task").is_in([*part.train.schema.task_names, "all"]))
    wide = {"leaves": pl.Int64, **{f"weight {task}": pl.Float64 for task in TASKS}}
    return (
        runs.select(pl.lit(tasks).alias("tasks"), pl.all()),
        pl.DataFrame(chosen, schema_overrides=wide, infer_schema_length=None),
    )


def contest(shop, size, store):
    """Both groups on one shop: {"runs", "chosen", "ceiling"}."""
    market, split = tables(shop, size)
    runs, chosen = zip(*(judge(t, split, shop, size, store) for t in JUDGED), strict=True)
    oracle = market.oracle(split.test, knows="features")
    ceiling = [
        {"task": task, "metric": metric, "value": oracle[task][metric]}
        for task in split.train.schema.task_names
        for metric in METRICS
        if metric in oracle[task]
    ]
    for tasks, judged in JUDGED.items():
        best = deviance_explained(oracle, judged)
        ceiling.append({"task": f"all {tasks}", "metric": "explained", "value": best})
    return {
        "runs": pl.concat(runs), "chosen": pl.concat(chosen), "ceiling": pl.DataFrame(ceiling),
    }  # fmt: skip

"""Rules that set the weights while a network trains, against weights that never move.

Everybody gets four trials of the same kind on each shop, learning rate x knob (those without a knob
spend all four on the rate), judged on validation rows over three seeds that the contest does not
use. Each seed has training rows of its own; validation and test rows are the same for all.
Validation rows choose the epoch of every network, in the search and in the contest.
"""

from functools import partial
from itertools import product

import polars as pl

from mtlkit import Market, SharedBottom, SingleTask, Split, Trees, balance, compare, fit
from mtlkit.comparison import tune
from mtlkit.data.splits import split_time
from mtlkit.metrics import log_loss
from mtlkit.train import seeded
from mtlkit.train.evaluation import deviance_explained

USES = (
    "small", "SharedBottom", "SingleTask", "equal", "fixed", "rlw", "schedule", "uw", "imtl-l",
    "gls", "dwa", "gradnorm", "famo", "stch",
)  # fmt: skip
SHOP = {"click_rate": 0.1, "purchase_rate": 0.25, "return_rate": 0.3}
TASKS = ["click", "purchase", "dwell", "return"]
NETWORK = {"embedding_dim": 32, "hidden": (64, 32), "tower": (16,)}
SEARCH_SEED = 100  # the first of the search's seeds; the contest's begin with 0
RATES = (0.002, 0.004, 0.008, 0.016)  # without a knob: four rates
FEW_RATES = (0.002, 0.008)  # with a knob: two rates, two values
KEPT = ("auc", "normalized_entropy", "r2", "r2_log")


def tables(shop, size):
    """The market and a function split(seed): own training rows, common validation and test rows.

    There are as many validation rows as one training set comes with, so that a choice is as noisy
    as at work; test rows are all rows of the last days.
    """
    market = Market("small", seed=shop, **SHOP)
    log = split_time(market.impressions(size.log).select_tasks(TASKS), "day", (33, 44))
    validation = log.validation.take(range(size.validation_rows))

    def split(seed):
        place = seed if seed < SEARCH_SEED else size.seeds + seed - SEARCH_SEED
        rows = range(place * size.rows, (place + 1) * size.rows)
        return Split(log.train.take(rows), validation, log.test)

    return market, split


def network(seed, schema, kind=SharedBottom):
    """A new network of the size that all have."""
    return kind(schema, **NETWORK)


def grown(seed, schema, rate, leaves, rounds):
    """Trees of such a rate, with so many leaves each; validation rows choose how many trees."""
    return Trees(schema, learning_rate=rate, leaves=leaves, rounds=rounds)


def to_sum(weights):
    """The same weights, scaled so that they sum to the number of tasks, as equal weights do."""
    total = sum(weights.values())
    return {task: len(weights) * weight / total for task, weight in weights.items()}


def constants(train, steps):
    """{constant: {task: weight}} from one training table alone; all sum to the number of tasks."""
    share = {task: float(train.mask(task).double().mean()) for task in TASKS}
    base = {"dwell": 1.0}  # it is standardised
    for task in TASKS:
        if task not in base:
            label = train.label(task)[train.mask(task)].double()
            base[task] = log_loss(label.numpy(), label.mean().expand(len(label)).numpy())
    with seeded(SEARCH_SEED):
        model = network(SEARCH_SEED, train.schema)
    watch = balance.GradientObserver()  # equal weights
    fit(
        model, train, balancer=watch, epochs=steps, max_steps=steps, batch_size=1024,
        learning_rate=0.004, seed=SEARCH_SEED, progress=False,
    )  # fmt: skip
    norms = dict(zip(TASKS, watch.norms.nanmean(dim=0).tolist(), strict=True))
    found = {f"rows^{p:g}": {t: share[t] ** p for t in TASKS} for p in (0.5, 1)}
    found["1 / base loss"] = {task: 1 / base[task] for task in TASKS}
    found["1 / gradient norm"] = {task: 1 / norms[task] for task in TASKS}
    return {name: to_sum(weights) for name, weights in found.items()}


def rules(weights):
    """{rule with a knob: {value: balancer}}, {rule without: balancer}."""
    fixed = {name: balance.FixedWeights(by_task) for name, by_task in weights.items()}
    fading = {
        factor: balance.DecaySchedule(dict.fromkeys(TASKS[1:], (1.0, factor)))  # click keeps 1
        for factor in (0.5, 0.8)
    }
    with_knob = {
        "tuned constant": {p: fixed[f"rows^{p:g}"] for p in (0.5, 1.0)},
        "schedule": fading,
        "UW": {speed: balance.UncertaintyWeighting(speed) for speed in (0.03, 0.1)},
        "IMTL-L": {speed: balance.IMTLL(speed) for speed in (0.03, 0.1)},
        "DWA": {t: balance.DynamicWeightAverage(t) for t in (0.3, 2.0)},
        "GradNorm": {alpha: balance.GradNorm(alpha) for alpha in (0.5, 1.5)},
        "GradNorm, slipped": {alpha: balance.GradNorm(-alpha) for alpha in (0.5, 1.5)},
        "FAMO": {speed: balance.FAMO(speed) for speed in (0.01, 0.1)},
        "STCH": {mu: balance.SmoothTchebycheff(mu) for mu in (0.3, 3.0)},
    }
    without = {
        "equal": balance.EqualWeights(),
        "random weights": balance.RandomLossWeighting(),
        "1 / base loss": fixed["1 / base loss"],
        "1 / gradient norm": fixed["1 / gradient norm"],
        "GradNorm, alpha 0": balance.GradNorm(0.0),
        "GLS": balance.GeometricLoss(),
    }
    return with_knob, without


def trials(schema, weights, rounds):
    """{candidate: {(rate, knob): (factory, options of fit)}}: four trials for everyone."""
    shared, apart = (partial(network, schema=schema, kind=k) for k in (SharedBottom, SingleTask))
    with_knob, without = rules(weights)
    found = {
        name: {
            (rate, float(knob)): (shared, {"learning_rate": rate, "balancer": balancer})
            for rate, (knob, balancer) in product(FEW_RATES, values.items())
        }
        for name, values in with_knob.items()
    }
    for name, balancer in without.items():
        by_rate = {(r, None): {"learning_rate": r, "balancer": balancer} for r in RATES}
        found[name] = {key: (shared, options) for key, options in by_rate.items()}
    found["separate"] = {(rate, None): (apart, {"learning_rate": rate}) for rate in RATES}
    forest = partial(grown, schema=schema, rounds=rounds)
    found["trees"] = {
        (rate, float(leaves)): (partial(forest, rate=rate, leaves=leaves), {})
        for rate, leaves in product((0.1, 0.2), (4, 8))
    }
    return found


def searched(found, names):
    """One row a candidate: the rate and the knob that won, their score, and all four scores."""
    rows = []
    for name, scores in found.scores.items():
        rate, knob = names[name][found.chosen[name]]
        numbered = {f"trial {i}": score for i, score in enumerate(scores.values(), start=1)}
        rows.append({"candidate": name, "rate": rate, "knob": knob, **numbered})
    return pl.DataFrame(rows, schema_overrides={"knob": pl.Float64})


def with_score(runs):
    """The kept metrics, and of every run the deviance explained over the four tasks."""
    kept = runs.filter(pl.col("metric").is_in(KEPT))
    kept = kept.select("candidate", "task", "metric", "seed", "value")
    by_run = {}
    for name, task, metric, seed, value in kept.iter_rows():
        by_run.setdefault((name, seed), {}).setdefault(task, {})[metric] = value
    scores = [
        (name, "all", "explained", seed, deviance_explained(metrics))
        for (name, seed), metrics in by_run.items()
    ]
    return pl.concat([kept, pl.DataFrame(scores, schema=kept.schema, orient="row")])


def contest(shop, size, store):
    """Search, then contest, on one shop: {"runs", "chosen", "weights", "ceiling"}."""
    market, split = tables(shop, size)
    first = split(SEARCH_SEED)
    weights = constants(first.train, size.watched)
    entries = trials(first.train.schema, weights, size.rounds)
    names, named = {}, {}
    for candidate, tried in entries.items():
        texts = {f"rate {rate:g}, knob {knob}": (rate, knob) for rate, knob in tried}
        names[candidate] = texts
        named[candidate] = {text: tried[key] for text, key in texts.items()}
    budget = {"epochs": size.epochs, "batch_size": 1024}
    found = tune(
        named, split, score=deviance_explained, fit_options=budget, store=store,
        seeds=range(SEARCH_SEED, SEARCH_SEED + size.search_seeds),
    )  # fmt: skip
    final = compare(
        found.factories, split, seeds=range(size.seeds), on="test", by_scenario=False,
        progress=False, fit_options=budget, fit_options_for=found.fit_options_for, store=store,
    )  # fmt: skip
    oracle = market.oracle(first.test, knows="features")
    best = {task: oracle[task]["r2_log" if task == "dwell" else "auc"] for task in TASKS}
    told = [(n, t, w) for n, by_task in weights.items() for t, w in by_task.items()]
    return {
        "runs": with_score(final.runs),
        "chosen": searched(found, names),
        "weights": pl.DataFrame(told, schema=["candidate", "task", "weight"], orient="row"),
        "ceiling": pl.DataFrame([best]),
    }

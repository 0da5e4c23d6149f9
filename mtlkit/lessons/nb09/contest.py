"""What will a visitor do next? Ways to read a history, three tasks together and apart, in money.

Sessions of the preset ``shopper``: the days to train, validate and test are those of notebook 02;
test rows come from a longer log. Every network has the same layers and reads the same fields, query
words (their mean) and events: item, category and minutes since the event before. They differ in
what a history becomes for its row, and in whether the tasks share layers. Everyone has four trials,
judged by the mean of the tasks' normalised entropies on validation rows. Counting rules have none.

Rows are measured in groups: all, short histories (up to four events), long ones (eight or more),
and visitors who are in no training row. Some networks are trained again without the query, without
the history, and without the gaps. Decisions are measured in euro a session.
"""

from functools import lru_cache, partial

import numpy as np
import polars as pl
import torch

from mtlkit import Market, SharedBottom, SingleTask, Split, Trees, compare
from mtlkit.comparison import tune
from mtlkit.data.splits import split_time
from mtlkit.layers import FieldEmbedding
from mtlkit.lessons.nb09.decisions import DECISIONS, earned
from mtlkit.lessons.nb09.rules import Apart, Counts, SameAgain
from mtlkit.metrics import task_metrics
from mtlkit.models import flops_per_row
from mtlkit.shop.session_decisions import SessionDecisions
from mtlkit.train import seeded
from mtlkit.train.evaluation import predict

USES = (
    "shopper", "SharedBottom", "SingleTask", "pooling mean", "pooling gru", "pooling target",
    "pooling softmax", "pooling transformer", "pooling silu",
)  # fmt: skip
FRESH = 300_000  # the first row of the test log
POOLED = {
    "mean": "mean", "GRU": "gru", "target attention": "target",
    "softmax attention": "softmax", "transformer": "transformer", "SiLU attention": "silu",
}  # fmt: skip
APART = "GRU, single tasks"
RULE = "same again"
COUNTED = {"last category": 1, "last two": 2}  # categories that a count remembers
PRIORS = (1, 4, 16, 64)
TREES = "trees"
RATES = (0.008, 0.016, 0.032, 0.064)
FOREST = ((0.1, 8), (0.1, 24), (0.25, 8), (0.25, 24))  # rate and leaves
LESS = ("mean", "GRU")  # who is trained again on less
READS = ("everything", "no query", "no history", "no gaps")
SHORT, LONG = 4, 8
KEPT = ("accuracy", "auc", "normalized_entropy", "euro", "regret")


@lru_cache(maxsize=2)
def tables(shop, rows, test_rows):
    """The shop, and its sessions: training and validation days, and later days of a longer log."""
    market = Market("shopper", seed=shop)
    log = split_time(market.sessions(rows), "day", (33, 44))
    fresh = market.sessions(test_rows, start=FRESH)
    return market, Split(log.train, log.validation, fresh.take(fresh.keys["day"] >= 44))


def without(table, reads):
    """The table of a shop that does not keep the query, the history or the gaps.

    Without its history a row does not tell the newest event nor the number of events either.
    """
    changed, categorical, dense = dict(table.sequences), table.categorical, table.dense
    names = table.schema.categorical_names
    empty = {"no query": ("query",), "no history": ("history", "history_category", "history_gap")}
    for name in empty.get(reads, ()):
        values, offsets = changed[name]
        changed[name] = (values[:0], torch.zeros_like(offsets))
    if reads == "no history":
        categorical, dense = categorical.clone(), dense.clone()
        categorical[:, [names.index(field) for field in ("item", "category")]] = 0
        dense[:, [d.name for d in table.schema.dense].index("length")] = 0
    if reads == "no gaps":
        values, offsets = changed["history_gap"]
        changed["history_gap"] = (torch.zeros_like(values), offsets)
    columns = {name: value for name, value in vars(table).items() if name != "schema"}
    columns |= {"sequences": changed, "categorical": categorical, "dense": dense}
    return type(table)(table.schema, **columns)


def network(seed, kind, pooling, schema):
    """A new network that reads the history by a pooling of ``mtlkit.layers.POOLINGS``."""
    inputs = partial(FieldEmbedding, pooling={"history": pooling})
    return kind(schema, embedding_dim=16, hidden=(96, 48), tower=(16,), inputs=inputs)


def forest(schema, rate, leaves, rounds):
    """New boosted trees."""
    return Trees(schema, learning_rate=rate, leaves=leaves, rounds=rounds)


def apart(seed, parts, schema):
    """One new model a task."""
    return Apart(schema, parts)


def rule(seed, schema):
    """A new rule "same category again"."""
    return SameAgain(schema)


def counts(seed, memory, prior, schema):
    """New counts of what comes after the last categories."""
    return Counts(schema, memory=memory, prior=prior)


def practice(size):
    """What all networks have in common in ``fit``."""
    return {"epochs": size.epochs, "batch_size": size.batch_size, "precision": "fp32",
            "row_prior": 0.1}  # fmt: skip


def of_one_task(size):
    """{candidate: {trial: (make, options of fit)}} of the models of one task each."""
    single = partial(network, 0, SingleTask, POOLED["GRU"])
    return {
        APART: {
            f"rate {rate:g}": (single, {"learning_rate": rate} | practice(size)) for rate in RATES
        },
        TREES: {
            f"rate {rate:g}, {leaves} leaves":
                (partial(forest, rate=rate, leaves=leaves, rounds=size.rounds), {})
            for rate, leaves in FOREST
        },
    }  # fmt: skip


def trials(schema, size):
    """{candidate: {trial: (factory, options of fit)}}, four for everyone."""
    found = {
        name: {
            f"rate {rate:g}": (
                partial(network, kind=SharedBottom, pooling=pooling, schema=schema),
                {"learning_rate": rate},
            )
            for rate in RATES
        }
        for name, pooling in POOLED.items()
    }
    for name, own in of_one_task(size).items():
        found[name] = {
            trial: (partial(apart, parts=dict.fromkeys(schema.task_names, part), schema=schema), {})
            for trial, part in own.items()
        }
    for name, memory in COUNTED.items():
        found[name] = {
            f"prior {prior}": (partial(counts, memory=memory, prior=prior, schema=schema), {})
            for prior in PRIORS
        }
    return found


def quality(metrics, tasks=None):
    """Minus the normalised entropy, the mean over these tasks, or over all."""
    return -float(np.mean([metrics[task]["normalized_entropy"] for task in tasks or metrics]))


def groups(table, known):
    """{name: bool (row,)} of the groups of rows; known: the users of the training rows."""
    offsets = table.sequences["history_category"][1]
    length = offsets[1:] - offsets[:-1]
    new = ~torch.isin(table.keys["user"], known)
    found = {"all": torch.ones_like(new), "short": length <= SHORT, "long": length >= LONG}
    return {name: mask.numpy() for name, mask in (found | {"new visitors": new}).items()}


def measure(model, table, by_scenario=False, group=None, *, whole, known, worth):
    """{"task | rows": {metric: value}} of tasks, and of decisions in euro, in each group of rows.

    whole: the table that tells the groups, as the model's may lack a history.
    """
    predictions, found = predict(model, table), {}
    for name, rows in groups(whole, known).items():
        for task in table.schema.tasks:
            label = table.label(task.name).numpy()[rows]
            values = task_metrics(task, label, predictions[task.name][rows])
            found[f"{task.name} | {name}"] = values
    return found | {f"{name} | all": value for name, value in earned(predictions, worth).items()}


def common(size, store):
    """What all comparisons have in common."""
    return {"fit_options": practice(size), "store": store, "jobs": 1, "progress": False}


def choose(every, split, size, store):
    """{candidate: (factory, options of fit)} of the best trials, and the table that tells them.

    A model of one task each has its own best trial for every task.
    """
    seeds, schema = range(100, 100 + size.search_seeds), split.train.schema
    search = partial(tune, split=split, seeds=seeds, **common(size, store))
    joint = {name: own for name, own in every.items() if name not in (APART, TREES)}
    tuned = search(joint, score=quality)
    best = {name: joint[name][trial] for name, trial in tuned.chosen.items()}
    tables = [tuned.frame().with_columns(pl.lit("all").alias("judged by"))]
    parts = {name: {} for name in (APART, TREES)}
    for task in schema.task_names:
        own = search({n: every[n] for n in parts}, score=partial(quality, tasks=[task]))
        tables.append(own.frame().with_columns(pl.lit(task).alias("judged by")))
        for name, trial in own.chosen.items():
            parts[name][task] = of_one_task(size)[name][trial]
    best |= {n: (partial(apart, parts=own, schema=schema), {}) for n, own in parts.items()}
    return best | {RULE: (partial(rule, schema=schema), {})}, pl.concat(tables)


def best_possible(market, table, known):
    """What the truth reaches on the rows of every group: task, rows, metric, value."""
    found = []
    for name, rows in groups(table, known).items():
        part = table.take(torch.from_numpy(np.flatnonzero(rows)))
        for task, values in market.oracle(part, knows="features").items():
            found += [
                {"task": task, "rows": name, "metric": metric, "value": value}
                for metric, value in values.items()
                if metric in KEPT
            ]
    worth = SessionDecisions(market, table)
    found += [
        {"task": name, "rows": "all", "metric": "euro", "value": float(worth.best(name).mean())}
        for name in DECISIONS
    ]
    return pl.DataFrame(found)


def cost(split, chosen, costs, size):
    """Parameters, operations of a row, and seconds of a run over those of the mean."""
    batch = split.train.batch(torch.arange(min(size.batch_size, len(split.train))))
    spent = costs.group_by("candidate").agg(pl.median("seconds"), pl.first("parameters"))
    seconds = dict(spent.select("candidate", "seconds").iter_rows())
    rows = []
    for name, (factory, _) in chosen.items():
        with seeded(0):
            model = factory(0)
        counts = model.parameter_count()
        rows.append({
            "candidate": name, "embeddings": counts["embedding"],
            "parameters": counts["total"] - counts["embedding"],
            "flops_per_row": flops_per_row(model, batch), "time": seconds[name] / seconds["mean"],
        })  # fmt: skip
    return pl.DataFrame(rows)


def contest(shop, size, store):
    """One shop: {"runs", "chosen", "cost", "ceiling"}."""
    torch.set_num_threads(1)  # quicker for networks as small as these
    market, split = tables(shop, size.rows, size.test_rows)
    chosen, table = choose(trials(split.train.schema, size), split, size, store)
    known = split.train.keys["user"].unique()
    measured = partial(
        measure, whole=split.test, known=known, worth=SessionDecisions(market, split.test)
    )
    runs = []
    for reads in READS:
        names = list(chosen) if reads == READS[0] else LESS
        made = compare(
            {name: chosen[name][0] for name in names},
            Split(*(without(part, reads) for part in split)), seeds=range(size.seeds), on="test",
            evaluator=measured, store_key=f"{shop} {reads} {table.rows()}",
            by_scenario=False, **common(size, store),
            fit_options_for={name: chosen[name][1] for name in names},
        )  # fmt: skip
        if reads == READS[0]:
            costs = made.costs
        runs.append(made.runs.select(pl.lit(reads).alias("reads"), pl.all()))
    place = pl.col("task").str.split(" | ")
    found = pl.concat(runs).filter(pl.col("metric").is_in(KEPT)).select(
        "reads", place.list.get(1).alias("rows"), "candidate", place.list.get(0).alias("task"),
        "metric", "seed", "value",
    )  # fmt: skip
    networks = {name: chosen[name] for name in (*POOLED, APART)}
    return {
        "runs": found, "chosen": table, "cost": cost(split, networks, costs, size),
        "ceiling": best_possible(market, split.test, known),
    }  # fmt: skip

"""Linked tasks on five shops: who learns the conversion rate of all rows, and who sorts better.

The dial of hidden appeal is turned under two shapes of network, which differ by a hidden layer and
nothing else: a straight line on the embeddings, and a network that can bend. In both, separate
networks and the naive training meet the links; boosted trees and a curriculum stand beside them.
Settings are chosen at the middle dial, on validation rows, and used at every dial.
"""

from functools import cache, partial

import numpy as np
import polars as pl

from mtlkit import Curriculum, FixedWeights, Market, Split, compare, evaluate, metrics, predict
from mtlkit.comparison import tune
from mtlkit.data.splits import split_time
from mtlkit.models import AITM, DBMTL, ESCM2, ESM2, ESMM, SharedBottom, SingleTask, Trees
from mtlkit.shop.oracle import best_predictions

USES = (
    "biased", "SharedBottom", "SingleTask", "ESMM", "ESCM2", "ESM2",
    "AITM", "DBMTL", "curriculum", "fixed",
)  # fmt: skip
CHAIN = ("click", "cart", "purchase")
MIDDLE = 1.0  # the dial at which settings are chosen
FRESH = 20_000_000  # the first row of the test log: no training row comes from there
SHAPES = {
    "line": {"embedding_dim": 8, "hidden": (), "tower": ()},
    "hidden layer": {"embedding_dim": 8, "hidden": (32,), "tower": (16,)},
}
RATES = {"line": (0.02, 0.04, 0.08, 0.16), "hidden layer": (0.005, 0.01, 0.02, 0.04)}
CLIPS = (0.02, 0.1)  # of ESCM2, which gets the two middle rates
LEAVES = (4, 6, 8, 15)
WEIGHTED = ("ESCM2-IPW", "ESCM2-DR", "ESCM2-DR, label")
LINE = ("separate", "naive", "ESMM", *WEIGHTED)
BENT = ("separate", "naive", "ESMM", "ESCM2-IPW")  # at the middle dial with the relatives, too
RELATIVES = ("AITM", "DBMTL", "ESM2")
KINDS = {
    "separate": SingleTask, "naive": SharedBottom, "ESMM": ESMM, "ESCM2-IPW": ESCM2,
    "ESCM2-DR": partial(ESCM2, method="dr"),
    "ESCM2-DR, label": partial(ESCM2, method="dr", imputation="label"),
    "AITM": AITM, "DBMTL": DBMTL, "ESM2": partial(ESM2, via={"purchase": "cart"}),
}  # fmt: skip
KEPT = {
    "click": ("auc", "pcoc", "ece", "clicked", "never clicked", "all", "error"),
    "purchase": (
        "auc", "pcoc", "ece", "joint_auc", "joint_log_loss", "joint_pcoc", "joint_ece", "clicked",
        "never clicked", "all", "error",
    ),
}  # fmt: skip


def curricula(epochs):
    """{candidate: balancer} for ESMM; half the weight is the mean weight of the other two."""
    slow = {"length": max(epochs - 1, 1)}  # the last epoch is the first with full weights
    return {
        "ESMM, coarse first": Curriculum([("click",), ("cart", "purchase")], **slow),
        "ESMM, fine first": Curriculum([("cart", "purchase"), ("click",)], **slow),
        "ESMM, half weight": FixedWeights({"cart": 0.5, "purchase": 0.5}),
    }


def judge(model, table, group=None):
    """Metrics of the log, those of "clicked and bought" too (joint), and against the truth."""
    found, chances = evaluate(model, table, joint=True), predict(model, table)
    clicked = table.label("click").numpy() == 1
    parts = {"clicked": clicked, "never clicked": ~clicked, "all": clicked | ~clicked}
    for task in ("click", "purchase"):
        chance, truth = chances[task], table.truth[task].numpy()
        ratios = {n: chance[rows].mean() / truth[rows].mean() for n, rows in parts.items()}
        found[task] |= ratios | {"error": 100 * np.abs(chance - truth).mean()}
    return found


def score(found):
    """What a log can tell of both chances, their order and their level: the log losses' sum.

    Over all rows, of click and of "clicked and bought"; its sign turned, so that more is better.
    """
    return -(found["click"]["log_loss"] + found["purchase"]["joint_log_loss"])


def tables(shop, dial, size, tasks=CHAIN):
    """The market, and {seed: rows of its own to train and to choose on; test rows for all}."""
    market = Market("biased", seed=shop, purchase_rate=0.2, selection_bias=dial)
    fresh = market.impressions(size.test_rows, start=FRESH).select_tasks(list(tasks))
    test = fresh.take(fresh.keys["day"] >= 44)

    @cache
    def split(seed):
        log = market.impressions(size.rows, start=seed * size.rows).select_tasks(list(tasks))
        log = split_time(log, "day", (33, 44))
        return Split(log.train, log.validation, test)

    return market, split


def network(seed, kind, schema, shape, **options):
    """A new network of a shape; a link has it inside."""
    if kind in (SharedBottom, SingleTask):
        return kind(schema, **shape)
    return kind(schema, partial(SharedBottom, **shape), **options)


def grown(seed, schema, leaves):
    """Trees with so many leaves each."""
    return Trees(schema, learning_rate=0.1, leaves=leaves, rounds=500)


def trials(schema, shape, epochs):
    """{candidate: {what is tried: (factory, options of fit)}}: four trials for everyone."""
    build = partial(network, schema=schema, shape=SHAPES[shape])
    rates, found = RATES[shape], {}
    for name in LINE if shape == "line" else BENT + RELATIVES:
        factory = partial(build, kind=KINDS[name])
        if name in WEIGHTED:
            found[name] = {
                f"rate {rate:g}, clip {clip:g}": (
                    partial(factory, clip=clip), {"learning_rate": rate}
                )
                for rate in rates[1:3] for clip in CLIPS
            }  # fmt: skip
        else:
            found[name] = {f"rate {r:g}": (factory, {"learning_rate": r}) for r in rates}
    for name, balancer in curricula(epochs).items():
        found[name] = {
            f"rate {rate:g}": (
                partial(build, kind=ESMM), {"learning_rate": rate, "balancer": balancer}
            )
            for rate in rates
        }  # fmt: skip
    return found


def choose(split, several, size, store):
    """The best trial of every candidate on validation rows of three seeds that train no more."""
    return tune(
        several, split, score=score, seeds=range(100, 100 + size.search_seeds),
        fit_options={"epochs": size.epochs, "batch_size": 1024},
        evaluator=partial(evaluate, joint=True), jobs=1, store=store,
    )  # fmt: skip


def measure(split, tuned, names, size, store, **place):
    """The kept metrics of the chosen trials of some candidates, on the test rows."""
    found = compare(
        {name: tuned.factories[name] for name in names}, split, seeds=range(size.seeds),
        on="test", evaluator=judge, by_scenario=False, progress=False, jobs=1, store=store,
        fit_options={"epochs": size.epochs, "batch_size": 1024},
        fit_options_for={name: tuned.fit_options_for[name] for name in names},
    )  # fmt: skip
    kept = pl.DataFrame(
        [(task, metric) for task, several in KEPT.items() for metric in several],
        schema=["task", "metric"], orient="row",
    )  # fmt: skip
    runs = found.runs.join(kept, on=["task", "metric"], how="semi", maintain_order="left")
    columns = [pl.lit(value).alias(name) for name, value in place.items()]
    return runs.select(*columns, "candidate", "task", "metric", "seed", "value")


def ceiling(market, test, dial):
    """The best that columns allow at a dial, and what a model perfect on clicked rows says."""
    best, truth = best_predictions(market, test), test.truth["purchase"].numpy()
    clicked = test.label("click").numpy() == 1
    parts = {"clicked": clicked, "never clicked": ~clicked, "all": clicked | ~clicked}
    chance = best["purchase"]
    return {
        "dial": dial, "rows": len(test), "purchases": int(test.label("purchase")[clicked].sum()),
        "joint_auc": metrics.auc(test.label("purchase").numpy(), best["click"] * chance),
        **{name: float(chance[on].mean() / truth[on].mean()) for name, on in parts.items()},
        "error": float(100 * np.abs(chance - truth).mean()),
    }  # fmt: skip


def contest(shop, size, store):
    """Both shapes at their dials, and trees, on one shop: {"runs", "chosen", "ceiling"}."""
    logs = {dial: tables(shop, dial, size) for dial in size.dials}
    schema = logs[MIDDLE][1](0).train.schema
    runs, chosen = [], []
    for shape in SHAPES:
        several = trials(schema, shape, size.epochs)
        tuned = choose(logs[MIDDLE][1], several, size, store)
        chosen.append(tuned.frame().select(pl.lit(shape).alias("shape"), pl.all()))
        for dial, (_, split) in logs.items():
            if shape == "line" or dial <= MIDDLE:
                names = LINE if shape == "line" else BENT
                names = tuple(several) if dial == MIDDLE else names
                runs.append(measure(split, tuned, names, size, store, shape=shape, dial=dial))
    _, split = tables(shop, MIDDLE, size, ("click", "purchase"))
    forests = {f"leaves {n}": (partial(grown, schema=split(0).train.schema, leaves=n), {})
               for n in LEAVES}  # fmt: skip
    tuned = choose(split, {"trees": forests}, size, store)
    chosen.append(tuned.frame().select(pl.lit("trees").alias("shape"), pl.all()))
    runs.append(measure(split, tuned, ["trees"], size, store, shape="hidden layer", dial=MIDDLE))
    return {
        "runs": pl.concat(runs), "chosen": pl.concat(chosen),
        "ceiling": pl.DataFrame([ceiling(m, s(0).test, dial) for dial, (m, s) in logs.items()]),
    }  # fmt: skip

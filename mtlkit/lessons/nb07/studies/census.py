"""The MMoE paper's census experiment again: two task pairs, every way of sharing at equal size.

All shared networks have the same number of parameters outside the embeddings, gates counted, and
so has one of the two references without sharing. Everyone has six trials of the learning rate, or
of what trees have instead, judged on the validation rows of three splits. Then fresh seeds, each
with a split, initial weights and an order of batches of its own, are read on test rows once. All
splits are of the same people, so the rows that chose a rate are test rows of other seeds: of six
rates one is learned from them, by everyone alike.

The paper trains on the 199,523 rows of the other half of the data; here all parts come from the
99,762 rows of the test half, so levels may differ, and the question is whether the order does.

Candidates that share nothing train on each task alone: one network, or forest, of never_married
serves both pairs, and each task has its own choice of a trial. Trees are tried on one split, for
there is no luck in them.
"""

from functools import lru_cache, partial

import numpy as np
import polars as pl
import torch

from mtlkit import MMoE, SharedBottom, SingleTask, Split, Trees, compare
from mtlkit.comparison import paired, tune
from mtlkit.data.real.census_income import census_income_frame, load_census_income
from mtlkit.models.cost import flops_per_row
from mtlkit.models.share import CGC, PLE, AdaTT, CrossStitch, OMoE

USES = ("SharedBottom", "SingleTask", "CrossStitch", "OMoE", "MMoE", "CGC", "PLE", "AdaTT")
SIZES = {
    "rows": (3_000, 100_000),  # of each part at most
    "epochs": (1, 5),
    "batch_size": (512, 1_024),
    "search_seeds": (1, 3),
    "seeds": (2, 30),
    "rounds": (20, 120),
}

PAIRS = {"income": ("income", "never_married"), "college": ("college", "never_married")}
TASKS = ("income", "never_married", "college")
REFERENCE = "shared bottom"
RATES = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
FOREST = tuple((rate, leaves) for rate in (0.1, 0.2, 0.3) for leaves in (8, 16))
INPUTS = {"embedding_dim": 4}
SHARED = {  # 11,074 parameters outside the embeddings, or nearly
    REFERENCE: (SharedBottom, (64, 32)),
    "cross-stitch": (CrossStitch, (36, 17)),
    "OMoE": (OMoE, (18, 11)),
    "MMoE": (MMoE, (17, 11)),
    "CGC": (CGC, (18, 8)),
    "PLE": (PLE, (15, 8)),
    "AdaTT": (AdaTT, (20, 9)),
}
APART = {  # each task's network as large as the shared bottom, or half of it
    "single-task": {"hidden": (64, 32), "tower": (8,)},
    "single-task, half each": {"hidden": (36, 17), "tower": (8,)},
    "logistic regression": {"hidden": (), "tower": ()},
}

# Ma et al. 2018, KDD, section 5: AUC on test rows, the mean of 400 runs, of income and
# never_married, then of college and never_married.
PAPER = {
    "single-task": (0.9337, 0.9922, 0.8792, 0.9922),
    "shared bottom": (0.9295, 0.9921, 0.8813, 0.9917),
    "L2-constrained": (0.9359, 0.9918, 0.8823, 0.9918),
    "cross-stitch": (0.9361, 0.9922, 0.8819, 0.9921),
    "tensor factorisation": (0.6765, 0.8412, 0.7256, 0.7497),
    "OMoE": (0.9319, 0.9923, 0.8813, 0.9912),
    "MMoE": (0.9359, 0.9927, 0.8826, 0.9924),
}
PAPER_CORRELATION = {"income": 0.1768, "college": 0.2373}  # absolute, over all rows


@lru_cache(maxsize=40)  # the splits of all seeds: each is asked for by every model
def rows_of(seed, tasks, rows):
    """The split of a seed, with so many rows of each part at most."""
    split = load_census_income(tasks, seed=seed)
    return Split(*(table.take(torch.arange(min(len(table), rows))) for table in split))


def shared(seed, kind, hidden, split):
    """A new network of which the tasks share something."""
    return kind(split(seed).train.schema, hidden=hidden, tower=(8,), **INPUTS)


def single(seed, widths, split):
    """New networks, one a task."""
    return SingleTask(split(seed).train.schema, **widths, **INPUTS)


def grown(seed, rate, leaves, rounds, split):
    """New boosted trees, for each task."""
    return Trees(split(seed).train.schema, learning_rate=rate, leaves=leaves, rounds=rounds)


def by_rate(build):
    """Six trials of the learning rate: {trial: (factory, options of fit)}."""
    return {f"rate {rate:g}": (build, {"learning_rate": rate}) for rate in RATES}


def together(split):
    """{candidate: its trials} of the networks that share, for one pair."""
    return {
        name: by_rate(partial(shared, kind=kind, hidden=hidden, split=split))
        for name, (kind, hidden) in SHARED.items()
    }


def apart(split):
    """{candidate: its trials} of the networks that share nothing, for one task."""
    return {
        name: by_rate(partial(single, widths=widths, split=split)) for name, widths in APART.items()
    }


def forest(split, rounds):
    """{candidate: its trials} of the trees, for one task."""
    trees = {
        f"rate {rate:g}, {leaves} leaves":
            (partial(grown, rate=rate, leaves=leaves, rounds=rounds, split=split), {})
        for rate, leaves in FOREST
    }  # fmt: skip
    return {"trees": trees}


def auc(metrics, tasks):
    """The mean AUC of these tasks."""
    return float(np.mean([metrics[task]["auc"] for task in tasks]))


def contest(trials, split, tasks, starts, seeds, options):
    """Everyone's best trial by the mean AUC of the tasks, and its runs on test rows.

    Returns the tables (runs, costs, trials).
    """
    tuned = tune(trials, split, score=partial(auc, tasks=tasks), seeds=starts, **options)
    made = compare(
        tuned.factories, split, seeds=seeds, on="test", fit_options_for=tuned.fit_options_for,
        by_scenario=False, progress=False, **options,
    )  # fmt: skip
    kept = made.runs.filter(pl.col("metric").is_in(["auc", "normalized_entropy"]))
    found = tuned.frame().select(pl.lit(" and ".join(tasks)).alias("judged_by"), pl.all())
    return kept.select("candidate", "task", "metric", "seed", "value"), made.costs, found


def sizes_of(name, model, batch):
    """What a candidate holds and does: a row of the table of costs."""
    count = model.parameter_count()
    total, embeddings = count["total"], count["embedding"]
    return {
        "candidate": name, "parameters": total, "embeddings": embeddings,
        "network": total - embeddings, "flops_per_row": flops_per_row(model, batch),
    }  # fmt: skip


def cost(size, costs):
    """Parameters and operations of a row for one pair, and how long a step takes.

    ``step``: seconds of a step over those of the shared bottom with the same seed, the median.
    """
    split = partial(rows_of, tasks=PAIRS["income"], rows=size.rows)
    batch = split(0).train.batch(torch.arange(size.batch_size))
    models = {n: shared(0, kind, hidden, split) for n, (kind, hidden) in SHARED.items()}
    models |= {n: single(0, widths, split) for n, widths in APART.items()}
    counted = pl.DataFrame([sizes_of(name, model, batch) for name, model in models.items()])
    steps = costs.with_columns(each=pl.col("seconds") / pl.col("steps"))
    base = steps.filter(pl.col("candidate") == REFERENCE).select("seed", base="each")
    ratios = (
        steps.join(base, on="seed")
        .group_by("candidate")
        .agg(step=(pl.col("each") / pl.col("base")).median())
    )
    return counted.join(ratios, on="candidate", how="left", maintain_order="left")


def scores(runs):
    """Means with the paired difference to the shared bottom, its interval and its verdict.

    ``wide_low`` and ``wide_high`` widen the interval for what the splits have in common: they are
    drawn from the same people, so thirty of them say less than thirty samples would. The variance
    is s^2 (1 / n + test rows / training rows): Nadeau and Bengio 2003, Machine Learning 52.
    """
    table = []
    for (pair, task, metric), own in runs.group_by("pair", "task", "metric", maintain_order=True):
        values = own.pivot(on="candidate", index="seed", values="value").sort("seed")
        sign = 1 if metric == "auc" else -1
        widen = (1 + len(values) / 3) ** 0.5
        for name in own["candidate"].unique(maintain_order=True):
            row = {"pair": pair, "task": task, "candidate": name, "metric": metric}
            row |= {"mean": values[name].mean(), "seeds": len(values)}
            if name != REFERENCE:
                found = paired(values[name], values[REFERENCE], sign=sign)
                mean, low, high = found.headline
                row |= {"difference": mean, "low": low, "high": high, "verdict": found.verdict}
                row |= {"wide_low": mean - widen * (mean - low)}
                row |= {"wide_high": mean + widen * (high - mean)}
            table.append(row)
    return pl.DataFrame(table, infer_schema_length=None)


def published():
    """The paper's table of means: one row a pair, task and candidate."""
    places = [(pair, task) for pair, tasks in PAIRS.items() for task in tasks]
    return pl.DataFrame([
        {"pair": pair, "task": task, "candidate": name, "auc": value}
        for name, values in PAPER.items()
        for (pair, task), value in zip(places, values, strict=True)
    ])  # fmt: skip


def labels():
    """How often each label is 1, and its correlation with never_married, here and in the paper."""
    frame = census_income_frame().select(pl.col(TASKS).cast(pl.Float64))
    return pl.DataFrame([
        {
            "task": task, "rows": frame.height, "rate": frame[task].mean(),
            "correlation": abs(np.corrcoef(frame[task], frame["never_married"])[0, 1]),
            "paper": PAPER_CORRELATION.get(task, 1.0),
        }
        for task in TASKS
    ])  # fmt: skip


def study(size, store):
    """{"runs", "scores", "trials", "cost", "labels", "paper"}."""
    torch.set_num_threads(1)  # quicker for networks as small as these
    budget = {"epochs": size.epochs, "batch_size": size.batch_size}
    options = {"fit_options": budget, "store": store, "jobs": 1}
    starts, seeds = range(100, 100 + size.search_seeds), range(size.seeds)
    runs, trials, costs = [], [], None
    for pair, tasks in PAIRS.items():
        split = partial(rows_of, tasks=tasks, rows=size.rows)
        own, spent, found = contest(together(split), split, tasks, starts, seeds, options)
        runs.append(own.select(pl.lit(pair).alias("pair"), pl.all()))
        trials.append(found)
        costs = spent if costs is None else costs
    for task in TASKS:
        split = partial(rows_of, tasks=(task,), rows=size.rows)
        for entrants, n in ((apart(split), starts), (forest(split, size.rounds), starts[:1])):
            own, _, found = contest(entrants, split, (task,), n, seeds, options)
            trials.append(found)
            runs += [
                own.select(pl.lit(pair).alias("pair"), pl.all())
                for pair, tasks in PAIRS.items() if task in tasks
            ]  # fmt: skip
    every = pl.concat(runs)
    return {
        "runs": every, "scores": scores(every), "trials": pl.concat(trials),
        "cost": cost(size, costs), "labels": labels(), "paper": published(),
    }  # fmt: skip

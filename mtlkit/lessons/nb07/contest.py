"""The map of sharing again: where on it experts pay, at equal size.

Two dials are turned, as in notebook 02: how related the two tasks are (``task_correlation`` of the
shop) and how many rows there are to learn from. Days, rows and test rows are notebook 02's, so that
its trees can stand beside. Everyone is as large as its MMoE with 4 experts of (64, 32), within 2 %
of the parameters outside the embedding tables, gates counted, and shares one table of embeddings;
separate networks have one each, and STEM's three are together as large as the others' one. Everyone
has six trials of rate and weight of the purchase loss; separate networks six of the rate, judged
for each task alone. Five of them are measured all over the map, the others in its middle, where
what experts and gates do is looked at as well. There two more join: MMoE with a load-balancing
loss, with six trials of rate and strength; and for a comparison at equal time, a shared bottom that
trains for twice as many epochs, which is what the steps of PLE and AdaTT take. (The table of costs
says how long they took.)
"""

import time
from functools import lru_cache, partial
from itertools import product

import numpy as np
import polars as pl
import torch

from mtlkit import FixedWeights, Market, MMoE, SharedBottom, SingleTask, Split, compare, evaluate
from mtlkit.comparison import tune
from mtlkit.data.splits import split_time
from mtlkit.lessons.nb07.balanced import BalancedMMoE
from mtlkit.lessons.nb07.watch import WITH_EXPERTS, activity, experts, gates, some, watched
from mtlkit.models import CGC, PLE, STEM, AdaTT, CrossStitch, OMoE, flops_per_row, width_for
from mtlkit.train import seeded
from mtlkit.train.optim import Optimizers

USES = (
    "small", "SingleTask", "SharedBottom", "CrossStitch", "OMoE", "MMoE", "CGC", "PLE", "AdaTT",
    "STEM", "fixed",
)  # fmt: skip
TASKS = ["click", "purchase"]
FRESH = 300_000  # the first row of the test log: no training row comes from there
RATES = (0.003, 0.006, 0.012, 0.024, 0.048, 0.096)
WEIGHTS = (0.03, 0.1)  # of the purchase loss, beside 1 for the click loss
STRENGTHS = (0.01, 0.1, 1.0)  # of the load-balancing loss, beside 1 for the task's own
KINDS = {
    "separate": (partial(SingleTask, own_stop=True), {}),
    "shared": (SharedBottom, {}),
    "cross-stitch": (CrossStitch, {}),
    "OMoE": (OMoE, {}),
    "MMoE": (MMoE, {}),
    "CGC": (CGC, {}),  # 1 expert of each task, 2 shared
    "PLE": (PLE, {}),  # the same on 2 levels
    "AdaTT": (AdaTT, {"experts": 2, "shared_modules": 0}),  # on 2 levels
    "STEM": (STEM, {"shared_experts": 2, "embedding_dim": 11}),
}
EVERYWHERE = ("separate", "shared", "MMoE", "CGC", "PLE")  # the rest: in the middle of the map
BALANCED = "MMoE, load-balanced"
LONGER = "shared, twice as long"
SHOWN = ("MMoE", "CGC", "PLE", BALANCED)  # whose gates are stored


def tables(shop, correlation, rows, test_rows):
    """Training and validation days of a log of so many rows; later days of a longer log to test.

    The test rows are the same for every number of rows.
    """
    market = Market("small", seed=shop, task_correlation=correlation)
    log = split_time(market.impressions(rows).select_tasks(TASKS), "day", (33, 44))
    fresh = market.impressions(test_rows, start=FRESH).select_tasks(TASKS)
    return market, Split(log.train, log.validation, fresh.take(fresh.keys["day"] >= 44))


def sized(kind, schema, width, **options):
    """A new network with layers of ``width`` and half of it."""
    options = {"embedding_dim": 32, **options}
    return kind(schema, hidden=(width, max(width // 2, 1)), tower=(16,), **options)


@lru_cache
def widths(schema):
    """{candidate: the width that makes it as large as MMoE with 4 experts of (64, 32)}."""
    count = sized(MMoE, schema, 64).parameter_count()
    return {
        name: width_for(
            lambda width, kind=kind, own=own: sized(kind, schema, width, **own),
            count["total"] - count["embedding"],
        )
        for name, (kind, own) in KINDS.items()
    }  # fmt: skip


def network(seed, name, schema, width):
    """A new network of a candidate."""
    kind, own = KINDS[name]
    return sized(kind, schema, width, **own)


def balanced(seed, schema, width, strength):
    """A new MMoE with a load-balancing loss."""
    return sized(BalancedMMoE, schema, width, strength=strength)


def trials(schema):
    """{candidate: {trial: (factory, options of fit)}}: six trials for everyone."""
    wide, found = widths(schema), {}
    for name in KINDS:
        build = partial(network, name=name, schema=schema, width=wide[name])
        if name == "separate":
            found[name] = {f"rate {rate:g}": (build, {"learning_rate": rate}) for rate in RATES}
        else:
            found[name] = {
                f"rate {rate:g}, weight {w:g}":
                    (build, {"learning_rate": rate, "balancer": FixedWeights({"purchase": w})})
                for rate in RATES[1:4] for w in WEIGHTS
            }  # fmt: skip
    found[BALANCED] = {
        f"rate {rate:g}, weight 0.1, strength {strength:g}": (
            partial(balanced, schema=schema, width=wide["MMoE"], strength=strength),
            {"learning_rate": rate, "balancer": FixedWeights({"purchase": 0.1})},
        )
        for rate in RATES[1:3] for strength in STRENGTHS
    }  # fmt: skip
    return found | {LONGER: dict(found["shared"])}


def auc(metrics, tasks):
    """The mean AUC of these tasks."""
    return float(np.mean([metrics[task]["auc"] for task in tasks]))


def common(size, store, longer=1):
    """What all comparisons have in common: networks train as practised, one at a time."""
    return {
        "fit_options": {"epochs": longer * size.epochs, "batch_size": size.batch_size},
        "store": store, "jobs": 1, "by_scenario": False, "progress": False,
    }  # fmt: skip


def choose(split, size, store):
    """Everyone's best trial in the middle of a shop's map, on validation days.

    Returns ({(candidate, task): trial}, table). The choice is used at every point of the map.
    """
    every, starts = trials(split.train.schema), range(100, 100 + size.search_seeds)
    options = {k: v for k, v in common(size, store).items() if k != "by_scenario"}
    own, longer = ({name: every.pop(name)} for name in ("separate", LONGER))
    seen = {name: every.pop(name) for name in ("MMoE", BALANCED)}
    look = {"evaluator": partial(watched, rows=size.looked_at)}
    plans = [(every, TASKS, {}), (seen, TASKS, look), *((own, [task], {}) for task in TASKS)]
    plans.append((longer, TASKS, {"fit_options": common(size, store, longer=2)["fit_options"]}))
    picked, found = {}, []
    for part, judged, more in plans:
        tuned = tune(
            part, split, score=partial(auc, tasks=judged), seeds=starts, **{**options, **more}
        )
        picked |= {(name, task): what for name, what in tuned.chosen.items() for task in judged}
        found.append(tuned.frame().with_columns(pl.lit(" and ".join(judged)).alias("judged by")))
    order = {name: place for place, name in enumerate([*KINDS, BALANCED, LONGER])}
    table = pl.concat(found).sort(pl.col("candidate").replace_strict(order), maintain_order=True)
    return dict(sorted(picked.items(), key=lambda entry: order[entry[0][0]])), table


def balance(split, size, store):
    """What each strength of the load-balancing loss does on validation days; strength 0 is MMoE.

    One row a trial of ``choose``, whose runs are read again: the mean over its starts. ``largest``
    and ``smallest``: mean weight that a gate gives to an expert; 1/4 where the load is balanced.
    """
    every, named = trials(split.train.schema), {}
    for rate, strength in product(RATES[1:3], (0.0, *STRENGTHS)):
        name, what = BALANCED if strength else "MMoE", f"rate {rate:g}, weight 0.1"
        what += f", strength {strength:g}" if strength else ""
        named[f"{name}: {what}"] = ({"rate": rate, "strength": strength}, every[name][what])
    found = compare(
        {key: factory for key, (_, (factory, _)) in named.items()}, split, on="validation",
        seeds=range(100, 100 + size.search_seeds), evaluator=partial(watched, rows=size.looked_at),
        fit_options_for={key: own for key, (_, (_, own)) in named.items()}, **common(size, store),
    )  # fmt: skip
    means = found.runs.group_by("candidate", "task", "metric").agg(pl.mean("value"))
    read = {(*key,): value for *key, value in means.iter_rows()}
    return pl.DataFrame([
        row | {task: read[key, task, "auc"] for task in TASKS}
        | {end: read[key, "load", end] for end in ("largest", "smallest")}
        for key, (row, _) in named.items()
    ])  # fmt: skip


def measure(split, picked, size, store, look=False, longer=1):
    """Runs of {(candidate, task): trial} on test rows; with ``look`` also what experts do.

    Where the tasks of a candidate have different trials, both are trained, and each task is read
    from its own. Returns (runs, what was seen).
    """
    every = trials(split.train.schema)
    entries = {f"{name}: {what}": every[name][what] for (name, _), what in picked.items()}
    made = compare(
        {key: factory for key, (factory, _) in entries.items()}, split, seeds=range(size.seeds),
        on="test", fit_options_for={key: own for key, (_, own) in entries.items()},
        evaluator=partial(watched, rows=size.looked_at) if look else evaluate,
        **common(size, store, longer),
    )  # fmt: skip
    plain = made.runs.select("candidate", "task", "metric", "seed", "value")
    kept, runs, seen = plain.filter(pl.col("metric").is_in(["auc", "normalized_entropy"])), [], []
    for (name, task), what in picked.items():
        own = pl.col("candidate") == f"{name}: {what}"
        runs.append(kept.filter(own, task=task).with_columns(pl.lit(name).alias("candidate")))
        if task == TASKS[0]:
            seen.append(plain.filter(own).with_columns(pl.lit(name).alias("candidate")))
    return pl.concat(runs), pl.concat(seen)


def untrained(split, size):
    """What the experts of new networks do, in the form of ``watched``."""
    schema, table, found = split.train.schema, some(split.test, size.looked_at), []
    for name, (kind, _) in KINDS.items():
        if kind in WITH_EXPERTS:
            with seeded(0):
                model = network(0, name, schema, widths(schema)[name])
            found += [(name, metric, 0, value) for metric, value in activity(model, table).items()]
    columns = ["candidate", "metric", "seed", "value"]
    return pl.DataFrame(found, schema=columns, orient="row")


def looked_at(seen, new):
    """The tables "experts", three starts of each network and a new one, and "gates" of one."""
    trained = seen.filter(pl.col("task") == "experts", pl.col("seed") < 3)
    parts = [experts(part).with_columns(trained=pl.lit(part is trained)) for part in (trained, new)]
    shown = seen.filter(task="gates", seed=0).filter(pl.col("candidate").is_in(SHOWN))
    return {"experts": pl.concat(parts), "gates": gates(shown)}


def step(model, optimizers, batch, number):
    """Seconds of the processor, of which there is one, for one training step."""
    began = time.process_time()
    optimizers.zero_grad()
    model.losses(model(batch), batch).sum().backward()
    optimizers.pull(batch.rows)
    optimizers.step(number)
    return time.process_time() - began


def cost(split, size):
    """What each candidate holds and how long it takes.

    ``step``: seconds of a training step over those of "shared" in the same round, the median of
    all rounds; in a round each takes one step on the same rows.
    """
    train, wide = split.train, widths(split.train.schema)
    models = {name: network(0, name, train.schema, wide[name]) for name in KINDS}
    models[BALANCED] = balanced(0, train.schema, wide["MMoE"], 0.1)
    optimizers = {
        name: Optimizers("adam", model, 0.006, row_prior=0.07, train=train)
        for name, model in models.items()
    }
    seconds = {name: [] for name in models}
    batch = train.batch(torch.arange(min(size.batch_size, len(train))))
    for number in range(3 + size.steps):  # the first three warm up
        for name, model in models.items():
            seconds[name].append(step(model, optimizers[name], batch, number))
    base, rows = np.array(seconds["shared"][3:]), []
    for name, model in models.items():
        count = model.parameter_count()
        rows.append({
            "candidate": name, "width": wide.get(name, wide["MMoE"]),
            "parameters": count["total"] - count["embedding"], "embeddings": count["embedding"],
            "flops_per_row": flops_per_row(model, batch),
            "step": float(np.median(np.array(seconds[name][3:]) / base)),
        })  # fmt: skip
    return pl.DataFrame(rows)


def contest(shop, size, store):
    """The map on one shop: {"runs", "chosen", "cost", "experts", "gates", "balance", "ceiling"}."""
    torch.set_num_threads(1)  # quicker for networks as small as these
    _, split = tables(shop, *size.middle, size.test_rows)
    (picked, chosen), runs, ceiling = choose(split, size, store), [], []
    found = {"cost": cost(split, size), "balance": balance(split, size, store)}
    longer = {key: picked.pop(key) for key in [(LONGER, task) for task in TASKS]}
    points = product(size.correlations, size.rows)
    for correlation, rows in sorted(points, key=lambda point: point != size.middle):
        market, split = tables(shop, correlation, rows, size.test_rows)
        middle = (correlation, rows) == size.middle
        entrants = {key: what for key, what in picked.items() if middle or key[0] in EVERYWHERE}
        made, seen = measure(split, entrants, size, store, look=middle)
        place = [pl.lit(correlation).alias("correlation"), pl.lit(rows).alias("rows")]
        runs.append(made.select(*place, pl.all()))
        if middle:
            made, _ = measure(split, longer, size, store, longer=2)
            runs.append(made.select(*place, pl.all()))
            found |= looked_at(seen, untrained(split, size))
        oracle = market.oracle(split.test, knows="features")
        bought = split.train.label("purchase")[split.train.mask("purchase")].sum()
        ceiling.append({
            "correlation": correlation, "rows": rows, "purchases": int(bought),
            **{task: oracle[task]["auc"] for task in TASKS},
        })  # fmt: skip
    return {"runs": pl.concat(runs), "chosen": chosen, **found, "ceiling": pl.DataFrame(ceiling)}

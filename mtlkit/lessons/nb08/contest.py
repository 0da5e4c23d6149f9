"""One model for three places of a shop: which stays above both plain answers, and where.

The plain answers are one model for all scenarios, which does not know that there are several, and
one model each, which share nothing; the upper envelope is the better of the two. Two dials are
turned: how far the scenarios' tastes lie apart (``scenario_shift``), and how many rows the smallest
one has. Days are those of notebooks 02 and 07. Everyone does as many operations a row as one
network of (96, 48) for all, and has four trials of the rate, judged on validation rows in the
middle of the first dial. The score is the mean AUC within scenarios, of click and of purchase
after a click.

Besides: the two plain answers, the scenario as a feature and STAR trained as was usual here before
(no row prior, every loss weighs 1); a scenario that comes after training, with few rows of its own;
parameters, operations and time of a step from 3 to 100 scenarios.
"""

import time
from dataclasses import replace
from functools import lru_cache, partial
from itertools import product

import numpy as np
import polars as pl
import torch

from mtlkit import FixedWeights, Market, Split, compare, fit
from mtlkit.comparison import tune
from mtlkit.data.splits import split_time
from mtlkit.data.table import Table
from mtlkit.layers import ShiftedEmbedding
from mtlkit.lessons.nb08.places import by_place
from mtlkit.models import (
    APG,
    HAMUR,
    M2M,
    STAR,
    AdaptDHM,
    AdaSparse,
    EmbeddingShift,
    EPNet,
    HiNet,
    HMoE,
    M3oE,
    MLoRA,
    OneEach,
    OneForAll,
    PEPNet,
    PPNet,
    SARNet,
    ScenarioFeature,
    ScenarioTowers,
    flops_per_row,
    width_for,
)  # fmt: skip
from mtlkit.train import seeded
from mtlkit.train.optim import Optimizers

USES = (
    "small", "OneForAll", "OneEach", "ScenarioFeature", "ScenarioTowers", "STAR", "EPNet", "PPNet",
    "PEPNet", "MLoRA", "HMoE", "SARNet", "HiNet", "M3oE", "APG", "HAMUR", "AdaSparse", "M2M",
    "AdaptDHM", "EmbeddingShift", "fixed",
)  # fmt: skip
TASKS = ["click", "purchase"]
FRESH, LATER = 300_000, 100_000  # first rows of the test log, and of the newcomer's own log
RATES = (0.004, 0.008, 0.016, 0.032)
WEIGHT = 0.1  # of the purchase loss, beside 1 for the click loss
ALL, EACH, FEATURE = "one for all", "one each", "scenario feature"
ENVELOPE = "upper envelope"
KINDS = {
    ALL: (OneForAll, {}),
    EACH: (OneEach, {}),
    FEATURE: (ScenarioFeature, {}),
    "scenario towers": (ScenarioTowers, {}),
    "STAR": (STAR, {}),
    "STAR, no normalisation": (STAR, {"partitioned_norm": False}),
    "EPNet": (EPNet, {}),
    "PPNet": (PPNet, {"prior": ("user", "item")}),
    "PEPNet": (PEPNet, {"prior": ("user", "item")}),
    "MLoRA": (MLoRA, {}),
    "HMoE": (HMoE, {"experts": 2}),
    "SAR-Net": (SARNet, {}),
    "HiNet": (
        HiNet,
        {"own_experts": 1, "shared_experts": 1, "common_experts": 1, "task_hidden": (32,)},
    ),
    "M3oE": (M3oE, {"experts": 2}),
    "APG": (APG, {}),
    "HAMUR": (HAMUR, {}),
    "AdaSparse": (AdaSparse, {}),
    "M2M": (M2M, {"experts": 2}),
    "AdaptDHM": (AdaptDHM, {}),
    "embedding shift": (EmbeddingShift, {}),
    "MLoRA and shift": (MLoRA, {"inputs": ShiftedEmbedding}),
}
TAIL = (ALL, EACH, FEATURE, "scenario towers", "STAR", "PEPNet", "MLoRA", "embedding shift",
        "MLoRA and shift")  # fmt: skip
LATE = (ALL, EACH, FEATURE, "scenario towers", "MLoRA", "embedding shift", "MLoRA and shift")
BEFORE = (ALL, EACH, FEATURE, "STAR")
FINE_RATES = (0.002, 0.01)  # of training on a newcomer's rows


def tables(shop, shift, rows, test_rows):
    """Training and validation days of a log of so many rows; later days of a longer log to test."""
    market = Market("small", seed=shop, scenario_shift=shift)
    log = split_time(market.impressions(rows).select_tasks(TASKS), "day", (33, 44))
    fresh = market.impressions(test_rows, start=FRESH).select_tasks(TASKS)
    return market, Split(log.train, log.validation, fresh.take(fresh.keys["day"] >= 44))


def sized(kind, schema, width, **options):
    """A new network with layers of ``width`` and half of it."""
    sizes = {"embedding_dim": 16, "hidden": (width, max(width // 2, 1)), "tower": (16,)}
    return kind(schema, **sizes, **options)


@lru_cache(maxsize=1)
def widths(split):
    """{candidate: the width at which it does as many operations a row as one for all of 96}."""
    schema, batch = split.train.schema, split.train.batch(torch.arange(64))
    with seeded(0):
        flops = flops_per_row(sized(OneForAll, schema, 96), batch)
    return {
        name: width_for(partial(sized, kind, schema, **own), flops=flops, batch=batch)
        for name, (kind, own) in KINDS.items()
    }


def network(seed, name, schema, width):
    """A new network of a candidate."""
    kind, own = KINDS[name]
    return sized(kind, schema, width, **own)


def trials(split):
    """{candidate: {trial: (factory, options of fit)}}: four trials for everyone."""
    schema = split.train.schema
    return {
        name: {
            f"rate {rate:g}": (
                partial(network, name=name, schema=schema, width=width), {"learning_rate": rate},
            )
            for rate in RATES
        }
        for name, width in widths(split).items()
    }  # fmt: skip


def within(metrics):
    """The mean AUC within scenarios of both tasks."""
    return float(np.mean([metrics[task]["auc_within"] for task in TASKS]))


def common(size, store):
    """What all comparisons have in common."""
    return {
        "fit_options": {
            "epochs": size.epochs, "batch_size": size.batch_size, "precision": "fp32",
            "balancer": FixedWeights({"purchase": WEIGHT}),
        },
        "store": store, "jobs": 1, "evaluator": by_place, "progress": False,
    }  # fmt: skip


def measure(split, chosen, names, size, store, **more):
    """Runs on test rows: candidate, task ("click", "click in feed"), metric, seed, value."""
    every = trials(split)
    options = {"by_scenario": False, **common(size, store)}
    options["fit_options"] = options["fit_options"] | more
    made = compare(
        {name: every[name][chosen[name]][0] for name in names}, split, seeds=range(size.seeds),
        on="test", **options,
        fit_options_for={name: every[name][chosen[name]][1] for name in names},
    )  # fmt: skip
    return made.runs.select("candidate", "task", "metric", "seed", "value")


def with_tail(split, rows):
    """Only so many training rows of the last scenario, and validation rows in proportion."""
    last, parts = split.train.schema.num_scenarios - 1, []
    share = rows / int((split.train.scenario == last).sum())
    for table in (split.train, split.validation):
        own = (table.scenario == last).nonzero().flatten()
        kept = table.scenario != last
        kept[own[: max(round(share * len(own)), 1)]] = True
        parts.append(table.take(kept))
    return Split(*parts, split.test)


def known(table, scenarios):
    """The table as one sees it who knows so many scenarios: rows of others are of an unknown one.

    The field of that name is left out, so that the newcomer is unknown there as well.
    """
    schema, place = table.schema, table.schema.categorical_names.index("scenario")
    kept = [number for number in range(len(schema.categorical)) if number != place]
    own = replace(
        schema, scenarios=schema.scenarios[:scenarios],
        categorical=tuple(schema.categorical[number] for number in kept),
    )  # fmt: skip
    columns = {name: value for name, value in vars(table).items() if name != "schema"}
    columns["categorical"] = table.categorical[:, kept]
    columns["scenario"] = table.scenario.clamp(max=scenarios)
    return Table(own, **columns)


def newcomer(shop, split, chosen, size):
    """A scenario that comes late: AUC on its test rows, by how many rows of it there are to train.

    Networks learn from the other scenarios, then are extended by one and go on with its rows alone,
    all weights, at the best of two rates on a fifth of these rows. One each starts anew on them.
    """
    number = split.train.schema.num_scenarios - 1
    name = split.train.schema.scenario_names[number]
    market = Market("small", seed=shop, scenario_shift=size.middle)
    later = market.impressions(max(size.late) * 8, start=LATER).select_tasks(TASKS)
    later = later.take((later.scenario == number) & (later.keys["day"] < 44))
    later, test = known(later, number + 1), known(split.test, number + 1)
    test = test.take(test.scenario == number)
    first = [
        known(table.take(table.scenario != number), number)
        for table in (split.train, split.validation)
    ]
    wide, found = widths(split), []
    for candidate, seed in product(LATE, range(size.seeds)):
        kind, own = KINDS[candidate]
        build = partial(sized, kind, first[0].schema, wide[candidate], **own)
        if candidate == EACH:
            rates, make = RATES[1:3], partial(sized, OneForAll, later.schema, wide[ALL])
        else:
            rates, options = FINE_RATES, trials(split)[candidate][chosen[candidate]][1]
            make = partial(learned(build, first, size, seed, options).extend, scenario=name)
        for count in size.late:
            if count or candidate != EACH:
                value = with_rows(make, later, test, count, rates, size, seed)
                found.append({"candidate": candidate, "rows": count, "seed": seed} | value)
    return pl.DataFrame(found)


def learned(build, parts, size, seed, options):
    """A new network, trained as everyone is."""
    with seeded(seed):
        model = build()
    practice = {"epochs": size.epochs, "batch_size": size.batch_size} | options
    fit(
        model, *parts, **practice, precision="fp32", progress=False, seed=seed,
        balancer=FixedWeights({"purchase": WEIGHT}),
    )  # fmt: skip
    return model


def with_rows(make, later, test, count, rates, size, seed):
    """{task: AUC} on the newcomer's test rows after training on ``count`` rows of it."""
    if not count:
        metrics = by_place(make(), test)
        return {task: metrics[task]["auc"] for task in TASKS}
    cut = max(count * 4 // 5, 1)
    parts = later.take(torch.arange(cut)), later.take(torch.arange(cut, count))
    best, found = -np.inf, {}
    for rate in rates:
        batch_size = min(size.batch_size, max(cut // 8, 16))
        options = {"learning_rate": rate, "batch_size": batch_size}
        model = learned(make, parts, size, seed, options)
        score = by_place(model, parts[1])["click"].get("auc", np.nan)
        if score > best or not found:
            best, metrics = score, by_place(model, test)
            found = {task: metrics[task]["auc"] for task in TASKS}
    return found


def cost(shop, split, size):
    """Parameters, operations and seconds of a step, by the number of scenarios.

    ``step``: seconds of the processor, over those of one for all in the same round; the median.
    """
    wide, rows = widths(split), []
    for scenarios in size.many:
        market = Market("small", seed=shop, scenarios=scenarios, scenario_tail=0.0)
        table = market.impressions(2 * size.batch_size).select_tasks(TASKS)
        batch = table.batch(torch.arange(size.batch_size))
        seconds = {}
        for name, (kind, own) in KINDS.items():
            with seeded(0):
                model = sized(kind, table.schema, wide[name], **own)
            optimizers = Optimizers("adam", model, 0.006, row_prior=0.07, train=table)
            times = [step(model, optimizers, batch, number) for number in range(2 + size.steps)]
            seconds[name] = float(np.median(times[2:]))
            count = model.parameter_count()
            rows.append({
                "candidate": name, "scenarios": scenarios, "width": wide[name],
                "parameters": count["total"] - count["embedding"],
                "embeddings": count["embedding"], "of_scenarios": count["scenarios"],
                "flops_per_row": flops_per_row(model, batch), "step": seconds[name] / seconds[ALL],
            })  # fmt: skip
    return pl.DataFrame(rows)


def step(model, optimizers, batch, number):
    """Seconds of the processor, of which there is one, for one training step."""
    model.train()
    began = time.process_time()
    optimizers.zero_grad()
    model.losses(model(batch), batch).sum().backward()
    optimizers.pull(batch.rows)
    optimizers.step(number)
    return time.process_time() - began


def ceiling(market, split):
    """The best possible AUC on the test rows, in each place."""
    found = {}
    for number, name in enumerate([None, *split.test.schema.scenario_names]):
        rows = split.test if name is None else split.test.take(split.test.scenario == number - 1)
        for task, metrics in market.oracle(rows, knows="features").items():
            found[task if name is None else f"{task} in {name}"] = metrics["auc"]
    return [{"task": task, "auc": value} for task, value in found.items()]


def with_envelope(runs):
    """The runs and those of the upper envelope: the better of both plain answers, by their means.

    The better one at each place is taken on the very rows that it is measured on, so the envelope
    is rather too high than too low.
    """
    places = [name for name in runs.columns if name not in ("candidate", "seed", "value")]
    plain = runs.filter(
        pl.col("candidate").is_in([ALL, EACH]), pl.col("metric").is_in(["auc", "auc_within"])
    )
    means = plain.group_by(*places, "candidate").agg(pl.mean("value"))
    better = means.sort("value").group_by(places).agg(pl.last("candidate"))
    best = plain.join(better, on=[*places, "candidate"], how="semi", maintain_order="left")
    return pl.concat([runs, best.with_columns(pl.lit(ENVELOPE).alias("candidate"))])


def together(runs, before, tail, middle):
    """All runs as one table: ``training`` says how, ``small`` the last scenario's training rows.

    0: all that the log has of it.
    """
    whole = [
        part.select(
            pl.lit(training).alias("training"), shift, small, *part.columns[-5:]
        )
        for part, training, shift, small in (
            (runs, "suited", "shift", pl.lit(0, pl.Int64).alias("small")),
            (before, "plain", "shift", pl.lit(0, pl.Int64).alias("small")),
            (tail, "suited", pl.lit(middle).alias("shift"), pl.col("rows").alias("small")),
        )
    ]  # fmt: skip
    kept = pl.col("metric").is_in(["auc", "auc_within", "pcoc"])
    return with_envelope(pl.concat(whole).filter(kept))


def contest(shop, size, store):
    """One shop: {"runs", "chosen", "late", "cost", "ceiling"}."""
    torch.set_num_threads(1)  # quicker for networks as small as these
    _, split = tables(shop, size.middle, size.rows, size.test_rows)
    tuned = tune(
        trials(split), split, score=within, seeds=range(100, 100 + size.search_seeds),
        **common(size, store),
    )  # fmt: skip
    chosen, runs, before, best = tuned.chosen, [], [], []
    middle, usual = split, {"row_prior": None, "balancer": FixedWeights({})}
    for shift in sorted(size.shifts, key=lambda shift: shift != size.middle):
        market, split = tables(shop, shift, size.rows, size.test_rows)
        at = pl.lit(shift).alias("shift")
        runs.append(measure(split, chosen, KINDS, size, store).select(at, pl.all()))
        before.append(measure(split, chosen, BEFORE, size, store, **usual).select(at, pl.all()))
        places = pl.DataFrame(ceiling(market, split))
        best.append(places.select(at, pl.all()))
    tail = [
        measure(with_tail(middle, rows), chosen, TAIL, size, store)
        .select(pl.lit(rows, pl.Int64).alias("rows"), pl.all())
        for rows in size.tail
    ]  # fmt: skip
    return {
        "runs": together(pl.concat(runs), pl.concat(before), pl.concat(tail), size.middle),
        "chosen": tuned.frame(), "late": newcomer(shop, middle, chosen, size),
        "cost": cost(shop, middle, size), "ceiling": pl.concat(best),
    }  # fmt: skip

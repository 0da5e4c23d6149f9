"""The contest of both studies: everyone's six trials, their best read on test rows, the scores.

Every network does as many operations a row as one for all of (96, 48). A seed draws a share of the
units (users, products), the same for every candidate, and their rows of all three periods: the
intervals cover who was in the data as well as initial weights and batches.
"""

from functools import lru_cache, partial

import numpy as np
import polars as pl
import torch

from mtlkit import Split, Trees, compare
from mtlkit.comparison import paired, tune
from mtlkit.models.adapt import (
    STAR,
    EmbeddingShift,
    MLoRA,
    OneEach,
    OneForAll,
    PEPNet,
    SARNet,
    ScenarioFeature,
    ScenarioTowers,
)
from mtlkit.models.cost import flops_per_row, width_for
from mtlkit.train import seeded
from mtlkit.train.evaluation import score

REFERENCE = "scenario feature"
PLAIN = ("one for all", "one each")
TREES = "trees"
NETWORKS = {
    "one for all": OneForAll,
    "one each": OneEach,
    REFERENCE: ScenarioFeature,
    "scenario towers": ScenarioTowers,
    "STAR": STAR,
    "PEPNet": PEPNet,
    "MLoRA": MLoRA,
    "SAR-Net": SARNet,
    "embedding shift": EmbeddingShift,
}
CANDIDATES = (*NETWORKS, TREES)
WIDTH = 96
FOREST = tuple((rate, leaves) for rate in (0.05, 0.1, 0.2) for leaves in (8, 24))
KEPT = ("auc", "auc_within", "auc_between", "gauc", "mean", "head", "tail", "normalized_entropy")


@lru_cache(maxsize=2)
def drawn(seed, whole, key, share):
    """The split of a seed: the rows of a share of all units of ``key``, in all three periods."""
    parts = whole()
    units = torch.cat([part.keys[key] for part in parts]).unique()
    order = torch.randperm(len(units), generator=torch.Generator().manual_seed(seed))
    mine = units[order[: round(share * len(units))]]
    return Split(*(part.take(torch.isin(part.keys[key], mine)) for part in parts))


def heads(rows):
    """The largest scenarios that together hold half of the rows or more; ``rows`` {name: rows}."""
    order = sorted(rows, key=lambda name: -rows[name])
    before = np.cumsum([0, *(rows[name] for name in order)])[:-1]
    return {name for name, less in zip(order, before, strict=True) if 2 * less < sum(rows.values())}


def sorts(whole):
    """The head scenarios by the training rows of the whole split."""
    train = whole().train
    counts = torch.bincount(train.scenario, minlength=train.schema.num_scenarios).tolist()
    return heads(dict(zip(train.schema.scenario_names, counts, strict=False)))


def measure(model, table, by_scenario=False, group=None, *, head):
    """``evaluate`` with the mean of the scenarios' AUC: over all, those in head, and the others."""
    scored = score(model, table, group)
    own = {name: scored.metrics(number) for name, number in scored.scenarios().items()}
    if by_scenario:
        return own
    found = scored.metrics(auc_parts=True)
    for task, values in found.items():
        aucs = {name: metrics[task]["auc"] for name, metrics in own.items()}
        values["mean"] = float(np.nanmean(list(aucs.values())))
        values["head"] = float(np.nanmean([v for name, v in aucs.items() if name in head]))
        values["tail"] = float(np.nanmean([v for name, v in aucs.items() if name not in head]))
    return found


def sized(kind, schema, width, **more):
    """A new network with layers of ``width`` and half of it."""
    sizes = {"embedding_dim": 8, "hidden": (width, max(width // 2, 1)), "tower": (16,)}
    return kind(schema, **sizes, **more)


def widths(whole, more, rows):
    """{network: width at which it does as many operations a row, of a batch, as one for all}."""
    table = whole().train
    batch = table.batch(torch.arange(min(rows, len(table))))
    with seeded(0):
        flops = flops_per_row(sized(OneForAll, table.schema, WIDTH), batch)
    return {
        name: width_for(
            partial(sized, kind, table.schema, **more.get(name, {})), flops=flops, batch=batch
        )
        for name, kind in NETWORKS.items()
    }


def network(seed, kind, width, whole, more):
    """A new network."""
    return sized(kind, whole().train.schema, width, **more)


def forest(seed, rate, leaves, rounds, whole):
    """New boosted trees, which read the scenario as a category."""
    return Trees(whole().train.schema, learning_rate=rate, leaves=leaves, rounds=rounds)


def all_trials(whole, size, more, practices):
    """{candidate: {trial: (factory, options of fit)}}; practices {trial: options of fit}."""
    width = widths(whole, more, size.batch_size)
    own = {
        name: partial(network, kind=kind, width=width[name], whole=whole, more=more.get(name, {}))
        for name, kind in NETWORKS.items()
    }
    trials = {
        name: {trial: (own[name], options) for trial, options in practices.items()}
        for name in NETWORKS
    }
    trials[TREES] = {
        f"rate {rate:g}, {leaves} leaves":
            (partial(forest, rate=rate, leaves=leaves, rounds=size.rounds, whole=whole), {})
        for rate, leaves in FOREST
    }  # fmt: skip
    return trials


def mean_auc(metrics):
    """The mean over tasks of the mean over scenarios of the AUC: what chooses a trial."""
    return float(np.mean([values["mean"] for values in metrics.values()]))


def contest(whole, key, practices, size, store, more=None, group=None):
    """The five tables of one data set and one way to say what a scenario is.

    whole: a function without arguments that gives the split; key: what a seed draws a share of.
    practices: {trial: options of fit}, the networks' six trials; more: {candidate: arguments of
    its own}; group: the key of GAUC.
    """
    split = partial(drawn, whole=whole, key=key, share=size.share)
    measured = partial(measure, head=sorts(whole))
    options = {
        "fit_options": {"epochs": size.epochs, "batch_size": size.batch_size},
        "store": store, "jobs": 1, "evaluator": measured, "group": group,
    }  # fmt: skip
    tuned = tune(
        all_trials(whole, size, more or {}, practices), split, score=mean_auc,
        seeds=range(100, 100 + size.search_seeds), **options,
    )  # fmt: skip
    made = compare(
        tuned.factories, split, seeds=range(size.seeds), on="test",
        fit_options_for=tuned.fit_options_for, progress=False, **options,
    )  # fmt: skip
    wanted = pl.col("metric").is_in(KEPT) & pl.col("value").is_finite()
    runs = made.runs.filter(wanted, (pl.col("metric") != "gauc") | (pl.col("scenario") == "all"))
    runs = runs.select("candidate", "task", "scenario", "metric", "seed", "value")
    return {
        "runs": runs, "scores": scores(runs, size.share), "trials": tuned.frame(),
        "cost": cost(whole, tuned, made.costs, size), "scenarios": scenarios(whole),
    }  # fmt: skip


def widening(seeds, share):
    """What a paired interval of a mean is multiplied by for what the seeds' draws have in common.

    A share f of N units, drawn without replacement, gives a mean whose variance over draws is
    s^2 = (1 - f) v / (f N), where all N give one of variance v / N = s^2 f / (1 - f) over
    populations. So the mean of n seeds has s^2 (1 / n + f / (1 - f)), not s^2 / n. The luck of
    training counts in s^2 too: the factor is rather too large than too small.
    """
    return (1 + seeds * share / (1 - share)) ** 0.5


def difference(own, base, sign, factor, name):
    """The paired difference of two columns of seeds, as columns of the table of scores."""
    found = paired(own, base, sign=sign)
    mean, low, high = found.headline
    return {
        name: mean, f"{name}_low": low, f"{name}_high": high,
        f"{name}_wide_low": mean - factor * (mean - low),
        f"{name}_wide_high": mean + factor * (high - mean), f"{name}_verdict": found.verdict,
    }  # fmt: skip


def scores(runs, share):
    """Means with the paired differences to the scenario feature and to the upper envelope.

    The envelope of a task, scenario and metric is the plain answer (one for all, or one each) with
    the better mean on the test rows. Nobody knows it beforehand, so it is hard to beat. That of
    "mean", "head" and "tail" is not the mean of the scenarios' envelopes but that of the whole.
    A seed without both labels in a scenario has no AUC there, for nobody, and is left out.
    """
    table = []
    keys = ["task", "scenario", "metric"]
    for (task, place, metric), own in runs.group_by(keys, maintain_order=True):
        values = own.pivot(on="candidate", index="seed", values="value").sort("seed")
        sign = -1 if metric == "normalized_entropy" else 1
        factor = widening(len(values), share)
        best = max(PLAIN, key=lambda name: sign * values[name].mean())
        for name in CANDIDATES:
            row = {"task": task, "scenario": place, "metric": metric, "candidate": name}
            row |= {"mean": values[name].mean(), "seeds": len(values)}
            row |= difference(values[name], values[REFERENCE], sign, factor, "feature")
            row |= {"envelope_of": best}
            row |= difference(values[name], values[best], sign, factor, "envelope")
            table.append(row)
    return pl.DataFrame(table, infer_schema_length=None)


def cost(whole, tuned, costs, size):
    """Parameters of each part, operations of a row, and seconds of a run over the feature's.

    Trees have no embeddings; their parameters are leaves at most, and they are as many as chosen.
    """
    split = whole()
    batch = split.train.batch(torch.arange(min(size.batch_size, len(split.train))))
    spent = costs.pivot(on="candidate", index="seed", values="seconds")
    total = costs.group_by("candidate").agg(pl.col("parameters").mean())
    counts = {name: round(number) for name, number in total.iter_rows()}
    table = []
    for name in CANDIDATES:
        model = tuned.factories[name](0)
        parts = {"embedding": 0, "shared": 0, "scenarios": 0, "tasks": counts[name]}
        if name != TREES:
            parts = model.parameter_count()
        table.append({
            "candidate": name, "parameters": counts[name], "embedding": parts["embedding"],
            "shared": parts["shared"], "scenarios": parts["scenarios"], "tasks": parts["tasks"],
            "flops_per_row": None if name == TREES else round(flops_per_row(model, batch)),
            "time": float((spent[name] / spent[REFERENCE]).median()),
        })  # fmt: skip
    return pl.DataFrame(table, infer_schema_length=None)


def scenarios(whole):
    """Rows of each period, whether it is of the head, and every task's rate in training."""
    split, head = whole(), sorts(whole)
    schema = split.train.schema
    table = []
    for number, name in enumerate(schema.scenario_names):
        row = {"scenario": name, "head": name in head}
        for part, rows in zip(("train", "validation", "test"), split, strict=True):
            row[part] = int((rows.scenario == number).sum())
        here = split.train.scenario == number
        for task in schema.tasks:
            seen = split.train.mask(task.name) & here
            row[task.name] = float(split.train.label(task.name)[seen].mean())
        table.append(row)
    return pl.DataFrame(table, infer_schema_length=None)

# %% [markdown] tags=["title"]
# title: Experts and gates
# question: Can the network choose what to share?
# run: 2
# needs: [02, 03, 06]
# cut:
# - "\"Modify and compare\" (6 minutes); show its gate map only."
# - Exercise 7.3 (8 minutes); let the room guess why four experts agree.
# ---
# In notebook 02 you chose what is shared; in 06 you tried to repair what went wrong. Here each task
# picks from several small networks, row by row.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - write a gate and mix experts with it (exercise 7.1),
# - read a gate map (before exercise 7.2),
# - write a layer with experts of each task's own (exercise 7.2),
# - spot copies among the experts (exercise 7.3).

# %% [markdown] tags=["recall"]
# ## What do you remember?

# %% tags=["quiz"]
from mtlkit.course import quiz

quiz("7.recall")

# %% [markdown] tags=["setup"]
# ## Set-up

# %%
from functools import partial

import numpy as np
import polars as pl
import torch

import mtlkit
from mtlkit import FixedWeights, MMoE, SharedBottom, evaluate, fit, plot, report
from mtlkit.comparison import paired_interval
from mtlkit.course import check, evidence, guess, mode, predict, record, shop, sizes, study
from mtlkit.data.batch import stack_batches
from mtlkit.lessons.nb07.balanced import BalancedMMoE
from mtlkit.models import CGC, Replicas, width_for
from mtlkit.schema import Dense
from mtlkit.train import seeded

torch.set_num_threads(1)  # quicker for networks as small as these

# %% tags=["parameters"]
MODE, SHOP = mode(), shop()

# %% [markdown] tags=["story"]
# ## One mixture for each task
#
# A shared bottom hands the same numbers, the **representation** $Z$, to every tower. Tasks that need
# different things must agree on one $Z$.
#
# Now put several small networks side by side. Each of them, an **expert**, reads the row $x$. For
# each task $k$, a **gate** says how much of each expert the tower gets:
#
# $$s_k(x) = \text{softmax}(W_k x) \qquad Z_k(x) = \sum_n s_{kn}(x)\, E_n(x)$$
#
# $E_n(x)$ is what expert $n$ gives, and $W_k x$ is one number for each expert. The *softmax* makes
# shares of them: positive, with the sum 1. The gate reads the row, so another row gets another mixture.
#
# With a gate for each task this is MMoE (*multi-gate mixture of experts*), with one for all, OMoE.

# %% tags=["predict"]
report.show(plot.network("mmoe", ["click", "purchase"]))
predict("7.p1")
predict("7.p2")

# %% [markdown] tags=["worked"]
# ## Two tasks whose relation you can dial
#
# The paper that proposed MMoE draws its tasks. A row $x$ has 100 random numbers. Each label is a
# straight line, ten waves on it, and noise:
#
# $$y_k = w_k x + \sum_{i=1}^{10} \sin(a_i\, w_k x + b_i) + \text{noise}$$
#
# Both $w_k$ have length 1 here; the tasks share $a_i$ and $b_i$. The cosine of the angle between the
# $w_k$ is $p$, the paper's correlation of the tasks: at $p = 1$ they are the same task.
#
# `width_for` makes the shared bottom about as large as MMoE with 8 experts of 16 units, gates
# counted. `Replicas` stacks the weights of many seeds; one loop trains them all, each seed on tasks
# and rows of its own.

# %%
size = sizes("07", MODE)
both = (mtlkit.Task("first", "regression"), mtlkit.Task("second", "regression"))
numbers = mtlkit.Schema(both, dense=(Dense("x", 100),))


def draw(p, seed, rows):
    """Rows of two tasks with cosine p; each seed has tasks of its own."""
    luck = torch.Generator().manual_seed(seed)
    u, _ = torch.linalg.qr(torch.randn(100, 2, generator=luck))  # length 1, at a right angle
    w = u @ torch.tensor([[1, p], [0, (1 - p * p) ** 0.5]])  # (100, task)
    a, b = torch.randn(2, 10, generator=luck)
    x = torch.randn(rows, 100, generator=luck)
    z = x @ w  # (row, task)
    y = z + torch.sin(a * z.unsqueeze(-1) + b).sum(-1) + 0.1 * torch.randn(rows, 2, generator=luck)
    return mtlkit.Table.from_columns(numbers, {"x": x, "first": y[:, 0], "second": y[:, 1]})


# %%
def make(kind, width):
    return kind(numbers, embedding_dim=1, hidden=(width,), tower=(8,))


kinds = {"shared bottom": SharedBottom, "MMoE": partial(MMoE, experts=8)}
parameters = make(kinds["MMoE"], 16).parameter_count()["total"]
places = [(p, seed) for p in (0, 1) for seed in range(size.seeds)]
drawn = [draw(p, seed, 32 * size.steps) for p, seed in places]
curves = {}
for name, kind in kinds.items():
    width, models, seen = width_for(partial(make, kind), parameters), [], []
    for _, seed in places:
        with seeded(seed):
            models.append(make(kind, width))
    several = Replicas(models)
    optimizer = torch.optim.Adam(several.parameters(), lr=0.01)
    for parts in zip(*(table.batches(32) for table in drawn)):
        batch = stack_batches(parts)  # batch: 32 new rows of each replica
        logits = several(batch)  # forward
        losses = several.losses(logits, batch)  # task losses: (replica, task)
        total = losses.sum()  # combine: no weight serves two replicas
        optimizer.zero_grad()
        total.backward()  # backward
        optimizer.step()  # step
        seen.append(losses.detach().mean(1).unflatten(0, (2, -1)).mean(1))  # (p,)
    blocks = torch.stack(seen).unfold(0, size.block, size.block).mean(-1)  # (block, p)
    curves |= {f"{name}, p = {p}": blocks[:, p].tolist() for p in (0, 1)}
record("live", {name: values[-1] for name, values in curves.items()})
axes = {"title": f"About {round(parameters, -2):,} parameters each, mean of {size.seeds} seeds"}
axes |= {"xlabel": "step", "ylabel": "squared error of new rows", "log_y": True}
plot.lines(size.block * np.arange(1, len(blocks) + 1), curves, **axes)

# %% [markdown] tags=["observe"]
# ## The experiment at full length
#
# Six seeds tell little. A stored study has 200, 5,000 steps, four correlations; everyone's rate is
# the best of three.


# %% tags=["hide-output"]
def final(network, p=0.5, setting="base"):
    """Final losses of a network, one a seed: the mean of both tasks."""
    rows = paper.table("finals").filter(setting=setting, correlation=p, network=network)
    values = rows.select(pl.col("^seed .*$").mean()).to_numpy()[0]
    return values[~np.isnan(values)]  # some networks have fewer seeds


paper, three = study("07", "mmoe_paper"), ["shared bottom", "OMoE", "MMoE"]
share = 100 * final("MMoE").mean() / final("shared bottom").mean()
record("share of the loss in percent", share)
ask = {"title": "Final loss at correlation 0.5, mean of all seeds", "limits": (0, 150)}
first = plot.guess_against_truth(
    guess("7.p1"), share, "MMoE's loss", unit="% of the shared bottom's", **ask
)
axes = {"label": "final squared error", "bins": 30, "log_x": True, "what": "seeds"}
spread = plot.distribution({n: final(n) for n in three}, title="All seeds at 0.5", **axes)
report.show(first, spread)

# %% tags=["hide-input", "hide-output"]
# Loss by correlation, and how far the seeds lie apart: run this cell.
levels = [0.0, 0.5, 0.9, 1.0]
runs = {name: [final(name, p) for p in levels] for name in three}
means = {name: [one.mean() for one in several] for name, several in runs.items()}
bands = {n: np.array([paired_interval(one)[1:] for one in r]).T for n, r in runs.items()}
axes = {"xlabel": "correlation p of the tasks", "ylabel": "final squared error", "bands": bands}
table = pl.DataFrame([{"at 0.5": n, "mean": final(n).mean(), "lowest": final(n).min(), "spread":
                       final(n).std(ddof=1), "seeds": len(final(n))} for n in three])  # fmt: skip
record("by correlation", pl.DataFrame({"correlation": levels} | means))
record("finals at 0.5", table)
title = "Does a relation help? Means of 200 seeds with 95 % intervals"
report.show(plot.lines(levels, means, title=title, **axes), table)

# %% tags=["hide-input", "hide-output"]
# The way there, and what the paper leaves open: run this cell.
# fmt: off
way = paper.table("curves").filter(pl.col("step") > 0)
shown = {f"p = {p:g}": {n: way.filter(correlation=p, network=n)["mean"].to_list() for n in three}
         for p in levels}
axes = {"xlabel": "step", "ylabel": "squared error of new rows", "log_y": True}
title = "The way there: means of 200 seeds at four correlations"
picture = plot.panels(way["step"].unique().sort(), shown, title=title, **axes)
every = paper.table("finals")["setting"].unique(maintain_order=True)
whole = {(s, p): final("shared bottom", p, s).mean() for s in every for p in (0.5, 1.0)}
other = pl.DataFrame([{"setting": s, "p": p, "shared bottom": loss, "MMoE in % of it":
    100 * final("MMoE", p, s).mean() / loss} for (s, p), loss in whole.items()])
report.show(picture, other)
# fmt: on

# %% [markdown]
# | the paper says | the study finds |
# | --- | --- |
# | all do worse as the correlation falls | yes: the loss of all three rises from $p = 1$ to 0 |
# | MMoE hardly does, the shared bottom does | no: MMoE's loss rises by 0.010, the shared bottom's by 0.011 |
# | the shared bottom's seeds spread far more | at 0.5, 0.090 against 0.054; but both are 81 % of the mean |
#
# At $p = 1$ both tasks are the same, and need no gates of their own. Still MMoE has only 57 % of the
# shared bottom's loss, OMoE 56 %. Most of the gain comes from mixing experts *row by row*. A *gate for
# each task*, MMoE against OMoE, shows no gain at $p = 1$, 16 % at $p = 0$.
#
# The paper leaves open the length *c* of $w_k$ and the number *m* of waves. In the table (*d*: numbers in
# a row), of five other settings only *m* 3 shows a clear gain at $p = 0.5$, from 20 seeds.

# %% [markdown] tags=["exercise"]
# id: 7.1
# level: fill in
# importance: core
# minutes: 8
# goal: write a gate and mix experts with it
# hints:
# - A linear layer without offset is one matrix product. Which shape must the gate have?
# - "The gate is `torch.softmax(x @ W.T, dim=1)`: each *row* has its own shares with the sum 1."
# - "`gate.T.unsqueeze(2)` has the shape (expert, row, 1). Multiply it by `experts` and sum over the
#   experts."
# ---
# Complete `mixture` for one task: its gate has the coefficients `W` (expert, input). You get `x` (row,
# input) and what the experts give, `experts` (expert, row, unit). Return what the tower reads (row,
# unit).


# %% tags=["exercise-code"]
def mixture(x, W, experts):
    """The mixture of the experts that one task's tower reads, (row, unit)."""
    # BEGIN SOLUTION
    gate = torch.softmax(x @ W.T, dim=1)  # (row, expert)
    return (gate.T.unsqueeze(2) * experts).sum(0)
    # END SOLUTION
    # STUB: gate = ...  # (row, expert): the shares of each row
    # STUB: return ...  # the experts, mixed by these shares


# %% tags=["check"]
check("7.1", mixture)

# %% [markdown] tags=["solution"]
# The softmax runs over the experts, so each row's shares sum to 1. Over the rows (`dim=0`) they would
# depend on who else is in the batch. With a single expert, the gate is 1, and MMoE is a shared bottom.

# %% [markdown] tags=["compare"]
# ## Modify and compare: who listens to whom?
#
# Now the shop. A **gate map** shows the mean share of each expert for each task, here by scenario. MMoE
# has four experts. CGC (*customised gate control*) has two shared ones and one of each task's own; a
# gate sees its own task's experts and the shared ones, no others.
#
# Nothing makes gates use all experts. If they all choose the same few, the others learn little:
# **expert collapse**. A **load-balancing loss** works against it. For each gate it is the variance of
# the experts' mean shares in a batch over the square of their mean: 0 where all are used alike.
# `BalancedMMoE` adds `strength` times this to the task's loss.

# %%
stored, market = evidence("07"), mtlkit.Market("small", seed=SHOP)
log = market.impressions(size.rows).select_tasks(["click", "purchase"])
days, shape = mtlkit.split_time(log, "day", (33, 44)), {"hidden": (64, 32), "tower": (16,)}
own = stored.chosen("MMoE", shop=SHOP)  # MMoE's settings, for all three
practice = {"epochs": size.epochs, "batch_size": 1_024, "learning_rate": own["rate"]}
practice |= {"balancer": FixedWeights({"purchase": own["weight"]}), "progress": False}
strength = 0.1  # modify
balanced = partial(BalancedMMoE, strength=strength)
networks, trained = {"MMoE": MMoE, "MMoE, load-balanced": balanced, "CGC": CGC}, {}
for name, kind in networks.items():
    with seeded(0):
        trained[name] = kind(days.train.schema, **shape)
    fit(trained[name], days.train, seed=0, **practice)

# %%
maps = {name: mtlkit.gate_map(model, days.test, by="scenario") for name, model in trained.items()}
measured = [
    mtlkit.expert_activity(model, days.test).with_columns(network=pl.lit(name))
    for name, model in trained.items()
]
use = pl.concat(measured).select("network", pl.exclude("network", "level"))
record("use of experts", use)
record("gate maps", pl.concat([m.with_columns(network=pl.lit(n)) for n, m in maps.items()]))
drawings = [plot.gate_map(found, title=name) for name, found in maps.items()]
report.show(plot.network("cgc", experts=2), *drawings, use)

# %% [markdown]
# Each row of a map sums to 1. Here purchase prefers one expert, most in search, while click mixes all
# four. With the load-balancing loss all shares lie between 0.20 and 0.28.
#
# In the table, *zeros* is the share of an expert's numbers that are 0, *dead* that of its units that are
# 0 on every row: up to 38 %. *Load* is the mean share that its readers give, *most* the largest reader's part.
# *Similarity* is its mean correlation with other experts, unit by unit: 1 for copies, and below 0.2
# here.

# %% [markdown] tags=["exercise"]
# id: 7.2
# level: write
# importance: core
# minutes: 12
# goal: write a layer with experts of each task's own
# hints:
# - "Go through the tasks with `for mine, W in zip(own, gates)`. Which experts may this task read?"
# - "`torch.cat([mine, shared])` puts them one after the other: (own + shared, row, unit)."
# - "One softmax over all of them, `torch.softmax(x @ W.T, dim=1)`; then mix as in 7.1, and
#   `torch.stack` the tasks."
# ---
# Write one layer of CGC. You get `x` (row, input), the outputs `own` (task, expert, row, unit) and
# `shared` (expert, row, unit), and the gates' coefficients `gates`, one matrix a task: (own + shared,
# input), own experts first. Return what the towers read, (task, row, unit).


# %% tags=["exercise-code"]
def cgc_layer(x, own, shared, gates):
    """The mixture of own and shared experts for each task, (task, row, unit)."""
    # BEGIN SOLUTION
    outputs = []
    for mine, W in zip(own, gates):
        experts = torch.cat([mine, shared])  # (own + shared, row, unit)
        gate = torch.softmax(x @ W.T, dim=1)  # (row, own + shared)
        outputs.append((gate.T.unsqueeze(2) * experts).sum(0))
    return torch.stack(outputs)
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("7.2", cgc_layer)

# %% [markdown] tags=["solution"]
# One softmax over both kinds lets a task leave the shared experts alone, or its own. The gradient of
# task $k$ for another task's experts is 0. PLE stacks such layers; there, shared experts of the second
# level read all of the first, so a task reaches the others' experts by a detour.

# %% [markdown] tags=["trap"]
# ## The trap: four experts, one opinion
#
# A colleague wants runs that can be repeated, and sets a fixed start, as a public library once did
# (PaddleRec, issue 721; mended in 724). Another starts from four copies of a random expert. Both train
# without an error. Each row of the table is a seed: would the AUC have warned them?


# %%
def same_start(model, fixed):
    """Equal experts, equal gates: all numbers 0.1, or all as in the first one."""
    for weight in [*model.experts.parameters(), *model.gates.parameters()]:  # (expert, ...)
        weight.data = torch.full_like(weight, 0.1) if fixed else weight[:1].repeat_interleave(4, 0)


scores = {"fixed start": [], "four copies": [], "random start": []}
for seed in range(size.tries):
    for name, found in scores.items():
        with seeded(seed):
            model = trained[name] = MMoE(days.train.schema, **shape)
        if name != "random start":
            same_start(model, name == "fixed start")
        fit(model, days.train, seed=seed, **practice)
        found.append(evaluate(model, days.validation)["click"]["auc"])
record("start", pl.DataFrame(scores))
report.show(pl.DataFrame(scores))

# %% [markdown] tags=["exercise"]
# id: 7.3
# level: write
# importance: useful
# minutes: 8
# goal: spot copies among the experts
# hints:
# - Two experts never parted if they give the same on *every* row. Compare each with each other.
# - "`for i in range(len(outputs))`, and inside it `for j in range(i + 1, len(outputs))`: each pair
#   once."
# - "`torch.allclose(outputs[i], outputs[j], atol=1e-6)` allows for rounding."
# ---
# You get what the experts of a trained network give, `outputs` (expert, row, unit). Return the list of
# all pairs `(i, j)`, $i < j$, that agree in all units on all rows. Allow for rounding by
# `torch.allclose` with `atol=1e-6`.


# %% tags=["exercise-code"]
def never_parted(outputs):
    """Pairs (i, j), i < j, of experts that give the same on all rows."""
    # BEGIN SOLUTION
    pairs = []
    for i in range(len(outputs)):
        for j in range(i + 1, len(outputs)):
            if torch.allclose(outputs[i], outputs[j], atol=1e-6):
                pairs.append((i, j))
    return pairs
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("7.3", never_parted)
never_parted(trained["fixed start"].expert_outputs(days.validation.batch(torch.arange(100)))[0])

# %% [markdown] tags=["solution"]
# Equal experts behind equal gates get equal gradients, so each step leaves them equal: the four are one
# expert, at the price of four. At 0.1 all units of a first layer stay equal, too, and two of three
# runs learn nothing. The copies score like a random start; their AUC warns nobody: look at the experts. For
# repeated runs a seed suffices.

# %% [markdown] tags=["practice"]
# ## In practice: where do experts pay?
#
# The contest returns to notebook 02's map, on five shops. All networks are equally large outside the
# embeddings, gates counted. Everyone has six trials on each shop, at correlation 0.5 and 60,000 rows;
# the choice serves everywhere. New names: *cross-stitch* mixes, by learned numbers, the layers of each
# task's network; STEM adds embeddings of each task's own; in AdaTT, own experts also bypass the gate.

# %% tags=["hide-input", "hide-output"]
# The answer to your second guess: run this cell.
# fmt: off
bought = {n: f"{mean:.0f}" for n, mean in stored.table("ceiling").group_by("rows").agg(
    pl.mean("purchases")).sort("rows").rows()}
pair = {"candidate": "MMoE", "reference": "shared"}
gaps = {task: {f"correlation {c:g}": [stored.difference(**pair, task=task, correlation=c, rows=n)
    .headline for n in bought] for c in (0.0, 0.5, 0.95)} for task in ("purchase", "click")}
truth = gaps["purchase"]["correlation 0.95"][-1].mean
ask = {"title": "Purchase at correlation 0.95, mean of five shops", "limits": (-0.02, 0.02)}
axes = {"xlabel": "purchases to learn from", "label": "MMoE minus shared, AUC"}
axes |= {"title": "Where experts pay: mean of five shops", "reference": "a shared bottom"}
first = plot.guess_against_truth(guess("7.p2"), truth, "gain of MMoE in AUC", **ask)
report.show(first, plot.gains(gaps, [*bought.values()], **axes))
# fmt: on

# %% tags=["hide-input", "hide-output"]
# Everyone at one point of the map, and what it costs: run this cell.
at = {"task": "purchase", "correlation": 0.5, "rows": 60_000}
title = "Purchase at correlation 0.5, equal sizes: five shops"
ranked = report.against(stored, "shared", title=title, label="AUC of purchase", **at)
columns = {f"{t} minus separate": {**at, "task": t, "minus": "separate"} for t in gaps}
table = report.grid(stored, stored.candidates, columns)
trees = report.grid(evidence("02"), ["trees"], {f"{k} of 02": v for k, v in columns.items()})
click = {f"{n} minus shared, click": {"candidate": n, "minus": "shared", "task": "click"}
         for n in ("OMoE", "shared, twice as long")}  # fmt: skip
pairs = report.lines(stored, {"PLE minus CGC": {"candidate": "PLE", "minus": "CGC"}} | click, **at)
spent = stored.table("cost").group_by("candidate", maintain_order=True).agg(
    pl.first("parameters", "flops_per_row"), pl.median("step"))  # fmt: skip
report.show(ranked.picture, ranked.sentence, table, trees, pairs, spent)

# %% tags=["hide-input", "hide-output"]
# Equal loads, and the paper's real data: run this cell.
loads = stored.table("balance").group_by("rate", "strength").mean().sort("rate", "strength")
census, where = study("07", "census"), {"pair": "income", "task": "income"}
ends = [pl.col("wide_low").alias("low"), pl.col("wide_high").alias("high")]
columns = ["candidate", "mean", "difference", *ends]
here = census.table("scores").filter(metric="auc", **where).select(columns)
there = census.table("paper").filter(**where).select("candidate", pl.col("auc").alias("the paper"))
report.show(loads.drop("shop"), here.join(there, on="candidate", how="left", maintain_order="left"))

# %% [markdown]
# No gain of MMoE is seen: its difference to the shared bottom is unclear at all twelve marks. Nobody
# clearly beats the shared bottom for purchase, and for click OMoE alone, by 0.004. Twice the training
# (PLE's time) does not help it; click suffers. PLE is nowhere clearly better than CGC. The
# load-balancing loss evens *largest* and *smallest* loads; AUC shows no change. For purchase separate
# networks are clearly worse than MMoE, and not clearly worse than trees.
#
# On Census-Income, in thirty splits no network that shares clearly differs from the shared bottom; the
# paper's MMoE gained 0.006. Trees are clearly best. (*Low* and *high* are widened: splits share people.)
#
# **On Monday:** give a shared bottom the parameters that the experts would have. If you try experts,
# compare at equal size, and look at their gate map.

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - MMoE mixes experts for each row and task; a shared bottom gives all tasks the same numbers.
# - In the paper's experiment most of the gain comes from mixing by row, for equal tasks too.
# - On the shop, at equal size, no gain of MMoE is seen.
# - Look at what experts do: copies and dead units raise no error; AUC may hide copies.

# %% tags=["quiz"]
quiz("7.exit")

# %% [markdown] tags=["instructor"]
# Let the room draw a shared bottom and an MMoE of equal size before 7.p1: how wide may an expert be?
# Many think of experts as something added on top. Ask what a gate could do for two tasks that are the
# same: at correlation 1, whatever MMoE gains is not due to what the tasks share.
#
# In 7.1 the common slip is the softmax over the rows. Ask what the tower would get in a batch of one
# row: every share is 1. In 7.2, two softmaxes, one for each kind of expert, are the slip: then a task
# can never leave the shared experts alone.
#
# For the gate maps, let two groups train with other seeds and compare: the experts change their numbers,
# so a gate map of one run is a picture of that run. Ask what stays.
#
# A good question for a quick group: why do equal experts part if the gates start at random? (Each row
# then scales their gradients differently. The trap needs both.) Another: which test would have found the
# trap before training? (The same one, on new weights.)

# %% [markdown] tags=["sources"]
# ## Sources
#
# - Ma and others: *Modeling Task Relationships in Multi-task Learning with Multi-gate
#   Mixture-of-Experts* (MMoE). 2018.
# - Tang and others: *Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for
#   Personalized Recommendations*. 2020.
# - Misra and others: *Cross-stitch Networks for Multi-task Learning*. 2016.
# - Li and others: *AdaTT: Adaptive Task-to-Task Fusion Network for Multitask Learning in
#   Recommendations*. 2023.
# - Su and others: *STEM: Unleashing the Power of Embeddings for Multi-task Recommendation*. 2024.
# - Shazeer and others: *Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts
#   Layer*. 2017.

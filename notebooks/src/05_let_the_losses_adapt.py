# %% [markdown] tags=["title"]
# title: Let the losses adapt
# question: Can training set the weights?
# read: 20
# run: 1
# needs: [01, 02, 03]
# cut:
# - "\"One forgotten division\" (6 minutes); show its figure only."
# - Exercise 5.3 (8 minutes); discuss on the board which case would catch the mistake.
# ---
# Weights are tedious to choose. Many published methods set them while the network trains. You write
# the heart of two, watch the weights of six, and hold a fair contest against weights that never move.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - write a step of uncertainty weighting (exercise 5.1),
# - write the step of GradNorm (exercise 5.2),
# - catch a balancer that slows the task it should help (exercise 5.3).

# %% [markdown] tags=["recall"]
# ## What do you remember?

# %% tags=["quiz"]
from mtlkit.course import quiz

quiz("5.recall")

# %% [markdown] tags=["setup"]
# ## Set-up

# %%
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import torch
from IPython.display import Markdown, display

from mtlkit import Market, SharedBottom, SingleTask, Split, balance, compare, evaluate, fit, plot
from mtlkit.comparison import paired_interval, verdict
from mtlkit.course import check, guess, mode, plain_tables, predict, record, sizes
from mtlkit.data.splits import split_time
from mtlkit.train import seeded
from mtlkit.train.evaluation import deviance_explained

torch.set_num_threads(1)  # quicker for networks as small as these
tables = plain_tables(tbl_rows=20)

# %% tags=["parameters"]
MODE = mode()

# %% [markdown] tags=["story"]
# ## Four losses that do not speak alike
#
# The shop of notebook 03 in a busy season, with four tasks. They differ in how many rows have a label
# and in their **base loss**: the loss of a model that always gives the average. (Dwell is
# standardised, so its base loss is 1.)
#
# Each seed has training rows of its own, so that the intervals cover the luck of the data too.
# Validation and test rows are the same for all.

# %%
size, tasks = sizes("05", MODE), ["click", "purchase", "dwell", "return"]
shop = Market("small", seed=0, click_rate=0.1, purchase_rate=0.25, return_rate=0.3)
log = split_time(shop.impressions(size.log).select_tasks(tasks), "day", (33, 44))


def split_of(seed):
    """Training rows for this seed alone; the same validation and test rows for every seed."""
    own = log.train.take(range(seed * size.rows, (seed + 1) * size.rows))
    return Split(own, log.validation, log.test)


def build(seed, kind=SharedBottom, schema=log.train.schema):
    """A new network: SharedBottom, or SingleTask for one network a task."""
    with seeded(seed):
        return kind(schema, embedding_dim=8, hidden=(64, 32), tower=(16,))


# %% tags=["hide-input"]
share = {task: float(log.train.mask(task).float().mean()) for task in tasks}
rate = {t: float(log.train.label(t)[log.train.mask(t)].mean()) for t in tasks if t != "dwell"}
base_loss = {t: -p * np.log(p) - (1 - p) * np.log(1 - p) for t, p in rate.items()}
base_loss = {task: base_loss.get(task, 1.0) for task in tasks}  # dwell is standardised
plot.rates_by(
    [f"{task}: {100 * share[task]:.3g} % of rows labelled" for task in tasks],
    list(base_loss.values()), title="Four tasks, four base losses", ordered=False,
    label="base loss: always giving the average", category_label="task",
)  # fmt: skip

# %% tags=["predict"]
predict("5.p1")
predict("5.p2")

# %% [markdown] tags=["worked"]
# ## Where a weight can come from
#
# Suppose the labels of task $k$ scatter around the network's output with variance $\sigma^2$. Minus
# the logarithm of their likelihood (notebook 01) is then $L_k / (2 \sigma^2) + \log \sigma$, where
# $L_k$ is the squared error. So noise sets the weight: the noisier, the smaller. Kendall and others
# (2018) let the network learn it, as $s_k = \log \sigma_k^2$:
#
# $$\sum_k \; a_k\, e^{-s_k} L_k + \tfrac{1}{2} s_k$$
#
# The weight is $w_k = a_k\, e^{-s_k}$, with $a_k = \frac{1}{2}$ for a squared error. For a
# cross-entropy the paper argues, roughly, for $a_k = 1$. The second term stops $s_k$ from running
# away, which would switch every task off. Here $s$ is four more numbers to train.

# %%
model = build(0)
a, s = torch.tensor([1.0, 1.0, 0.5, 1.0]), torch.zeros(4, requires_grad=True)  # dwell: 1/2
optimizer = torch.optim.Adam([{"params": model.parameters()}, {"params": [s], "lr": 0.03}], 0.003)
by_step = []  # weights and losses
for epoch in range(size.long):
    for batch in split_of(0).train.batches(1024, shuffle=True, epoch=epoch):  # batch
        logits = model(batch)  # forward
        losses = model.losses(logits, batch)  # task losses: (4,)
        total = (a * torch.exp(-s) * losses + s / 2).sum()  # combine
        optimizer.zero_grad()
        total.backward()  # backward: for the network and for s
        optimizer.step()  # step
        by_step.append(torch.stack([a * torch.exp(-s), losses]).detach())

# %% [markdown] tags=["observe"]
# ## Where it comes to rest
#
# $s_k$ stops where its gradient, $\frac{1}{2} - w_k L_k$, is zero: at $w_k = 1 / (2 L_k)$, for both
# values of $a_k$. The table checks that for the last epoch.

# %% tags=["hide-input", "hide-output"]
# The weights of UW, by hand
by_step = torch.stack(by_step).double()  # (step, weight or loss, task)
weight, loss = by_step[-len(by_step) // size.long :].mean(dim=0).numpy()  # of the last epoch
rows = log.validation.batch(torch.arange(len(log.validation)))
with torch.no_grad():
    fresh = model.losses(model(rows), rows)
rest = pl.DataFrame({
    "task": tasks, "weight": weight, "1 / (2 loss)": 0.5 / loss, "loss": loss,
    "loss on validation rows": fresh.double().numpy(), "base loss": list(base_loss.values()),
})  # fmt: skip
record("weights of UW at rest", rest)
display(rest.with_columns(pl.selectors.float().round(2)))
plot.guess_against_truth(
    guess("5.p1"), float(weight[0]), "weight of click in the last epoch",
    title="Uncertainty weighting: a small loss makes a large weight",
)  # fmt: skip

# %% [markdown]
# Put $w = 1 / (2L)$ back: UW minimises half the **sum of the logarithms** of the losses. A loss in
# another unit, $c L$, has $\log c + \log L$: the unit drops out. You need not believe in
# "uncertainty": a click has a small loss because it is rare, not because it is certain.
#
# And the tasks with few labels are learned by heart, return above all: the training loss falls far
# below the loss on validation rows, which is worse than the base loss. Still the weight rises. A
# rule that reads training losses cannot tell skill from memory.
#
# ## Eight rules
#
# | rule | a task's weight rises when |
# | --- | --- |
# | UW, uncertainty weighting; IMTL-L, with $w = 1 / L$ | its loss is small; learned slowly, like $s$ |
# | GLS, geometric loss: minimise $(L_1 L_2 \dots)^{1/T}$, with $T$ tasks | its loss is small; at once |
# | DWA, dynamic weight average: $T \operatorname{softmax}(r / \text{temperature})$ | its loss fell less: $r$ = loss of the last epoch / of the one before |
# | GradNorm | its gradient is weak, or it lags behind (exercise 5.2) |
# | FAMO | the last steps improved it least, in per cent |
# | STCH, smooth Tchebycheff | it is the worst off; a knob says how strictly |
# | a schedule: $w_0 \gamma^{\,\text{epoch}}$ | you said so beforehand, with $\gamma > 1$ |
# | RLW, random loss weighting | the dice say so |
#
# The history that `fit` returns keeps each task's mean weight of every epoch.


# %%
budget = {"epochs": size.epochs, "batch_size": 1024, "learning_rate": 0.003}
budget |= {"schedule": "constant", "row_prior": None}
watched = {
    "UW": balance.UncertaintyWeighting(0.03), "GLS": balance.GeometricLoss(),
    "DWA": balance.DynamicWeightAverage(), "GradNorm": balance.GradNorm(),
    "FAMO": balance.FAMO(), "RLW": balance.RandomLossWeighting(),
}  # fmt: skip
histories = {
    name: fit(build(0), split_of(0).train, balancer=balancer, progress=False,
              **(budget | {"epochs": size.long}))
    for name, balancer in watched.items()
}  # fmt: skip
plot.loss_weights(histories, title="Weights over time: six of the rules, the same rows")

# %% tags=["hide-input"]
moved = {n: [list(row["weights"].values()) for row in h.rows] for n, h in histories.items()}
ends = [
    {"rule": n, **dict(zip(tasks, w[-1])), "farthest from 1": float(np.abs(np.array(w) - 1).max())}
    for n, w in moved.items()
]
record("weights over time", pl.DataFrame(ends))
epochs = [row["train"] for row in histories["DWA"].rows[:-1]]
fall = min(now[task] / before[task] for before, now in pairwise(epochs) for task in tasks)
dice = balance.RandomLossWeighting().weights(torch.ones(4))
record("DWA and the dice", {"least r": fall, "farthest": float((dice - 1).abs().max())})
Markdown(
    "UW and GLS turn return up as it is learned by heart. FAMO does the opposite: return, whose "
    "loss falls fast, loses its weight; click, whose loss hardly falls, gains. "
    f"**DWA** never gets farther than **{100 * ends[2]['farthest from 1']:.0f} %** away from 1, "
    f"although $r$ falls to {fall:.2f}: the paper's temperature of 2 flattens what is left. "
    f"**RLW** knows nothing. Its first draw is {', '.join(f'{w:.1f}' for w in dice)}; over an "
    "epoch the dice even out. A clever rule that does not beat it owes nothing to its cleverness: "
    "RLW is the litmus test."
)

# %% [markdown] tags=["exercise"]
# id: 5.1
# level: fill in
# minutes: 8
# goal: write a step of uncertainty weighting
# hints:
# - Differentiate $a\, e^{-s} L + s / 2$ with respect to $s$. Both terms give something.
# - "The derivative of `exp(-s)` is `-exp(-s)`. So the first term gives minus weight times loss."
# - "The slope is `0.5 - weights * losses`; go `rate` times against it. Bound nothing."
# ---
# No autograd now. You get `s`, `losses` and `a`, all (task,). Return the weights at this step, and
# `s` after one step of gradient descent.


# %% tags=["exercise-code"]
def uncertainty_step(s, losses, a, rate):
    """The weights now, and s after a step down the slope: (weights, new s)."""
    # BEGIN SOLUTION
    weights = torch.exp(-s) * a
    slope = 0.5 - weights * losses
    return weights, s - rate * slope
    # END SOLUTION
    # STUB: weights = ...
    # STUB: slope = ...  # the derivative of the objective by s
    # STUB: return ..., ...  # your answer


# %% tags=["check"]
check("5.1", uncertainty_step)

# %% [markdown] tags=["solution"]
# At rest the slope is 0, so weight times loss is 1/2 for every task. A published library keeps $s$
# from falling below 0. Then a task whose loss is below 1/2 never moves, and most click losses are.

# %% [markdown] tags=["compare"]
# ## Equal budgets
#
# Whoever turns a knob longer wins by patience. So **every method gets the same number of trials**,
# judged on validation rows. Those without a knob of their own spend them on the network's learning
# rate.
#
# The tuned constant has one knob, $p$: $w_k = (\text{share of labelled rows})^p$. $p = 0$ is equal
# weighting; with $p = 1$ every label counts the same, of whichever task. A second constant, **1 /
# base loss**, makes all losses 1 for a model that has learned the average. The score is the
# **deviance explained** of notebook 03, the mean over the tasks; below 0 is worse than the average.
# Change a value in `knobs` and look who changes place.


# %%
def by_rows(p):
    return balance.FixedWeights({task: share[task] ** p for task in tasks})


def fading(factor):
    return balance.DecaySchedule(dict.fromkeys(tasks[1:], (1.0, factor)))  # click keeps 1


def at_first(losses):
    return balance.FixedWeights({task: 1 / losses[task] for task in tasks})


speeds, rates = (0.01, 0.03, 0.1, 0.3), (0.001, 0.002, 0.004, 0.008)  # of the rule, of the network
knobs = {
    "tuned constant": (by_rows, (0.25, 0.5, 0.75, 1)), "schedule": (fading, (0.2, 0.5, 0.8, 1.25)),
    "UW": (balance.UncertaintyWeighting, speeds), "IMTL-L": (balance.IMTLL, speeds),
    "FAMO": (balance.FAMO, (0.003, 0.01, 0.03, 0.1)),
    "DWA": (balance.DynamicWeightAverage, (0.1, 0.3, 1, 2)),
    "STCH": (balance.SmoothTchebycheff, (0.3, 1, 3, 10)),
    "GradNorm": (balance.GradNorm, (0, 0.12, 0.5, 1.5)),
}  # fmt: skip
fixed = {
    "GLS": balance.GeometricLoss(), "random weights": balance.RandomLossWeighting(),
    "1 / base loss": at_first(base_loss), "equal": balance.EqualWeights(),
    "single task": balance.EqualWeights(),
}  # fmt: skip

# %% tags=["hide-input"]
# The search: every trial trained once, judged on validation rows, the best one chosen.
trials = {
    name: {f"{value:g}": {"balancer": rule(value)} for value in values[: size.tries]}
    for name, (rule, values) in knobs.items()
} | {
    name: {f"rate {r:g}": {"balancer": rule, "learning_rate": r} for r in rates[: size.tries]}
    for name, rule in fixed.items()
}


def train(seed, name="", split_of=split_of, **options):
    """A network trained on the rows of this seed."""
    rows = split_of(seed).train
    network = build(seed, SingleTask if name == "single task" else SharedBottom, rows.schema)
    fit(network, rows, seed=seed, progress=False, **(budget | deepcopy(options)))
    return network


scores = {
    name: {knob: deviance_explained(evaluate(train(size.seeds, name, **options), log.validation))
           for knob, options in tried.items()}
    for name, tried in trials.items()
}  # fmt: skip
best = {name: max(tried, key=tried.get) for name, tried in scores.items()}
chosen = {name: trials[name][knob] for name, knob in best.items()}
searched = pl.DataFrame([
    {"method": name, **{f"trial {i}": float(v) for i, v in enumerate(tried.values(), start=1)},
     "chosen": best[name]}
    for name, tried in scores.items()
])  # fmt: skip
record("search", searched)
searched.with_columns(pl.selectors.float().round(3))

# %% [markdown]
# One training is a noisy judge (on rows that no seed of the contest has). So the table makes a
# choice, not a result; the contest comes at the end.
#
# ## One forgotten division
#
# First a case that seems made for adaptation. A colleague measured dwell in seconds and subtracted
# the mean, but forgot to divide by the deviation, so its loss is far too loud. The **speed** of UW is
# the learning rate of its $s$.

# %%
seconds = log.train.label("dwell")[log.train.mask("dwell")]
variance = float(seconds.var())  # the base loss of dwell now
raw = {"log1p": False, "location": float(seconds.mean()), "scale": 1.0}
raw_tasks = [replace(t, **raw) if t.name == "dwell" else t for t in log.train.schema.tasks]


def in_seconds(seed):
    return Split(*(part.with_tasks(raw_tasks) for part in split_of(seed)))


def runs(balancer, split_of=split_of):
    """Validation metrics of a network trained with this balancer, one a seed."""
    trained = [train(seed, split_of=split_of, balancer=balancer) for seed in range(size.seeds)]
    return [evaluate(network, split_of(0).validation) for network in trained]


remedies = {
    "equal": balance.EqualWeights(), "UW, speed 0.03": balance.UncertaintyWeighting(0.03),
    "UW, speed 0.3": balance.UncertaintyWeighting(0.3), "GLS": balance.GeometricLoss(),
    "1 / base loss": at_first(base_loss | {"dwell": variance}),
}  # fmt: skip
rescued = {name: runs(balancer, in_seconds) for name, balancer in remedies.items()}

# %% tags=["hide-input"]
aucs = {name: [found["click"]["auc"] for found in results] for name, results in rescued.items()}
rows = []
for name, values in aucs.items():
    gap = paired_interval(np.subtract(values, aucs["equal"]))
    rows.append({
        "weighting": name, "click AUC": np.mean(values),
        "dwell R²": np.mean([found["dwell"]["r2"] for found in rescued[name]]),
        "explained": np.mean([deviance_explained(found) for found in rescued[name]]),
        "difference": gap.mean, "from": gap.low, "to": gap.high,
    })  # fmt: skip
louder = pl.DataFrame(rows)
record("dwell in seconds", louder)
against = paired_interval(np.subtract(aucs["GLS"], aucs["1 / base loss"]))
record("GLS against a constant, dwell in seconds", against._asdict())
display(plot.differences(
    aucs, "equal", title=f"Dwell {variance:,.0f} times too loud: click ({size.seeds} paired seeds)",
    label="AUC of click", category_label="weighting", ordered=False,
))  # fmt: skip
display(louder.select("weighting", "click AUC", "dwell R²", "explained")
        .with_columns(pl.selectors.float().round(3)))  # fmt: skip
steps = size.epochs * -(-size.rows // budget["batch_size"])
Markdown(
    f"Click AUC, GLS minus the constant 1 / base loss: {against.mean:+.3f} ({against.low:+.3f} "
    f"to {against.high:+.3f}).\n\nGLS has no knob and saves click at once: what divides by the "
    "loss cannot be drowned. UW heads for the same weights, but at its usual speed training is "
    f"over first: $s$ of dwell must go from 0 to $\\log {variance:.0f} = {np.log(variance):.1f}$. "
    f"Adam moves it by about its speed a step, so {steps} steps of 0.03 take it to "
    f"{0.03 * steps:.1f}. And dividing by the *base* loss, a constant, does as well as GLS. Dwell "
    "pays for the rescue: before, it had the network to itself."
)

# %% [markdown] tags=["exercise"]
# id: 5.2
# level: write
# minutes: 12
# goal: write the step of GradNorm
# hints:
# - "Progress first: `losses / start`, then divide it by its own mean. Above 1 means: lags behind."
# - "A task that lags should pull harder, so its target is `mean(G) * r ** alpha`: above the mean."
# - "Where $G$ is above its target the slope is plus, below it is minus: `torch.sign(G - target)`."
# - "$G_k = w_k n_k$, so its derivative by $w_k$ is `norms`: multiply the sign by it."
# ---
# GradNorm looks at the gradients in the shared layer. $n_k$ is the norm (length) of the gradient of
# $L_k$ there, so $G_k = w_k n_k$ says how hard the task pulls. Its target is
#
# $$\text{mean}(G) \cdot r_k^{\,\alpha}, \quad r_k = \frac{L_k / L_k(0)}{\text{mean of these}}$$
#
# where $L_k(0)$ is the loss at the start: **the more a task lags, the harder it should pull**, and
# $\alpha$ says how much harder. Return the derivative of $\sum_k |G_k - \text{target}_k|$ with respect
# to $w$, (task,), with the targets held fixed. (The weights then go *against* it.)


# %% tags=["exercise-code"]
def gradnorm_slope(weights, norms, losses, start, alpha):
    """The slope of GradNorm's objective for every weight, all (task,)."""
    # BEGIN SOLUTION
    pull = weights * norms
    progress = losses / start
    target = pull.mean() * (progress / progress.mean()) ** alpha
    return torch.sign(pull - target) * norms
    # END SOLUTION
    # STUB: pull = ...  # G
    # STUB: return ...  # your answer


# %% tags=["check"]
check("5.2", gradnorm_slope)

# %% [markdown] tags=["solution"]
# Only signs and norms are left: the size of the gap does not matter, so the weights walk at an even
# pace. Two signs decide: the exponent's and the step's. One slip and GradNorm does the opposite.

# %% [markdown] tags=["trap"]
# ## A trap: the score says nothing
#
# A colleague wrote GradNorm in other words, with a slip that a published package had as well. Do you
# see it? Does the validation AUC of click, with $\alpha = 1.5$, give it away?


# %%
def colleague(weights, norms, losses, start, alpha):
    force, lag = norms * weights, losses / start
    wanted = force.mean() * (lag.mean() / lag) ** alpha
    return torch.sign(force - wanted) * norms


# %% tags=["hide-input"]
both = {"GradNorm": balance.GradNorm(alpha=1.5), "the colleague's": balance.GradNorm(alpha=-1.5)}
judged = {name: [m["click"]["auc"] for m in runs(balancer)] for name, balancer in both.items()}
slip = paired_interval(np.subtract(judged["the colleague's"], judged["GradNorm"]))
record("GradNorm with a slip", slip._asdict())
Markdown(
    f"AUC of click, the colleague's minus GradNorm's: {slip.mean:+.3f} (interval {slip.low:+.3f} "
    f"to {slip.high:+.3f}): {verdict(slip.low, slip.high, 1)}."
)

# %% [markdown] tags=["exercise"]
# id: 5.3
# level: write
# minutes: 8
# goal: catch a balancer that slows the task it should help
# hints:
# - Invent two tasks that differ in one thing only. In which?
# - Equal weights, equal norms, `start` equal; the first loss has not fallen, the second has.
# - "The weight goes against the slope. It rises only where the slope is below 0."
# ---
# No table shows the slip: the score does not fall. A test on a case whose answer you know does.
#
# You get some `slope(weights, norms, losses, start, alpha)`. Call it on tensors of your own, a case
# with a task that lags. Return true if the weight of that task does **not** rise.


# %% tags=["exercise-code"]
def slows_the_lagging(slope):
    """True if the weight of a task that lags behind does not rise."""
    # BEGIN SOLUTION
    one = torch.ones(2)
    found = slope(one, one, torch.tensor([1.0, 0.5]), one, 1.5)
    return not bool(found[0] < 0)
    # END SOLUTION
    # STUB: found = ...  # call slope
    # STUB: return ...  # your answer


# %% tags=["check"]
check("5.3", slows_the_lagging)

# %% [markdown] tags=["solution"]
# The colleague divides the mean by the lag, which flips the exponent: the task that lags is slowed
# further. In the test all else is equal, so only the lag can decide. "Does not rise" also catches a
# second published slip: a version that loses $r$ altogether, so that all targets are the same.

# %% [markdown] tags=["practice"]
# ## In practice: the contest, and the test rows once
#
# Every method with its chosen knob, on the same rows, seeds and steps. Single-task networks are the
# reference.


# %%
kinds = dict.fromkeys(trials, SharedBottom) | {"single task": SingleTask}
final = compare(
    {name: lambda seed, kind=kind: build(seed, kind) for name, kind in kinds.items()}, split_of,
    seeds=range(size.seeds), reference="single task", on="test", by_scenario=False, progress=False,
    trainer=lambda model, train, _, **options: fit(model, train, **options),  # keeps the last epoch
    fit_options=budget, fit_options_for=chosen,
)  # fmt: skip


# %% tags=["hide-input", "hide-output"]
# The contest: intervals and your ranking
def score(name):
    parts = {t: "r2" if t == "dwell" else "normalized_entropy" for t in tasks}
    values = {t: (m, final.by_seed(name, m, t)) for t, m in parts.items()}
    runs = [{t: {m: v[i]} for t, (m, v) in values.items()} for i in range(size.seeds)]
    return np.array([deviance_explained(run) for run in runs])


measured = {"score": {name: score(name) for name in final.candidates}}
for task in ("click", "return"):
    measured[task] = {name: final.by_seed(name, "auc", task) for name in final.candidates}
display(plot.differences(
    measured["score"], "tuned constant", label="deviance explained", category_label="method",
    title=f"Four tasks together: does it beat the constant? ({size.seeds} paired seeds)",
))  # fmt: skip
ranked = {"tuned constant": "tuned constant", "uncertainty weighting": "UW",
          "equal weights": "equal", "random weights": "random weights"}  # fmt: skip
means = {name: float(measured["click"][n].mean()) for name, n in ranked.items()}
display(plot.guess_against_truth(
    guess("5.p2"), dict(sorted(means.items(), key=lambda pair: -pair[1])), "test AUC of click",
    title="Your order and the order of the means",
))  # fmt: skip

# %% tags=["hide-input", "hide-output"]
# The verdicts on all methods: run this cell.
rows, others = [], len(final.candidates) - 1
said = ["| against | on | better | worse |", "| --- | --- | --- | --- |"]
for base in ("tuned constant", "1 / base loss", "random weights"):
    for measure, by_name in measured.items():
        told = {"better": [], "worse": []}
        for name in [name for name in final.candidates if name != base]:
            gaps = by_name[name] - by_name[base]
            one, all_of_them = paired_interval(gaps), paired_interval(gaps, 1 - 0.05 / others)
            alone = verdict(one.low, one.high, 1)
            together = verdict(all_of_them.low, all_of_them.high, 1)
            told.setdefault(alone, []).append(name + "\\*" * (together == alone))
            rows.append({
                "base": base, "measure": measure, "method": name, "difference": one.mean,
                "from": one.low, "to": one.high, "verdict": alone, "together": together,
            })  # fmt: skip
        on = "all four tasks" if measure == "score" else measure
        better, worse = (", ".join(told[word]) or "nobody" for word in ("better", "worse"))
        said.append(f"| {base} | {on} | {better} | {worse} |")
record("contest", pl.DataFrame(rows))
Markdown("\n".join(said))

# %% tags=["hide-input", "hide-output"]
# Where each method lands, and what it costs
record("test", final.table().select(pl.exclude("scenario", "sign")))
wide = final.table().pivot(on="task", index="candidate", values="mean")
display(plot.trade_off(
    {row["candidate"]: (row["click"], row["return"]) for row in wide.to_dicts()},
    title=f"Where each method lands: mean of {size.seeds} seeds, test rows",
    xlabel="AUC of click", ylabel="AUC of return",
))  # fmt: skip
best = shop.oracle(log.test, knows="features")
ceiling = {task: best[task]["r2_log" if task == "dwell" else "auc"] for task in tasks}
wide = pl.concat([wide, pl.DataFrame([{"candidate": "best possible", **ceiling}])])
equal_seconds = final.cost().filter(pl.col("candidate") == "equal")["seconds"][0]
costs = final.cost().select(
    "candidate", "parameters", (pl.col("seconds") / equal_seconds).alias("time, equal = 1"),
    (pl.col("backward_passes") / pl.col("steps")).cast(int).alias("backward"),
    pl.when(pl.col("candidate") == "FAMO").then(2).otherwise(1).alias("forward"),
)  # fmt: skip
overview = wide.join(costs, on="candidate", how="left", maintain_order="left")
record("overview", overview)
with pl.Config(tbl_width_chars=120, tbl_cols=12):
    display(overview.with_columns(pl.selectors.float().round(3)))

# %% [markdown]
# AUC for yes and no, `r2_log` of notebook 01 for dwell; backward and forward count whole passes a
# step. (GradNorm adds a short pass for each task, back to the last shared layer. FAMO looks at each
# batch twice.) Each verdict has a 95 % interval of its own: among so many, luck makes one in twenty.
# A star says that it holds for all methods of its row at once.
#
# No rule that adapts is seen to beat the tuned constant on the four tasks together. Xin and others
# (2022) and Kurin and others (2022) found the same on far larger benchmarks. Most rules do beat the
# dice (each verdict taken alone): they know something, but no more than four trials of a constant
# find out. Single tasks tell more: here the tuned constant leads on click and pays with return. The
# rules that divide by the loss **land elsewhere** on the trade-off of notebook 03, and the constant
# 1 / base loss lands near them.
#
# One shop is not all shops. The intervals cover the luck of rows and starts, not that of the shop:
# change the market's `seed` in the first cell of the story, run again, and see which verdicts stay.
#
# So: standardise, try a handful of constants, keep random weights as a control.

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - UW, IMTL-L and GLS lead to weights near 1 / loss. That undoes units, and a constant can do it too.
#   They know nothing of what you want.
# - DWA at its usual temperature is hardly more than equal weighting.
# - With equal trials and constants as controls, no rule is seen to win here; nor is sharing, against
#   single tasks.
# - A flipped sign in a balancer hides from every score. Test it on a case whose answer you know.

# %% tags=["quiz"]
quiz("5.exit")

# %% [markdown] tags=["instructor"]
# Collect the rankings of 5.p2 before the contest. Many put random weights far below the rest; ask
# what it means that on click DWA and STCH are not seen to differ from them. In 5.1 the common slip
# is a missing 1/2, or a clamp "for safety"; let the group compute which losses would freeze. In 5.2
# write both signs on the board: the exponent's (the target of a task that lags is higher) and the
# step's (the slope is then negative, so its weight rises). In 5.3 ask who would have noticed the
# slip in a table of AUCs.
#
# The flipped GradNorm may even come out *ahead* on click. Our guess, not measured here: the loss of a
# rare click falls at once, as soon as its head knows the rate, so the right GradNorm takes click for
# far ahead and gives its weight to the others. A slip can look like an improvement.
#
# Let the room change the market's `seed` and compare notes: some verdicts on single tasks change with
# the shop.
#
# If someone objects that the constant's knob was well chosen: it was. Its family, powers of the
# label counts, is prior knowledge; let them replace it by four random draws as in notebook 03.

# %% [markdown] tags=["sources"]
# ## Sources
#
# - Alex Kendall, Yarin Gal, Roberto Cipolla: *Multi-Task Learning Using Uncertainty to Weigh Losses*.
#   CVPR 2018.
# - Liyang Liu and others: *Towards Impartial Multi-task Learning* (IMTL). ICLR 2021.
# - Zhao Chen and others: *GradNorm*. ICML 2018. Shikun Liu, Edward Johns, Andrew Davison: *End-to-End
#   Multi-Task Learning with Attention* (DWA). CVPR 2019.
# - Sumanth Chennupati and others: *MultiNet++* (GLS). CVPR workshops 2019. Bo Liu and others: *FAMO*.
#   NeurIPS 2023. Xi Lin and others: *Smooth Tchebycheff Scalarization*. ICML 2024.
# - Hongyan Tang and others: *Progressive Layered Extraction* (the schedule). RecSys 2020.
# - Baijiong Lin and others: *Reasonable Effectiveness of Random Weighting* (RLW). TMLR 2022.
# - Derrick Xin and others: *Do Current Multi-Task Optimization Methods in Deep Learning Even Help?*
#   Vitaly Kurin and others: *In Defense of the Unitary Scalarization*. Both NeurIPS 2022.

# %% [markdown] tags=["title"]
# title: Weigh the losses
# question: Who decides what matters?
# read: 17
# run: 1
# needs: [01, 02]
# cut:
# - Exercise 3.2 (10 minutes); draw the dominated points on the board instead.
# - "\"What does a weight do to a chance?\" (5 minutes); show its first figure only."
# ---
# In a sum of losses, the weights decide whom the shared layers serve. You compute what a weight
# does, see what changes it, and compare ways to choose it.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - write the update of a shared layer and of its heads under a weighted loss (exercise 3.1),
# - find the choices of weights that another choice dominates (exercise 3.2),
# - write a test that unmasks an unfair measure of improvement (exercise 3.3).

# %% [markdown] tags=["recall"]
# ## What do you remember?

# %% tags=["quiz"]
from mtlkit.course import quiz

quiz("3.recall")

# %% [markdown] tags=["setup"]
# ## Set-up

# %%
from dataclasses import replace

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from IPython.display import display

import mtlkit
from mtlkit import FixedWeights, SharedBottom, SingleTask, Split, fit, plot, report
from mtlkit.course import check, evidence, guess, mode, plain_tables, predict, record, shop, sizes
from mtlkit.metrics import auc, pcoc
from mtlkit.train import seeded

torch.set_num_threads(1)  # quicker for networks as small as these
tables = plain_tables(tbl_rows=8, fmt_str_lengths=60)

# %% tags=["parameters"]
MODE, SHOP = mode(), shop()

# %% [markdown] tags=["story"]
# ## Six teams, one network
#
# Each task of the shop has a team: click, cart, purchase, dwell (the seconds on the product's
# page), return and rating. All use one network. It is trained on one number, the **weighted loss**:
#
# $$L = \lambda_1 L_1 + \lambda_2 L_2 + \dots$$
#
# $L_k$ is the loss of task $k$, the mean over the rows that have its label. $\lambda_k$ ("lambda")
# is its weight. No data set tells you how to set it.
#
# A few tasks may drown the others, by the number of their labels or the size of their losses: this
# is **task imbalance**.

# %%
size = sizes("03", MODE)
market = mtlkit.Market("small", seed=SHOP)
six = mtlkit.split_time(market.impressions(size.rows), "day", (33, 44))
teams = six.train.schema.task_names
share = {task: float(six.train.mask(task).float().mean()) for task in teams}
wiring = plot.network(
    "shared_bottom", teams, outputs=[f"λ{k} L{k}" for k in "₁₂₃₄₅₆"],
    title="One network, six losses, six weights")  # fmt: skip
labels = plot.rates_by(
    teams, [1000 * share[t] for t in teams], ordered=False, label="rows with a label, of 1,000",
    title="Every task has a loss, most have few labels", category_label="task")  # fmt: skip
display(wiring, labels)

# %% tags=["predict"]
predict("3.p1")
predict("3.p2")

# %% [markdown] tags=["worked"]
# ## One row, by hand
#
# A small network has a shared number $Z$ and two heads, with outputs $z_1$ and $z_2$:
#
# $$Z = v \cdot x, \quad z_k = a_k Z$$
#
# $$x = (1, 2), \quad v = (0.5, 0.25), \quad a = (1, 2), \quad \lambda = (1, 0.5)$$
#
# The slope $s_k$ says how fast $L_k$ grows with $z_k$. With $p_k$ for the predicted chance, it is
#
# $$\text{yes or no: } s_k = p_k - y_k \qquad \text{squared error: } s_k = 2 (z_k - y_k)$$
#
# The article from which this course grew halves the squared error. The factor 2 then disappears,
# just as if you halved $\lambda_k$.
#
# By the chain rule, each head gets its own loss only. The shared $v$ gets both, added:
#
# $$\text{head } k: \; \lambda_k s_k Z \qquad v: \; (\lambda_1 s_1 a_1 + \lambda_2 s_2 a_2)\, x$$
#
# On paper, with yes-or-no labels:
#
# $$y = (1, 0), \quad z = (1, 2), \quad p = (0.731, 0.881), \quad s = (-0.269, 0.881)$$
#
# $$\text{heads: } -0.269 \text{ and } 0.440 \qquad v: \; 0.612\, x$$
#
# The cell checks this with autograd and with **finite differences**, which need no formula: move
# one number a little up and down, and see by how much $L$ changes.


# %%
x, weights = torch.tensor([1.0, 2.0]).double(), torch.tensor([1.0, 0.5]).double()
start = torch.tensor([0.5, 0.25, 1.0, 2.0]).double()  # theta: v1, v2, a1, a2
examples = {"yes or no": [1.0, 0.0], "squared error": [1.5, 1.0]}  # the labels of both heads


def by_hand(theta, kind):
    # both losses, and the gradient of their weighted sum
    v, a, y = theta[:2], theta[2:], torch.tensor(examples[kind]).double()
    Z = v @ x  # the shared number
    z = a * Z  # (task,)
    if kind == "yes or no":
        p = 1 / (1 + torch.exp(-z))
        losses, s = -y * torch.log(p) - (1 - y) * torch.log(1 - p), p - y
    else:
        losses, s = (z - y) ** 2, 2 * (z - y)
    for_v = (weights * s * a).sum() * x  # the shared v: both, added
    return losses, torch.cat([for_v, weights * s * Z])  # each head: its own loss


def total(theta, kind):
    return weights @ by_hand(theta, kind)[0]


gradients = []
for kind in examples:
    theta = start.clone().requires_grad_()
    total(theta, kind).backward()
    ways = {"by hand": by_hand(start, kind)[1], "autograd": theta.grad}
    nudged = [total(start + n, kind) - total(start - n, kind) for n in 1e-5 * torch.eye(4).double()]
    ways["finite differences"] = torch.stack(nudged) / 2e-5
    columns = {name: values.tolist() for name, values in ways.items()}
    gradients.append(pl.DataFrame({"example": kind, "for": ["v1", "v2", "a1", "a2"]} | columns))
gradients = pl.concat(gradients)
gradients.with_columns(pl.selectors.float().round(4))

# %% [markdown]
# ### A sum, not a pair
#
# Let $\theta$ ("theta") be all parameters, $\eta$ ("eta") the learning rate and $g_k$ the gradient
# of $L_k$. One training step is
#
# $$\theta \leftarrow \theta - \eta\,(\lambda_1 g_1 + \lambda_2 g_2)$$
#
# In one place the article prints a pair where this sum belongs:
#
# $$\theta \leftarrow \theta - \eta \left( \frac{\partial L_1}{\partial \theta}, \; \frac{\partial
# L_2}{\partial \theta} \right)$$
#
# That is a mistake. PyTorch refuses the pair. It accepts a tensor with a row for each task, and
# silently turns one network into two. The article's sections 4.1.3 and 4.2.2 add the weighted
# terms, and they are right: the gradient of a sum is the sum of the gradients.

# %%
theta, eta = start.clone().requires_grad_(), 0.1
each = by_hand(theta, "yes or no")[0]  # both losses
g = torch.stack([torch.autograd.grad(loss, theta, retain_graph=True)[0] for loss in each])
try:
    start - eta * (g[0], g[1])
except TypeError as error:
    print("a pair:", error)
rows = start - eta * g  # (task, 4), without an error
moved = {"before": start, "weighted sum": start - eta * weights @ g}  # (4,)
moved |= {"two rows, network 1": rows[0], "two rows, network 2": rows[1]}
steps = {"theta": ["v1", "v2", "a1", "a2"]} | {n: new.tolist() for n, new in moved.items()}
steps = pl.DataFrame(steps)
steps.with_columns(pl.selectors.float().round(3))

# %% [markdown] tags=["observe"]
# ## Changing the unit changes the weight
#
# Now the shop: click beside dwell, which has a squared error. What dwell is measured in is its
# **unit**: seconds, minutes or, if you standardise it, its standard deviation.


# %%
def in_units(scale, location=0.0):
    # click and dwell, with dwell in units of so many seconds
    click, dwell = six.train.schema.select(["click", "dwell"]).tasks
    dwell = replace(dwell, log1p=False, location=location, scale=scale)
    return Split(*(t.select_tasks(["click", "dwell"]).with_tasks([click, dwell]) for t in six))


def click_curve(kind, split, seed, weight=1.0):
    # AUC of click on validation rows after each epoch; `weight` is that of dwell
    with seeded(seed):
        model = kind(split.train.schema, **shape)
    balancer = FixedWeights({"dwell": weight}) if kind is SharedBottom else None
    history = fit(model, split.train, split.validation, seed=seed, balancer=balancer, **practice)
    return [row["validation"]["click"]["auc"] for row in history.rows]


shape = {"embedding_dim": 32, "hidden": (64, 32), "tower": (16,)}
practice = {"epochs": size.epochs, "batch_size": 1_024, "progress": False}  # the rest as in 01
seconds = six.train.label("dwell")[six.train.mask("dwell")]
standard, only = in_units(seconds.std().item(), seconds.mean().item()), six.select_tasks(["click"])
plans = {"alone": (SingleTask, only), "in seconds": (SharedBottom, in_units(1.0)),
         "in minutes": (SharedBottom, in_units(60.0)), "standardised": (SharedBottom, standard),
         "standardised, λ 0.1": (SharedBottom, standard, 0.1)}  # fmt: skip
curves = {
    name: [click_curve(*plan[:2], s, *plan[2:]) for s in range(size.tries)]
    for name, plan in plans.items()
}

# %% tags=["hide-input", "hide-output"]
# The answer to your guess: run this cell.
ratio = float((seconds**2).mean() / ((seconds / 60) ** 2).mean())
best = {name: [max(curve) for curve in runs] for name, runs in curves.items()}
units = report.against(
    best, "alone", title="The unit of dwell decides how click fares", ordered=False,
    label="AUC of click", category_label="dwell is")  # fmt: skip
kept = {"gradients by hand": gradients, "steps": steps, "curves": curves, "squared": ratio}
for name, value in kept.items():
    record(name, value)
what, title = "squared error in seconds, divided by that in minutes", "The truth: 60 squared"
report.show(plot.guess_against_truth(guess("3.p1"), ratio, what, title=title), units)

# %% [markdown]
# In seconds, the loss of dwell is 3,600 times as large as in minutes, and click drowns: its AUC is
# below a coin's 0.5. So standardise first. Then $\lambda$ says what you want, not how you measure.
#
# Even so, weight 1 is not neutral. Few rows have a dwell, yet their mean speaks as loudly as the
# mean over all rows of click.
#
# ### What does dwell gain?
#
# One shop cannot tell. The stored **contest** has five shops and five starts. It tries four weights
# $\lambda$ of dwell; click keeps 1. Separate networks and trees are the controls. Each gets four
# trials on validation rows, of the learning rate or of the size of the trees.

# %% tags=["hide-input"]
# The stored tables: click and dwell (the standardised log of notebook 01), on five shops.
found, AIMS = evidence("03"), {"click": "auc", "dwell": "r2_log"}
headings = {"click": "AUC of click", "dwell": "R² of log(1 + dwell)"}
names = ["separate", "λ 0.01", "λ 0.1", "λ 1", "λ 10", "trees"]
means = {n: tuple(found.mean(n, task=t, metric=AIMS[t], tasks="two") for t in AIMS) for n in names}
title = f"Who gets the network? Mean of {len(found.shops)} shops"
picture = plot.trade_off(means, title=title, xlabel=headings["click"], ylabel=headings["dwell"])
sweep = report.grid(found, names[1:], {
    f"{headings[t]}, minus separate": {"task": t, "metric": AIMS[t], "minus": "separate",
                                       "tasks": "two"} for t in AIMS})  # fmt: skip
record("sweep", sweep)
report.show(picture, sweep)

# %% [markdown]
# A point is **dominated** if another is at least as good in both aims and better in one. The
# others, drawn filled, are the **Pareto front**: there you can give to one team only by taking from
# the other.
#
# Weight 1 costs click 0.025 of AUC, on 5 of 5 shops, and dwell does not gain. At 0.1 we see no loss
# of click, and dwell gains 0.012 on average, clearly so on 2 of 5 shops. A tenth is about the share
# of rows that have a dwell.

# %% [markdown] tags=["exercise"]
# id: 3.1
# level: fill in
# importance: core
# minutes: 8
# goal: write the update of a shared layer and of its heads under a weighted loss
# hints:
# - The shared layer listens to all losses. How do their gradients come together?
# - "`weights @ for_v` is the weighted sum over the tasks, (inputs,)."
# - "Head k moves by `rate * weights[k] * for_heads[k]`; for all heads at once, without `@`."
# ---
# `for_v` (task, inputs) holds the gradient of each loss for the shared `v`, not yet weighted;
# `for_heads` (task,) that of each loss for its own head. Return the new `v` and `a`.


# %% tags=["exercise-code"]
def update(v, a, for_v, for_heads, weights, rate):
    """One step of gradient descent on the weighted sum: the new (v, a)."""
    # BEGIN SOLUTION
    combined = weights @ for_v  # (inputs,)
    return v - rate * combined, a - rate * weights * for_heads
    # END SOLUTION
    # STUB: combined = ...  # what the shared v receives, (inputs,)
    # STUB: return ..., ...  # your answer


# %% tags=["check"]
check("3.1", update)

# %% [markdown] tags=["solution"]
# `@` adds over the tasks, `*` keeps them apart. This is the whole difference between a shared layer
# and a head.

# %% [markdown] tags=["compare"]
# ## What does a weight do to a chance?
#
# $\lambda$ multiplies a whole loss. Under SGD, ten times all weights are ten times the learning
# rate. Adam divides by the usual size of the gradient: without a prior, only their ratio counts.
#
# A **class weight** stands *inside* one loss: each "yes" counts, say, five times, "because clicks
# are rare". Change `times` and compare.


# %%
def click_chances(seed, times):
    # validation chances of click; the loss counts each click so many times; one epoch
    with seeded(seed):
        model = SingleTask(only.train.schema, **shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.004)
    for batch in only.train.batches(512, shuffle=True, seed=seed):  # batch
        z, y = model(batch)["click"], batch.labels[:, 0]  # forward
        loss = F.binary_cross_entropy_with_logits(z, y, reduction="none")  # task losses
        total_loss = (torch.where(y == 1, times, 1.0) * loss).mean()  # combine
        optimizer.zero_grad()
        total_loss.backward()  # backward
        optimizer.step()  # step
    return mtlkit.predict(model, only.validation)["click"]


times = 5.0
plain, loud = ([click_chances(s, t) for s in range(size.tries)] for t in (1.0, times))
mended = [1 / (1 + times * (1 - p) / p) for p in loud]  # the logit minus log(times), as a chance
expected = [times * p / (1 - p + times * p) for p in plain]  # the plain odds, times 5
versions = {"plain": plain, f"each click counts {times:g} times": loud, "the same, mended": mended,
            f"plain, odds times {times:g}": expected}  # fmt: skip

# %% tags=["hide-input", "hide-output"]
# The answer to your guess: run this cell.
clicked = only.validation.label("click").numpy()
first = {f"{name}, first start": versions[name][0] for name in list(versions)[:3]}
ratios = {name: [pcoc(clicked, p) for p in runs] for name, runs in versions.items()}
areas = {n: [auc(clicked, p) for p in runs] for n, runs in (("plain", plain), ("loud", loud))}
record("chances", {"ratios": ratios, "areas": areas})
title = f"Each click counts {times:g} times ({100 * clicked.mean():.1f} of 100 are clicked)"
told = {f"AUC, each click counted {times:g} times": {"candidate": "loud", "minus": "plain"}}
mine, truth = guess("3.p2"), 100 * np.mean(loud)
report.show(plot.guess_against_truth(mine, truth, "clicks predicted for 100 products", title=title),
            plot.calibration(clicked, first, outcome="click"),
            report.intervals(ratios, label="mean chance / true share"),
            report.lines(areas, told))  # fmt: skip

# %% [markdown]
# The network sees a world with five times as many yeses for each no. So the odds $p / (1 - p)$ come
# out about five times as high. You can mend it: subtract $\log 5$ from the logit. In the order of
# the products, the AUC, we see no difference.
#
# A weight $\lambda$ moves the mean chance little, because each head finds its own level: in the
# contest, that of click is 0.96 to 1.06 times the true share.

# %% [markdown] tags=["exercise"]
# id: 3.2
# level: write
# importance: extra
# minutes: 10
# goal: find the choices of weights that another choice dominates
# hints:
# - "Compare each point with each rival: `points[None, :, :]` with `points[:, None, :]`."
# - A rival dominates if it is `>=` in all aims and `>` in at least one.
# - "`.all(axis=2)` and `.any(axis=2)` go over the aims; then `.any(axis=1)` over the rivals."
# ---
# `points` is an array (point, aim), and higher is better in each aim. Return true for each point
# that some other point dominates, bool (point,). Equal points do not dominate each other.


# %% tags=["exercise-code"]
def dominated(points):
    """True where another point is at least as good in all aims and better in one."""
    # BEGIN SOLUTION
    as_good = (points[None, :, :] >= points[:, None, :]).all(axis=2)  # (point, rival)
    better = (points[None, :, :] > points[:, None, :]).any(axis=2)
    return (as_good & better).any(axis=1)
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("3.2", dominated)

# %% [markdown] tags=["solution"]
# A point is never better than itself, so it cannot dominate itself or its twin.

# %% [markdown] tags=["trap"]
# ## A trap: look how it improved
#
# A colleague measures how much click improved in the networks above, with the function
# `improvement` below, and recommends dwell in minutes: it gains by far the most. What is wrong?

# %% [markdown] tags=["exercise"]
# id: 3.3
# level: write
# importance: useful
# minutes: 8
# goal: write a test that unmasks an unfair measure of improvement
# hints:
# - Invent a run. You know what an honest measure has to say about it.
# - The run should get better from epoch to epoch, and still lose against the single-task network.
# - "`improvement([0.60, 0.65], 0.70) > 0` is praise for a loser."
# ---
# A test needs only a case whose answer you know. You get some measure `improvement(run, alone)`.
# Return true if it praises (gives more than 0) a network that has lost.


# %% tags=["exercise-code"]
def improvement(run, alone):
    # run: AUC after each epoch; alone: AUC of the separate network
    return 100 * (max(run) - run[0]) / run[0]  # percent


for name in ("in seconds", "in minutes", "standardised", "standardised, λ 0.1"):
    gains = [improvement(run, max(own)) for run, own in zip(curves[name], curves["alone"])]
    print(f"{name}: {np.mean(gains):+.1f} %")


def fooled(improvement):
    """True if the measure praises a run that ends below the single-task network."""
    # BEGIN SOLUTION
    return improvement([0.60, 0.65], 0.70) > 0
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("3.3", fooled)

# %% [markdown] tags=["solution"]
# The colleague's function never reads `alone`. It compares a network with its own first epoch, so a
# slow start looks like a great gain. With dwell in minutes, click ends below the separate network:
# see the figure of the units.

# %% [markdown] tags=["practice"]
# ## In practice: six tasks
#
# The same contest weighs all six tasks. *By rows* means that $\lambda_k$ is the share of rows with
# the label: every labelled row counts the same. *1 / gradient norm* divides by the **gradient
# norm**, the length of a task's gradient in the shared layers. *Searched* is the best of four
# random draws. *Equal* and *random weights* (drawn anew at every step) are controls.
#
# The **base loss** is that of a model which always gives the mean. The score is the **deviance
# explained**, the share of the base loss that is gone, averaged over click, cart, purchase and
# dwell. Return and rating are left out: they have too few rows.

# %% tags=["hide-input"]
# The stored tables: six tasks, on five shops.
whole = {"task": "all", "metric": "explained", "sign": 1, "tasks": "six"}
names = ["by rows", "trees", "1 / gradient norm", "searched", "equal", "random weights"]
title = "Who reaches separate networks on five shops?"
style = {"title": title, "label": "deviance explained"}
strict = report.against(found, "separate", names=names, **style, **whole)
gap = {"minus": "separate", "tasks": "six"}
columns = {f"{t} (AUC)": {"task": t, **gap} for t in ("click", "cart", "purchase")}
columns["dwell (R²)"] = {"task": "dwell", "metric": "r2_log", **gap}
tasks = report.grid(found, ["by rows", "trees", "equal"], columns, first="minus separate")
record("six tasks", tasks)
gain = {"by rows, minus equal": {"candidate": "by rows", "minus": "equal", **whole}}
report.show(strict, tasks, report.lines(found, gain))

# %% [markdown]
# On average, only weights by rows reach separate networks, though cart is worse on 3 of 5 shops. No
# weights beat separate networks. Trees are level with separate networks, and better on click.
#
# **On Monday:** weigh each loss by its share of labelled rows. It needs no search. Expect about
# what separate networks reach on average, not more; look at each task, and try trees.

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - The shared layers follow the weighted sum, each head its own loss. Whoever sets the weights
#   decides who is served.
# - A change of unit changes the weight. Standardise first; then ask how many rows stand behind a
#   loss.
# - On five shops, only weights by rows reached separate networks. No weights beat them.
# - "Better" means better than a trained separate network, never better than epoch one.

# %% tags=["quiz"]
quiz("3.exit")

# %% [markdown] tags=["instructor"]
# Let two halves of the room play the click and the dwell team and argue for a $\lambda$ before you
# show the trade-off; then ask which wishes the figure rules out. In 3.2 many forget the tie: draw
# two points above each other. In 3.3 learners first write a better measure; ask for a test instead.
# Likely question: why not simply divide each loss by its size? The contest has two such rules (1 /
# base loss, and 1 / the usual size of the slope); neither is clearly above equal weights. Notebook
# 05 lets such weights change while training goes on. By rows chose the highest of the four rates on
# 4 of 5 shops, separate networks the lowest on 3: a wider search might part them.

# %% [markdown] tags=["sources"]
# ## Sources
#
# - Derrick Xin and others: *Do Current Multi-Task Optimization Methods in Deep Learning Even Help?*
#   NeurIPS 2022.

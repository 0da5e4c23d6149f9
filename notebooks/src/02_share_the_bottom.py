# %% [markdown] tags=["title"]
# title: Share the bottom
# question: What does sharing buy?
# read: 20
# run: 1
# needs: [00, 01]
# cut:
# - Exercise 2.1 (6 minutes); count on the board.
# - The print-out that names the wrong number (3 minutes).
# ---
# One network for several tasks is the oldest multi-task model. It promises efficiency,
# generalisation, better decisions and saved resources. You measure all four.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - count the parameters of shared and separate networks (exercise 2.1),
# - write the gradient that the heads send back into their shared layer (exercise 2.2),
# - tell a missing label from a "no" in a joined table (exercise 2.3).

# %% [markdown] tags=["recall"]
# ## What do you remember?

# %% tags=["quiz"]
from mtlkit.course import quiz

quiz("2.recall")

# %% [markdown] tags=["setup"]
# ## Set-up

# %%
from functools import cache

import numpy as np
import polars as pl
import torch

import mtlkit
from mtlkit import ArticleNetwork, FixedWeights, SharedBottom, evaluate, fit, plot, report
from mtlkit.comparison import paired
from mtlkit.course import check, evidence, guess, mode, predict, record, shop, sizes
from mtlkit.data.augment import augment
from mtlkit.shop.product_pictures import CATEGORIES, keep_labels, product_pictures, shuffle_labels
from mtlkit.train import seeded

torch.set_num_threads(1)  # quicker for networks as small as these

# %% tags=["parameters"]
MODE, SHOP = mode(), shop()

# %% [markdown] tags=["story"]
# ## A rare event beside a common one
#
# Purchases are rare. Can their network learn from the many clicks? In a shared bottom, a **shared
# network** reads each row, and only a small **tower** belongs to one task alone. The last layer of
# a tower is its **head**. A number that training may change is a **parameter**.
#
# A dial of the shop sets the correlation between what makes people click and what makes them buy.
# You compare separate networks, each stopped at its own best epoch, with a shared one. In the
# shared one, a small **weight** multiplies the loss of purchase before the losses are added.

# %% tags=["predict"]
report.show(plot.network("shared_bottom", ["click", "purchase"]))
predict("2.p1")
predict("2.p2")

# %% tags=["hide-output"]
size, found = sizes("02", MODE), evidence("02")  # found: the stored comparison
log = mtlkit.Market("small", seed=SHOP, task_correlation=0.95).impressions(size.rows)
days = mtlkit.split_time(log.select_tasks(["click", "purchase"]), "day", (33, 44))
schema, shape = days.train.schema, {"embedding_dim": 32, "hidden": (64, 32), "tower": (16,)}
own = found.chosen("separate", shop=SHOP, **{"judged by": "purchase"})
both = found.chosen("shared, chosen weight", shop=SHOP)
mtlkit.compare(
    {"separate": lambda seed: mtlkit.SingleTask(schema, own_stop=True, **shape),
     "shared": lambda seed: SharedBottom(schema, **shape)},
    days, seeds=range(size.tries), on="test", by_scenario=False, progress=False,
    fit_options={"epochs": size.map_epochs, "batch_size": 1_024},  # the rest: defaults, as in 01
    fit_options_for={"separate": {"learning_rate": own["rate"]}, "shared": {
        "learning_rate": both["rate"], "balancer": FixedWeights({"purchase": both["weight"]})}},
)  # fmt: skip

# %% [markdown] tags=["worked"]
# ## The map of sharing
#
# The comparison was run on five shops, from five seeds each, at three correlations and with three
# numbers of rows. Each kind of network had six trials at correlation 0.5 and 60,000 rows (215
# purchases), judged on validation days: of its learning rate and, if shared, of the weight. "4/0"
# means clearly better on four shops and clearly worse on none.

# %% tags=["hide-input", "hide-output"]
# The answer to your first guess: run this cell.
# fmt: off
bought = {n: f"{mean:.0f}" for n, mean in found.table("ceiling").group_by("rows").agg(
    pl.mean("purchases")).sort("rows").rows()}
spec = {"candidate": "shared, chosen weight", "minus": "separate"}
points = {f"correlation {c:g}, {count} purchases": {**spec, "correlation": c, "rows": n}
          for c in (0.0, 0.5, 0.95) for n, count in bought.items()}
panels = {"purchase: what it gains": {"task": "purchase"}, "click: what it pays": {"task": "click"}}
gaps = {panel: {f"correlation {c:g}": [found.difference(*spec.values(), **at, correlation=c, rows=n)
    .headline for n in bought] for c in (0.0, 0.5, 0.95)} for panel, at in panels.items()}
title = f"Where a purchase learns from clicks: mean of {len(found.shops)} shops"
axes = {"xlabel": "purchases to learn from", "label": "AUC, shared minus separate"}
picture = plot.gains(gaps, [*bought.values()], title=title, reference="separate networks", **axes)
report.show(picture, report.grid(found, points, panels, first="point of the map"))
# fmt: on

# %% [markdown] tags=["observe"]
# ## What the map says
#
# At 0.95, purchase gains 0.03 to 0.04 of AUC, clearly on 3 or 4 of 5 shops; with 29 purchases the
# mean is not clear of 0. At 0.5 it gains less, clearly with 29 purchases only; at 0 we see no gain.
# We see no trend with more purchases, so of your choices the first comes nearest. On average, click
# loses 0.006 at most. That is due to the weight: at 0.5 and 60,000 rows, equal weights cost click
# 0.026; with the chosen one we see no loss.
#
# ### One picture, two questions
#
# The shop gets pictures of new products, here drawn by code. Is each `footwear` (sandal, sneaker,
# boot)? Is it for `winter` (pullover, coat, boot)? A boot is both.
#
# In the figure, the second row shows the first, a little turned, scaled and shifted. Adding such
# copies to the training rows is called **augmentation**.

# %%
source, pair = "drawn", ["footwear", "winter"]  # for "real" see datasets/README.md
shown = product_pictures(source).train.take(range(10, 18))
names = 2 * [CATEGORIES[int(number)] for number in shown.label("category")]
pictures = torch.cat([shown.dense, augment(shown.dense, seed=0)])
plot.picture_grid(pictures, names, title="Products of the shop, and their changed copies")

# %% [markdown]
# ### The network of the article
#
# The survey article behind this course builds this network in Keras. A picture $x$ has 28 × 28 =
# 784 numbers. A layer of 128 *neurons*, each of which gives one number, is shared, and each task
# has a head:
#
# $$Z = \max(0,\; V x + c) \qquad p_k = \sigma(h_k \cdot Z + b_k)$$
#
# $\max(0, \cdot)$ is called *ReLU*. A head turns $Z$ into one number, the **logit**, and the
# sigmoid $\sigma$ makes it a chance. The article calls the shared layer an *encoder*, and the heads
# the *decoders* that read $Z$. (In this course, an encoder prepares data.)
#
# | in Keras | here | what it does |
# | --- | --- | --- |
# | `Flatten()` | `product_pictures()` | makes each picture one row |
# | `Dense(128, "relu")` | `model.encoder` | gives $Z$ |
# | `Dense(1, "sigmoid")`, twice | `model.heads` | two heads; the sigmoid follows in `predict` |
# | `Model(...)` | `ArticleNetwork()` | joins the layers |
# | `compile("adam", loss=[...])` | `Adam()`, `model.losses` | chooses the optimiser and the losses |
# | `fit()` | the six steps | trains on the sum of the losses |

# %%
train, validation, test = product_pictures(source).select_tasks(pair)
with seeded(0):
    model = ArticleNetwork(train.schema)  # 784 inputs, a shared layer of 128, a head a task
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
for epoch in range(size.epochs):
    for batch in train.batches(64, shuffle=True, epoch=epoch):  # batch
        logits = model(batch)  # forward: {task: (64,)}
        losses = model.losses(logits, batch)  # task losses: (2,)
        total = losses.sum()  # combine
        optimizer.zero_grad()
        total.backward()  # backward
        optimizer.step()  # step

V, c, _, _, h, b = model.parameters()  # by hand: the chance of winter, and the gradient of V
rows = test.batch(torch.arange(len(test)))
chance = torch.sigmoid(torch.relu(rows.dense @ V.T + c) @ h.T + b)[:, 0]  # (picture,)
losses = model.losses(model(rows), rows)
each = [torch.autograd.grad(loss, V, retain_graph=True)[0] for loss in (*losses, losses.sum())]
gaps = {"chance": chance - model.predict(rows)["winter"], "gradient": each[0] + each[1] - each[2]}
record("by hand", {name: gap.abs().max().item() for name, gap in gaps.items()})
print("largest differences:", {name: f"{gap.abs().max():.0e}" for name, gap in gaps.items()})

# %%
learned, unseen = evaluate(model, train), evaluate(model, test)
scores = {"task": pair, "training loss": [learned[task]["log_loss"] for task in pair]}
for name, metric in {"loss": "log_loss", "accuracy": "accuracy", "recall": "recall"}.items():
    scores[f"test {name}"] = [unseen[task][metric] for task in pair]
record("evaluation", scores)
report.show(pl.DataFrame(scores))

losses = [sum(scores["test loss"]), *scores["test loss"]]  # evaluate in Keras
for results in (losses, losses + scores["test accuracy"]):  # accuracy, too
    try:
        print("Test loss for task 2:", results[3])  # the line of the article
    except IndexError as error:
        print("IndexError:", error)

# %% [markdown]
# ### One layer, two messages
#
# The **gradient** of a loss says for each parameter how fast the loss rises with it. The printed
# differences are rounding. So the formulas are right, and the gradient of the summed losses for $V$
# is the sum of what both heads send back.
#
# For both heads, the loss is higher on test pictures than on training pictures.
#
# The article prints `results[3]` as the loss of task 2. Keras returns the sum and two losses, so
# the line fails. If accuracy is reported too, it prints the *accuracy of task 1*. Ask for names,
# not places: `return_dict=True`.

# %% [markdown] tags=["exercise"]
# id: 2.1
# level: fill in
# importance: useful
# minutes: 6
# goal: count the parameters of shared and separate networks
# hints:
# - A layer from `a` numbers to `b` numbers has `a * b` coefficients. What else does it have?
# - "The other thing: one offset for each of its `b` outputs."
# - Which of `layer` and `head` is needed once, and which once for each task?
# ---
# Complete `count_parameters`: `layer` is the number of parameters of the first layer, `head` that of
# one head.


# %% tags=["exercise-code"]
def count_parameters(inputs, hidden, tasks):
    """(shared, separate): parameters of one shared network, and of one network for each task."""
    # BEGIN SOLUTION
    layer = inputs * hidden + hidden
    head = hidden + 1
    return layer + tasks * head, tasks * (layer + head)
    # END SOLUTION
    # STUB: layer = ...  # coefficients and offsets from `inputs` numbers to `hidden` numbers
    # STUB: head = ...  # coefficients and offset from `hidden` numbers to one
    # STUB: return ..., ...  # your answer


# %% tags=["check"]
check("2.1", count_parameters)

# %% [markdown] tags=["solution"]
# Nearly all parameters sit in the first layer: sharing it among $T$ tasks leaves about $1 / T$.


# %% tags=["hide-output"]
def cost(*tables):
    """Parameters of one network for each table, and seconds to train them."""
    networks = [ArticleNetwork(table.schema) for table in tables]
    options = {"epochs": 1_000, "max_steps": 100, "batch_size": 64, "progress": False}
    seconds = sum(fit(*both, **options).seconds for both in zip(networks, tables))
    return np.array([sum(one.parameter_count()["total"] for one in networks), seconds])


rounds = [1 - cost(train) / cost(*map(train.select_tasks, pair)) for _ in range(size.timings)]
parameters, seconds = 100 * np.median(rounds, axis=0)
record("saved by sharing in percent", {"parameters": parameters, "training time": seconds})
print(f"training time saved: {seconds:.0f} %")
plot.guess_against_truth(guess("2.p2"), parameters, "parameters saved", unit="%", limits=(0, 100),
                         title="What one shared network saves against two")  # fmt: skip

# %% [markdown] tags=["compare"]
# ## Modify and compare: a task with few labels
#
# Now only 100 training pictures keep their `winter` label. All keep their category, the **helper**:
# a task that is trained only so that another one is learned better. Each seed splits the pictures
# anew and trains `winter` alone and with the helper. Four things vary from case to case:
#
# - The shared network has *one layer* of 128 neurons or *two layers* of 128 and 32.
# - Three changed *copies* of each picture may join, also for `winter` alone.
# - The labels of a *shuffled* helper are dealt out at random. It is the **control**: if it helps as
#   well, knowledge is not the reason.
# - A *loud* helper is shuffled, and its loss has a weight of 20.

# %% tags=["predict"]
predict("2.p3")


# %%
@cache  # a network that is asked for twice is trained once
def train_winter(seed, hidden, copies, helper=None, weight=1):
    """Metrics of winter, learned alone or beside a helper that is "true" or "shuffled"."""
    parts = product_pictures(source, seed=seed)
    table = keep_labels(parts.train, "winter", 100, seed)
    table = shuffle_labels(table, "category", seed) if helper == "shuffled" else table
    table = table.select_tasks(["winter", "category"] if helper else ["winter"])
    if copies:
        originals, table = len(table), mtlkit.concatenate(*[table] * (1 + copies))
        table.dense[originals:] = augment(table.dense[originals:], seed=seed)
    with seeded(seed):
        network = SharedBottom(table.schema, hidden=hidden, tower=())  # heads of one layer
    options = {"balancer": FixedWeights({"category": weight})} if helper else {}
    options |= {"epochs": 10_000, "max_steps": size.steps, "batch_size": 64}  # the steps decide
    options |= {"schedule": "constant", "learning_rate": 0.001, "progress": False}
    fit(network, table, seed=seed, **options)
    return evaluate(network, parts.validation)["winter"]


one, two, seeds = (128,), (128, 32), range(size.seeds)  # modify: try two = (128, 128)
cases = {
    "one layer of 128, true helper": (one, 0, "true"),
    "two layers, true helper": (two, 0, "true"),
    "two layers, true helper, copies": (two, 3, "true"),
    "two layers, shuffled helper": (two, 0, "shuffled"),
    "two layers, loud shuffled helper": (two, 0, "shuffled", 20),
}
shared = {case: [train_winter(s, *how) for s in seeds] for case, how in cases.items()}
alone = {case: [train_winter(s, *how[:2]) for s in seeds] for case, how in cases.items()}

# %% tags=["hide-input", "hide-output"]
# The answer to your third guess: run this cell.
# fmt: off
gains, told = {}, []
for case in cases:
    (own, base), right = ([[run[metric] for run in runs[case]] for runs in (shared, alone)]
                          for metric in ("auc", "accuracy"))
    gains[f"{case}  ◀ your choice" if case == guess("2.p3") else case] = np.subtract(own, base)
    told.append({"case": case, "AUC alone": np.mean(base), "shared": np.mean(own),
                 "AUC difference": paired(own, base).short(), "spread alone": np.std(base),
                 "spread shared": np.std(own), "right answers": paired(*right).short()})
adds = report.intervals(gains, first="case", label="AUC of winter, shared minus alone", digits=3,
    title="What the helper adds, paired seeds", overall=0.0, overall_label="as good as alone")
record("gain of winter", pl.DataFrame(told), source=f"{source} pictures")
report.show(adds.picture, pl.DataFrame(told))
# fmt: on

# %% [markdown]
# The true helper knows a coat from a dress, and `winter` needs just that. Two layers pass on more
# of it than one. The shuffled helper costs a little, the loud one a lot. A task that is predicted
# worse because it shares suffers from **negative transfer**.
#
# The article also promises stability. The *spread* is the standard deviation of the AUC over the
# seeds. With two layers, the true helper halves it; with one, it hardly changes. On the map,
# sharing widens the spread of click at all nine points, and narrows that of purchase at correlation
# 0.

# %% [markdown] tags=["exercise"]
# id: 2.2
# level: write
# importance: core
# minutes: 12
# goal: write the gradient that the heads send back into their shared layer
# hints:
# - "How strongly does neuron `h` act on head `k`? By the coefficient `heads[k, h]`. So head `k`
#   sends the message `error[:, k] * heads[k, h]` back to it."
# - "The messages of all heads are added: `error @ heads` has the shape (rows, hidden)."
# - "A neuron that ReLU set to 0 passes nothing on: multiply by `(Z > 0)`."
# - "Last, each coefficient of V joins a neuron to a pixel: `message.T @ x` has the shape (hidden,
#   inputs)."
# ---
# Add the messages that the heads send back to $Z$, and pass them on to $V$. You get `x` (rows,
# inputs), `Z` (rows, hidden), the heads' coefficients `heads` (task, hidden), and `error` (rows,
# task). It is chance minus label, divided by the number of rows: the slope of each loss at its
# logit. Return the gradient of the summed losses for $V$: (hidden, inputs).


# %% tags=["exercise-code"]
def shared_gradient(x, Z, heads, error):
    """The gradient of the summed losses for the coefficients V of the shared layer."""
    # BEGIN SOLUTION
    message = error @ heads  # (rows, hidden): summed over the tasks
    message = message * (Z > 0)
    return message.T @ x  # (hidden, inputs)
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("2.2", shared_gradient)

# %% [markdown] tags=["solution"]
# The matrix product `error @ heads` sums over the tasks: the shared layer moves where the heads
# *together* push it. Heads that push against each other cancel out (notebook 06).

# %% [markdown] tags=["trap"]
# ## The trap: one tidy table
#
# Two suppliers send pictures. One noted which are footwear, the other which are for winter. A
# colleague stacks both files, makes the table tidy and trains a network on it. Its chances of
# winter are far too low. What went wrong?


# %%
def from_suppliers(seed, tidy):
    """Winter's metrics after training on two joined files, as the colleague did or with a mask."""
    parts = product_pictures(source, seed=seed).select_tasks(pair)
    half = len(parts.train) // 2
    first = parts.train.take(range(half)).select_tasks("footwear")
    second = parts.train.take(range(half, len(parts.train))).select_tasks("winter")
    table = mtlkit.concatenate(first, second)
    table.observed |= tidy  # in a tidy table, every cell holds a number
    with seeded(seed):
        network = ArticleNetwork(table.schema)
    fit(network, table, epochs=size.epochs, batch_size=64, seed=seed, progress=False)
    return evaluate(network, parts.validation)["winter"]


tidied, masked = ([from_suppliers(s, tidy) for s in seeds] for tidy in (True, False))
print(f"mean chance / true share: {np.mean([run['pcoc'] for run in tidied]):.2f} (1 is right)")

# %% [markdown] tags=["exercise"]
# id: 2.3
# level: write
# importance: core
# minutes: 6
# goal: tell a missing label from a "no" in a joined table
# hints:
# - What did the colleague write into the cells that the suppliers left empty?
# - "A 0 may be an honest no. So the value of a label cannot tell you; who wrote it can."
# - "`torch.stack([a, b], dim=1)` makes two columns from two lists of true and false."
# ---
# You get the tidy `labels` (rows, 2), footwear first and winter second, and `supplier` (rows,): 0
# for the first, 1 for the second. Return a **mask**: a tensor (rows, 2) that is true where a
# supplier really wrote the label.


# %% tags=["exercise-code"]
def really_labelled(labels, supplier):
    """True where the supplier of the row wrote that label, bool (rows, 2)."""
    # BEGIN SOLUTION
    return torch.stack([supplier == 0, supplier == 1], dim=1)
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("2.3", really_labelled)

# %% [markdown] tags=["solution"]
# `labels != 0` also drops every honest "no": the model would see winter pictures only.

# %% tags=["hide-input"]
# With a mask and without: the same measures for both
rows = {"AUC": "auc", "log-loss": "log_loss", "mean chance / true share": "pcoc"}
missing = []
for name, metric in rows.items():
    good, bad = ([run[metric] for run in runs] for runs in (masked, tidied))
    row = {"measure": name, "with a mask": np.mean(good), "filled with 0": np.mean(bad)}
    missing.append(row | {"difference": f"{paired(bad, good).headline:+.3f}"})
record("missing labels", pl.DataFrame(missing))
report.show(pl.DataFrame(missing))

# %% [markdown] tags=["practice"]
# ## In practice
#
# A 0 is an answer: half of the winter pictures were labelled as not for winter. `concatenate` keeps
# the mask as `observed`, and a loss counts only the rows that it marks.
#
# | the article promises | measured here |
# | --- | --- |
# | efficiency | saves about half of the training time, depending on the machine |
# | generalisation | 0.03 to 0.04 of AUC for purchase, from closely related clicks |
# | better decisions | for `winter`, 3 more right answers in 100 (two layers, true helper) |
# | saved resources | saves half of the parameters |
#
# **On Monday:** keep the best separate models as the reference. If a task has few labels, let it
# share with a closely related one that has many, and give its own loss a small weight: at 0.95 and
# 72 purchases or more, equal weights cost click 0.02 to 0.03.

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - A task with few labels gains from a closely related one. From an unrelated one we saw no gain.
# - The shared layer follows the sum of what the heads send back.
# - A missing label is not a zero.

# %% tags=["quiz"]
quiz("2.exit")

# %% [markdown] tags=["instructor"]
# Collect the guesses for 2.p1 before the map: many expect a gain wherever purchases are few. Let
# the room say what "related" could mean for two tasks of their own shop, and how they would find
# out before training. Ask which reference a paper would have chosen: the separate networks here
# have a learning rate and a last epoch of their own, and that makes them hard to beat.
#
# For the pictures, `two = (128, 128)` is a good question for a quick group: with wide layers, does
# the shuffled helper show some gain, too? On real pictures (`source = "real"`, where the sample is
# at hand) other numbers come out; let them compare.
#
# In 2.2 the common slip is the forgotten ReLU; let the group find it by comparing with autograd. In
# 2.3 let someone defend `labels != 0` before you run the check.

# %% [markdown] tags=["sources"]
# ## Sources
#
# - Rich Caruana: *Multitask Learning*. Machine Learning 28, 1997.

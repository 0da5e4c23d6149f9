# %% [markdown] tags=["title"]
# title: Share the bottom
# question: What does sharing buy?
# read: 20
# run: 1
# needs: [00, 01]
# cut:
# - The part on size and time (4 minutes); show its figure only.
# - Exercise 2.1 (6 minutes); count on the board.
# ---
# One network for several tasks: the oldest multi-task model. Four advantages are often claimed:
# fewer parameters, less time, better learning, one model to serve. You count the first and measure
# the others, on the shop and on product pictures.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - count the parameters of a shared network and of separate ones (exercise 2.1),
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
import time

import numpy as np
import polars as pl
import torch
from IPython.display import Markdown, display

import mtlkit
from mtlkit import ArticleNetwork, FixedWeights, SharedBottom, SingleTask, evaluate, fit, plot
from mtlkit.comparison import paired_interval, verdict
from mtlkit.course import check, evidence, guess, mode, plain_tables, predict, record, shop, sizes
from mtlkit.data.augment import augment
from mtlkit.shop.product_pictures import (
    CATEGORIES,
    keep_labels,
    product_pictures,
    shuffle_labels,
)
from mtlkit.train import seeded

torch.set_num_threads(1)  # quicker for networks as small as these
tables = plain_tables()

# %% tags=["parameters"]
MODE, SHOP = mode(), shop()

# %% [markdown] tags=["story"]
# ## A rare event beside a common one
#
# Purchases are rare: could their network learn from the many clicks? The oldest way is to **share
# the bottom**: one network reads the row, and only a small **tower** at its end belongs to one task
# alone.
#
# The shop has a dial for how related two tasks are: the **correlation** of what makes people click
# with what makes them buy. Here it is set to 0.95. We compare separate networks, each stopped at
# its own best epoch, with a shared bottom. In its total loss, purchase has a small **weight**.

# %%
size = sizes("02", MODE)
market = mtlkit.Market("small", seed=SHOP, task_correlation=0.95)
log = market.impressions(size.rows).select_tasks(["click", "purchase"])
days = mtlkit.split_time(log, "day", (33, 44))
clicks, bought = (int(days.train.label(task).sum()) for task in ("click", "purchase"))
print(f"{len(days.train):,} training rows, {clicks:,} clicks, {bought} purchases")
found = evidence("02")  # the stored contest: what was chosen there is used here
plot.network("shared_bottom", ["click", "purchase"])

# %% tags=["predict"]
predict("2.p1")

# %% tags=["hide-output"]
shape = {"embedding_dim": 32, "hidden": (64, 32), "tower": (16,)}
practice = {"epochs": size.map_epochs, "batch_size": 1_024}  # the rest: defaults, as in 01
one = found.chosen("separate", shop=SHOP, **{"judged by": "purchase"})
both = found.chosen("shared, chosen weight", shop=SHOP)
live = mtlkit.compare(
    {"separate": lambda seed: SingleTask(log.schema, own_stop=True, **shape),
     "shared": lambda seed: SharedBottom(log.schema, **shape)},
    days, seeds=range(size.tries), on="test", by_scenario=False, progress=False,
    fit_options=practice,
    fit_options_for={
        "separate": {"learning_rate": one["rate"]},
        "shared": {"learning_rate": both["rate"],
                   "balancer": FixedWeights({"purchase": both["weight"]})},
    },
)  # fmt: skip
live

# %% [markdown] tags=["worked"]
# ## The map of sharing
#
# One shop proves little. So the same contest was held on five shops, at three correlations and
# three numbers of rows, from five starts each. On each shop networks, and trees as rivals, had six
# trials on validation days, at 0.5 and 60,000 rows: of learning rate and, if shared, purchase
# weight. In the table, "4/0" means clearly better on four shops, worse on none; its last column
# takes separate networks without a prior as the reference.

# %% tags=["hide-input", "hide-output"]
# The answer to your first guess: run this cell.
ceiling = found.table("ceiling")
numbers = found.runs["rows"].unique(maintain_order=True).to_list()
relations = found.runs["correlation"].unique(maintain_order=True).to_list()
purchases = [f"{ceiling.filter(rows=n)['purchases'].mean():.0f}" for n in numbers]


def gap(task, correlation, rows, name="shared, chosen weight", minus="separate"):
    """A network of the map minus another: AUC on five shops."""
    return found.difference(name, minus, task=task, correlation=correlation, rows=rows)


def drawn(task):
    """One line per correlation, one interval per number of rows."""
    return {f"correlation {c:g}": [gap(task, c, n).headline for n in numbers] for c in relations}


display(plot.gains(
    {"purchase: what it gains": drawn("purchase"), "click: what it pays": drawn("click")},
    purchases, title=f"Where a purchase learns from clicks: mean of {len(found.shops)} shops",
    xlabel="purchases to learn from", label="AUC, shared minus separate",
    reference="separate networks",
))  # fmt: skip
map_rows = [
    {"correlation": f"{c:g}", "purchases": count,
     "purchase": gap("purchase", c, n).short(), "click": gap("click", c, n).short(),
     "purchase, no prior": gap("purchase", c, n, minus="separate, no prior").short()}
    for c in relations for n, count in zip(numbers, purchases)
]  # fmt: skip
record("map", map_rows)
display(pl.DataFrame(map_rows))
than = {"purchase": "separate", "click": "shared, chosen weight"}
print(f"Trees, at 0.95 and {purchases[-1]} purchases:")
for task, rival in than.items():
    told = gap(task, 0.95, numbers[-1], "trees", rival).short()
    print(f"  {task}, minus {rival.split(',')[0]}: {told}")

# %% [markdown]
# How related the tasks are decides. At 0.95 purchase gains 0.03 to 0.04, on 3 or 4 shops; at 0.5
# less, on 3 at most; at 0 we see no gain. With more purchases we see no trend. On average click
# pays 0.006 at most. On purchase we see no difference between trees and separate networks; on click
# trees lie 0.01 to 0.03 above the shared one.
#
# ### What made the difference?
#
# The table shows the point at which everyone was tuned, 0.5 and 60,000 rows: mean AUC. Its first
# row is the plainest training: a constant rate, no prior, one rate and stop for all, equal weights.
# Each further row mends more. All rates are tuned.

# %% tags=["hide-input"]
rungs = {
    "as it was": ("separate, as it was", "shared, as it was"),
    "own rates and stops": ("separate, own stops", "shared, as it was"),
    "a rate that falls to 0": ("separate, no prior", "shared, equal weights, no prior"),
    "a prior on embedding rows": ("separate", "shared, equal weights"),
    "a chosen weight": ("separate", "shared, chosen weight"),
}
point = {"correlation": 0.5, "rows": 60_000}
ladder = pl.DataFrame([
    {"training": rung}
    | {f"{task}, {kind}": found.mean(name, task=task, **point)
       for task in ("click", "purchase") for kind, name in zip(("separate", "shared"), pair)}
    | {"click: shared minus separate": gap("click", *point.values(), *pair[::-1]).short()}
    for rung, pair in rungs.items()
])  # fmt: skip
record("ladder", ladder)
ladder.with_columns(pl.selectors.float().round(3))

# %% [markdown]
# In the first four rows, click seems to pay dearly for sharing. It pays for equal weights: the
# purchase loss, a mean over a few clicked rows, counts as much as the click loss, a mean over all
# rows. With a tenth or a third of its weight click loses next to nothing, and here we see no loss
# of purchase. The prior helps both kinds with click; on purchase we see no difference.
#
# ## The smallest case: one picture, two questions
#
# The shop gets pictures of new products and asks two things about each. Is it **footwear** (sandal,
# sneaker, boot)? Is it for **winter** (pullover, coat, boot)? A boot is both, a dress is neither.
# The pictures are drawn by code. If you have the sample of [Fashion-MNIST](../datasets/README.md),
# write `source = "real"`.

# %%
source = "drawn"
shown = product_pictures(source).train.take(range(16))
names = [CATEGORIES[int(number)] for number in shown.label("category")]
plot.picture_grid(shown.dense, names, title=f"Products of the shop ({source} pictures)")

# %% [markdown]
# A picture is 28 × 28 = 784 numbers. Each of two separate networks has a layer of 128 units and one
# output. The shared network has that layer once, and two outputs. A **parameter** is a number that
# training may change.
#
# Later only 100 training pictures keep `winter` labels; all have a category: the **helper** task.
# The shared part is *one layer* of 128 units or *two layers* (128, then 32). The labels of a
# *shuffled* helper are dealt out at random. The loss of a *loud* helper counts twenty times.

# %% tags=["predict"]
predict("2.p2")
predict("2.p3")

# %% [markdown]
# ### The network, layer by layer
#
# Call the picture $x$. The shared layer turns it into 128 numbers, called $Z$:
#
# $$Z = \max(0,\; V x + c)$$
#
# $V$ is a table of weights, $c$ a list of 128 offsets (*biases*); setting negative values to 0 is
# called *ReLU*. A **head** is a tower of one layer. It **decodes** $Z$: it weighs the 128 numbers
# and adds them up to a *logit*, which the sigmoid turns into a chance. The shared layer is also
# called an **encoder** (not that of notebook 01), and the heads are two **decoders** that read the
# same $Z$. Six steps train them.

# %%
pair = ["footwear", "winter"]
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

weights = {name: value.numpy() for name, value in model.state_dict().items()}
x = validation.dense.numpy()
# A picture is a row of x here, so V x is written x @ V.T, for all pictures at once.
z = np.maximum(0, x @ weights["encoder.0.weight"].T + weights["encoder.0.bias"])
by_hand = {"Z": z}
for number, task in enumerate(pair):
    logit = z @ weights[f"heads.{number}.0.weight"].T + weights[f"heads.{number}.0.bias"]
    by_hand[task] = 1 / (1 + np.exp(-logit[:, 0]))

rows = validation.batch(torch.arange(len(validation)))
by_network = {"Z": model.encode(rows.dense).detach()} | model.predict(rows)
V, losses = model.encoder[0].weight, model.losses(model(rows), rows)
# What each loss alone sends to V, by automatic differentiation:
sent = [torch.autograd.grad(loss, V, retain_graph=True)[0] for loss in losses]
by_hand["gradient of V"] = (sent[0] + sent[1]).numpy()  # each head's own, added
by_network["gradient of V"] = torch.autograd.grad(losses.sum(), V)[0]

# %% tags=["hide-input"]
# By hand and by the network, an evaluation, and Z as a picture
layers = pl.DataFrame({
    "computed by hand": list(by_hand),
    "shape": [" × ".join(map(str, value.shape)) for value in by_hand.values()],
    "largest difference": [
        float(np.abs(by_hand[name] - by_network[name].numpy()).max()) for name in by_hand
    ],
})  # fmt: skip
record("numpy against network", layers)
judged = evaluate(model, validation)
line = {"loss": sum(judged[task]["log_loss"] for task in pair)}
line |= {f"{task}_loss": judged[task]["log_loss"] for task in pair}
line |= {f"{task}_accuracy": judged[task]["accuracy"] for task in pair}
record("evaluation", line)
display(layers)
print(" - ".join(f"{name}: {value:.4f}" for name, value in line.items()))

centred = torch.tensor(z - z.mean(axis=0))
flat = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T  # (picture, 2)
kinds = ["neither", "winter only", "footwear only", "both: boots"]
kind = (2 * validation.label("footwear") + validation.label("winter")).int().tolist()
plot.points(
    flat, [kinds[number] for number in kind], title="One Z for both heads: footwear and winter",
    xlabel="first direction", ylabel="second direction",
)  # fmt: skip

# %% [markdown] tags=["observe"]
# ## One layer, two messages
#
# The differences are rounding errors. The last row adds both heads' gradients by hand: the gradient
# of the total loss is the **sum** of what each head sends to $V$. Many frameworks print an
# evaluation like the line below the table. The figure shows $Z$ in the two directions in which the
# pictures differ most (*principal components*).
#
# ### Does the poor task learn better?
#
# A **poor** task has few labels. Each seed splits the pictures anew and trains `winter` twice,
# alone and beside its helper, for the same number of steps; validation pictures judge. In one case,
# copies of the pictures, a little turned and scaled, join them (**augmentation**); `winter` alone
# has no copies.


# %%
def train_winter(seed, hidden, helper=True, shuffled=False, loud=1, edit=None):
    """A network that learned winter, alone or beside the helper task."""
    table = keep_labels(product_pictures(source, seed=seed).train, "winter", 100, seed)
    table = shuffle_labels(table, "category", seed) if shuffled else table
    table = edit(table) if edit else table
    table = table.select_tasks(["winter", "category"] if helper else ["winter"])
    with seeded(seed):
        network = SharedBottom(table.schema, hidden=hidden, tower=())  # heads of one layer
    balancer = FixedWeights({"category": loud}) if helper else None  # the weight of its loss
    options = {"epochs": 10_000, "max_steps": size.steps, "batch_size": 64}  # the steps decide
    options |= {"schedule": "constant", "learning_rate": 0.001, "progress": False}
    fit(network, table, seed=seed, balancer=balancer, **options)
    return evaluate(network, product_pictures(source, seed=seed).validation)["winter"]["auc"]


def with_copies(table):
    """The table and three copies of it, each picture turned and scaled a little."""
    copies = [table.take(range(len(table))) for _ in range(3)]
    for number, copy in enumerate(copies):
        copy.dense = augment(copy.dense, seed=number, rotate_degrees=10, scale=0.1)
    return mtlkit.concatenate(table, *copies)


one, two, seeds = (128,), (128, 32), range(size.seeds)
cases = {
    "one layer of 128, true helper": {"hidden": one},
    "two layers, true helper": {"hidden": two},
    "the same, pictures turned and scaled": {"hidden": two, "edit": with_copies},
    "two layers, shuffled helper": {"hidden": two, "shuffled": True},
    "two layers, loud shuffled helper": {"hidden": two, "shuffled": True, "loud": 20},
}
alone = {hidden: [train_winter(s, hidden, helper=False) for s in seeds] for hidden in (one, two)}
shared = {case: [train_winter(s, **options) for s in seeds] for case, options in cases.items()}

# %% tags=["hide-input", "hide-output"]
# The answer to your third guess: run this cell.
WORDS = {"better": "sharing **helps**", "worse": "sharing **hurts**"}


def difference(with_it, without):
    """The mean paired difference, its 95 % interval, and what the interval says."""
    mean, low, high = paired_interval(np.subtract(with_it, without))
    return {"difference": mean, "low": low, "high": high, "verdict": verdict(low, high, 1)}


rows, gain = [], {}
for case, options in cases.items():
    base, helped = alone[options["hidden"]], shared[case]
    gain[case] = np.subtract(helped, base)
    means = {"case": case, "alone": np.mean(base), "shared": np.mean(helped)}
    rows.append(means | difference(helped, base))
gains = pl.DataFrame(rows)
record("gain of winter", gains, source=f"{source} pictures")
display(plot.rates_by(
    [f"{case}  ◀ your choice" if case == guess("2.p3") else case for case in gains["case"]],
    gains["difference"], list(zip(gains["low"], gains["high"])), ordered=False, overall=0.0,
    overall_label="as good as alone", label="AUC of winter, shared minus alone",
    title=f"What the helper adds, {len(seeds)} paired seeds, 95 % intervals",
    category_label="shared part and helper",
))  # fmt: skip
said = [
    f"- {row['case']}: {row['alone']:.3f} alone, {row['shared']:.3f} shared; "
    f"{WORDS.get(row['verdict'], 'no difference seen')}."
    for row in rows
]
second = difference(gain["two layers, true helper"], gain["one layer of 128, true helper"])
record("two layers against one", second, source=f"{source} pictures")
turned = difference(gain["the same, pictures turned and scaled"], gain["two layers, true helper"])
record("augmentation", turned, source=f"{source} pictures")
for what, row in (("gain of two layers minus gain of one", second), ("turned copies", turned)):
    said.append(f"- {what}: {row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}).")
Markdown(f"AUC of `winter`, {source} pictures, judged by the interval:\n\n" + "\n".join(said))

# %% [markdown]
# The true helper knows a coat from a dress, and `winter` needs just that; two layers pass on more
# of it than one. Turned copies add a little. The shuffled helper, the control, even costs a little.
# When it is loud, `winter` pays for its random labels: **negative transfer**. So "sharing
# generalises better" is no law, but a chance that a poor task has with a **related** helper.

# %% [markdown] tags=["exercise"]
# id: 2.1
# level: fill in
# minutes: 6
# goal: count the parameters of a shared network and of separate ones
# hints:
# - A layer from `a` numbers to `b` numbers has `a * b` weights. What else does it have?
# - "The other thing: one offset for each of its `b` outputs."
# - Which of `layer` and `head` is needed once, and which once for each task?
# ---
# Fill in the gaps. `layer` is the number of parameters of the first layer, `head` that of one head.


# %% tags=["exercise-code"]
def count_parameters(inputs, hidden, tasks):
    """(shared, separate): parameters of one shared network, and of one network for each task."""
    # BEGIN SOLUTION
    layer = inputs * hidden + hidden
    head = hidden + 1
    return layer + tasks * head, tasks * (layer + head)
    # END SOLUTION
    # STUB: layer = ...  # weights and offsets from `inputs` numbers to `hidden` numbers
    # STUB: head = ...  # weights and offset from `hidden` numbers to one
    # STUB: return ..., ...  # your answer


# %% tags=["check"]
check("2.1", count_parameters)

# %% [markdown] tags=["solution"]
# Nearly all parameters sit in the first layer: sharing it among $K$ tasks leaves about $1 / K$.

# %% [markdown] tags=["compare"]
# ## Modify and compare
#
# The times below depend on the machine. Write `(128, 128)` for `(128, 32)` above and rerun both
# cells: what does the shuffled helper do?


# %% tags=["hide-input", "hide-output"]
# The answer to your second guess: run this cell.
def cost(tables):
    """Parameters, seconds to train, to answer one picture and to answer many, for these tables."""
    start, networks = time.perf_counter(), []
    for table in tables:
        with seeded(0):
            networks.append(ArticleNetwork(table.schema))
        fit(networks[-1], table, epochs=1_000, max_steps=100, batch_size=64, progress=False)
    spent = [time.perf_counter() - start]
    for count, times in ((1, 200), (1_000, 20)):
        asked = train.batch(torch.arange(count) % len(train))
        start = time.perf_counter()
        for _ in range(times):
            for network in networks:
                network.predict(asked)
        spent.append(time.perf_counter() - start)
    return [sum(network.parameter_count()["total"] for network in networks), *spent]


apart = [train.select_tasks(task) for task in pair]
costs = np.array([(cost([train]), cost(apart)) for _ in range(size.timings)])  # (round, 2, 4)
saved = 100 * (1 - np.median(costs[:, 0] / costs[:, 1], axis=0))
what = ["parameters", "training time", "time to answer 1 picture", "time to answer 1,000"]
record("saved by sharing in percent", dict(zip(what, saved)))
first = guess("2.p2")
picture = plot.guess_against_truth(
    None if first is None else {"parameters": first}, dict(zip(what, saved)),
    "saved by sharing", unit="%", title="What one shared network saves against two",
)  # fmt: skip
picture.figure.axes[0].set_xlim(left=min(0, 1.2 * saved.min()))  # keep 0 in view
picture.figure.axes[0].set_ylabel("")
picture

# %% [markdown] tags=["exercise"]
# id: 2.2
# level: write
# minutes: 12
# goal: write the gradient that the heads send back into their shared layer
# hints:
# - "How strongly does unit `h` act on head `k`? By the weight `heads[k, h]`. So head `k` sends the
#   message `error[:, k] * heads[k, h]` back to it."
# - "The messages of all heads are added: `error @ heads` has the shape (rows, hidden)."
# - "A unit that ReLU set to 0 passes nothing on: multiply by `(z > 0)`."
# - "Last, each weight of V joins a unit to a pixel: `message.T @ x` has the shape (hidden, inputs)."
# ---
# Without automatic differentiation (*autograd*): **add** the messages that the heads send back to
# $Z$, and pass them on to $V$. You get `x` (rows, inputs), `z` (rows, hidden) after ReLU, `heads`
# (task, hidden), the heads' weights, and `error` (rows, task): chance minus label, the slope of the
# cross-entropy at the logit, already divided by the number of rows. Return the gradient of the
# total loss for $V$: (hidden, inputs).


# %% tags=["exercise-code"]
def shared_gradient(x, z, heads, error):
    """The gradient of the summed losses for the weights V of the shared layer."""
    # BEGIN SOLUTION
    message = error @ heads  # (rows, hidden): summed over the tasks
    message = message * (z > 0)
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
    if tidy:
        table.observed[:] = True  # every cell holds a number now
    with seeded(seed):
        network = ArticleNetwork(table.schema)
    fit(network, table, epochs=size.epochs, batch_size=64, seed=seed, progress=False)
    return evaluate(network, parts.validation)["winter"]


tidied = [from_suppliers(s, tidy=True) for s in seeds]
print(f"mean chance / true share: {np.mean([one['pcoc'] for one in tidied]):.2f} (1 is right)")

# %% [markdown] tags=["exercise"]
# id: 2.3
# level: write
# minutes: 6
# goal: tell a missing label from a "no" in a joined table
# hints:
# - What did the colleague write into the cells that the suppliers left empty?
# - "A 0 may be an honest no. So the value of a label cannot tell you; who wrote it can."
# - "`torch.stack([a, b], dim=1)` makes two columns from two lists of true and false."
# ---
# Find the cells that hold an answer. You get the tidy `labels` (rows, 2), footwear first and winter
# second, and `supplier` (rows,): 0 for the first, 1 for the second. Return a **mask**: a tensor
# (rows, 2) that is true where a supplier really wrote the label.


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
masked, rows = [from_suppliers(s, tidy=False) for s in seeds], []
measures = {"auc": "AUC", "accuracy": "accuracy", "log_loss": "log-loss"}
for metric, name in (measures | {"pcoc": "mean chance / true share"}).items():
    good, bad = [one[metric] for one in masked], [one[metric] for one in tidied]
    mean, low, high = paired_interval(np.subtract(bad, good))
    row = {"measure": name, "with a mask": np.mean(good), "filled with 0": np.mean(bad)}
    rows.append(row | {"difference": mean, "from": low, "to": high})
missing = pl.DataFrame(rows)
record("missing labels", missing)
missing.with_columns(pl.selectors.float().round(3))

# %% [markdown]
# A 0 is an answer: half of the winter pictures were labelled as not for winter. `concatenate` keeps
# the mask of exercise 2.3 under the name `observed`, and a loss counts only the rows that have a
# label. The mistake has a name, "all missing as negative" (Ma and others, 2018).

# %% [markdown] tags=["practice"]
# ## In practice
#
# - Keep the best single-task model as the reference.
# - One network is one file to store, test and replace; its tasks can no longer be changed separately.
# - Test a helper that knows nothing, too: any gain that it brings is not knowledge.
#
# **On Monday:** share where a poor task has a closely related rich one (0.03 to 0.04 of AUC here,
# clear on 3 or 4 of 5 shops, against networks tuned alike), and turn the poor task's loss down
# first: equal weights cost click 0.02 to 0.03. For unrelated tasks, expect no gain in AUC, just one
# network to run. For click, try trees: they scored higher.

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - A poor task gains from a closely related rich one; from an unrelated one, no gain was seen.
# - What the rich task pays depends on the weights of the losses, more than on sharing.
# - Two heads read one $Z$. The shared layer follows the sum of what they send back.
# - Sharing the first layer saves nearly half of the parameters of two tasks. That is arithmetic;
#   better learning is not.
# - A missing label is not a zero.

# %% tags=["quiz"]
quiz("2.exit")

# %% [markdown] tags=["instructor"]
# Collect the guesses for 2.p1 before the map: many expect a gain wherever purchases are few. Let
# the room say what "related" could mean for two tasks of their own shop, and how they would find
# out before training. The second table is worth its time: ask which of its rows a paper would have
# stopped at.
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
# - Xiao Ma and others: *Entire Space Multi-Task Model*. SIGIR 2018.
# - Han Xiao, Kashif Rasul, Roland Vollgraf: *Fashion-MNIST*. 2017.

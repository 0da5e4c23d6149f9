# %% [markdown] tags=["title"]
# title: Share the bottom
# question: What does sharing buy?
# read: 20
# run: 1
# needs: [00, 01]
# cut:
# - The cells on augmentation (5 minutes).
# - The picture of Z (3 minutes).
# ---
# One network, one shared layer, two heads: the oldest multi-task network, on product pictures.
# Four advantages are often claimed for it. You count the first one and measure the others.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - count the parameters of a shared network and of separate ones (exercise 2.1),
# - write the gradient that two heads send back into their shared layer (exercise 2.2),
# - say when a task with few labels gains from a helper, and when it does not (the exit quiz),
# - join two data sets with different labels without inventing answers (the exit quiz).

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

from mtlkit import ArticleNetwork, concatenate, evaluate, fit, paired_interval, plot
from mtlkit import predict as predict_with
from mtlkit.course import check, guess, mode, predict, record, sizes
from mtlkit.data.augment import augment
from mtlkit.data.product_pictures import (
    CATEGORIES,
    keep_labels,
    picture_source,
    product_pictures,
    shuffle_labels,
)
from mtlkit.train import seeded

# %% tags=["parameters"]
MODE = mode()
torch.set_num_threads(1)  # quicker for a network this small

# %% [markdown] tags=["story"]
# ## Two questions about one picture
#
# The shop gets pictures of new products. It wants to know two things about each: is it **footwear**
# (sandal, sneaker, boot)? Is it for **winter** (pullover, coat, boot)? A boot is both, a dress is
# neither.
#
# If the sample of Fashion-MNIST is on your machine you see real pictures, otherwise pictures drawn
# by code. `source` tells you which. Set it to `"drawn"` to see the drawn ones.

# %%
size = sizes("02", MODE)
source = picture_source()
split = product_pictures(source, seed=0)
shown = split.train.take(range(16))
names = [CATEGORIES[int(number)] for number in shown.label("category")]
plot.picture_grid(shown.dense, names, title=f"Products of the shop ({source} pictures)")

# %% [markdown]
# ## Guess first
#
# A picture has 28 × 28 pixels, so the network reads 784 numbers between 0 (black) and 1 (white).
# One network for each task has a layer of 128 units and one output. The shared network has the layer
# once and two outputs. How much smaller is it than the two separate ones together?
#
# The second guess is about learning. Now `winter` is the poor task: only a few pictures carry its
# label. Two helper tasks, `footwear` and `upper_body`, have all their labels. In which case
# does sharing add most to the AUC of `winter`?

# %% tags=["predict"]
predict("2.p1")
predict("2.p2")

# %% [markdown] tags=["worked"]
# ## The network, layer by layer
#
# Call the picture $x$. The shared layer turns it into 128 numbers, called $Z$:
#
# $$Z = \max(0,\; V x + c)$$
#
# $V$ is a table of weights, $c$ a list of 128 offsets. Setting negative values to 0 is called
# *ReLU*. Each head then **decodes** $Z$: it weighs the 128 numbers, adds them up and squeezes the sum
# into a chance between 0 and 1 with the *sigmoid*. So the shared layer is the **encoder**, and the
# heads are two **decoders** that read the same $Z$.
#
# Train it for both tasks. Then do the same sums with NumPy: is the network what the formula says?


# %%
def trained(table, seed):
    """An ArticleNetwork (784 inputs, 128 shared units, a head a task), trained on the table."""
    with seeded(seed):
        model = ArticleNetwork(table.schema)
    options = {"max_steps": size.steps, "batch_size": 128, "learning_rate": 0.002}
    fit(model, table, epochs=10_000, seed=seed, progress=False, **options)
    return model


pair = ["footwear", "winter"]
train, test = split.train.select_tasks(pair), split.test.select_tasks(pair)
model = trained(train, seed=0)

# %%
weights = {name: value.numpy() for name, value in model.state_dict().items()}
x = test.dense.numpy()
z = np.maximum(0, x @ weights["encoder.0.weight"].T + weights["encoder.0.bias"])
by_hand = {"Z": z}
for number, task in enumerate(pair):
    logit = z @ weights[f"heads.{number}.0.weight"].T + weights[f"heads.{number}.0.bias"]
    by_hand[task] = 1 / (1 + np.exp(-logit[:, 0]))
by_network = {"Z": model.encode(test.dense).detach().numpy(), **predict_with(model, test)}

# %% tags=["hide-input"]
layers = pl.DataFrame({
    "layer": list(by_hand),
    "shape": [str(value.shape) for value in by_hand.values()],
    "largest difference": [float(np.abs(by_hand[n] - by_network[n]).max()) for n in by_hand],
})  # fmt: skip
record("numpy against network", layers)
layers

# %% tags=["hide-input"]
found = evaluate(model, test)
columns = {"task": pair} | {
    name: [round(found[task][name], 3) for task in pair] for name in ("log_loss", "accuracy", "auc")
}
pl.DataFrame(columns)

# %% [markdown]
# The differences are rounding errors, and the last table says how good the trained network is.
#
# What does $Z$ look like? It has 128 numbers for each picture. The figure keeps the two directions
# in which the pictures differ most (*principal components*). Each head draws one straight border
# through the full $Z$; here you see the shadow of it.

# %% tags=["hide-input"]
centred = torch.tensor(z - z.mean(axis=0))
flat = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T  # (picture, 2)
kind = (2 * test.label("footwear") + test.label("winter")).int()
groups = ["neither", "winter only", "footwear only", "both: boots"]
figure, ((axes,),) = plot.canvas("The shared Z of the test pictures, seen flat", height=3.8)
with plot.style():
    for number, name in enumerate(groups):
        here = flat[kind == number]
        look = {"color": plot.COLOURS[number], "marker": "osD^"[number]}
        axes.scatter(here[:, 0], here[:, 1], s=14, alpha=0.8, label=name, **look)
    axes.set(xlabel="first direction", ylabel="second direction")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
plot.Picture(
    figure,
    f"Scatter of {len(flat)} test pictures along the first two principal components of the shared "
    "layer Z, in four groups: neither, winter only, footwear only, and boots, which are both.",
)

# %% [markdown] tags=["observe"]
# ## Advantage 3: does the poor task learn better?
#
# For each seed the cell below draws a new split, keeps a few `winter` labels, and trains `winter`
# alone and with its helpers: the same pictures, labels, steps and batch size. Nothing is selected,
# so validation stays unused, and each trained model reads the test pictures once.
#
# The **shuffled** helpers are a control. Their labels are dealt out at random, so they know nothing.


# %%
def winter_auc(source, seed, labels=None, helpers=(), shuffled=False, prepare=None):
    """Test AUC of winter with so many winter labels (None: all), trained with the helpers."""
    parts = product_pictures(source, seed=seed, fractions=(0.6, 0.1, 0.3))
    table = parts.train if labels is None else keep_labels(parts.train, "winter", labels, seed)
    for helper in helpers if shuffled else ():
        table = shuffle_labels(table, helper, seed)
    table = table.select_tasks(["winter", *helpers])
    network = trained(table if prepare is None else prepare(table), seed)
    return evaluate(network, parts.test.select_tasks(["winter", *helpers]))["winter"]["auc"]


# %%
few, seeds, helpers = 50, range(size.seeds), ("footwear", "upper_body")
cases = {
    "few labels, true helpers": {"labels": few},
    "few labels, shuffled helpers": {"labels": few, "shuffled": True},
    "all labels, true helpers": {},
}
sources = ["drawn"] if source == "drawn" else ["drawn", "real"]
auc = {}
for where in sources:
    for labels in (few, None):
        auc[where, labels] = np.array([winter_auc(where, s, labels) for s in seeds])
    for case, options in cases.items():
        runs = [winter_auc(where, s, helpers=helpers, **options) for s in seeds]
        auc[where, case] = np.array(runs)


def gain_row(with_it, without):
    """The mean paired difference with its 95 % interval, and what the interval says."""
    mean, low, high = paired_interval(with_it - without)
    verdict = "gain" if low > 0 else "loss" if high < 0 else "none seen"
    return {"gain": mean, "from": low, "to": high, "verdict": verdict}


# %% tags=["hide-input"]
rows = []
for where in sources:
    for case, options in cases.items():
        base = auc[where, options.get("labels")]
        row = {"pictures": where, "case": case, "alone": base.mean()}
        rows.append(row | {"shared": auc[where, case].mean(), **gain_row(auc[where, case], base)})
gains = pl.DataFrame(rows).with_columns(pl.selectors.float().round(3))
record("gain of winter", gains)
display(gains)
words = []
for row in gains.to_dicts():
    said = {
        "gain": "sharing **helps**",
        "loss": "sharing **hurts**",
        "none seen": "**no difference** is seen",
    }[row["verdict"]]
    words.append(f"- {row['pictures']} pictures, {row['case']}: {said} "
                 f"({row['gain']:+.3f}, from {row['from']:+.3f} to {row['to']:+.3f})")  # fmt: skip
Markdown(
    f"Over {len(seeds)} paired seeds, each judged by its 95 % interval:\n\n" + "\n".join(words)
)

# %% tags=["hide-input"]
drawn = gains.filter(pl.col("pictures") == "drawn")
truth = dict(zip(drawn["case"], 100 * drawn["gain"]))
plot.guess_against_truth(guess("2.p2"), truth, "gain in AUC × 100, drawn pictures")

# %% [markdown]
# On drawn pictures a few labels are far too few, and true helpers make up for some of what is
# missing. Once `winter` has all its labels, there is nothing left to gain, and the helpers may even
# cost a little: they use the layer for their own ends. Where `winter` does well alone, as on the real pictures, the gain is small or cannot be told from zero. So "sharing
# generalises better" is no law: it is a chance that a **poor** task has with a **related** helper.

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
# A **parameter** is a number that training may change. Fill in the three gaps. `layer` is the count
# of the first layer, `head` of one head.


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
# Nearly all parameters sit in the first layer, so sharing it with $K$ tasks leaves about $1 / K$ of
# them. The heads, which are not shared, hardly count.

# %% [markdown] tags=["compare"]
# ## Modify and compare
#
# ### Advantages 1, 2 and 4: size, time, one model to serve
#
# The kit counts too. It also trains and asks both arrangements, several times, and compares
# the times. A ratio below 1 means that the shared network is quicker. Times depend on the machine
# and on what else it does; read them as rough.


# %%
def cost(tables):
    """Parameters, seconds to train and seconds to answer, one network for each table."""
    start = time.perf_counter()
    models = [trained(table, seed=0) for table in tables]
    middle = time.perf_counter()
    for _ in range(20):
        for network in models:
            predict_with(network, test.select_tasks(network.schema.task_names))
    parameters = sum(p.numel() for each in models for p in each.parameters())
    return parameters, middle - start, time.perf_counter() - middle


both, alone = [train], [train.select_tasks(task) for task in pair]
costs = np.array([(cost(both), cost(alone)) for _ in range(size.timings)])  # (round, 2, 3)

# %% tags=["hide-input"]
ratio = np.median(costs[:, 0] / costs[:, 1], axis=0)
record("shared over separate", dict(zip(["parameters", "training", "answering"], ratio)))
table = pl.DataFrame({
    "what": ["parameters", "training time", "answering time"],
    "shared / separate": ratio.round(2),
})  # fmt: skip
display(table)
saved = 100 * (1 - ratio[0])
plot.guess_against_truth(guess("2.p1"), saved, "parameters saved by sharing", unit="%")

# %% [markdown]
# The count is exact and holds on each machine. The shared network is one file to store, to test
# and to replace. That has a price which no number here shows: the two tasks can no longer be changed
# one at a time.
#
# ### More pictures for free
#
# **Augmentation** makes new training pictures from old ones: turned a little, scaled a little, moved
# a little. A turned boot is still a boot. `concatenate` stacks tables, so three changed copies are
# easily added. Does this help the shared network with few labels?


# %%
def with_copies(table):
    """The table and three augmented copies of it."""
    copies = []
    for number in range(3):
        copy = table.take(range(len(table)))
        copy.dense = augment(copy.dense, seed=number)
        copies.append(copy)
    return concatenate(table, *copies)


options = {"labels": few, "helpers": helpers, "prepare": with_copies}
augmented = np.array([winter_auc(source, s, **options) for s in seeds])
plain = auc[source, "few labels, true helpers"]
row = {"pictures": source, "plain": plain.mean(), "augmented": augmented.mean()}
augmentation = pl.DataFrame([row | gain_row(augmented, plain)])
record("augmentation", augmentation)
augmentation.with_columns(pl.selectors.float().round(3))

# %% [markdown]
# The number of steps is the same in both columns, so the copies cost no training time. Try it: change
# the turn with `augment(..., rotate_degrees=45)`, or set `few` to 20 and run from there. Which of the
# verdicts change?

# %% [markdown] tags=["exercise"]
# id: 2.2
# level: write
# minutes: 12
# goal: write the gradient that two heads send back into their shared layer
# hints:
# - "How strongly does unit `h` act on head `k`? By the weight `heads[k, h]`. So head `k` sends the
#   message `error[:, k] * heads[k, h]` back to it."
# - "The messages of all heads are added: `error @ heads` has the shape (rows, hidden)."
# - "A unit that ReLU set to 0 passes nothing on: multiply by `(z > 0)`."
# - "Last, each weight of V joins a unit to a pixel: `message.T @ x` has the shape (hidden, inputs)."
# ---
# How do two tasks train one layer? Let the total loss be the sum of the two losses. Then each head
# sends a message back to $Z$, and the messages are **added**. Write that down.
#
# You get `x` (rows, inputs), `z` (rows, hidden) after ReLU, `heads` (task, hidden), the heads'
# weights, and `error` (rows, task): chance minus label, already divided by the number of rows.
# Return the gradient of the total loss for $V$, with the shape (hidden, inputs).


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
# The sum over tasks hides in the matrix product `error @ heads`. It is the whole of multi-task
# learning in one line: the shared layer moves where the heads *together* push it. Heads that push
# against each other cancel out; notebook 03 is about that.

# %% [markdown] tags=["trap"]
# ## The trap: a missing label is not a zero
#
# Two suppliers send pictures. One wrote down what is footwear, the other what is for winter. Stacked,
# half of the labels are missing. The kit keeps a mask, `observed`: a loss counts only the rows with
# a label.
#
# A table in a file has no mask, only cells. It is tempting to fill the empty ones with 0. But 0 is an
# answer: it says "not for winter". Compare both ways.

# %%
half = len(train) // 2
first = train.take(range(half)).select_tasks("footwear")
second = train.take(range(half, len(train))).select_tasks("winter")
joined = concatenate(first, second)
pl.DataFrame(
    {
        "task": joined.schema.task_names,
        "share with a label": joined.observed.float().mean(dim=0).numpy(),
    }
)


# %%
def joined_winter(seed, filled):
    """AUC, log-loss and mean chance over true share of winter, trained on two joined tables."""
    parts = product_pictures(source, seed=seed, fractions=(0.6, 0.1, 0.3)).select_tasks(pair)
    middle = len(parts.train) // 2
    order = torch.randperm(len(parts.train), generator=torch.Generator().manual_seed(seed))
    one = parts.train.take(order[:middle]).select_tasks("footwear")
    other = parts.train.take(order[middle:]).select_tasks("winter")
    table = concatenate(one, other)
    if filled:
        table.observed = torch.ones_like(table.observed)  # the hidden labels are stored as 0
    result = evaluate(trained(table, seed), parts.test)["winter"]
    return result["auc"], result["log_loss"], result["pcoc"]


measured = np.array([[joined_winter(s, filled) for filled in (False, True)] for s in seeds])

# %% tags=["hide-input"]
rows = []
for number, what in enumerate(["AUC", "log-loss", "mean chance / true share"]):
    masked, filled = measured[:, 0, number], measured[:, 1, number]  # (seed,) each
    mean, low, high = paired_interval(filled - masked)
    row = {"measure": what, "masked": masked.mean(), "filled with 0": filled.mean()}
    rows.append(row | {"difference": mean, "from": low, "to": high})
filled_table = pl.DataFrame(rows).with_columns(pl.selectors.float().round(3))
record("missing labels", filled_table)
filled_table

# %% [markdown]
# The last line is the plainest. A ratio near 1 means that the chances are right on average. Filled
# with zeros, the network promises far too little winter, because half of the winter pictures it saw
# claimed the opposite. The AUC alone would not show you this: it looks at the order only.

# %% [markdown] tags=["practice"]
# ## In practice
#
# - Start with a trained single-task model as the reference. "Better" means better than that.
# - Look for help where labels are scarce: purchases, returns, new shops.
# - Keep a mask beside each label, from the raw file to the loss.
# - Repeat with several seeds, and report the interval with the gain.
# - Count size and time on your own machine before you promise savings.

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - Two heads read one $Z$. The shared layer follows the sum of what they send back.
# - Sharing the first layer saves nearly half of the parameters with two tasks. That is arithmetic.
# - Better generalisation is not arithmetic: it needs a poor task and a related helper, and has to
#   be measured.
# - A missing label is not a zero.

# %% tags=["quiz"]
quiz("2.exit")

# %% [markdown] tags=["instructor"]
# Collect the guesses for 2.p2 first: many expect the shuffled helpers to hurt badly. With 128 shared
# units there is room for both, so they mostly do nothing. Ask what would happen with 4 units. In 2.2
# the common slip is the forgotten ReLU; let the group find it by comparing with autograd.

# %% [markdown] tags=["sources"]
# ## Sources
#
# - Rich Caruana: *Multitask Learning*. Machine Learning 28, 1997. The shared hidden layer.
# - Han Xiao, Kashif Rasul, Roland Vollgraf: *Fashion-MNIST*. 2017. The real pictures.
#
# **Next:** notebook 03 asks what to do when the heads disagree.

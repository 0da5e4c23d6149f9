# %% [markdown] tags=["title"]
# title: Fit one task at a time
# question: How good can separate models be?
# read: 20
# run: 1
# needs: [00]
# cut:
# - "\"SGD or Adam?\" (6 minutes); show its two figures only."
# - The real shop at the end (5 minutes); keep its table for discussion.
# ---
# Before tasks share anything, each gets a model of its own and the loss that fits it. These models
# are the yardstick of the whole course: whatever comes later has to beat them.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - standardise a column without a look at later days (exercise 1.1),
# - derive the loss of a count and check its gradient (exercise 1.2),
# - write the AUC, the measure of a ranking, from its meaning (exercise 1.3),
# - tell a fair comparison from an unfair one, and a leak from a good model (after exercises 1.1 and
#   1.3, with the trap).

# %% [markdown] tags=["recall"]
# ## What do you remember?

# %% tags=["quiz"]
from mtlkit.course import quiz

quiz("1.recall")

# %% [markdown] tags=["setup"]
# ## Set-up

# %%
from functools import partial

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display

import mtlkit
from mtlkit import Market, SingleTask, Split, evaluate, fit, paired_interval, plot, split_time
from mtlkit.comparison.search import search_rate
from mtlkit.course import check, guess, mode, plain_tables, predict, record, sizes
from mtlkit.metrics import precision, recall
from mtlkit.models import Constant
from mtlkit.shop.impression_frame import clean_impressions, frame_truth, impression_encoder
from mtlkit.train import main_metric, seeded

tables = plain_tables(tbl_cols=9, tbl_rows=6, float_precision=3)

# %% tags=["parameters"]
MODE = mode()

# %% [markdown] tags=["story"]
# ## A tour of the shop
#
# The shop sells clothes, shoes and bags. Its log has one row for each **impression**: a product
# shown to a visitor. What happened next is written beside it; a dash means that nobody can know.

# %%
size = sizes("01", MODE)
shop = Market("small", seed=0)
raw = shop.impressions_frame(size.rows, truth=True)
raw.select("day", "scenario", "device", "age_band", "price_euro", "click", "purchase")

# %% tags=["hide-input"]
steps = {"clicked": "click", "put in the cart": "cart", "bought": "purchase"}
of_steps = plot.rates_by(
    list(steps), [1000 * raw[label].fill_null(0).mean() for label in steps.values()],
    title="A purchase is a rare event", ordered=False, label="products, of 1,000 shown",
    category_label="what the visitor did",
)  # fmt: skip
names = [f"{style}\n{kind}" for style, kind in shop.products_frame()["style", "category"].rows()]
pixels = shop.products().dense[:12, 1:]  # column 0 is the weight
page = plot.picture_grid(pixels, names[:12], title="Some products", columns=6, what="products")
display(of_steps, page)

# %% [markdown]
# ### Clean, split, encode
#
# This log has faults, as real ones do: rows that stand twice, devices written in several ways,
# missing ages, prices in cents where euros belong.
#
# A shop predicts tomorrow from yesterday, so the split follows the calendar: **train** on the first
# days, choose on the **validation** days, read the **test** days once, at the end.
#
# A network wants numbers. Words become **ids**; a word that training has never seen becomes id 0.
# Number columns are **standardised**: subtract the mean, divide by the standard deviation. Ids,
# means and deviations are learned from training rows alone, or the future leaks into the past. All
# this is the work of the **encoder**.

# %%
log = clean_impressions(raw)  # no doubles, tidy names, prices in euro; a gap stays a gap
for frame in (raw, log):
    spellings, highest = frame["device"].n_unique(), frame["price_euro"].max()
    print(f"{frame.height:,} rows, {spellings} device names, highest price {highest:,} €")

first, second = size.days
encoder = impression_encoder().fit(log.filter(pl.col("day") < first))
table = encoder.transform(log, truth=frame_truth(log), row_id=log["row"])
impressions = split_time(table, "day", (first, second))
device = table.schema.categorical_names.index("device")
unseen = (impressions.test.categorical[:, device] == 0).sum()
print([len(part) for part in impressions], f"rows; test has {unseen} from an unseen device")

# %% [markdown] tags=["exercise"]
# id: 1.1
# level: fill in
# minutes: 6
# goal: standardise a column without a look at later days
# hints:
# - Two numbers describe the scale of a column. From which rows may you take them?
# - "`column.mean()` and `column.std()` are the mean and the standard deviation of an array."
# - Subtract the mean of `train` from both arrays, then divide both by the deviation of `train`.
# ---
# Write the encoder's step for one number column. `train` and `later` are numpy arrays with the same
# column on the training days and on later days. Return both, standardised.


# %% tags=["exercise-code"]
def standardise(train, later):
    """Both arrays, in numbers of training deviations from the training mean."""
    # BEGIN SOLUTION
    mean, deviation = train.mean(), train.std()
    return (train - mean) / deviation, (later - mean) / deviation
    # END SOLUTION
    # STUB: mean, deviation = ..., ...
    # STUB: return ...  # your answer: two arrays


# %% tags=["check"]
check("1.1", standardise)

# %% [markdown] tags=["solution"]
# If prices rise, the later rows should stand above 0. With a mean of their own they would not, and
# one price would be another input on another day.

# %% tags=["predict"]
predict("1.p1")

# %% [markdown] tags=["worked"]
# ## A model for clicks
#
# Each id gets eight numbers of its own, an **embedding**, learned like any weight. They and the
# number columns pass two hidden layers and come out as one number $z$, the **logit**. The sigmoid
# makes a chance of it, $p = 1 / (1 + e^{-z})$. With the label $y$, 1 or 0, the loss is the **binary
# cross-entropy** $-y \log p - (1 - y) \log(1 - p)$: small for what was expected, large for a
# surprise. Training is six steps, again and again. Here they are, written out once.


# %%
def network(split, seed):
    """A new network for one task: embeddings of 8 numbers, layers of 64 and 32."""
    with seeded(seed):
        return SingleTask(split.train.schema, embedding_dim=8, hidden=(64, 32), tower=())


def train_by_hand(model, split, epochs, rate, seed):
    """Adam on the cross-entropy of clicks; returns the loss in training and validation by epoch."""
    optimizer, curve = torch.optim.Adam(model.parameters(), lr=rate), []
    for epoch in range(epochs):
        for batch in split.train.batches(1024, shuffle=True, seed=seed, epoch=epoch):  # 1. batch
            z = model(batch)["click"]  # 2. forward
            loss = F.binary_cross_entropy_with_logits(z, batch.labels[:, 0])  # 3. task losses
            total = 1.0 * loss  # 4. combine: one task, weight 1
            optimizer.zero_grad()
            total.backward()  # 5. backward
            optimizer.step()  # 6. step
        parts = split.train, split.validation
        curve.append([evaluate(model, part)["click"]["log_loss"] for part in parts])
    return np.array(curve)  # (epoch, part)


clicks = impressions.one_task("click")
seeds = range(size.seeds)
curves = np.stack([train_by_hand(network(clicks, s), clicks, 6, 3e-3, s) for s in seeds])

# %% [markdown] tags=["observe"]
# ## Longer is not better
#
# We did this from several random starts; a band shows their range. **Log-loss** is the mean
# cross-entropy, so lower is better. Two dotted lines frame the curves. The **constant** model gives
# every row the same chance: the floor. The **oracle** knows the true chances, which only a made-up
# shop can tell: nothing that reads these columns can do better.

# %% tags=["hide-input"]
oracle = shop.oracle(clicks.validation, knows="features")["click"]
floor = evaluate(Constant(clicks.train), clicks.validation)["click"]
low, middle, high = curves.min(0), curves.mean(0), curves.max(0)  # (epoch, part)
figure = plot.lines(
    range(1, 7), {"training": middle[:, 0], "validation": middle[:, 1]},
    bands={"training": (low[:, 0], high[:, 0]), "validation": (low[:, 1], high[:, 1])},
    levels={"constant": floor["log_loss"], "oracle": oracle["log_loss"]},
    title="Training loss falls on, validation loss turns round", xlabel="epoch", ylabel="log-loss",
)  # fmt: skip
display(figure)
rise = paired_interval(curves[:, -1, 1] - curves[:, :, 1].min(axis=1))
record("over-fitting of click", {"rise": rise.mean, "from": rise.low, "to": rise.high})
record("training loss of click", {"first": middle[0, 0], "last": middle[-1, 0]})
Markdown(
    f"From its best epoch to the last, the validation loss **rises by {rise.mean:.4f}** "
    f"({rise.low:.4f} to {rise.high:.4f}, 95 % interval over {size.seeds} starts), while the "
    "training loss keeps falling."
)

# %% [markdown]
# The network starts to learn single rows by heart: **over-fitting**. On rows it has seen it can
# pass even the oracle, on later rows it cannot. From here on `fit` runs the six steps, picks the
# loss by the kind of label and keeps the weights of the best validation epoch.
#
# ### Four measures, four stories
#
# **Accuracy** is the share of right answers, yes where $p > 0.5$. **Recall** is the share of clicks
# found, **precision** the share of clicks among the rows called yes. **AUC** looks at pairs, one
# clicked and one not: how often does the clicked one have the higher score?

# %%
budget = {"epochs": size.epochs, "patience": 2, "batch_size": 512}  # stop after 2 idle epochs
kept = [network(clicks, seed) for seed in seeds]
for seed, model in enumerate(kept):
    options = {"learning_rate": 3e-3, "seed": seed, "progress": False}
    fit(model, clicks.train, clicks.validation, **options, **budget)

# %% tags=["hide-input", "hide-output"]
# The answer to your guess, and the four measures: run this cell.
found = [evaluate(model, clicks.validation)["click"] for model in kept]
own = {measure: np.mean([run[measure] for run in found]) for measure in floor}
rows = {"constant": floor, "own network": own, "oracle": oracle}
measures = ["accuracy", "recall", "auc", "log_loss", "ece"]
four = pl.DataFrame([{"model": n} | {m: float(r[m]) for m in measures} for n, r in rows.items()])
record("measures of click", four)
display(four)
plot.guess_against_truth(
    guess("1.p1"), 100 * own["recall"], "clicks that the network finds", unit="of 100",
    limits=(0, 100),
)  # fmt: skip

# %%
label = clicks.validation.label("click").numpy()
p = mtlkit.predict(kept[0], clicks.validation)["click"]
for limit in (0.5, 0.2, 0.1):
    found, right = recall(label, p, limit), precision(label, p, limit)
    print(f"yes above {limit}: recall {found:.2f}, precision {right:.2f}")
plot.calibration(label, p, outcome="click")

# %% [markdown]
# Accuracy cannot tell the network from a model that always says no, because clicks are so rare. Its
# recall is near zero, and yet it has learned something: AUC and log-loss see it. Move the
# threshold, and it finds clicks, at the price of false alarms (precision `nan`: it never said yes).
# AUC sees the order only. Whether a predicted 10 % happens in 10 of 100 cases is **calibration**;
# ECE, the expected calibration error, is the mean gap. By it the constant model is the best, and
# it is useless: no measure is enough alone.
#
# ## The right loss for each kind of label
#
# | label | example | the network's output | loss of one row |
# | --- | --- | --- | --- |
# | yes or no | click | logit $z$ | binary cross-entropy |
# | one of several | next category | one logit for each (softmax) | $-\log$ of the right one's chance |
# | amount | seconds on a page | $z$ | squared error $(z - s)^2$ |
# | count | units in a week | $z$, log of the rate | $-\log$ of this count's chance |
#
# Here $s$ is the standardised $\log(1 + \text{seconds})$, because some visits are very long. Each
# row of the table is $-\log$ of how likely the label was, up to constants.

# %% [markdown] tags=["exercise"]
# id: 1.2
# level: fill in
# minutes: 10
# goal: derive the loss of a count and check its gradient
# hints:
# - The network gives the log of the rate. What is the rate?
# - Take the logarithm of the chance. The product becomes a sum of three terms.
# - "`log(r ** y)` is `y * log(r)`, and `log(r)` is what the network gave."
# ---
# If $r$ pieces are expected, the chance to sell $y$ is $r^y e^{-r} / y!$ (Poisson). Take $-\log$ of
# it and drop the term without $r$. Return the mean over the rows, as a tensor. The network gives
# `log_rate`, so that $r$ is never negative.


# %% tags=["exercise-code"]
def poisson_loss(log_rate, count):
    """Mean over the rows of -log(chance of the count), without the term log(count!)."""
    # BEGIN SOLUTION
    rate = log_rate.exp()
    return (rate - count * log_rate).mean()
    # END SOLUTION
    # STUB: rate = ...
    # STUB: return ...  # your answer


# %% tags=["check"]
check("1.2", poisson_loss)

# %% [markdown] tags=["solution"]
# The gradient of one row is rate minus count: zero when the network expects just what came.

# %% [markdown] tags=["compare"]
# ## SGD or Adam?
#
# SGD, stochastic gradient descent, steps by (rate × gradient). Adam also divides by the gradient's
# usual size. The **learning rate** decides much, so each optimiser gets its own search, on
# validation, with the same budget; a rate scores its mean over two starts, neither of which comes
# back later. A comparison that gives both the same rate measures the rate, not the optimiser: we
# add one to see it. Change the rates, or `epochs` in `budget`, and look again.

# %%
build = partial(network, clicks)  # build(seed) is network(clicks, seed)
searches = {}
for name, rates in {"adam": (0.003, 0.01, 0.03, 0.1), "sgd": (0.3, 1, 3, 10)}.items():
    options = {"starts": size.starts, "fit_options": budget | {"optimizer": name}}
    searches[name] = search_rate(build, clicks, rates, **options)

plans = {
    "Adam": {"optimizer": "adam", "learning_rate": searches["adam"].best},
    "SGD": {"optimizer": "sgd", "learning_rate": searches["sgd"].best},
    "SGD at Adam's rate": {"optimizer": "sgd", "learning_rate": searches["adam"].best},
}
race = mtlkit.compare(
    dict.fromkeys(plans, build), clicks, seeds=seeds, by_scenario=False, progress=False,
    fit_options=budget, fit_options_for=plans,
)  # fmt: skip

# %% tags=["hide-input"]
tried = sorted(rate for found in searches.values() for rate in found.scores)
scores = {n: searches[n.lower()].scores for n in ("Adam", "SGD")}
figure = plot.lines(
    tried, {n: [known.get(rate, np.nan) for rate in tried] for n, known in scores.items()},
    title="Each optimiser has its own best learning rate", ylabel="validation AUC of click",
    xlabel="learning rate", log_x=True,
)  # fmt: skip
display(figure, plot.bars_with_intervals(race))
record("optimisers", race.table())
record("best rates", {name: found.best for name, found in searches.items()})
told = {
    row["candidate"]: f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}), "
    f"{row['verdict']}"
    for row in race.table().to_dicts()
    if row["difference"] is not None
}
taken = {row["candidate"]: row["steps"] for row in race.cost().to_dicts()}
record("steps of the optimisers", taken)
*_, fair, unfair = plans
Markdown(
    f"AUC against Adam: SGD with a rate of its own **{told[fair]}**; SGD with the rate that was "
    f"right for Adam **{told[unfair]}**. On average Adam stopped after {taken['Adam']:.0f} steps, "
    f"SGD after {taken['SGD']:.0f}."
)

# %% [markdown] tags=["exercise"]
# id: 1.3
# level: write
# minutes: 10
# goal: write the AUC, the measure of a ranking, from its meaning
# hints:
# - Split the scores into those of the positives and those of the negatives.
# - "`a[:, None] - b[None, :]` compares every `a` with every `b`."
# - Count 1 where the positive has the higher score, 0.5 where they are equal. Then take the mean.
# ---
# Write the AUC: of all pairs of one positive and one negative, the share in which the positive has
# the higher score. A tie counts one half. `label` (0 or 1) and `score` are arrays.


# %% tags=["exercise-code"]
def auc_of_pairs(label, score):
    """Share of (positive, negative) pairs in the right order; a tie counts one half."""
    # BEGIN SOLUTION
    gap = score[label == 1][:, None] - score[label == 0][None, :]  # (positive, negative)
    return float(((gap > 0) + 0.5 * (gap == 0)).mean())
    # END SOLUTION
    # STUB: gap = ...  # (positive, negative)
    # STUB: return ...  # your answer


# %% tags=["check"]
check("1.3", auc_of_pairs)

# %% [markdown] tags=["solution"]
# Only the order of the scores counts: doubling every chance leaves the AUC as it is. Some libraries
# average the AUCs of batches; then pairs from two batches are never compared.

# %% [markdown] tags=["trap"]
# ## A trap: too good to be true
#
# A colleague gives the encoder three more columns of the log: the day, the number of the session
# and the seconds spent on the product's page. The encoder fills gaps with the median and marks them
# in a column beside it. The result is better than the oracle, which is impossible. What happened?

# %%
wider = log.with_columns(seconds=pl.col("dwell"))
careless = impression_encoder()
careless.dense = [*careless.dense, "day", "session", "seconds"]
careless.fit(wider.filter(pl.col("day") < first))
more = careless.transform(wider, row_id=log["row"])
leaky = split_time(more, "day", (first, second)).one_task("click")
model = network(leaky, seed=0)
fit(model, leaky.train, leaky.validation, progress=False, **budget)
too_good = evaluate(model, leaky.validation)["click"]["auc"]
print(f"validation AUC {too_good:.3f}, but the oracle has {oracle['auc']:.3f}")

# %% tags=["quiz"]
quiz("1.trap")

# %% [markdown] tags=["practice"]
# ## Five tasks, five models
#
# Now the yardstick itself. Five tasks from three tables, each with its own network, its own rate, the
# best of three on validation, and several starts. This reads the test days, once.
#
# - **purchase** and **dwell** are known for clicked products only. Dwell, the seconds on the page,
#   is trained and measured on logarithms: in seconds, a few very long visits would decide nearly
#   all. `r2_log` is their R², the share of the variance explained.
# - **units** are the pieces sold in a week. Where the shelf ran empty, demand was at least that:
#   such a count is **censored**, and the loss takes the chance of "at least". The measure,
#   **deviance**, is twice what the loss lies above that of a perfect forecast: lower is better.
# - **next_category** is what a visitor opens next, one of ten: here accuracy is a fair measure.


# %%
def yardstick(split, oracle=None):
    """One task: constant model, own network with its interval over the seeds, best possible."""
    task = split.train.schema.tasks[0]
    metric, build, values = main_metric(task)[0], partial(network, split), []
    rates, options = (3e-3, 1e-2, 3e-2), {"starts": size.starts, "fit_options": budget}
    rate = search_rate(build, split, rates, **options).best
    for seed in seeds:
        model, chosen = build(seed), {"learning_rate": rate, "seed": seed, "progress": False}
        fit(model, split.train, split.validation, **chosen, **budget)
        values.append(evaluate(model, split.test)[task.name][metric])
    mean, low, high = paired_interval(values)
    floor = evaluate(Constant(split.train), split.test)[task.name][metric]
    best = oracle(split.test, knows="features")[task.name][metric] if oracle else None
    row = {"task": task.name, "measure": metric, "rate": rate, "train rows": len(split.train)}
    row |= {"constant": floor, "own network": mean, "from": low, "to": high}
    return row | {"best possible": best}


units = split_time(shop.demand(52), "week", (32, 42))
visits = split_time(shop.sessions(size.sessions), "day", (first, second))
cases = [impressions.one_task(task) for task in ("click", "purchase", "dwell")]
cases += [units.one_task("units"), visits.one_task("next_category")]
of_shop = pl.DataFrame([yardstick(case, shop.oracle) for case in cases])
of_shop

# %% tags=["hide-input"]
record("auc with a leak", {"network": too_good, "oracle": oracle["auc"]})
record("single-task models", of_shop, source="synthetic shop")
way = {}
for row in of_shop.to_dicts():
    whole = row["best possible"] - row["constant"]
    ends = [100 * (row[key] - row["constant"]) / whole for key in ("own network", "from", "to")]
    way[row["task"]] = (ends[0], min(ends), max(ends))
record("way from constant to best possible", {t: v[0] for t, v in way.items()}, note="in %")
plot.rates_by(
    list(way), [v[0] for v in way.values()], [v[1:] for v in way.values()],
    title="How far a network of its own gets", label="way from constant to best possible",
    unit="%", category_label="task",
)  # fmt: skip

# %% [markdown]
# The gap that is left is the room for everything that follows. It is widest for purchase and dwell,
# which have the fewest training rows. Click, purchase and dwell come from the same visits, yet no
# model learned anything from another one.
#
# ### A real shop
#
# The same on **Complete Journey**, a grocer's receipts of a year ([data card](../datasets/README.md)).
# The departments are the scenarios, and four labels tell what a household does next week: buy in this
# department? With a coupon? For how much, how many items? Here nobody knows the ceiling.

# %%
draw = torch.Generator().manual_seed(0)  # some rows of each part, to save time
parts = mtlkit.load_complete_journey()
some = Split(*(p.take(torch.randperm(len(p), generator=draw)[: size.journey]) for p in parts))
of_journey = pl.DataFrame([yardstick(some.one_task(t)) for t in some.train.schema.task_names])
record("single-task models", of_journey, source="Complete Journey")
of_journey

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# **When one model a task is enough.** It is the safe start: no task can hurt another, and each can
# be changed alone. The price is a network, a training and a deployment for each, and a task with
# few labels has nobody to learn from. Keep these models when you move on: without them you cannot
# say whether sharing helped.
#
# - Each kind of label has its own loss: cross-entropy, squared error, Poisson.
# - Accuracy hides rare events; AUC sees the order, log-loss and calibration the chances.
# - Training loss alone says nothing: validation chooses, test is read once.
# - Tune what you compare. A model stands between its floor and its ceiling; above it, look for a
#   leak.

# %% [markdown] tags=["instructor"]
# Ask before the table of measures: which one would you show your manager? Let the room defend
# accuracy first. Likely question: why is the constant model's recall 0? It never says yes. If time
# is short, run the last two tables before class and discuss them from the screen.

# %% tags=["quiz"]
quiz("1.exit")

# %% [markdown] tags=["sources"]
# ## Sources
#
# - D. Kingma and J. Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, arXiv 1412.6980.
# - J. Hanley and B. McNeil, *The meaning and use of the area under a receiver operating
#   characteristic (ROC) curve*, Radiology 143, 1982.
# - Complete Journey: 84.51°, in the package `completejourney`; see the data card.

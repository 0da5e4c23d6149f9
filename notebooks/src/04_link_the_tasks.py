# %% [markdown] tags=["title"]
# title: Link the tasks
# question: What if one outcome needs another first?
# read: 20
# run: 1
# needs: [01, 02, 03]
# cut:
# - "\"A network that can bend\" (6 minutes); show its table only."
# - Exercise 4.3 (8 minutes); tell the story of the leak instead.
# ---
# A purchase needs a click. You use this order in the loss, in the network and over training, and
# test it where only a made-up shop knows the truth: on rows that nobody clicked.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - write the loss of "clicked and bought" in log space (exercise 4.1),
# - make clicked rows stand for all rows, and stop the leaking gradient (exercise 4.2),
# - find the column that gives the label away (exercise 4.3).

# %% [markdown] tags=["recall"]
# ## What do you remember?

# %% tags=["quiz"]
from mtlkit.course import quiz

quiz("4.recall")

# %% [markdown] tags=["setup"]
# ## Set-up

# %%
from functools import cache, partial

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display

import mtlkit
from mtlkit import AITM, DBMTL, ESCM2, ESM2, ESMM, SharedBottom, SingleTask, metrics, plot
from mtlkit.comparison import across_shops
from mtlkit.course import check, evidence, guess, mode, predict, record, shop, sizes
from mtlkit.losses.chain import log1mexp
from mtlkit.losses.propensity import inverse_propensity
from mtlkit.train import seeded

torch.set_num_threads(1)  # quicker for networks as small as these
bare = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
bare |= {"tbl_rows": -1, "tbl_cols": -1, "fmt_str_lengths": 99, "tbl_width_chars": 999}


def shown(rows):
    # a table without quotes, from a list of dictionaries
    with pl.Config(tbl_formatting="MARKDOWN", **bare):
        return Markdown(str(pl.DataFrame(rows)))


# %% tags=["parameters"]
MODE, SHOP = mode(), shop()

# %% [markdown] tags=["story"]
# ## First the click, then the rest
#
# Cart and purchase both need a click. Three chances have names:
#
# - **pCTR**, the click-through rate: that a shown product is clicked,
# - **pCVR**, the conversion rate: that a *clicked* product is bought,
# - **pCTCVR**: that a shown product is clicked *and* bought, pCTR × pCVR.
#
# The shop has a dial. It sets how much **hidden appeal** differs among products on a page: a
# picture, a mood, a friend's advice. This appeal moves click and purchase alike, and no column
# records it.


# %%
size = sizes("04", MODE)


@cache
def market(dial, seed=SHOP):
    return mtlkit.Market("biased", seed=seed, purchase_rate=0.2, selection_bias=dial)


chain = ("click", "cart", "purchase")


def fresh(dial, tasks=chain):
    # a function from a seed to new rows, split by days
    def split(seed):
        table = market(dial).impressions(size.rows, start=seed * size.rows)
        return mtlkit.split_time(table, "day", (33, 44)).select_tasks(list(tasks))

    return split


log = fresh(2.0)(0).train
plot.rates_by(
    chain, [1000 * float(log.label(task).mean()) for task in chain], ordered=False,
    title="Few rows are clicked, fewer bought", label="of 1,000 shown", category_label="step",
)  # fmt: skip

# %% tags=["predict"]
predict("4.p1")
predict("4.p2")

# %% [markdown] tags=["worked"]
# ## A product of chances, by hand
#
# A loss needs $\log P$ where the event happened, and $\log (1 - P)$ where it did not. $P$ is a
# product of sigmoids, one a step. Stay in the logs:
#
# $$\log P = \log \sigma(z_1) + \log \sigma(z_2) + \dots \qquad \log (1 - P) = \text{log1mexp}
# (\log P)$$
#
# $z_k$ is the logit of step $k$, $\sigma$ the sigmoid, and $\text{log1mexp}(x) = \log (1 - e^x)$.
# Each $\log \sigma$ is below 0, so a step (the **child**) is never more likely than
# the step it needs (its **parent**).
#
# At −40 the product underflows in float32: the log is minus infinity, the slope is not a number, and
# one such row ends the training. At 20 the sigmoid is rounded to 1, and nothing is left of $1 - P$.


# %%
def multiply_then_log(z):
    p = z.sigmoid().prod()
    return p.log(), (1 - p).log()


def stay_in_logs(z):
    total = F.logsigmoid(z).sum()
    return total, log1mexp(total)


rows = []
for value in (-2.0, -40.0, 20.0):
    for way in (multiply_then_log, stay_in_logs):
        z = torch.full((3,), value, requires_grad=True)  # three steps, one logit each, float32
        yes, no = way(z)
        slope = torch.autograd.grad(yes, z)[0][0]
        row = {"each logit": value, "way": way.__name__, "log P": yes.item()}
        rows.append(row | {"log(1 - P)": no.item(), "slope of log P": slope.item()})
record("log space", pl.DataFrame(rows))
shown(rows)

# %% [markdown] tags=["observe"]
# ## Who stands behind a conversion rate?
#
# pCVR is learned from clicked rows. Our shop knows the truth for every other row: the chance
# of a purchase *if* it were clicked.


# %% tags=["hide-input", "hide-output"]
# The answer to your guess 4.p1: run this cell.
from mtlkit.shop.oracle import best_predictions


def true_rates(dial):
    """True mean chance of purchase, if clicked: on clicked, all and never clicked rows."""
    table = fresh(dial)(0).train
    chance, clicked = table.truth["purchase"], table.label("click") == 1
    return [100 * float(part.mean()) for part in (chance[clicked], chance, chance[~clicked])]


def stand_for(clip, seed):
    """Mean chance of purchase that clicked rows weighted by the true pCTR stand for / true mean."""
    best = best_predictions(market(0.0, seed), market(0.0, seed).impressions(size.rows))
    click, chance = best["click"], best["purchase"]  # the dial at 0, all that columns tell
    return float(np.average(chance, weights=click / click.clip(clip)) / chance.mean())


dials = (0.0, 0.5, 1.0, 1.5, 2.0)
found = dict(zip(("clicked", "all", "never clicked"), zip(*map(true_rates, dials))))
record("true rates", {"dial": dials} | found)
display(plot.guess_against_truth(
    guess("4.p1"), found["all"][-1], "bought, of 100 shown, if all were clicked",
    title=f"Of 100 clicked products, {found['clicked'][-1]:.0f} are bought (dial at 2)",
))  # fmt: skip
plot.lines(
    dials, found, title="Clicked rows are not like the others, and the dial widens the gap",
    xlabel="dial: spread of the hidden appeal (logits)",
    ylabel="true chance of purchase (%)",
)  # fmt: skip

# %% [markdown]
# The gap has two causes. At 0 it is all in the *columns*: shoppers open what suits them. Then
# *luck* is added: a click shows that the hidden appeal was probably high, and high appeal also sells.
#
# Five ways to train pCVR, in a network without a hidden layer, a straight **line**:
#
# - **naive**: the loss of purchase over clicked rows.
# - **ESMM**: no loss for pCVR itself; the loss of "clicked and bought" over *all*
#   rows. pCVR is the factor that is left.
# - **ESCM2-IPW** (inverse propensity weighting): ESMM plus the naive loss with weights: a clicked
#   row stands for $1 / e$ rows like it, where the **propensity** $e$ is the model's own pCTR, but at
#   least a smallest value, the **clip**.
# - **ESCM2-DR** (doubly robust): one more head guesses every row's *loss*, and the weights only mend
#   that guess; in our form, **label**, it guesses the *label*.
#
# We divide the mean pCVR by the true mean: 1 is right. The **error** is the mean distance of pCVR to
# the truth, in percentage points. Three of the five on this shop:


# %%
shapes = {"line": {"embedding_dim": 8, "hidden": (), "tower": ()}}
shapes["hidden layer"] = {"embedding_dim": 8, "hidden": (32,), "tower": (16,)}
stored = evidence("04")
parts = ("clicked", "never clicked", "error, points")  # what we look at


def judge(model, table, group=None):
    # what the log can tell, and what only the truth can
    found, chances = mtlkit.evaluate(model, table, joint=True), mtlkit.predict(model, table)
    chance, truth = chances["purchase"], table.truth["purchase"].numpy()
    clicked = table.label("click").numpy() == 1
    for part, rows in zip(parts, (clicked, ~clicked)):
        found["purchase"][part] = chance[rows].mean() / truth[rows].mean()
    found["purchase"]["error, points"] = 100 * np.abs(chance - truth).mean()
    return found


def table_of(runs):
    # pCVR / truth and error of every training, with intervals over seeds
    return [
        {"network": shape, "dial": f"{dial:g}", "training": name}
        | {part: f"{run.interval(name, part, 'purchase'):.2f}" for part in parts}
        for (shape, dial), run in runs.items()
        for name in run.candidates
    ]


# %% tags=["hide-output"]
def train(dial, shape):
    # new rows for each seed, equal budgets; later days judge
    schema = fresh(dial)(0).train.schema
    network = partial(SharedBottom, **shapes[shape])
    # the stored choice for this shop (or else the first one), such as {"rate": 0.04, "clip": 0.1}
    three = ("naive", "ESMM", "ESCM2-IPW")
    chosen = {name: stored.chosen(name, shop=SHOP, shape=shape) for name in three}
    makers = {
        "naive": lambda seed: network(schema),
        "ESMM": lambda seed: ESMM(schema, network),
        "ESCM2-IPW": lambda seed: ESCM2(schema, network, clip=chosen["ESCM2-IPW"]["clip"]),
    }
    return mtlkit.compare(
        makers, fresh(dial), seeds=range(size.tries), on="test", evaluator=judge,
        by_scenario=False, progress=False, fit_options={"epochs": size.epochs, "batch_size": 1024},
        fit_options_for={name: {"learning_rate": own["rate"]} for name, own in chosen.items()},
    )  # fmt: skip


live = {("line", dial): train(dial, "line") for dial in (0.0, 2.0)}
record("live", pl.DataFrame(table_of(live)))
shown(table_of(live))

# %% [markdown]
# ### The same on five shops
#
# Everyone had five starts, and before them four trials on each shop's validation rows at dial 1: four
# learning rates (trees: numbers of leaves), or for ESCM2 two rates and two clips. The trial with the
# lowest loss of click plus "clicked and bought" serves at every dial. Intervals go over shops; "better
# on" counts shops whose own interval leaves out 0. **Separate** is a network for each task.

# %% tags=["hide-input", "hide-output"]
# The answer to your guess 4.p2: run this cell.
ways = ("separate", "naive", "ESMM", "ESCM2-IPW", "ESCM2-DR", "ESCM2-DR, label")
ceiling, dials = stored.table("ceiling"), (0.0, 1.0, 2.0)


def over_truth(name, part, dial, shape="line", task="purchase"):
    """Mean prediction over true mean, minus 1, on every shop."""
    where = {"shape": shape, "dial": dial, "candidate": name, "task": task, "metric": part}
    rows = stored.runs.filter(**where)
    seeds = rows.select(pl.selectors.starts_with("seed ")).to_numpy()
    return across_shops(dict(zip(rows["shop"], seeds - 1)), sign=0)


def level(*where, **more):
    """Mean and interval over shops of prediction / truth."""
    return 1 + np.array(over_truth(*where, **more).headline)


display(plot.guess_against_truth(
    guess("4.p2"), level("ESMM", "all", 2.0)[0], "mean pCVR of ESMM / true mean, all rows",
    title="ESMM: a loss over all rows, and still too high (dial at 2)",
))  # fmt: skip
unseen = [level(name, "never clicked", 0.0) for name in ways]
display(plot.rates_by(
    ways, [mean for mean, *_ in unseen], [tuple(ends) for _, *ends in unseen], ordered=False,
    overall=1.0, overall_label="right", category_label="training",
    title="Dial at 0, never clicked rows (mean of five shops)", label="mean pCVR / true mean",
))  # fmt: skip
clips = {"none: all weights 1": 1.0, "clip 0.1": 0.1, "clip 0.02": 0.02, "no clip": 0.0}
weighted = {name: [stand_for(clip, s) for s in stored.shops] for name, clip in clips.items()}
record("weighted", weighted)
weighted = {name: f"{mtlkit.paired_interval(v):.2f}" for name, v in weighted.items()}
display(Markdown("Dial at 0, no training: what clicked rows, weighted by the *true* pCTR, say."))
display(shown([{"weights": "mean true pCVR / that of all rows"} | weighted]))
heights = {name: [level(name, "all", dial)[0] for dial in dials] for name in ways[1:5]}
perfect = [ceiling.filter(dial=dial)["all"].mean() for dial in dials]
plot.lines(
    dials, heights | {"perfect on clicked rows": perfect}, levels={"right": 1.0},
    title="No training sees what no column holds (mean of five shops)",
    xlabel="dial: spread of the hidden appeal (logits)", ylabel="mean pCVR / true mean, all rows",
)  # fmt: skip

# %% [markdown]
# Read the dial at 0 first. There the columns hold all that matters, and IPW is right if its propensity
# is. In the line it is about a fifth too high on never clicked rows. With a clip as high as the mean
# pCTR, rare clicks never get their full weight: even the *true* pCTR then gives 1.3 times the truth.
# And the line's pCTR is not the true one.
#
# Now turn the dial. ESMM is *exact* only if, given the columns, a purchase does not depend on what
# made you click: the **independence assumption**. It learns $P(\text{bought} \mid \text{clicked})$,
# and hidden appeal makes that higher than the chance for a row drawn by lot. At 2 even a model that
# is perfect on clicked rows says about two and a half times the truth. No number of rows helps. An
# experiment does: open product pages at random, not by a click.

# %% [markdown] tags=["exercise"]
# id: 4.1
# level: fill in
# minutes: 8
# goal: write ESMM's loss in log space
# hints:
# - The purchase's loss is that of "clicked and bought". Which two numbers does it need?
# - "`log_p` is a sum of two log-sigmoids; `log1mexp(log_p)` is the log of the complement."
# - "`torch.where(bought == 1, log_p, log_q)`, over all rows; then minus, then the mean."
# ---
# Two logits a row, `a` for the click and `b` for the purchase given a click; the labels `clicked`
# and `bought` are 0 or 1 on every row. Return the sum of both losses.


# %% tags=["exercise-code"]
def esmm_loss(a, b, clicked, bought):
    """Loss of the click plus loss of "clicked and bought", both means over all rows."""
    click_loss = F.binary_cross_entropy_with_logits(a, clicked)
    # BEGIN SOLUTION
    log_p = F.logsigmoid(a) + F.logsigmoid(b)  # (row,)
    log_q = log1mexp(log_p)
    return click_loss - torch.where(bought == 1, log_p, log_q).mean()
    # END SOLUTION
    # STUB: log_p = ...  # log of P(clicked and bought), (row,)
    # STUB: log_q = ...  # log of its complement
    # STUB: return ...  # your answer


# %% tags=["check"]
check("4.1", esmm_loss)

# %% [markdown] tags=["solution"]
# `a` gets a gradient from both losses: a purchase is also news about the click.

# %% [markdown] tags=["compare"]
# ## A network that can bend
#
# Add a hidden layer of 32, and one of 16 in each tower. Then change the 32: does a wider layer lower
# the error of naive training, or that of IPW?

# %%
shapes["hidden layer"]["hidden"] = (32,)
shown(table_of({("hidden layer", 0.0): train(0.0, "hidden layer")}))

# %% tags=["hide-input"]
# The error on five shops: IPW and naive training, in both networks.
error, rows = {"task": "purchase", "metric": "error", "sign": -1}, []
places = [("line", dial) for dial in dials] + [("hidden layer", dial) for dial in dials[:2]]
known = stored.runs.select("shape", "dial", "candidate").unique().rows()
for shape, dial in places:
    for name in (name for name in ways if (shape, dial, name) in known):
        row = {"network": shape, "dial": f"{dial:g}", "training": name}
        row |= {part: "{:.2f} ({:.2f} to {:.2f})".format(*level(name, part, dial, shape))
                for part in parts[:2]}  # fmt: skip
        mean = stored.mean(name, task="purchase", metric="error", shape=shape, dial=dial)
        rows.append(row | {"error, points": f"{mean:.1f}"})
display(shown(rows))


def gaps(name, other, places):
    """Error of one training minus another's, {network and dial: on five shops}."""
    return {
        f"{shape}, dial {dial:g}": stored.difference(name, other, shape=shape, dial=dial, **error)
        for shape, dial in places
    }


ipw = gaps("ESCM2-IPW", "naive", places)
display(plot.shops(
    ipw, "naive", digits=2, ordered=False, title="What the weights of IPW do to the error",
    label="error of ESCM2-IPW (points)", category_label="network and dial",
))  # fmt: skip
said = [f"- ESCM2-IPW minus naive, {place}: {gap.sentence(2)}" for place, gap in ipw.items()]
others = (("ESMM", "naive"), ("ESCM2-DR", "ESCM2-IPW"), ("ESCM2-DR, label", "ESCM2-DR"))
for name, other in others:
    for place, gap in gaps(name, other, places[:3]).items():
        said.append(f"- {name} minus {other}, {place}: {gap.sentence(2)}")
record("error", "\n".join(said))
Markdown("Error of pCVR:\n\n" + "\n".join(said))

# %% [markdown]
# At dial 0, on rows never clicked, the hidden layer takes naive training from 1.23 to 1.11, the weights
# on top to 1.03; the error hardly moves. The weights lower it by about half a point in two of the five
# cases, and only one or two shops show it. DR differs from IPW on 2 of 15 shop and dial pairs.
#
# ### Who sorts better?
#
# The rest of the family and the trees, dial at 1:
#
# - **ESM2** goes through the cart: buy with it, or without it.
# - **AITM** hands what the click's head reads on to the next step; a **calibrator** in the loss
#   punishes a child that is more likely than its parent.
# - **DBMTL** lets the purchase's head read what the click's head reads.

# %% tags=["hide-input"]
# The family on five shops, and the best that columns allow.
middle = {"shape": "hidden layer", "dial": 1.0}
family = ("ESMM", "ESCM2-IPW", "ESM2", "AITM", "DBMTL")
sorts = {"task": "purchase", "metric": "joint_auc"} | middle
against = {
    name: stored.difference(name, "separate", **sorts) for name in ("naive", *family, "trees")
}
display(plot.shops(
    against, "separate", title="Order of products, hidden layer, dial at 1",
    label="AUC of pCTCVR", category_label="model",
))  # fmt: skip
schema = fresh(1.0)(0).train.schema
shape = shapes["hidden layer"] | {"hidden": (32,)}  # as stored, whatever you tried above
network = partial(SharedBottom, **shape)
kinds = {"separate": SingleTask(schema, **shape), "naive": network(schema)}
links = dict(zip(family, (ESMM, ESCM2, partial(ESM2, via={"purchase": "cart"}), AITM, DBMTL)))
kinds |= {name: kind(schema, network) for name, kind in links.items()}
rows = [
    {"model": name, "AUC of pCTCVR": f"{stored.mean(name, **sorts):.3f}"}
    | {"minus naive": "" if name == "naive" else
       stored.difference(name, "naive", **sorts).sentence()}
    | {"parameters": kinds[name].parameter_count()["total"] if name in kinds else ""}
    for name in ("separate", *against)
]  # fmt: skip
record("family", pl.DataFrame([row | {"parameters": str(row["parameters"])} for row in rows]))
display(shown(rows))
best = ceiling.filter(dial=1.0)["joint_auc"].mean()
words = {name: gap.verdict for name, gap in against.items()}
told = {w: ", ".join(n for n in words if words[n] == w) or "none" for w in ("better", "worse")}
Markdown(
    f"Mean over five shops, beside separate networks: {told['better']} sorts better, "
    f"{told['worse']} sorts worse. The best AUC that columns allow is {best:.3f}. "
    f"On the map of notebook 02, this is correlation {market(1.0).dials.task_correlation:g}."
)

# %% [markdown] tags=["exercise"]
# id: 4.2
# level: write
# minutes: 10
# goal: make clicked rows stand for all rows, and stop the leaking gradient
# hints:
# - "`F.binary_cross_entropy_with_logits(..., reduction=\"none\")` gives one number a row. Rows
#   without a click count 0. By what do you divide the others, and by what the sum?"
# - The propensity is `a.sigmoid()`, at least `clip`. Divide by the number of *all* rows.
# - How could the network make this loss small without a better pCVR? `.detach()` forbids it.
# ---
# The loss of ESCM2-IPW for the purchase: the mean over all rows of $o\, d / e$. $o$ is `clicked`,
# $d$ the cross-entropy of `b` and `bought`, $e$ the propensity from `a`, at least `clip`. Only `b`
# may learn from it.


# %% tags=["exercise-code"]
def ipw_loss(a, b, clicked, bought, clip=0.05):
    """The mean over all rows of clicked * cross-entropy / propensity."""
    # BEGIN SOLUTION
    propensity = a.sigmoid().detach().clamp(min=clip)
    entropy = F.binary_cross_entropy_with_logits(b, bought, reduction="none")  # (row,)
    return (clicked * entropy / propensity).mean()
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("4.2", ipw_loss)

# %% [markdown] tags=["solution"]
# The clip bounds the weight of a row: less variance for some bias. The detach is a matter of right
# or wrong: without it, "everything is clicked" makes the loss small.

# %% [markdown]
# One published rewrite lost the `.detach()`: no error, no warning. What does that do to pCTR?


# %%
def click_level(seed, stop_gradient):
    # predicted / observed clicks on validation rows; the plainest loop there is
    split = fresh(0.0, ("click", "purchase"))(seed)
    with seeded(seed):
        model = SharedBottom(split.train.schema, **shapes["line"])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for epoch in range(size.epochs):
        for batch in split.train.batches(1024, shuffle=True, seed=seed, epoch=epoch):  # batch
            a, b = model(batch).values()  # forward
            y, bought = batch.labels.unbind(1)
            d = F.binary_cross_entropy_with_logits(b, bought, reduction="none")
            e = (a.detach() if stop_gradient else a).sigmoid().clamp(min=0.05)
            click = F.binary_cross_entropy_with_logits(a, y)  # task losses
            total = click + inverse_propensity(d, y == 1, e)  # combine
            optimizer.zero_grad()
            total.backward()  # backward
            optimizer.step()  # step
    chance = mtlkit.predict(model, split.validation)["click"]
    return metrics.pcoc(split.validation.label("click").numpy(), chance)


levels = {
    name: mtlkit.paired_interval([click_level(s, stop) for s in range(size.seeds)])
    for name, stop in (("with detach", True), ("without detach", False))
}
record("clicks predicted / observed", {n: level._asdict() for n, level in levels.items()})
Markdown(" ".join(f"pCTR {n} is {v:.2f} times the observed rate." for n, v in levels.items()))

# %% [markdown] tags=["trap"]
# ## A trap: too good to be true
#
# A colleague adds a column and reports the shop's best purchase model ever.


# %% tags=["hide-input"]
# The colleague's result (the code is folded, for it gives the answer away).
def with_points(table):
    """The log with one more column, standardised like all others."""
    noise = torch.rand(len(table), generator=torch.Generator().manual_seed(4))
    points = table.label("purchase") * (1 + noise)
    points = (points - points.mean()) / points.std()
    old = table.schema
    dense = (*old.dense, mtlkit.Dense("points"))
    schema = mtlkit.Schema(old.tasks, old.categorical, dense, old.sequences, old.scenarios)
    columns = {name: value for name, value in vars(table).items() if name != "schema"}
    columns["dense"] = torch.cat([table.dense, points[:, None]], dim=1)
    return mtlkit.Table(schema, **columns)


leaky = mtlkit.Split(*map(with_points, fresh(0.0, ("click", "purchase"))(0)))
with seeded(0):
    wonder = ESMM(leaky.train.schema, partial(SharedBottom, **shapes["hidden layer"]))
mtlkit.fit(
    wonder, leaky.train, leaky.validation, epochs=size.epochs, learning_rate=0.01, progress=False
)
area = mtlkit.evaluate(wonder, leaky.validation, joint=True)["purchase"]["joint_auc"]
record("wonder", area)
print(f"AUC of pCTCVR: {area:.3f}")

# %% [markdown] tags=["exercise"]
# id: 4.3
# level: write
# minutes: 8
# goal: find the column that gives the label away
# hints:
# - Let every column predict the label alone. What AUC would a copy of the label have?
# - A copy with its sign turned has an AUC of 0. Look at both ends.
# - "`area = metrics.auc(label, values)`; suspicious if `max(area, 1 - area)` is at least `limit`."
# ---
# `columns` is {name: values (row,)}, `label` is 0 or 1 (row,). Return the list of the names of all
# columns whose `metrics.auc(label, values)` is nearly perfect, in either direction.


# %% tags=["exercise-code"]
def leaks(columns, label, limit=0.99):
    """Names of the columns whose AUC for the label, either way round, is at least `limit`."""
    # BEGIN SOLUTION
    areas = {name: metrics.auc(label, values) for name, values in columns.items()}
    return [name for name, area in areas.items() if max(area, 1 - area) >= limit]
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("4.3", leaks)

# %% [markdown] tags=["solution"]
# Points are booked when the order is paid: the column knows the future. An AUC of 1 is a message
# about your columns, not your model.

# %% tags=["hide-input", "hide-output"]
# Each column alone, on the colleague's log.
bought = leaky.train.label("purchase").numpy()
names = [f.name for f in leaky.train.schema.dense for _ in range(f.width)]
alone = [metrics.auc(bought, column.numpy()) for column in leaky.train.dense.T]
record("columns alone", dict(zip(names, alone)))
plot.rates_by(
    names, alone, overall=0.5, overall_label="no information",
    title="One column knows the future", label="AUC for purchase, the column alone",
    category_label="column",
)  # fmt: skip

# %% [markdown] tags=["practice"]
# ## In practice: calibrated, and still wrong
#
# **PCOC** is predicted / observed, **ECE** the mean gap of notebook 01; those of pCVR are measured on
# clicked rows.
#
# A **curriculum** moves the weights of losses over training: coarse first (click, then cart and
# purchase), or fine first. A late loss also counts less: over three epochs its weights are 0, ½ and 1.
# So a control keeps the weight ½.

# %% tags=["hide-input"]
# Calibration on the log, the truth behind it, and what the order of losses does.
measures = {"pCTR": ("click", ""), "pCVR": ("purchase", ""), "pCTCVR": ("purchase", "joint_")}
half, coarse, fine = plans = ("ESMM, half weight", "ESMM, coarse first", "ESMM, fine first")
rows = []
for name in ("separate", "trees", "naive", *family, *plans):
    row = {"model": name}
    for kind, times, digits in (("pcoc", 1, 2), ("ece", 100, 1)):
        for step, (task, prefix) in measures.items():
            value = times * stored.mean(name, task=task, metric=prefix + kind, **middle)
            row[f"{step} PCOC" if kind == "pcoc" else f"{step} ECE, %"] = f"{value:.{digits}f}"
    del row["pCTCVR ECE, %"]  # 0.2 or 0.3 in every row
    row["pCTR AUC"] = f"{stored.mean(name, task='click', **middle):.3f}"
    row["pCVR AUC"] = f"{stored.mean(name, task='purchase', **middle):.3f}"
    row["pCVR / truth, all rows"] = f"{level(name, 'all', 1.0, 'hidden layer')[0]:.2f}"
    mean = stored.mean(name, task="purchase", metric="error", **middle)
    rows.append(row | {"error, points": f"{mean:.1f}"})
record("calibration", pl.DataFrame(rows))
display(shown(rows))
rows = []
for shape in shapes:
    place = {"shape": shape, "dial": 1.0, "task": "purchase"}
    for a, b in ((coarse, "ESMM"), (coarse, half), (half, "ESMM"), (fine, "ESMM")):
        row = {"network": shape, "pair": f"{a} minus {b}"}
        for metric, what in (("joint_auc", "AUC of pCTCVR"), ("ece", "ECE of pCVR")):
            row[what] = stored.difference(a, b, metric=metric, **place).sentence()
        gap = stored.difference(a, b, metric="all", sign=0, **place)
        rows.append(row | {"pCVR / truth, all rows": gap.sentence(2)})
record("curriculum", pl.DataFrame(rows))
display(shown(rows))
clicked = stored.difference("ESMM", "naive", task="purchase", **middle).sentence()
Markdown(f"AUC of pCVR on clicked rows, ESMM minus naive, hidden layer: {clicked}.")

# %% [markdown]
# By PCOC, ESMM looks calibrated on the log. Its pCVR over all rows is 1.4 times the truth, and no label
# shows that.
#
# Coarse first sorts better than half the weight, but hardly better than ESMM. In the line it
# calibrates: pCVR's gap on clicked rows shrinks on 4 of 5 shops; half the weight does not. Over all rows
# it is no better.
#
# **On Monday:** To sort, start with trees or separate networks: with the hidden layer, nothing sorted
# better on more than 2 of 5 shops. If it must be one network, take ESMM, the simplest: ESM2 and AITM sort pCTCVR no better;
# naive training, IPW and DBMTL cost click AUC. For all rows, open some product pages at random.

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - An outcome that needs another is a factor in a product. Stay in logs.
# - Clicked rows differ from others by what columns show, which a network that bends can learn, and by
#   what none shows, which only an experiment can.
# - ESMM, too, learns the chance *given a click*, not that of all rows.
# - Weights (IPW, DR), clipped as ours, changed little in the line. Detach the propensity; a high clip
#   leaves bias.
# - An AUC of 1 is a leak until you know better.

# %% tags=["quiz"]
quiz("4.exit")

# %% [markdown] tags=["instructor"]
# Start with the gap, on the board: who clicks, who buys, what is written down? Let the room name
# hidden causes; each is a dial. In 4.2 the detach is easy to forget; let the loop run both ways
# before anybody reads the message. In 4.3 an AUC near 0 is easy to miss: hand out a column with the
# sign turned. Likely question: why does ESMM win in its paper? There the AUC is measured, on another
# log. On ours ESMM gains a little in pCTCVR (2 of 5 shops show it) and loses in pCVR (all 5 do); no log
# can judge the level over all rows.

# %% [markdown] tags=["sources"]
# ## Sources
#
# - Xiao Ma and others: *Entire Space Multi-Task Model*. SIGIR 2018. ESMM.
# - Hong Wen and others: *Entire Space Multi-Task Modeling via Post-Click Behavior Decomposition*.
#   SIGIR 2020. ESM2.
# - Hao Wang and others: *ESCM²: Entire Space Counterfactual Multi-Task Model*. SIGIR 2022.
# - Dongbo Xi and others: *Modeling the Sequential Dependence among Audience Multi-step Conversions*.
#   KDD 2021. AITM.
# - Qi Wang and others: *Deep Bayesian Multi-Target Learning for Recommender Systems*. 2019. DBMTL.
# - Yoshua Bengio and others: *Curriculum Learning*. ICML 2009.

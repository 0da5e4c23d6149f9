# %% [markdown] tags=["title"]
# title: Link the tasks
# question: What if one outcome needs another first?
# read: 20
# run: 2
# needs: [01, 02, 03]
# cut:
# - "\"A network that can bend\" (6 minutes); show its table only."
# - Exercise 4.3 (8 minutes); tell the story of the leak instead.
# ---
# A purchase needs a click. You use this order in the loss, in the network and over the time of
# training, and test it where only a made-up shop knows the truth: on rows that nobody clicked.

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
from mtlkit.comparison import verdict
from mtlkit.course import check, guess, mode, predict, record, sizes
from mtlkit.losses.chain import log1mexp
from mtlkit.losses.propensity import inverse_propensity
from mtlkit.shop.oracle import best_predictions
from mtlkit.train import seeded

torch.set_num_threads(1)  # quicker for networks as small as these
bare = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True}
bare |= {"tbl_rows": -1, "tbl_cols": -1, "fmt_str_lengths": 99, "tbl_width_chars": 999}


def shown(rows):
    # a table without quotes, from a list of dictionaries
    with pl.Config(tbl_formatting="MARKDOWN", **bare):
        return Markdown(str(pl.DataFrame(rows)))


# %% tags=["parameters"]
MODE = mode()

# %% [markdown] tags=["story"]
# ## First the click, then the rest
#
# Cart and purchase both need a click (but a purchase needs no cart). Three chances have names in
# the trade:
#
# - **pCTR**, the click-through rate: that a shown product is clicked,
# - **pCVR**, the conversion rate: that a *clicked* product is bought,
# - **pCTCVR**: that a shown product is clicked *and* bought, pCTR × pCVR.
#
# The shop has a dial. It sets how much **hidden appeal** differs among products on a page: a
# picture, a mood, a friend's advice. It moves click and purchase alike, and no column records it.


# %%
size = sizes("04", MODE)


@cache
def shop(dial):
    return mtlkit.Market("biased", seed=0, purchase_rate=0.2, selection_bias=dial)


def fresh(dial, tasks=("click", "purchase")):
    # a function from a seed to new rows, split by days
    def split(seed):
        table = shop(dial).impressions(size.rows, start=seed * size.rows)
        return mtlkit.split_time(table, "day", (33, 44)).select_tasks(list(tasks))

    return split


chain = ("click", "cart", "purchase")
log = fresh(2.0, chain)(0).train
plot.rates_by(
    chain, [1000 * float(log.label(task).mean()) for task in chain], ordered=False,
    title="Each step of the chain has fewer rows", label="of 1,000 shown", category_label="step",
)  # fmt: skip

# %% tags=["predict"]
predict("4.p1")
predict("4.p2")

# %% [markdown] tags=["worked"]
# ## A product of chances, by hand
#
# A loss needs $\log P$ where the event happened, and $\log (1 - P)$ where it did not. $P$ is a
# product of sigmoids, one a step. You could multiply, then take the log. Or never leave the logs:
#
# $$\log P = \log \sigma(z_1) + \log \sigma(z_2) + \dots \qquad \log (1 - P) = \text{log1mexp}
# (\log P)$$
#
# $z_k$ is the logit of step $k$, $\sigma$ the sigmoid, and $\text{log1mexp}(x) = \log (1 - e^x)$,
# computed with care. Three steps:


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
        z = torch.full((3,), value, requires_grad=True)  # one logit a step, float32
        yes, no = way(z)
        slope = torch.autograd.grad(yes, z)[0][0]
        row = {"each logit": value, "way": way.__name__, "log P": yes.item()}
        rows.append(row | {"log(1 - P)": no.item(), "slope of log P": slope.item()})
record("log space", pl.DataFrame(rows))
shown(rows)

# %% [markdown]
# At −40 the product underflows: float32 has no number that small, so it says 0. The log is minus
# infinity, the slope is not a number, and one such row ends the training. At 20 the sigmoid is
# rounded to 1, and nothing is left of $1 - P$.
#
# And each $\log \sigma$ is below 0, so a step (the **child**) is never more likely than the step it
# needs (its **parent**).

# %% [markdown] tags=["observe"]
# ## Who stands behind a conversion rate?
#
# pCVR is learned from clicked rows. Our shop knows the truth for every other row, too: the chance
# of a purchase *if* it were clicked. No real log holds that.


# %% tags=["hide-input", "hide-output"]
# The answer to your guess: run this cell.
def true_rates(dial):
    """True mean chance of purchase, if clicked: on clicked, all and never clicked rows."""
    table = fresh(dial)(0).train
    chance, clicked = table.truth["purchase"], table.label("click") == 1
    return [100 * float(part.mean()) for part in (chance[clicked], chance, chance[~clicked])]


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
# *luck* is added: a click tells that the hidden appeal was high, and high appeal also sells. (The
# shop is set so that clicked products sell alike at every dial.)
#
# Five ways to train pCVR, all with one linear layer on a shared embedding:
#
# - **naive**: the loss of purchase over clicked rows.
# - **ESMM** (entire space): no loss for pCVR itself; the loss of "clicked and bought" over *all*
#   rows. pCVR is the factor that is left.
# - **ESCM2-IPW** (inverse propensity weighting): ESMM plus the naive loss with weights: a clicked
#   row stands for $1 / e$ rows like it, where the **propensity** $e$ is the model's own pCTR.
# - **ESCM2-DR** (doubly robust): one more head guesses every row's *loss*, and the weights only
#   mend that guess.
# - **ESCM2-DR, label** (our form): the head guesses the *label* instead.
#
# We divide the mean pCVR by the true mean: 1 is right, 2 is double.


# %%
def judge(model, table, group=None):
    # against labels, those of "clicked and bought" too (joint), and against the truth
    found, chances = mtlkit.evaluate(model, table, joint=True), mtlkit.predict(model, table)
    clicked = table.label("click").numpy() == 1
    parts = {"clicked": clicked, "never clicked": ~clicked, "all": clicked | ~clicked}
    for task in ("click", "purchase"):
        chance, truth = chances[task], table.truth[task].numpy()
        ratios = {n: chance[rows].mean() / truth[rows].mean() for n, rows in parts.items()}
        found[task] |= ratios | {"error": 100 * np.abs(chance - truth).mean()}
    return found


def made(kind, schema, shape):
    # a link takes the sizes through the network inside it
    alone = kind in (SharedBottom, single_task)
    return kind(schema, **shape) if alone else kind(schema, partial(SharedBottom, **shape))


def contest(kinds, split, shape, seeds=size.seeds, **options):
    # new rows for each seed, equal budgets
    schema = split(0).train.schema
    makers = {
        name: lambda seed, kind=kind: made(kind, schema, shape) for name, kind in kinds.items()
    }
    plain = {"learning_rate": 0.003, "schedule": "constant", "row_prior": None}
    return mtlkit.compare(
        makers, split, seeds=range(seeds), evaluator=judge, by_scenario=False, progress=False,
        fit_options={"epochs": size.epochs, "batch_size": 512} | plain, **options,
    )  # fmt: skip


single_task, robust = partial(SingleTask, own_stop=False), partial(ESCM2, method="dr")
ways = {"naive": SharedBottom, "ESMM": ESMM, "ESCM2-IPW": ESCM2, "ESCM2-DR": robust}
ours = {"ESCM2-DR, label": partial(robust, imputation="label")}
linear = {"embedding_dim": 4, "hidden": (), "tower": ()}
turned = {dial: contest(ways | ours, fresh(dial), linear) for dial in (0.0, 1.0, 2.0)}


# %% tags=["hide-input", "hide-output"]
# The answer to your guess: run this cell.
def perfect(dial):
    """Mean chance on all rows of a model that is perfect on clicked rows, over the true mean."""
    logs = [fresh(dial)(seed).validation for seed in range(size.seeds)]
    best = [best_predictions(shop(dial), log)["purchase"].mean() for log in logs]
    return float(np.mean([b / log.truth["purchase"].mean().item() for b, log in zip(best, logs)]))


parts, names = ("clicked", "never clicked", "all"), [*ways, *ours]
ratio = {
    f"{dial:g}": {n: {p: run.interval(n, p, "purchase")._asdict() for p in parts} for n in names}
    for dial, run in turned.items()
}
limit = {f"{dial:g}": perfect(dial) for dial in turned}
record("predicted / true", ratio)
record("perfect on clicked rows / true", limit)
display(plot.guess_against_truth(
    guess("4.p2"), ratio["2"]["ESMM"]["all"]["mean"], "mean pCVR of ESMM / true mean, all rows",
    title="The same loss on all rows, the dial at 2",
))  # fmt: skip
unseen = [ratio["0"][name]["never clicked"] for name in names]
display(plot.rates_by(
    names, [u["mean"] for u in unseen], [(u["low"], u["high"]) for u in unseen],
    ordered=False, overall=1.0, overall_label="right", category_label="training",
    title=f"Dial at 0, never clicked rows ({size.seeds} seeds, 95 % intervals)",
    label="mean pCVR / true mean",
))  # fmt: skip
heights = {name: [ratio[dial][name]["all"]["mean"] for dial in ratio] for name in ways}
plot.lines(
    list(turned), heights | {"perfect on clicked rows": list(limit.values())},
    levels={"right": 1.0}, title="No training sees what no column holds",
    xlabel="dial: spread of the hidden appeal (logits)", ylabel="mean pCVR / true mean, all rows",
)  # fmt: skip

# %% tags=["hide-input", "hide-output"]
# The numbers behind the figures: run this cell.
rows, errors, forms = [], {}, {}
for dial, found in turned.items():
    at = f"{dial:g}"
    errors[at] = {n: found.interval(n, "error", "purchase", "naive") for n in names}
    for name, gap in errors[at].items():
        row = {"dial": at, "training": name}
        row |= {m: f"{found.interval(name, m, 'purchase'):.2f}" for m in parts[:2]}
        row["error, points"] = f"{found.interval(name, 'error', 'purchase').mean:.1f}"
        rows.append(row | {"minus naive": "" if name == "naive" else f"{gap:+.1f}"})
    pairs = (("ESCM2-DR", "ESCM2-IPW"), ("ESCM2-DR, label", "ESCM2-DR"))
    forms[at] = {a: found.interval(a, "error", "purchase", minus=b) for a, b in pairs}
for name, table in (("error minus naive", errors), ("what the robust form adds", forms)):
    record(name, {d: {n: gap._asdict() for n, gap in row.items()} for d, row in table.items()})
display(shown(rows))
paper, form = ([f"{forms[d][n]:+.2f}" for d in forms] for n in ("ESCM2-DR", "ESCM2-DR, label"))
low = turned[0.0].interval("ESMM", "clicked", "click")
record("ESMM's click on clicked rows / true", low._asdict())
Markdown(
    "The **error** is the mean distance of pCVR to the truth over all rows, in percentage points. "
    f"With the dial at 0, 1, 2: ESCM2-DR minus ESCM2-IPW {'; '.join(paper)}. Our form minus "
    f"ESCM2-DR: {'; '.join(form)}.\n\nOn clicked rows, the dial at 0, ESMM's pCTR is {low:.2f} of "
    f"the truth. At 2, even a model that is perfect on clicked rows says {limit['2']:.1f} times "
    "the truth."
)

# %% [markdown]
# Read the dial at 0 first. There the columns hold all that matters, and weighting does what it
# promises: a straight line cannot fit clicked and never clicked rows at once, and the weights
# decide for the many. The price: pCVR is too low on clicked rows. ESMM is too high on both: its
# line puts pCTR too low where the clicks are, and pCVR makes up for it in the product.
#
# What should DR guess? A guessed *loss*, as in the paper, does not depend on pCVR: the purchase
# head gets IPW's gradient, and only the embedding feels the guess. With a guessed *label* the head
# learns on rows without a click, too. We see no difference among the three.
#
# Then turn the dial. ESMM is *exact* only if, given the columns, a purchase does not depend on what
# made you click: the **independence assumption**. It learns $P(\text{bought} \mid \text{clicked})$,
# and hidden appeal makes that higher than the chance for a row that *we* would click. The weights
# still lower the error, by the part that columns show, and end about twice too high. (They even end
# below the perfect model of clicked rows.) More rows would not help. An experiment would: pages
# filled at random.

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
# and `bought` are 0 or 1 on every row. Return the sum of both losses. Do not leave the logs.


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
# Was it the straight line that IPW mended? Stay at dial 0, add a hidden layer, and meet the rest of
# the family (the cart joins as a task):
#
# - **ESM2** goes through the cart: buy with it, or without it (and with a wish list, where the dial
#   `wish_rate` adds one).
# - **AITM** hands the click's hidden values on to the next step; a **calibrator** in the loss
#   punishes a child that is more likely than its parent.
# - **DBMTL** lets the purchase's head read the click's hidden values.
#
# The reference is a trained network for each task. Change `deep`: who profits?

# %%
deep = {"embedding_dim": 8, "hidden": (32,), "tower": (16,)}
family = {"single task": single_task} | ways | {"AITM": AITM, "DBMTL": DBMTL}
family["ESM2"] = partial(ESM2, via={"purchase": "cart"})
bent = contest(family, fresh(0.0, chain), deep, size.tries)

# %% tags=["hide-input"]
# The table, and the best that columns allow.
oracle = []
for seed in range(size.tries):
    table = fresh(0.0, chain)(seed).validation
    best = best_predictions(shop(0.0), table)
    oracle.append(metrics.auc(table.label("purchase").numpy(), best["click"] * best["purchase"]))
costs, rows, sorts, misses, unseen = bent.cost(), [], {}, {}, {}
for name, cost in zip(family, costs.rows(named=True)):
    auc = bent.interval(name, "joint_auc", "purchase")
    row = {"model": name, "AUC of pCTCVR": f"{auc.mean:.3f}"}
    for other in ("single task", "naive"):
        gap = sorts[f"{name} - {other}"] = bent.interval(name, "joint_auc", "purchase", other)
        row[f"minus {other}"] = "" if name == other else f"{gap:+.3f}"
    unseen[name] = bent.interval(name, "never clicked", "purchase")
    misses[name] = bent.interval(name, "error", "purchase", minus="naive")
    row |= {"pCVR / truth, never clicked": f"{unseen[name]:.2f}", "parameters": cost["parameters"]}
    rows.append(row | {"time": f"× {cost['seconds_ratio']:.1f}"})
record("family cost", costs)
record("best auc from columns", float(np.mean(oracle)))
kept = {"auc, differences": sorts, "error minus naive": misses, "never clicked / true": unseen}
record("family", {what: {n: v._asdict() for n, v in found.items()} for what, found in kept.items()})
display(shown(rows))
words = {n: verdict(*sorts[f"{n} - single task"][1:], 1) for n in list(family)[1:]}
told = {w: ", ".join(n for n in words if words[n] == w) or "nobody" for w in ("better", "worse")}
weighted = ", ".join(f"{n} {misses[n]:+.1f}" for n in ways if n.startswith("ESCM2"))
Markdown(
    f"By AUC better than separate networks: {told['better']}. Worse: {told['worse']}. The best "
    f"that columns allow is {np.mean(oracle):.3f}.\n\nError of pCVR minus naive: {weighted}."
)

# %% [markdown]
# With a hidden layer that click and purchase share, the naive training is about right on never
# clicked rows, and the weights have nothing visible to mend: they help a network that is too
# simple. (The separate purchase network has a layer that never saw those rows.)
#
# As to the order of the products: nobody beats separate networks, which have nearly three times the
# parameters; some sort worse. ESMM does as well as its larger relatives. A null result, on a small
# shop.

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
# What is `.detach()` worth? One published port lost it: no error, no warning, but a click head
# that is paid for exaggerating. The loop, both ways:


# %%
def click_level(seed, stop_gradient):
    # predicted / observed clicks on validation rows
    split = fresh(0.0)(seed)
    with seeded(seed):
        model = SharedBottom(split.train.schema, **linear)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for epoch in range(size.epochs):
        for batch in split.train.batches(512, shuffle=True, seed=seed, epoch=epoch):  # batch
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
shown([{"clicks": "predicted / observed"} | {n: f"{v:.2f}" for n, v in levels.items()}])

# %% [markdown] tags=["trap"]
# ## A trap: too good to be true
#
# A colleague adds a column to the log and reports the shop's best purchase model ever.


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


leaky = mtlkit.Split(*map(with_points, fresh(0.0)(0)))
wonder = contest({"wonder": ESMM}, lambda seed: leaky, deep, 1)
wonder = wonder.interval("wonder", "joint_auc", "purchase").mean
record("wonder", wonder)
print(f"AUC of pCTCVR: {wonder:.3f}")

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
# columns whose `metrics.auc(label, values)` is (nearly) perfect, in either direction.


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
# A **curriculum** moves the weights of losses over training: coarse first (click, then cart and
# purchase come in), or the other way round. Does the order help? A purchase that comes in late also
# counts *less*. So a control gets half the weight, the mean of 0, ½ and 1, at all times.
#
# At last, the test days, the dial at 1. **PCOC** is predicted / observed (1 is right), **ECE** the
# mean gap of notebook 01. A step is measured where its label exists: pCVR on clicked rows.

# %%
coarse = {"balancer": mtlkit.Curriculum(length=2)}
fine = {"balancer": mtlkit.Curriculum([("cart", "purchase"), ("click",)], length=2)}
half = {"balancer": mtlkit.FixedWeights({"cart": 0.5, "purchase": 0.5})}
plans = {"ESMM, coarse first": coarse, "ESMM, half weight": half, "ESMM, fine first": fine}
kinds = {"single task": single_task} | ways | dict.fromkeys(plans, ESMM)
test = {"split": fresh(1.0, chain), "seeds": size.tries, "on": "test"}
final = contest(kinds, shape=linear, fit_options_for=plans, **test)
twice = dict.fromkeys(["ESMM", "ESMM, coarse first"], ESMM)
final_deep = contest(twice, shape=deep, fit_options_for={"ESMM, coarse first": coarse}, **test)

# %% tags=["hide-input"]
# The weights of the curriculum, and the table.
ladder = mtlkit.Curriculum([("click",), ("cart", "purchase")], length=2)
time = range(size.epochs)
lifted = zip(*(ladder.level_weights(t) for t in time))
display(plot.lines(
    time, dict(zip(("click", "cart and purchase"), lifted)), title="Coarse first",
    xlabel="finished epochs", ylabel="weight of the loss", height=2.6,
))  # fmt: skip
measures = {"pCTR": ("click", ""), "pCVR": ("purchase", ""), "pCTCVR": ("purchase", "joint_")}
rows, kept = [], []
for name in kinds:
    row = {"model": name}
    for kind, times, digits in (("pcoc", 1, 2), ("ece", 100, 1)):
        for step, (task, prefix) in measures.items():
            found = final.interval(name, prefix + kind, task)
            kept.append({"model": name, "metric": f"{step} {kind}"} | found._asdict())
            label = f"{step} PCOC" if kind == "pcoc" else f"{step} ECE, %"
            row[label] = f"{times * found.mean:.{digits}f}"
    whole = final.interval(name, "all", "purchase")
    kept.append({"model": name, "metric": "all rows / true"} | whole._asdict())
    rows.append(row | {"pCVR / truth": f"{whole:.2f}"})
record("on test days", pl.DataFrame(kept))
display(shown(rows))
esmm = {row["metric"]: row["mean"] for row in kept if row["model"] == "ESMM"}
Markdown(
    "ESMM's PCOC: "
    + ", ".join(f"{step} {esmm[f'{step} pcoc']:.2f}" for step in measures)
    + f". Its pCVR over all rows is {esmm['all rows / true']:.1f} times the truth, and no label of "
    "the log shows that."
)

# %% tags=["hide-input"]
# What the order does to the AUC.
rows, gaps = [], {}
for shape, found in (("line", final), ("hidden layer", final_deep)):
    for name in [n for n in found.candidates if n.startswith("ESMM")]:
        auc = found.interval(name, "joint_auc", "purchase").mean
        row = {"network": shape, "training": name, "AUC of pCTCVR": f"{auc:.3f}"}
        for other in ("ESMM", "ESMM, half weight"):
            gap = None
            if other in found.candidates and name != other:
                gap = found.interval(name, "joint_auc", "purchase", minus=other)
                gaps[f"{shape}: {name} - {other}"] = gap
            row[f"minus {other}"] = f"{gap:+.3f}" if gap else ""
        rows.append(row)
record("curriculum", {pair: gap._asdict() for pair, gap in gaps.items()})
display(shown(rows))
half = gaps["line: ESMM, coarse first - ESMM, half weight"]
equal = gaps["hidden layer: ESMM, coarse first - ESMM"]
Markdown(
    f"Coarse first beside half the weight at all times, in the line: {verdict(*half[1:], 1)}. "
    f"Beside equal weights, in the network with a hidden layer: {verdict(*equal[1:], 1)}."
)

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - An outcome that needs another is a factor in a product. Stay in logs, and a child is never more
#   likely than its parent.
# - Clicked rows differ from others by what columns show, which weights can mend, and by what none
#   shows, which only an experiment can.
# - ESMM, too, learns the chance *given a click*: that of all rows only if click and purchase are
#   independent given the columns.
# - Weights help a simple model. Their propensity is detached and clipped.
# - Losses can come in by levels. Compare with constant weights.
# - An AUC of 1 is a leak until you know better.

# %% tags=["quiz"]
quiz("4.exit")

# %% [markdown] tags=["instructor"]
# Start with the gap, on the board: who clicks, who buys, what is written down? Let the room name
# hidden causes; each is a dial. In 4.2 the detach is easy to forget; let the loop run both ways
# before anybody reads the message. In 4.3 an AUC near 0 is easy to miss: hand out a column with the
# sign turned. Likely question: why does ESMM win in its paper? There the AUC is measured on the
# log, not the level against a truth that no log holds.

# %% [markdown] tags=["sources"]
# ## Sources
#
# - Xiao Ma and others: *Entire Space Multi-Task Model*. SIGIR 2018. ESMM.
# - Hong Wen and others: *Entire Space Multi-Task Modeling via Post-Click Behavior Decomposition for
#   Conversion Rate Prediction*. SIGIR 2020. ESM2.
# - Hao Wang and others: *ESCM²: Entire Space Counterfactual Multi-Task Model for Post-Click
#   Conversion Rate Estimation*. SIGIR 2022.
# - Dongbo Xi and others: *Modeling the Sequential Dependence among Audience Multi-step Conversions
#   with Multi-task Learning in Targeted Display Advertising*. KDD 2021. AITM.
# - Qi Wang and others: *Deep Bayesian Multi-Target Learning for Recommender Systems*. 2019. DBMTL.
# - Yoshua Bengio and others: *Curriculum Learning*. ICML 2009.

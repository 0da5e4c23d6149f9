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
# training, and test it against a truth that only a made-up shop can show: on products that nobody
# clicked.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - write ESMM's loss in log space (exercise 4.1),
# - write a loss in which clicked rows stand for all rows, and stop its leaking gradient
#   (exercise 4.2),
# - find the column that gives the label away (exercise 4.3).

# %% [markdown] tags=["recall"]
# ## What do you remember?

# %% tags=["quiz"]
from mtlkit.course import quiz

quiz("4.recall")

# %% [markdown] tags=["setup"]
# ## Set-up

# %%
from functools import cache

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display

import mtlkit
from mtlkit import ESMM, SharedBottom, SingleTask, metrics, plot
from mtlkit.chain import log1mexp
from mtlkit.course import check, guess, mode, predict, record, sizes
from mtlkit.data.market_oracle import best_predictions
from mtlkit.propensity import inverse_propensity
from mtlkit.train import seeded

torch.set_num_threads(1)  # quicker for networks as small as these

# %% tags=["parameters"]
MODE = mode()

# %% [markdown] tags=["story"]
# ## First the click, then the rest
#
# Cart and purchase both need a click. (A few buy straight from the product's page, without the
# cart.) Three chances matter, each with a name in the trade:
#
# - **pCTR**: that a shown product is clicked,
# - **pCVR**: that a *clicked* product is bought,
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
# product of sigmoids, one a step. The direct way is to multiply, then take the log. The careful way
# never leaves the logs:
#
# $$\log P = \log \sigma(z_1) + \log \sigma(z_2) + \dots \qquad \log (1 - P) = \text{log1mexp}
# (\log P)$$
#
# $z_k$ is the logit of step $k$, $\sigma$ the sigmoid, and $\text{log1mexp}(x) = \log (1 - e^x)$,
# computed with care. Three steps, such as click, purchase, return:


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
in_logs = pl.DataFrame(rows)
record("log space", in_logs)
in_logs

# %% [markdown]
# At −40 the product underflows: float32 has no number that small, so it says 0. The log is minus
# infinity, the slope is not a number, and one such row ends the training. At 20 the sigmoid is
# rounded to 1, and nothing is left of $1 - P$.
#
# The sum has a second gift: each $\log \sigma$ is below 0, so a child is never more likely than its
# parent.

# %% [markdown] tags=["observe"]
# ## Who stands behind a conversion rate?
#
# pCVR is learned from clicked rows. Our shop also knows the truth for every other row: the chance
# of a purchase *if* it were clicked. No real log holds that.


# %% tags=["hide-input", "hide-output"]
# The answer to your guess: run this cell.
plain = {"tbl_hide_dataframe_shape": True, "tbl_hide_column_data_types": True, "tbl_rows": 20}
tables = pl.Config(tbl_width_chars=120, **plain)


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
# Two causes are in this gap. At 0 it is all in the *columns*: shoppers open what suits them, and a
# model sees taste and price. From there on *luck* is added: a click tells that the hidden appeal
# was high, and high appeal also sells.
#
# Four ways to train pCVR, all with one linear layer on a shared embedding:
#
# - **naive**: the loss of purchase over clicked rows.
# - **ESMM**: no loss for pCVR itself; the loss of "clicked and bought" over *all* rows. pCVR is the
#   factor that is left.
# - **ESCM2-IPW**: ESMM plus the naive loss with weights: a clicked row stands for $1 / e$ rows like
#   it, where the **propensity** $e$ is the model's own pCTR.
# - **ESCM2-DR**: as IPW, but a further head guesses the missing purchases (the paper's guesses the
#   losses), and the weights only mend that guess.
#
# We divide the mean pCVR by the true mean: 1 is right, 2 is twice too high.


# %%
def judge(model, table, group=None):
    # against labels, and against the truth
    p, truth = mtlkit.predict(model, table), table.truth["purchase"].numpy()
    click, bought = table.label("click").numpy(), table.label("purchase").numpy()
    seen, buy = click == 1, p["purchase"]
    found = {"auc": metrics.auc(bought, p["click"] * buy), "error": np.abs(buy - truth).mean()}
    for name, part in (("clicked", seen), ("never clicked", ~seen), ("all", seen | ~seen)):
        found[name] = buy[part].mean() / truth[part].mean()
    steps = {"pCTR": (click, p["click"]), "pCVR": (bought[seen], buy[seen])}
    steps["pCTCVR"] = (bought, p["click"] * buy)
    for step, pair in steps.items():
        found |= {f"{step} PCOC": metrics.pcoc(*pair), f"{step} ECE": metrics.ece(*pair)}
    return {"click": {"auc": metrics.auc(click, p["click"])}, "purchase": found}


def contest(kinds, split, shape, seeds=size.seeds, **options):
    # kinds: {name: (class, its options)}; new rows for each seed, equal budgets
    schema = split(0).train.schema
    makers = {n: lambda seed, k=k, o=o: k(schema, **o, **shape) for n, (k, o) in kinds.items()}
    budget = {"epochs": size.epochs, "batch_size": 512, "learning_rate": 0.003}
    return mtlkit.compare(
        makers, split, seeds=range(seeds), fit_options=budget, evaluator=judge,
        by_scenario=False, progress=False, **options,
    )  # fmt: skip


linear = {"embedding_dim": 4, "hidden": (), "tower": ()}
ways = {"naive": (SharedBottom, {}), "ESMM": (ESMM, {})}
ways["ESCM2-IPW"] = (mtlkit.ESCM2, {"method": "ipw"})
ways["ESCM2-DR"] = (mtlkit.ESCM2, {"method": "dr", "imputation": "label"})
turned = {dial: contest(ways, fresh(dial), linear) for dial in (0.0, 1.0, 2.0)}


# %% tags=["hide-input", "hide-output"]
# The answer to your guess: run this cell.
def values(found, name, metric, task="purchase"):
    """One value a seed."""
    chosen = (pl.col("candidate") == name) & (pl.col("metric") == metric)
    return found.runs.filter(chosen & (pl.col("task") == task)).sort("seed")["value"].to_numpy()


def spread(found, name, metric, task="purchase"):
    """Mean over the seeds, with its interval."""
    return mtlkit.paired_interval(values(found, name, metric, task))


def against(found, name, metric, other="naive"):
    """Paired difference of two candidates."""
    return mtlkit.paired_interval(values(found, name, metric) - values(found, other, metric))


def told(interval, digits=2):
    return f"{interval.mean:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def ceiling(dial):
    """What the columns could tell at best about clicked rows, asked on all rows."""
    ratios = []
    for seed in range(size.seeds):
        table = fresh(dial)(seed).validation
        best = best_predictions(shop(dial), table, "features")["purchase"]
        ratios.append(best.mean() / table.truth["purchase"].mean().item())
    return float(np.mean(ratios))


groups = ("clicked", "never clicked", "all")
kept = {
    f"{dial:g}": {
        name: {m: spread(found, name, m)._asdict() for m in (*groups, "error", "auc")}
        for name in ways
    }
    for dial, found in turned.items()
}
best = {dial: ceiling(dial) for dial in turned}
record("predicted / true", kept)
record("best from columns / true", {f"{dial:g}": value for dial, value in best.items()})
display(plot.guess_against_truth(
    guess("4.p2"), kept["2"]["ESMM"]["all"]["mean"], "ESMM's mean pCVR, in multiples of the truth",
    title="The same loss on all rows, the dial at 2", unit="times",
))  # fmt: skip
display(plot.rates_by(
    list(ways), [kept["0"][n]["never clicked"]["mean"] for n in ways],
    [(kept["0"][n]["never clicked"]["low"], kept["0"][n]["never clicked"]["high"]) for n in ways],
    ordered=False, overall=1.0, overall_label="right", category_label="training",
    title=f"Dial at 0, never clicked rows ({size.seeds} seeds, 95 % intervals)",
    label="mean pCVR, in multiples of the truth",
))  # fmt: skip
display(plot.lines(
    list(turned),
    {n: [k[n]["all"]["mean"] for k in kept.values()] for n in ways}
    | {"best from columns": list(best.values())},
    levels={"right": 1.0}, title="No training sees what no column holds",
    xlabel="dial: spread of the hidden appeal (logits)", ylabel="mean pCVR / true mean, all rows",
))  # fmt: skip
rows = [
    {"dial": dial, "training": name}
    | {group: told(spread(found, name, group)) for group in groups}
    | {"error, points": told(mtlkit.paired_interval(100 * values(found, name, "error")), 1)}
    for dial, found in turned.items()
    for name in ways
]
with pl.Config(tbl_rows=12, fmt_str_lengths=30):
    display(pl.DataFrame(rows))


def word(interval):
    if interval.low > 0:
        return "larger"
    return "smaller" if interval.high < 0 else "not visibly different"


errors = {
    (dial, name): against(found, name, "error") for dial, found in turned.items()
    for name in ways if name != "naive"
}  # fmt: skip
record("error minus naive", {f"{d:g} {n}": e._asdict() for (d, n), e in errors.items()})
lines = [
    f"- dial {dial:g}: " + ", ".join(f"{n} {word(errors[dial, n])}" for n in list(ways)[1:])
    for dial in turned
]
Markdown(
    "The **error** is the mean distance of pCVR to the truth, over all rows. Against the naive "
    "training, with the same seeds:\n\n" + "\n".join(lines) + "\n\n"
    f"At 2, even the best that the columns can tell is {best[2.0]:.1f} times too high."
)

# %% [markdown]
# Read the dial at 0 first. There the columns hold all that matters, and weighting does what it
# promises: a straight line cannot fit clicked and never clicked rows at once, and the weights decide
# for the many. The price: on clicked rows pCVR is now too low. ESMM is too high on both.
#
# Then turn the dial. ESMM is *exact* only if, given the columns, a purchase does not depend on what
# made you click: the **independence assumption**. It learns $P(\text{bought} \mid \text{clicked})$,
# and hidden appeal makes that higher than the chance for a row that *we* would click. The weights
# still lower the error, by the part that columns show, and still end about twice too high: they read
# columns, too. More rows would not help. An experiment would, such as pages filled at random.

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
# Was it the straight line that IPW mended? Stay at dial 0 and give each network a hidden layer. And
# meet the rest of the family (the cart joins as a task):
#
# - **ESM2** goes through the cart: buy with it, or without it.
# - **AITM** hands the click's hidden values on to the next step; a **calibrator** in the loss
#   punishes a child that is more likely than its parent.
# - **DBMTL** lets the purchase's head read the click's hidden values.
#
# The reference is a trained network for each task. Change `deep`, and see who profits.

# %%
deep = {"embedding_dim": 8, "hidden": (32,), "tower": (16,)}
family = {"single task": (SingleTask, {})} | ways
family |= {"AITM": (mtlkit.AITM, {}), "DBMTL": (mtlkit.DBMTL, {})}
family["ESM2"] = (mtlkit.ESM2, {"via": {"purchase": "cart"}})
bent = contest(family, fresh(0.0, chain), deep, size.tries)

# %% tags=["hide-input"]
auc_table = bent.table().filter(pl.col("task") == "purchase")
record("family", auc_table.select(pl.exclude("scenario", "sign")))
record("family cost", bent.cost())
rows = []
for row, cost in zip(auc_table.rows(named=True), bent.cost().rows(named=True)):
    gap = (
        mtlkit.comparison.Interval(row["difference"], row["low"], row["high"])
        if row["low"]
        else None
    )
    rows.append({
        "model": row["candidate"], "AUC of pCTCVR": round(row["mean"], 3),
        "minus single task": told(gap, 3) if gap else "reference",
        "pCVR / truth, never clicked": told(spread(bent, row["candidate"], "never clicked")),
        "parameters": cost["parameters"], "time": f"× {cost['seconds_ratio']:.1f}",
    })  # fmt: skip
with pl.Config(tbl_rows=12, fmt_str_lengths=40):
    display(pl.DataFrame(rows))
bent_errors = {n: against(bent, n, "error") for n in list(ways)[1:]}
record("error minus naive, deep", {n: e._asdict() for n, e in bent_errors.items()})


def best_auc(seed):
    """AUC of pCTCVR of the best that columns allow, on the same rows."""
    table = fresh(0.0, chain)(seed).validation
    best = best_predictions(shop(0.0), table, "features")
    return metrics.auc(table.label("purchase").numpy(), best["click"] * best["purchase"])


oracle = float(np.mean([best_auc(seed) for seed in range(size.tries)]))
record("best auc from columns", oracle)
verdicts = dict(zip(auc_table["candidate"], auc_table["verdict"]))
better = [name for name, verdict in verdicts.items() if verdict == "better"]
record(
    "deep, never clicked / true",
    {n: spread(bent, n, "never clicked")._asdict() for n in family},
)
order = {n: against(bent, n, "auc") for n in family if n not in ("naive", "single task")}
record("family minus naive, auc", {n: gap._asdict() for n, gap in order.items()})
Markdown(
    "Error against the naive training, now deep: "
    + ", ".join(f"{n} {word(e)}" for n, e in bent_errors.items())
    + ".\n\nAUC of pCTCVR better than single task: "
    + (", ".join(better) if better else "nobody")
    + f" (the best that columns allow: {oracle:.3f}). Against the naive network, which shares its "
    "embedding just as they do: "
    + ", ".join(f"{n} {told(gap, 3)}" for n, gap in order.items())
    + "."
)

# %% [markdown]
# With a hidden layer that click and purchase share, the naive training is about right on never
# clicked rows, and the weights have nothing visible left to mend: they correct a network that is too
# simple for its rows. (The separate purchase network has a layer that never saw those rows. Look at
# its number.)
#
# As to the order of the products: separate networks, with nearly three times the parameters, are
# not beaten, and ESMM does as well as its larger relatives. A null result, on a small shop.

# %% [markdown] tags=["exercise"]
# id: 4.2
# level: write
# minutes: 10
# goal: write a loss in which clicked rows stand for all rows, and stop its leaking gradient
# hints:
# - Rows without a click count 0. By what do you divide the others, and by what the sum?
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
# What is that one word worth? One published port lost it: no error, no warning, but a click head
# that is paid for exaggerating. The loop with six labels, both ways:


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
pl.DataFrame([{"clicks": "predicted / observed"} | {n: told(v) for n, v in levels.items()}])

# %% [markdown] tags=["trap"]
# ## A trap: too good to be true
#
# A colleague adds a column to the log and reports the best purchase model that the shop ever had.


# %% tags=["hide-input"]
# How the colleague joined the column (folded, for it gives the answer away).
def column_names(table):
    """The dense columns of a table."""
    return [name for field in table.schema.dense for name in [field.name] * field.width]


def with_points(table):
    """The log with one more column, standardised like all others."""
    noise = torch.rand(len(table), generator=torch.Generator().manual_seed(4))
    points = table.label("purchase") * (1 + noise)
    points = (points - points.mean()) / points.std()
    dense = (*table.schema.dense, mtlkit.Dense("points"))
    schema = mtlkit.Schema(table.schema.tasks, table.schema.categorical, dense,
                           table.schema.sequences, table.schema.scenarios)  # fmt: skip
    columns = {n: value for n, value in vars(table).items() if n != "schema"}
    columns["dense"] = torch.cat([table.dense, points[:, None]], dim=1)
    return mtlkit.Table(schema, **columns)


# %%
leaky = mtlkit.Split(*map(with_points, fresh(0.0)(0)))
wonder = contest({"wonder": (ESMM, {})}, lambda seed: leaky, deep, 1)
print(f"AUC of pCTCVR: {wonder.means()['purchase']:.3f}")

# %% [markdown] tags=["exercise"]
# id: 4.3
# level: write
# minutes: 8
# goal: find the column that gives the label away
# hints:
# - Let every column predict the label alone. What AUC would a copy of the label have?
# - A copy with its sign turned has an AUC of 0. Look at both ends.
# - "`area = metrics.auc(label, column)`; suspicious if `max(area, 1 - area)` is at least `limit`."
# ---
# `columns` is {name: values (row,)}, `label` is 0 or 1 (row,). Return the list of the names of all
# columns that alone order the rows by the label (nearly) perfectly, in either direction.


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
alone = [
    metrics.auc(bought, leaky.train.dense[:, i].numpy()) for i in range(leaky.train.dense.shape[1])
]
record("wonder", wonder.means()["purchase"])
record("columns alone", dict(zip(column_names(leaky.train), alone)))
plot.rates_by(
    column_names(leaky.train), alone, overall=0.5, overall_label="no information",
    title="One column knows the future", label="AUC for purchase, the column alone",
    category_label="column",
)  # fmt: skip

# %% [markdown] tags=["practice"]
# ## In practice: calibrated, and still wrong
#
# A **curriculum** moves the weights of losses over training: coarse first (click, then cart and
# purchase come in), or the other way round. Levels can also fade out again. Does the order help? A
# purchase that comes in late also counts *less* in total. So a control gets half its weight at all
# times.
#
# At last, the test days, with the dial at 1. **PCOC** is predicted / observed (1 is right), **ECE**
# the mean gap between chance and share, in bins. A step of the chain is measured where its label
# exists: pCVR on clicked rows.

# %%
fine_first = mtlkit.Curriculum([("cart", "purchase"), ("click",)], length=2)
plans = {
    "ESMM, coarse first": {"balancer": mtlkit.Curriculum(length=2)},
    "ESMM, half weight": {"balancer": mtlkit.FixedWeights({"cart": 0.5, "purchase": 0.5})},
    "ESMM, fine first": {"balancer": fine_first},
}
kinds = {"single task": (SingleTask, {})} | ways | dict.fromkeys(plans, (ESMM, {}))
test = {"split": fresh(1.0, chain), "seeds": size.tries, "on": "test"}
final = contest(kinds, shape=linear, fit_options_for=plans, **test)
twice = {"ESMM": (ESMM, {}), "ESMM, coarse first": (ESMM, {})}
coarse_only = {"ESMM, coarse first": plans["ESMM, coarse first"]}
final_deep = contest(twice, shape=deep, fit_options_for=coarse_only, **test)

# %% tags=["hide-input"]
steps = ("pCTR", "pCVR", "pCTCVR")
record("calibration", pl.DataFrame([
    {"model": name, "metric": f"{step} {kind}"} | spread(final, name, f"{step} {kind}")._asdict()
    for name in kinds for step in steps for kind in ("PCOC", "ECE")
]))  # fmt: skip
record("curriculum", {
    n: against(final, n, "auc", "ESMM")._asdict() for n in plans
})  # fmt: skip
record("final, all rows / true", {n: spread(final, n, "all")._asdict() for n in kinds})
rows = []
for name, cost in zip(kinds, final.cost().rows(named=True)):
    row = {"model": name}
    for step in steps:
        pcoc, ece = (spread(final, name, f"{step} {kind}").mean for kind in ("PCOC", "ECE"))
        row[step] = f"{pcoc:.2f}, {100 * ece:.1f} %"
    row["pCVR / truth, all"] = told(spread(final, name, "all"))
    row["AUC of pCTCVR"] = f"{spread(final, name, 'auc').mean:.3f}"
    rows.append(row | {"time": f"× {cost['seconds_ratio']:.1f}"})
ladder = mtlkit.Curriculum([("click",), ("cart", "purchase")], length=2)
time = range(size.epochs)
lifted = zip(*(ladder.level_weights(t) for t in time))
display(plot.lines(
    time, dict(zip(("click", "cart and purchase"), lifted)), title="Coarse first",
    xlabel="finished epochs", ylabel="weight of the loss", height=2.6,
))  # fmt: skip
print("PCOC, ECE of each step against labels; pCVR against the truth")
with pl.Config(tbl_rows=12, tbl_cols=9, fmt_str_lengths=40):
    display(pl.DataFrame(rows))
orders = {name.split(", ")[1]: against(final, name, "auc", "ESMM") for name in plans}
timing = against(final, "ESMM, coarse first", "auc", "ESMM, half weight")
bending = against(final_deep, "ESMM, coarse first", "auc", "ESMM")
record("coarse first minus half weight", timing._asdict())
record("coarse first minus equal, deep", bending._asdict())
Markdown(
    "AUC of pCTCVR, minus ESMM with equal weights: "
    + ", ".join(f"{n} {told(o, 3)}" for n, o in orders.items())
    + f". Coarse first, minus its control with half the weight: {told(timing, 3)}. And in the "
    f"network with a hidden layer, minus equal weights: {told(bending, 3)}. So starting coarse "
    f"{'helps' if timing.low > 0 else 'shows no gain'} in the line and "
    f"{'helps' if bending.low > 0 else 'shows no gain'} in the network that can bend.\n\n"
    f"ESMM's chances are near 1 at each step that labels can check, and its pCVR over all rows "
    f"is {spread(final, 'ESMM', 'all').mean:.1f} times the truth. No label of the log shows that."
)

# %% [markdown]
# Use the joint loss to rank shown products. Use weights when your model is simple and clicks depend on
# what you record. Do not call pCVR "the chance if more people clicked" without an experiment.

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - An outcome that needs another is a factor in a product. Stay in logs, and a child is never more
#   likely than its parent.
# - Clicked rows differ from others by what columns show, and by what none shows. Weights can mend
#   the first; nothing in the log mends the second.
# - ESMM, too, learns the chance *given a click*. That is the chance for all rows only if click and
#   purchase are independent given the columns.
# - A propensity is detached and clipped.
# - Losses can stand in levels over time. Compare with constant weights in your own network.
# - An AUC of 1 is a leak until you have shown that it is not.

# %% tags=["quiz"]
quiz("4.exit")

# %% [markdown] tags=["instructor"]
# Start with the gap, on the board: who clicks, who buys, what is written down? Let the room name
# hidden causes; each is a dial. In 4.2 the detach is easy to forget; let the loop run both ways before
# anybody reads the message. In 4.3 an AUC near 0 is easy to miss: hand out a column with the sign
# turned. Likely question: why does ESMM win in its paper? There the AUC is measured on the log, not
# the level against a truth that no log holds.

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

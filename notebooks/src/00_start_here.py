# %% [markdown] tags=["title"]
# title: Start here
# question: Does my machine work, and how do I learn with this kit?
# read: 15
# run: 1
# cut:
# - The second guess (3 minutes).
# - Exercise 0.1 (5 minutes); the figure below it shows the answer.
# ---
# You meet the shop of this course, try every tool that helps you learn, and train a first model
# that predicts two things at once.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - compute the share of ones in each group of a table (exercise 0.1),
# - compute a conversion rate with the right denominator (exercise 0.2),
# - use guesses, checks, hints and your progress (with exercises 0.1 and 0.2).

# %% [markdown] tags=["setup"]
# ## Set-up
#
# A notebook is a list of cells. Click into a cell and press *Shift+Enter* to run it. Run the cells in
# order. In the left margin a cell shows `[*]` while it works and a number when it is done.
#
# The notebook comes with its results. Only the answers to your guesses are folded into one line: run
# their cell once you have guessed, or call `skip`, and they open.

# %%
import math

import polars as pl
import torch

from mtlkit import Market, SharedBottom, evaluate, fit, plot, report, split_random
from mtlkit.course import (
    check,
    doctor,
    guess,
    hint,
    mode,
    plain_tables,
    predict,
    progress,
    quiz,
    record,
    sizes,
)
from mtlkit.shop.pictures.drawing import draw_many, pixels
from mtlkit.train import seeded

tables = plain_tables()

# %% tags=["parameters"]
MODE = mode()

# %% [markdown]
# The next cell asks the doctor whether your machine works. A `✗` stops you, and the line below it
# says what to do. A `!` only warns.
#
# Each notebook has two sizes. The mode `full` is the usual one and takes about a minute. The mode
# `smoke` is a quick try-out, and its numbers mean little. To switch, write `MODE = "smoke"` in the
# cell above and run everything again.

# %%
size = sizes("00", MODE)
print(f"Mode {MODE}: {size.rows:,} rows, {size.runs} runs of the model below.")
findings = doctor(details=False)

# %% [markdown] tags=["story"]
# ## A visit to the shop
#
# Every notebook works with the same online shop. The shop is simulated: its visitors and products
# do not exist. So the *true* chance of every click is known, and you can see how far a model is from
# the best possible one.
#
# Someone opens a page with eight products. The place where they are shown is the **scenario**: the
# search, the feed or an advertisement.

# %%
shop = Market("small")
log = shop.impressions(size.rows)
sessions = log.keys["session"]
page = log.take(sessions == sessions[log.label("purchase") == 1][0])
click, purchase, item = page.label("click"), page.label("purchase"), page.keys["item"].numpy()

category = [shop.categories[number] for number in shop.items["category"][item]]
pictures = draw_many(shop.items["category"][item], shop.items["style"][item], seed=4)
outcome = [["not clicked", "clicked", "bought"][int(c + p)] for c, p in zip(click, purchase)]
titles = [f"{name}\n{what}" for name, what in zip(category, outcome)]
place = shop.scenarios[int(page.scenario[0])]
plot.picture_grid(pixels(pictures), titles, title=f"One page, shown in: {place}", columns=4)

# %% [markdown]
# One product on one page is an **impression**, one row of the shop's table. Two **labels** say what
# the visitor did: 1 for yes, 0 for no. What you want to predict is a **task**. Here the tasks are
# click and purchase.
#
# This is the same page as a table. In the last column a dash means *not known*.

# %%
pl.DataFrame({
    "position": page.keys["position"].numpy() + 1,
    "product": category,
    "price in euro": shop.items["price"][item],
    "click": click.int().tolist(),
    "purchase": [int(p) if c else None for c, p in zip(click, purchase)],
})  # fmt: skip

# %% [markdown]
# If a product was not clicked, nobody can say whether it would have been bought. Notebook 04 is about
# this gap.
#
# ## Guess first
#
# A guess that you write down helps you remember the answer, most of all when the guess is wrong. Run
# the next cell, type a number and press the button. Then run the cell below it: it draws your guess
# beside the truth. Nobody but you sees your guess.
#
# Do you see no button? Write `predict("0.p1", 20)` in a cell of your own.

# %% tags=["predict"]
predict("0.p1")

# %% tags=["observe", "hide-output"]
clicked = log.label("click")
truth = 100 * clicked.mean().item()
plot.guess_against_truth(guess("0.p1"), truth, "products clicked, of 100 shown")

# %% [markdown]
# The share of impressions that are clicked is the **click rate**. Clicks are rare, and purchases are
# rarer still. Perhaps a task with few examples can learn from a task with many. This is one hope of
# **multi-task learning**: one model is trained for several tasks at once.

# %% [markdown] tags=["exercise"]
# id: 0.1
# level: fill in
# importance: useful
# minutes: 5
# goal: compute the share of ones in each group of a table
# hints:
# - A share is the mean of zeros and ones. Which rows may go into it?
# - "`group == value` is true for the rows of one group. Write `happened[...]` with it to keep them."
# - "Take `.mean()` of what you kept, and `.item()` to make it a plain number."
# ---
# Does the position on the page matter? `happened` is a tensor of zeros and ones, one for each row,
# and `group` says which group each row belongs to. Replace the `...` so that each group gets its own
# share of ones.


# %% tags=["exercise-code"]
def share_of_each(happened, group):
    """{value: share of ones in `happened` where `group` is value}, for each value of `group`."""
    shares = {}
    for value in group.unique().tolist():
        # BEGIN SOLUTION
        in_this_group = group == value
        shares[value] = happened[in_this_group].mean().item()
        # END SOLUTION
        # STUB: shares[value] = ...  # your answer
    return shares


# %% tags=["check"]
check("0.1", share_of_each)

# %% [markdown] tags=["solution"]
# `group == value` is a tensor of true and false. Used as an index, it keeps the rows of one group.
# The mean of their zeros and ones is the share of ones.

# %% [markdown]
# A check says `✓` for right, `✗` with the first thing that is wrong, or `·` for not attempted. The
# notebook goes on without your answer, so you may come back later.
#
# Are you stuck? Ask for a hint. Run the cell again, and it tells you more.

# %%
hint("0.1")

# %%
shown = pl.DataFrame({"position": log.keys["position"].numpy() + 1, "click": clicked.numpy()})
rates = shown.group_by("position").agg(pl.col("click").mean(), pl.len()).sort("position")
margin = 1.96 * (rates["click"] * (1 - rates["click"]) / rates["len"]).sqrt()
record("click rate by position", rates)
plot.rates_by(
    rates["position"].to_list(),
    100 * rates["click"],
    list(zip(100 * (rates["click"] - margin), 100 * (rates["click"] + margin))),
    title="Products at the top of a page get more clicks", label="click rate", unit="%",
    category_label="position on the page", overall=truth, ordered=False,
)  # fmt: skip

# %% [markdown]
# These are the click rates of the shop. Each bar is a 95 % **interval**: of 100 intervals made like
# this, about 95 hold the click rate that endless visitors would give.
#
# This shop puts its products in random positions. So those at the top are no better: they are only
# seen first. A model that does not know the position would give the products
# the credit.

# %% [markdown] tags=["exercise"]
# id: 0.2
# level: write
# importance: core
# minutes: 8
# goal: compute a conversion rate with the right denominator
# hints:
# - Of all products on a page, which could be bought at all?
# - Divide the number of purchases by the number of clicks.
# - "Before you divide: if there are no clicks, return `math.nan`."
# ---
# The **conversion rate** is the share of clicks that end in a purchase. Write `conversion_rate`.
# `click` and `purchase` are tensors of zeros and ones, one for each impression; `purchase` holds 0
# where nobody clicked. If there is no click at all, the conversion rate is not known: return
# `math.nan`, which means *not a number*.


# %% tags=["exercise-code"]
def conversion_rate(click, purchase):
    """Purchases for each click; NaN if nobody clicked."""
    # BEGIN SOLUTION
    clicks = click.sum().item()
    if clicks == 0:
        return math.nan
    return (purchase * click).sum().item() / clicks
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("0.2", conversion_rate)

# %% [markdown] tags=["solution"]
# If you divide by the impressions, you get another number: the purchases for each product shown.
# Both numbers are useful, but they answer different questions. And a 0 for "nobody clicked" would
# be made up: it claims that people looked and did not want the product.

# %% [markdown] tags=["worked"]
# ## Your first model
#
# The model reads what the shop knows about visitor, product and place. It gives the chance of a
# click, and the chance of a purchase after a click. Both tasks use the same lower layers. This is the
# oldest multi-task network, the **shared bottom**. In the diagram ŷ, read "y hat", is a prediction.

# %%
plot.network("shared_bottom", ["click", "purchase"])

# %% [markdown]
# How good is it? Take a product that was clicked and one that was not. A useful model gives the
# clicked one the higher score. The share of such pairs in the right order is the **AUC**, short for
# *area under the curve*. If every product gets the same score, each pair counts as one half.

# %% tags=["predict"]
predict("0.p2")

# %% [markdown]
# First a **split** cuts the rows into three parts. The model learns from *train*, *validation* says
# which round of training was best, and *test* is kept for the end. All rows of one page stay in one
# part.

# %%
two_tasks = log.select_tasks(["click", "purchase"])
parts = split_random(two_tasks, seed=0, group="session")
with seeded(0):
    model = SharedBottom(two_tasks.schema)
history = fit(model, parts.train, parts.validation, epochs=size.epochs, batch_size=512)
print(f"{len(parts.train):,} rows learned in {history.seconds:.1f} seconds, both tasks at once")

# %% [markdown]
# `fit` hides the training loop. You write that loop yourself in notebook 01.
#
# Training involves luck. So the next cell repeats it with new rows and a new network. It also asks
# the **oracle**, which knows the true chances given everything that a model may read. On average no
# model predicts better.


# %%
def one_run(seed):
    """AUC of model and oracle for both tasks, on test rows of a part of the log of its own."""
    rows = shop.impressions(size.rows, start=seed * size.rows).select_tasks(["click", "purchase"])
    train, validation, test = split_random(rows, seed=seed, group="session")
    with seeded(seed):
        model = SharedBottom(rows.schema)
    fit(model, train, validation, epochs=size.epochs, batch_size=512, seed=seed, progress=False)
    found, best = evaluate(model, test), shop.oracle(test, knows="features")
    return {task: (found[task]["auc"], best[task]["auc"]) for task in found}


runs = [one_run(seed) for seed in range(size.runs)]

# %% tags=["hide-output"]
scores, steps = [], {}
for task in ("click", "purchase"):
    model_auc, best_auc = torch.tensor([run[task] for run in runs]).T  # (run,) each
    means = {"first model": model_auc.mean().item(), "best possible": best_auc.mean().item()}
    scores.append({"task": task, "average for all": 0.5, **means})
    steps[f"{task}: model minus average"] = (model_auc - 0.5).tolist()
    steps[f"{task}: best minus model"] = (best_auc - model_auc).tolist()
auc = pl.DataFrame(scores)
record("auc on test", auc)
record("steps of auc", steps)

pairs = {name: 100 * auc[name][0] for name in ("average for all", "first model", "best possible")}
my_guess = guess("0.p2")
my_guess = None if my_guess is None else {"first model": my_guess}
label = "click: pairs in the right order"
picture = plot.guess_against_truth(my_guess, pairs, label, unit="of 100")
differences = report.intervals(
    steps, title="Above the average, below the best possible", label="difference in AUC",
    first="step", digits=3, overall=0, overall_label="no difference",
)  # fmt: skip
report.show(picture, auc, differences.picture)

# %% [markdown]
# The table has both tasks. The second figure shows how far the model is above the average and how far
# below the best possible. Where an interval lies above 0, luck alone hardly explains the difference.
# Purchase is judged on clicked products only. These are far fewer rows, so its intervals are wider.
#
# These numbers do not say whether the two tasks helped each other. Notebook 02 makes that comparison.
#
# ## Four questions
#
# 1. What do the tasks *share*? One network for all, or one for each?
# 2. How are their outputs *linked*? Without a click there is no purchase.
# 3. How are the tasks *balanced*? Which one gets its way when they disagree?
# 4. How does a scenario *adapt* the network? Search and feed meet people in different moods.
#
# On the map each of these questions is a line, and each notebook is a station.

# %%
plot.course_map("00")

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - Guess, run, compare, explain.
# - A share is only as good as its denominator: purchases are divided by clicks.
# - The average is the floor and the oracle is the ceiling. A model is judged between them.
#
# **When you are stuck:** read what the check says, run `hint` once more, and then look into the
# solution, linked at the top. If something fails, choose *Kernel → Restart Kernel and Run All Cells*,
# or run `python3 run.py doctor` in a terminal.
#
# **Next:** notebook 01 takes the tasks one at a time and shows what happens inside `fit`.
#
# Now comes the exit quiz. The cell below it shows what you have done so far.

# %% tags=["quiz"]
quiz("0.exit")

# %%
progress("00")

# %% [markdown] tags=["sources"]
# ## Where this course comes from
#
# The course grew from a Chinese survey article on multi-scenario multi-task learning in e-commerce.
# If you have read it, [this page](appendix/article.md) shows where each of its parts lives here,
# and the [glossary](appendix/glossary.md) has the words of the course in English and Chinese.

# %% [markdown] tags=["instructor"]
# Use the first guess to collect numbers from the whole room and write them on the board. Most are far
# too high. Before exercise 0.2 ask for the conversion rate of a product without clicks, and let the
# group argue about 0. A common question: why is the AUC of the oracle not 1? Because it knows
# chances, not outcomes.

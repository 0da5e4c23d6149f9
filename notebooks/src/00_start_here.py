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
# - compute a rate for each group of a table (exercise 0.1),
# - compute a conversion rate with the right rows below the line (exercise 0.2),
# - check an answer, ask for a hint, write down a guess and see your progress (with exercises 0.1
#   and 0.2).

# %% [markdown] tags=["setup"]
# ## Set-up
#
# A notebook is a list of cells. Click into a cell and press **Shift+Enter**: it runs, and the next
# cell is chosen. Run the cells from top to bottom. A cell on the left shows `[*]` while it works
# and a number when it is done.
#
# The notebook comes with its results, so that you can read it anywhere. Only the answers to your
# guesses are folded into one line: run their cell and they open. To start with an empty notebook,
# choose *Kernel → Restart Kernel and Clear Outputs of All Cells*.

# %%
import math

import polars as pl
import torch

from mtlkit import Market, SharedBottom, evaluate, fit, paired_interval, plot, split_random
from mtlkit.course import check, guess, hint, mode, predict, progress, quiz, record, sizes
from mtlkit.course.doctor import doctor
from mtlkit.course.learner.display import plain_tables
from mtlkit.shop.pictures.drawing import draw_many, pixels
from mtlkit.train import seeded

tables = plain_tables()

# %% tags=["parameters"]
MODE = mode()

# %% [markdown]
# **Does your machine work?** The doctor looks. A `✗` stops you, and the line below it says what to
# do. A `!` only warns. `doctor()` without `details=False` tells more.
#
# **How large?** Each notebook comes in two sizes. The mode `full` is the usual one and takes a
# minute or less. `smoke` is a quick try-out with fewer rows; its numbers mean little. To switch,
# write `MODE = "smoke"` in the cell above and run everything again.

# %%
size = sizes("00", MODE)
print(f"Mode {MODE}: {size.rows:,} rows, {size.runs} runs of the model below.")
findings = doctor(details=False)

# %% [markdown] tags=["story"]
# ## A visit to the shop
#
# Every notebook of this course works with the same online shop. The shop is made by the computer:
# its visitors and products do not exist, and even the product pictures are drawn by code. That has
# one great use: the *true* chance of every click is known, so you can always see how far a model is
# from the best possible one.
#
# Someone opens a page with eight products. This is one of those pages, and what came of it.

# %%
shop = Market("small")
log = shop.impressions(size.rows)
sessions = log.keys["session"]
page = log.take(sessions == sessions[log.label("purchase") == 1][0])

# %%
click, purchase = page.label("click"), page.label("purchase")
item = page.keys["item"].numpy()
category = [shop.categories[number] for number in shop.items["category"][item]]
pictures = draw_many(shop.items["category"][item], shop.items["style"][item], seed=4)
outcome = [["not clicked", "clicked", "bought"][int(c + p)] for c, p in zip(click, purchase)]
titles = [f"{name}\n{what}" for name, what in zip(category, outcome)]
place = shop.scenarios[int(page.scenario[0])]
plot.picture_grid(pixels(pictures), titles, title=f"One page, shown in: {place}", columns=4)

# %% [markdown]
# One product on one page is called an **impression**. It is one row of the shop's table. Two
# **labels** say what the visitor did: 1 for yes, 0 for no. What you want to predict is a **task**;
# so far there are two, click and purchase.
#
# Here is the same page as a table. Look at the last column: a dash means *not known*.

# %%
pl.DataFrame({
    "position": page.keys["position"].numpy() + 1,
    "product": category,
    "price in euro": shop.items["price"][item],
    "click": click.int().tolist(),
    "purchase": [int(p) if c else None for c, p in zip(click, purchase)],
})  # fmt: skip

# %% [markdown]
# A product that nobody clicked was never looked at, so nobody can say whether it would have been
# bought. Keep this gap in mind: notebook 04 is about it.
#
# ## Guess first
#
# A guess that you write down makes you remember the answer, most of all when the guess was wrong.
# Run the next cell, type a number and press the button. Then run the cell below it: it draws your
# guess beside the truth. Nothing is ever sent anywhere, and nobody but you sees your guess.
#
# No button? Then your viewer shows no widgets: write `predict("0.p1", 20)` in a cell of your own.

# %% tags=["predict"]
predict("0.p1")

# %% tags=["observe", "hide-output"]
clicked = log.label("click")
truth = 100 * clicked.mean().item()
plot.guess_against_truth(guess("0.p1"), truth, "products clicked, of 100 shown")

# %% [markdown]
# Clicks are rare, and purchases are rarer still. Rare outcomes are the daily bread of a shop, and one
# reason to learn several tasks together: a task with few examples may borrow from one with many.

# %% [markdown] tags=["exercise"]
# id: 0.1
# level: fill in
# minutes: 5
# goal: compute a rate for each group of a table
# hints:
# - A rate is the mean of zeros and ones. Which rows may go into it?
# - "`group == value` is true for the rows of one group. Write `happened[...]` with it to keep them."
# - "Take `.mean()` of what you kept, and `.item()` to make it a plain number."
# ---
# Does the place on the page matter? `happened` is a tensor of zeros and ones, one for each row, and
# `group` says which group each row belongs to. Replace the `...` so that each group gets its own
# rate. Then run the cell below it, which checks your answer.


# %% tags=["exercise-code"]
def rate_of_each(happened, group):
    """{value: share of ones in `happened` where `group` is value}, for each value of `group`."""
    rates = {}
    for value in group.unique().tolist():
        # BEGIN SOLUTION
        in_this_group = group == value
        rates[value] = happened[in_this_group].mean().item()
        # END SOLUTION
        # STUB: rates[value] = ...  # your answer
    return rates


# %% tags=["check"]
check("0.1", rate_of_each)

# %% [markdown] tags=["solution"]
# `group == value` is a tensor of true and false. Used as an index it keeps the rows of one group; the
# mean of their zeros and ones is the share of ones.

# %% [markdown]
# A check says one of three things: `✓` right, `✗` not yet with the first thing that is wrong, or
# `·` not attempted. The notebook never needs your answer to go on, so you may skip and come back.
#
# Stuck? Ask for a hint. Run the cell once more and it tells you more.

# %%
hint("0.1")

# %% [markdown]
# And this is what the shop's table says, with an interval for each position. Read an interval as:
# the rate that the shop would find with endless visitors very likely lies in it.

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
# This shop deals its products to the positions by chance. So the products at the top are no better:
# they are only seen first. A model that does not know the position would praise them for it.

# %% [markdown] tags=["exercise"]
# id: 0.2
# level: write
# minutes: 8
# goal: compute a conversion rate with the right rows below the line
# hints:
# - Of all products on a page, which could be bought at all?
# - Divide the number of purchases by the number of clicks.
# - "Before you divide: if there are no clicks, return `math.nan`."
# ---
# The **conversion rate** is the share of clicks that end in a purchase. Write `conversion_rate`.
# `click` and `purchase` are tensors of zeros and ones, one for each impression; `purchase` holds 0
# where nobody clicked. Return a number. When nobody clicked, no rate can be known: return
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
# Dividing by the impressions gives another number, the purchases for each product shown. Both are
# useful, but they answer different questions. And a 0 for "nobody clicked" would be an invention: it
# claims that people looked and did not want it.

# %% [markdown] tags=["worked"]
# ## Your first model
#
# It reads what the shop knows about visitor, product and place, and gives the chance of a click and
# the chance of a purchase after a click. Both tasks use the same lower layers. That is the oldest
# multi-task network, and it is called a **shared bottom**. In the diagram ŷ, read "y hat", is a
# prediction.

# %%
plot.network("shared_bottom", ["click", "purchase"])

# %% [markdown]
# How good is it? Take a product that was clicked and one that was not. A useful model scores the
# clicked one higher. The share of such pairs in the right order is the **AUC**, short for *area
# under the curve*. If you give every product the average, no pair is in order: each counts as half.

# %% tags=["predict"]
predict("0.p2")

# %% [markdown]
# The rows are split in three: the model learns from *train*; *validation* says which round of
# training was best; *test* is kept for the end. All rows of one page stay in one part.

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
# One training is one throw of the dice. So the next cell repeats it, each time with new rows of the
# shop's log and new first weights. Beside each model it asks the **oracle**: the true chances given
# everything that a model may read. No model can do better than that on average.


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
results, lines = [], []
for task in ("click", "purchase"):
    model_auc, best_auc = torch.tensor([run[task] for run in runs]).T  # (run,) each
    gain, gap = paired_interval(model_auc - 0.5), paired_interval(best_auc - model_auc)
    means = {"first model": model_auc.mean().item(), "best possible": best_auc.mean().item()}
    results.append({"task": task, "average for all": 0.5, **means})
    lines.append({"task": task, "gain": gain.mean, "gain from": gain.low, "gain to": gain.high,
                  "gap": gap.mean, "gap from": gap.low, "gap to": gap.high})  # fmt: skip
    record(f"{task}: gain over the average", gain._asdict())
    record(f"{task}: gap to the best", gap._asdict())
auc = pl.DataFrame(results).with_columns(pl.selectors.float().round(3))
record("auc on test", auc)
auc

# %% [markdown]
# **Gain** is how far the model lies above the average, **gap** how far the best possible lies above
# the model, each with its interval.

# %% tags=["hide-output"]
pl.DataFrame(lines).with_columns(pl.selectors.float().round(3))

# %% tags=["hide-output"]
names = ["average for all", "first model", "best possible"]
pairs = {name: 100 * auc[name][0] for name in names}
my_guess = guess("0.p2")
my_guess = None if my_guess is None else {"first model": my_guess}
plot.guess_against_truth(my_guess, pairs, "click: pairs in the right order", unit="of 100")

# %% [markdown]
# An interval that lies above 0 means: luck alone hardly explains this difference. Purchase is judged on clicked products only, so on far fewer rows; its numbers are less
# certain. How much of the way from the first model to the best possible one can be gone, and with
# which network, is what the rest of the course is about.

# %% [markdown]
# ## Four questions
#
# The course asks four questions, again and again:
#
# 1. What do the tasks **share**? One network for all, or one each, or something between?
# 2. How are their outputs **linked**? Without a click there is no purchase.
# 3. How are their losses **balanced**? Which task gets its way when they disagree?
# 4. How does a **scenario** **adapt** the network? Search, feed and ads show the same products to
#    people in different moods.
#
# On the map each question has a line of its own, and each notebook is a station. The last two lines
# put the answers to work.

# %%
plot.course_map("00")

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - Guess, run, compare, explain. Then try the exercise before you open the solution.
# - A rate is only as good as the rows below its line: purchases are divided by clicks.
# - An average guess is the floor and the oracle is the ceiling. A model is judged between them.
#
# **When you are stuck:** read the sentence that the check gives you; run `hint` once more; restart
# with *Kernel → Restart Kernel and Run All Cells*; then look into the solution, linked at the top.
# When something on your machine fails, run `python3 run.py doctor` in a terminal.
#
# **Next:** notebook 01 takes the tasks one at a time and shows what happens inside `fit`.
#
# Now the exit quiz. Choose your answers and press the button; each comes with a reason, also the
# wrong ones. The last cell shows what you have done so far. That record is a small file on your
# machine, in the folder `.mtlkit`, and notebooks and solutions share it.

# %% tags=["quiz"]
quiz("0.exit")

# %%
progress("00")

# %% [markdown] tags=["instructor"]
# Use the first guess to collect numbers from the whole room and write them on the board; most are
# far too high. Before exercise 0.2 ask for the conversion rate of a product without clicks and let
# the group argue about 0. Common question: why is the oracle not at 1? Because it knows chances, not
# outcomes.

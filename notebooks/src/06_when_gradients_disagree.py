# %% [markdown] tags=["title"]
# title: When gradients disagree
# question: Is conflict real, and does surgery help?
# read: 20
# run: 1
# needs: [02, 03]
# cut:
# - "\"What a step costs\" (4 minutes); show its table only."
# - Exercise 6.3 (8 minutes); ask for a test matrix in the group instead.
# ---
# Each task pulls the shared layers its own way. Many published rules promise to settle the quarrel by
# **surgery**: they change the gradients. You measure how much quarrel there is, take the rules apart,
# build two of them, and let them compete with a tuned constant.

# %% [markdown] tags=["goals"]
# ## You will be able to
#
# - tell conflict from noise with a control (before exercise 6.1),
# - write the step of MGDA for two tasks (exercise 6.1),
# - write PCGrad for any number of tasks (exercise 6.2),
# - write a test that unmasks a rule whose solver fails in silence (exercise 6.3).

# %% [markdown] tags=["recall"]
# ## What do you remember?

# %% tags=["quiz"]
from mtlkit.course import quiz

quiz("6.recall")

# %% [markdown] tags=["setup"]
# ## Set-up

# %%
from contextlib import nullcontext
from functools import partial
from itertools import islice

import numpy as np
import polars as pl
import torch
from IPython.display import Markdown, display

from mtlkit import Market, SharedBottom, SingleTask, compare, fit, paired_interval, plot, split_time
from mtlkit.balance import BALANCERS, FixedWeights, GradientObserver, GradientStep, MetaBalance
from mtlkit.balance.toy import PARETO, STARTS, toy_gradients, walk
from mtlkit.course import check, guess, mode, plain_tables, predict, record, sizes
from mtlkit.shop.product_pictures import shuffle_labels
from mtlkit.train import seeded

torch.set_num_threads(1)  # quicker for networks as small as these
tables = plain_tables(tbl_rows=20, float_precision=2, fmt_str_lengths=60, tbl_width_chars=140)

# %% tags=["parameters"]
MODE = mode()

# %% [markdown] tags=["story"]
# ## Two wishes, one step
#
# Task $k$ has a gradient $g_k$ for the shared weights: the direction in which its loss rises. A step
# goes against it. Two gradients can differ in two ways:
#
# - in **direction**: the cosine of their angle is 1 if they agree and −1 if they are opposed. Below 0
#   it is a **conflict**: a small step for one task alone raises the loss of the other.
# - in **size**: the norm $\|g_k\|$. In a sum, the longer gradient decides.
#
# The smallest example has two tasks and two weights, $x_1$ and $x_2$. Each loss has a narrow valley in
# the upper half and a bowl in the lower one. The marks are five known hard starts, the grey line is
# the Pareto front: everybody should end there.

# %%
size = sizes("06", MODE)
heights = {
    "loss of task 1": lambda x: toy_gradients(x)[0][:, 0],
    "loss of task 2": lambda x: toy_gradients(x)[0][:, 1],
    "their sum": lambda x: toy_gradients(x)[0].sum(axis=1),
}
marks = np.array(STARTS)[:, None]  # (start, 1, 2): paths that have not begun
plot.paths(
    dict.fromkeys(heights, marks), heights, title="Two losses over two weights", xlabel="x₁",
    ylabel="x₂", goal=PARETO, goal_label="Pareto front",
)  # fmt: skip

# %% [markdown]
# ## Guess first
#
# Take one task of the shop, `cart`. Draw 512 rows, split them at random into halves, and compute its
# gradient on each half. In how many of 100 batches do the two conflict?
#
# Then six tasks share one network, or have one each. Who has the best AUC on new days, as the mean of
# click, cart and purchase?

# %% tags=["predict"]
predict("6.p1")
predict("6.p2")

# %% [markdown] tags=["worked"]
# ## Fifteen rules, one small table
#
# Put the gradients of $T$ tasks as rows into a matrix $G$. Most rules pick weights $w_k$ and step
# against $d = \sum_k w_k g_k$, and nine of the fifteen pick them from the **Gramian** alone:
#
# $$K = G G^\top, \qquad K_{ij} = g_i \cdot g_j.$$
#
# Its diagonal holds the squared norms, the rest the angles: $T \times T$ numbers, however large the
# network. The loop changes a little, since each task walks back alone. This one follows **MGDA**, the
# shortest mixture (exercise 6.1).

# %%
shop = Market("small", seed=0)
six = split_time(shop.impressions(size.rows), "day", (33, 44))
teams = six.train.schema.task_names
shape = {"embedding_dim": 8, "hidden": (64, 32), "tower": (16,)}
plain = {"learning_rate": 0.001, "schedule": "constant", "row_prior": None}
pair = six.train.select_tasks(["click", "dwell"])
with seeded(0):
    model = SharedBottom(pair.schema, **shape)
shared, rule, cosines = model.shared_parameters(), BALANCERS["mgda"](), []
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
for batch in pair.batches(512, shuffle=True):  # batch
    logits = model(batch)  # forward
    losses = model.losses(logits, batch)  # task losses: (2,)
    found = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
    G = torch.stack([torch.cat([part.flatten() for part in task]) for task in found])
    K = G @ G.T  # (task, task)
    update = rule.weights(losses, K) @ G  # combine: the gradients, not the losses
    optimizer.zero_grad()
    losses.sum().backward()  # backward: each head gets its own loss,
    for p, part in zip(shared, update.split([p.numel() for p in shared])):
        p.grad = part.view_as(p)  # and the shared layers get the update
    optimizer.step()  # step
    cosines.append(float(K[0, 1] / (K[0, 0] * K[1, 1]).sqrt()))
print(f"cosine of click and dwell: {np.mean(cosines):+.2f} on average over {len(cosines)} steps")

# %% [markdown]
# `fit(..., balancer=...)` does the same for every rule. An **observer** trains with equal weights and
# notes $K$ at each step. Below: one $K$ of six tasks, as norms and cosines, then what each rule asks
# for and the weights it makes of $K$. Equal weights would be a row of ones.
#
# Look at the norms: `return` and `rating`, with the fewest labels, are the loudest. MGDA gives most of
# the weight to the shortest gradient; IMTL-G and Nash-MTL turn long ones down. PCGrad and UPGrad never
# go below 1: they repair angles, and to remove what points *against* a task is to add that task.

# %%
with seeded(0):
    model = SharedBottom(six.train.schema, **shape)
observer = GradientObserver()
fit(model, six.train, epochs=1, batch_size=4096, balancer=observer, progress=False, **plain)
K, angles = observer.gramians[-1], observer.cosines[-1]
of_gramian = ["mgda", "pcgrad", "gradvac", "cagrad", "imtl-g", "nash-mtl", "fairgrad"]
of_gramian += ["aligned-mtl", "upgrad"]
weights = {name: BALANCERS[name]().weights(torch.ones(6), K) for name in of_gramian}

# %% tags=["hide-input"]
asks = {
    "mgda": "the shortest mixture of the gradients",
    "pcgrad": "each gradient loses what points against another, one after the other",
    "gradvac": "as pcgrad, but to the angle that a pair usually has (at first 90°)",
    "cagrad": "near the mean gradient, the step that helps the worst-off task most",
    "imtl-g": "a step that goes equally far along every gradient",
    "nash-mtl": "a bargain: the largest product of all tasks' gains",
    "fairgrad": "as nash-mtl, but kinder to the worst-off task",
    "aligned-mtl": "the nearest gradients that are at right angles and equally long",
    "upgrad": "each gradient turned just so far that it hurts no task",
    "graddrop": "where tasks disagree on a sign, the dice choose it, number by number",
    "moco": "as mgda, for running means of the gradients",
    "db-mtl": "gradients of log losses, averaged over time, all made as long as the longest",
    "sdmgrad": "as mgda, but near the mean gradient; weights from two halves of a batch",
    "excess-mtl": "weight for tasks that still have far to go, judged by past gradients",
    "metabalance": "helpers made nearly as loud as a main task, layer by layer",
}
facts = {"norm": K.diagonal().sqrt()} | {f"cosine with {t}": angles[i] for i, t in enumerate(teams)}


def by_task(rows):
    """A table with one column a task."""
    numbers = {name: dict(zip(teams, map(float, values))) for name, values in rows.items()}
    return pl.DataFrame([{"": name} | row for name, row in numbers.items()])


record("weights of one gramian", by_task(weights))
record("one gramian", by_task(facts))
display(by_task(facts))
table = ["rule | it asks for | " + " | ".join(teams), "--|--" + "|--:" * len(teams)]
for name, wish in asks.items():
    row = [f"{w:.2f}" for w in weights[name]] if name in weights else ["–"] * len(teams)
    table.append(" | ".join([name, wish, *row]))
Markdown("\n".join(table) + "\n\n–: needs $G$ itself or its past, not only $K$.")

# %% [markdown] tags=["observe"]
# ## Is it conflict, or is it noise?
#
# Another batch gives another gradient, so a negative cosine may be mere luck. Hence a **control**: split
# each batch into random halves and compare $g_i$ of the first with $g_j$ of the second. For $i = j$
# there is no second task: each conflict is noise. A second control: `purchase` gets random labels.


# %%
def conflicts(seed, batch_sizes):
    """Percent of batches in which halves conflict: {batch size: (task, task)}."""
    table = shuffle_labels(six.train.select_tasks(watched), "purchase", seed)
    with seeded(seed):
        network = SharedBottom(table.schema, **shape)
    fit(network, table, epochs=1, batch_size=512, seed=seed, progress=False, **plain)
    shares = {}
    for rows in batch_sizes:
        eye = GradientObserver(halves=True)
        step = GradientStep(network, eye)  # finds gradients, moves nothing
        for batch in islice(table.batches(rows, shuffle=True, seed=seed), size.batches):
            step.run(batch, nullcontext)
        negative = (eye.between_halves < 0).double()
        shares[rows] = 100 * negative.where(eye.between_halves.isfinite(), torch.nan).nanmean(0)
    return shares


watched, batch_sizes = ["click", "cart", "dwell", "purchase"], size.batch_sizes
runs = [conflicts(seed, batch_sizes) for seed in range(size.tries)]

# %% tags=["hide-input", "hide-output"]
# The answer to your guess: run this cell.
compared = {
    "click, itself": (0, 0), "cart, itself": (1, 1), "click and cart": (0, 1),
    "click and dwell": (0, 2), "cart and random labels": (1, 3),
}  # fmt: skip
rows = []
for name, (i, j) in compared.items():
    for b in batch_sizes:
        mean, low, high = paired_interval([float(r[b][i, j] + r[b][j, i]) / 2 for r in runs])
        edges = {"low": max(low, 0.0), "high": min(high, 100.0)}
        rows.append({"gradients": name, "batch": b, "percent": mean} | edges)
shares = pl.DataFrame(rows)
record("conflicts", shares)


def column(name, what):
    return shares.filter(pl.col("gradients") == name)[what].to_list()


middle = batch_sizes[1]
display(plot.guess_against_truth(
    guess("6.p1"), column("cart, itself", "percent")[1], "cart conflicts with itself",
    unit="% of batches", title=f"Two halves of one batch of {middle}, one task",
))  # fmt: skip
plot.lines(
    batch_sizes, {name: column(name, "percent") for name in compared}, log_x=True,
    bands={n: (column(n, "low"), column(n, "high")) for n in ("click, itself", "cart, itself")},
    title=f"A task conflicts with itself, too ({size.tries} seeds, two bands: 95 % intervals)",
    xlabel="rows in the batch (each half has 50 %)", ylabel="conflicts (% of batches)",
    levels={"a coin": 50},
)  # fmt: skip

# %% tags=["hide-input"]
eyes = [GradientObserver() for _ in range(size.tries)]
for seed, eye in enumerate(eyes):
    with seeded(seed):
        model = SharedBottom(six.train.schema, **shape)
    options = {"epochs": 2, "batch_size": middle, "seed": seed, "progress": False} | plain
    fit(model, six.train, balancer=eye, **options)
norms = torch.stack([eye.norms for eye in eyes])  # (seed, step, task)
tens = norms.shape[1] // 10
blocks = norms[:, : 10 * tens].unflatten(1, (tens, 10)).nanmean((0, 2))  # (ten steps, task)
late = [eye.disagreement(last=1 / 3) for eye in eyes]
through = {name: paired_interval([run[name] for run in late])._asdict() for name in late[0]}
record("through training", through)
display(plot.lines(
    10 * np.arange(1, tens + 1), {t: blocks[:, i].tolist() for i, t in enumerate(teams)},
    log_y=True, title=f"The sizes differ, from first step to last (mean of {size.tries} seeds)",
    xlabel="step", ylabel="gradient norm",
))  # fmt: skip


def told(name, digits, times=1):
    mean, low, high = (round(times * number, digits) for number in through[name].values())
    return f"**{mean:g}** ({low:g} to {high:g})"


Markdown(
    f"In the last third of training, with {middle} rows a batch, {told('conflicts', 0, 100)} % of "
    f"all pairs of tasks conflict, but the mean size of a cosine is {told('cosine', 2)}: nearly "
    f"right angles. The longest gradient is {told('norm ratio', 0)} times as long as the shortest."
)

# %% [markdown]
# Up to 512 rows, `cart` conflicts with *itself* about as often as with click or random labels. Larger
# batches make click, which always has a label, agree with itself. So never report "40 % conflicts"
# without the batch size and this control. The sizes are another matter: they differ at every step.

# %% [markdown] tags=["exercise"]
# id: 6.1
# level: fill in
# minutes: 10
# goal: write the step of MGDA for two tasks
# hints:
# - Write the mixture as g2 + a (g1 - g2). How long is it, as a function of a?
# - "Its squared length is a parabola in a, lowest at a = -(e @ g2) / (e @ e) with e = g1 - g2."
# - "And if the lowest point lies outside of 0 to 1? A mixture has no negative share: use `clamp`."
# ---
# **MGDA** takes the *shortest* mixture $d = a\,g_1 + (1 - a)\,g_2$ with $a$ between 0 and 1. A small
# step against it raises neither loss; if it is zero, no step lowers both. Return the share $a$ of task
# 1, for two gradients (number,).


# %% tags=["exercise-code"]
def share_of_first(g1, g2):
    """The share a, 0 to 1, that makes a g1 + (1 - a) g2 shortest."""
    if torch.equal(g1, g2):
        return torch.tensor(0.5)
    # BEGIN SOLUTION
    lowest = (g2 - g1) @ g2 / ((g1 - g2) @ (g1 - g2))
    return lowest.clamp(0, 1)
    # END SOLUTION
    # STUB: lowest = ...  # where the parabola is lowest
    # STUB: return ...  # and inside of 0 to 1


# %% tags=["check"]
check("6.1", share_of_first)

# %% [markdown] tags=["solution"]
# Inside of 0 to 1, $d$ is the foot of the perpendicular: $g_1 \cdot d = g_2 \cdot d = \|d\|^2$, so both
# losses fall. Without conflict and with very different sizes, the shortest mixture is the shorter
# gradient alone: then $a$ is 0 or 1, and MGDA listens to one task only, whatever its importance.

# %% [markdown] tags=["compare"]
# ## Modify and compare
#
# ### Sixteen walks
#
# Every rule from the five starts above, with Adam at a rate of 0.007 (the papers: 0.001, with many more
# steps). Then two changes: other rates, and loss 1 in another **unit**, times 0.1. Try a rate of your
# own: whose paths change?

# %%
least = {"task 1": -25.0, "task 2": -25.0}  # DB-MTL takes logarithms of losses above these
rules = {name: BALANCERS[name] for name in ["equal", *of_gramian, "graddrop", "moco"]}
rules |= {"db-mtl": lambda: BALANCERS["db-mtl"](minimum=least)}
rules |= {"sdmgrad": lambda: BALANCERS["sdmgrad"](steps=5)}
rules |= {"excess-mtl": BALANCERS["excess-mtl"], "metabalance": lambda: MetaBalance("task 1")}
routes = walk(rules, steps=size.toy_steps, learning_rate=0.007)
plot.paths(
    routes, heights["their sum"], title=f"Sixteen rules, {size.toy_steps:,} steps", xlabel="x₁",
    ylabel="x₂", goal=PARETO, goal_label="Pareto front", columns=4,
)  # fmt: skip

# %% tags=["hide-input"]
stuck, equal = {}, {"equal": BALANCERS["equal"]}
for rate in (0.001, 0.002, 0.005, 0.01, 0.02):
    ends = walk(equal, steps=int(size.reach / rate), learning_rate=rate)["equal"][:, -1]
    stuck[rate] = int((ends[:, 1] > 0).sum())
few = {name: BALANCERS[name] for name in ("equal", "pcgrad", "mgda", "nash-mtl")}
options = {"starts": [(0.0, 0.0)], "steps": size.unit_steps, "learning_rate": 0.01}
found = {scale: walk(few, scale=scale, **options) for scale in (1.0, 0.1)}
units = {n: [round(float(found[s][n][0, -1, 0]), 2) + 0.0 for s in found] for n in few}
record("stuck starts by rate", [[rate, number] for rate, number in stuck.items()])
record("ends by unit", units)
record("through the valley", {n: int((path[:, -1, 1] < 0).sum()) for n, path in routes.items()})
with pl.Config(float_precision=3):
    display(pl.DataFrame({
        "rate of equal weights": list(stuck), "of five starts stay above x₂ = 0": stuck.values(),
    }))  # fmt: skip
pl.DataFrame([
    {"from (0, 0)": name, "ends at x₁": one, "ends at x₁, loss 1 × 0.1": other}
    for name, (one, other) in units.items()
])  # fmt: skip

# %% [markdown]
# With equal weights, and with several rules, the two upper walks stay in a valley. Its sides are so steep that Adam jumps
# from one to the other, and the gentle slope along it, which both tasks share, is not heard. MGDA
# turns the steep task down and gets through. (With two tasks PCGrad and UPGrad are the same rule.)
# But the first table shows that longer steps can jump out of the valley with equal weights as well.
# So the example shows what a rule *can* do, not that your network has such valleys.
#
# The second table: with equal weights and PCGrad the louder task 2 pulls the end to its side
# ($x_1 = -7$), with MGDA the quieter one does. Of the four, only **Nash-MTL** stays: its direction has
# no unit.
#
# ### What a step costs
#
# Each rule needs a backward pass a task. Cheaper are gradients at the **representation**, the output
# of the shared layers: each task walks back through its head only, and one pass goes on. Times depend
# on the machine.

# %% tags=["hide-input"]
timed = ["equal", "pcgrad", "mgda", "cagrad", "nash-mtl", "upgrad"]


def timing(name, shared):
    """Milliseconds of a step, and backward passes through the shared layers."""
    with seeded(0):
        network = SharedBottom(six.train.schema, **shape)
    options = {"batch_size": 512, "epochs": 100, "max_steps": size.timed, "progress": False}
    options |= {"balancer": BALANCERS[name](), "shared": shared}
    history = fit(network, six.train, **options, **plain)
    return 1000 * history.seconds / history.steps, history.backward_passes // history.steps


places = ("parameters", "representation")
rounds = [{(n, p): timing(n, p) for n in timed for p in places} for _ in range(3)]
typical = {key: min(r[key][0] for r in rounds) for key in rounds[0]}  # the least disturbed
costs = pl.DataFrame([
    {
        "rule": n, "passes": rounds[0][n, "parameters"][1],
        "ms a step": typical[n, "parameters"],
        "times equal": typical[n, "parameters"] / typical["equal", "parameters"],
        "at the representation, times equal":
            typical[n, "representation"] / typical["equal", "parameters"],
    }
    for n in timed
])  # fmt: skip
record("cost per step", costs)
display(costs)

# %% [markdown] tags=["exercise"]
# id: 6.2
# level: write
# minutes: 15
# goal: write PCGrad for any number of tasks
# hints:
# - Start each task from a copy, `mine = G[i].clone()`, and leave `G` as it is.
# - "For each `j` in `orders[i]`: is `mine @ G[j]` below 0? If so, take the part along `G[j]` away."
# - "That part is `(mine @ G[j]) / (G[j] @ G[j]) * G[j]`. In the end, *add* the gradients of all tasks."
# ---
# **PCGrad** lets each gradient meet the others, one after the other. Where it conflicts with $g_j$, it
# loses its part along $g_j$:
#
# $$g_i' \leftarrow g_i' - \frac{g_i' \cdot g_j}{\|g_j\|^2}\, g_j \quad \text{if } g_i' \cdot g_j < 0$$
#
# $g_i'$ starts as $g_i$ and changes on the way; $g_j$ is always the *original* one. The order is random:
# `orders[i]` lists the other tasks in the order in which task $i$ meets them. Return the sum of all
# $g_i'$, for `G` (task, number).


# %% tags=["exercise-code"]
def surgery(G, orders):
    """PCGrad's update, (number,)."""
    # BEGIN SOLUTION
    total = torch.zeros_like(G[0])
    for i, others in enumerate(orders):
        mine = G[i].clone()
        for j in others:
            inner = mine @ G[j]
            if inner < 0:
                mine = mine - inner / (G[j] @ G[j]) * G[j]
        total = total + mine
    return total
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("6.2", surgery)

# %% [markdown] tags=["solution"]
# $g_i'$ no longer conflicts with the task that it met last, but it may again conflict with an earlier
# one. Only with two tasks is the update sure to hurt nobody.

# %% [markdown] tags=["trap"]
# ## The trap: a rule that is not there
#
# Nash-MTL needs weights $a > 0$ with $K a = 1 / a$, number by number. A published implementation leaves this to a
# solver of another package and goes on if that fails, like the code below. It trains without a
# complaint. What does it compute on a machine without the package?


# %%
def nash(K):
    """The weights of Nash-MTL."""
    weights = np.ones(len(K))
    for _ in range(20):
        try:
            from a_solver_that_was_installed_in_2022 import solve

            weights = solve(K, start=weights)
        except Exception:
            pass  # keep the last weights
    return weights


print(nash(np.diag([1.0, 100.0])), "expected:", np.array([1.0, 0.1]))

# %% [markdown] tags=["exercise"]
# id: 6.3
# level: write
# minutes: 8
# goal: write a test that unmasks a rule whose solver fails in silence
# hints:
# - You know what must hold for right weights, whatever the solver is.
# - Choose a `K` for which equal weights are wrong. For which `K` are they right?
# - "`K = np.diag([1.0, 100.0])`, then `a = nash(K)`; compare `K @ a` with `1 / a`."
# ---
# You get some function `nash(K)`. Return true if it does not solve its equation.


# %% tags=["exercise-code"]
def unsolved(nash):
    """True if the weights do not satisfy K a = 1 / a."""
    # BEGIN SOLUTION
    K = np.array([[1.0, 2.0], [2.0, 100.0]])
    a = nash(K)
    return not np.allclose(K @ a, 1 / a, rtol=1e-3)
    # END SOLUTION
    # STUB: return ...  # your answer


# %% tags=["check"]
check("6.3", unsolved)

# %% [markdown] tags=["solution"]
# With the identity as $K$, equal weights *are* the solution, and the broken rule passes. Put the answer
# back into the equation, at a place where the easy answer is wrong.

# %% [markdown] tags=["practice"]
# ## In practice: when does it help?
#
# Two shops. In the first, six tasks with very different numbers of labels share a network; in the
# second click and cart, two rich tasks that agree.
#
# The score is the mean AUC of click, cart and purchase. The yardsticks: separate networks, **random
# weights** (drawn anew at each step), and a **tuned constant**, the best of five on validation days,
# among them "by rows": a task with a tenth of the labels gets a tenth of the weight. The rules get no
# search; they have nothing to tune but the rate. The test days are read once, here.


# %% tags=["hide-input"]
def contest(split, rules, on, seeds):
    """All rules with the same seeds and budget; on the test days also two more yardsticks."""
    kinds = dict.fromkeys(rules, SharedBottom)
    own = {name: {"balancer": rule} for name, rule in rules.items()}
    if on == "test":
        separate = partial(SingleTask, own_stop=False)
        kinds = {"separate networks": separate} | kinds | {"equal, rate × 3": SharedBottom}
        own["equal, rate × 3"] = {"balancer": BALANCERS["equal"](), "learning_rate": 0.003}
    return compare(
        {n: lambda seed, kind=kind: kind(split.train.schema, **shape) for n, kind in kinds.items()},
        split, on=on, seeds=seeds, by_scenario=False, progress=False, fit_options_for=own,
        fit_options={"epochs": size.epochs, "batch_size": 512} | plain,
    )  # fmt: skip


counted = ("click", "cart", "purchase")


def mean_auc(found, name, tasks=counted):
    """Mean AUC of the tasks, one number a seed."""
    mine = found.runs.filter((pl.col("candidate") == name) & (pl.col("metric") == "auc"))
    by_seed = mine.filter(pl.col("task").is_in(tasks)).group_by("seed", maintain_order=True)
    return by_seed.agg(pl.col("value").mean())["value"].to_numpy()


def constants(split):
    """{name: weights that stay as they are}."""
    names = split.train.schema.task_names
    rows = {name: float(split.train.mask(name).float().mean()) for name in names}
    others = [name for name in names if name != "click"]
    found = {f"all but click × {w}": dict.fromkeys(others, w) for w in (1, 0.1, 0.03)}
    found |= {"by √rows": {n: r**0.5 for n, r in rows.items()}, "by rows": rows}
    return {name: FixedWeights(weights) for name, weights in found.items()}


# %%
rich = Market("aligned", seed=0, click_rate=0.4)
two = split_time(rich.impressions(size.rich_rows), "day", (33, 44)).select_tasks(["click", "cart"])
names = {"equal": "equal weights", "rlw": "random weights", "pcgrad": "PCGrad", "mgda": "MGDA"}
names |= {"nash-mtl": "Nash-MTL"}
finals, chosen = {}, {}
for name, split in {"six tasks": six, "two rich tasks": two}.items():
    search = contest(split, constants(split), "validation", range(90, 90 + size.search))
    chosen[name] = max(constants(split), key=lambda w: mean_auc(search, w).mean())
    rules = {shown: BALANCERS[short]() for short, shown in names.items()}
    rules["tuned constant"] = constants(split)[chosen[name]]
    finals[name] = contest(split, rules, "test", range(size.seeds))

# %% tags=["hide-input", "hide-output"]
# The answer to your guess: run this cell.
yardsticks = ["equal weights", "tuned constant", "separate networks"]
for name, final in finals.items():
    scores = {rival: mean_auc(final, rival) for rival in final.candidates}
    rows, table = [], [" | minus ".join([f"{name} | mean AUC", *yardsticks]), "--|--|--|--|--"]
    for rival, own in scores.items():
        gaps = {base: paired_interval(own - scores[base]) for base in yardsticks}
        rows.append({"candidate": rival, "mean auc": float(own.mean())})
        for base, (mean, low, high) in gaps.items():
            rows[-1] |= {base: mean, f"{base} low": low, f"{base} high": high}
        told = [f"{g.mean:+.3f} ({g.low:+.3f} to {g.high:+.3f})" for g in gaps.values()]
        told = ["–" if base == rival else text for base, text in zip(yardsticks, told)]
        table.append(" | ".join([rival, f"{own.mean():.3f}", *told]))
    made, split = (shop, six) if name == "six tasks" else (rich, two)
    best = made.oracle(split.test, knows="features")
    best = np.mean([best[task]["auc"] for task in counted if task in best])
    table.append(f"oracle (knows the true chances) | {best:.3f} | | |")
    record(f"contest, {name}", pl.DataFrame(rows))
    record(f"contest by task, {name}", final.table().select("candidate", "task", "mean"))
    display(plot.differences(
        scores, "equal weights", label="mean AUC", marked=guess("6.p2") if made is shop else None,
        title=f"{name.capitalize()}: test days, {size.seeds} paired seeds, 95 % intervals",
    ))  # fmt: skip
    display(Markdown(f"Tuned constant: {chosen[name]}.\n\n" + "\n".join(table)))
record("chosen constants", chosen)
final = finals["six tasks"]
every = final.table().with_columns(pl.format("{} ({})", "task", "metric").alias("task"))
with pl.Config(float_precision=3):
    display(every.pivot("task", index="candidate", values="mean"))
paid = mean_auc(final, "tuned constant", ["return"]) - mean_auc(final, "equal weights", ["return"])
mean, low, high = paired_interval(paid)
record("return, tuned constant minus equal weights", paired_interval(paid)._asdict())
told = (
    f"AUC of return ({six.test.mask('return').sum()} test rows), tuned constant minus equal weights"
)
Markdown(f"{told}: {mean:+.2f} ({low:+.2f} to {high:+.2f})")

# %% [markdown]
# With six tasks the rules beat equal weights by a wide margin; PCGrad by less, since here the trouble
# is sizes, and it repairs angles. But a constant does it too: it takes one backward pass and one idea,
# "count each labelled row the same", and none of the three rules is clearly above it, nor above separate
# networks. A larger learning rate alone closes part of the gap. With two rich tasks that agree,
# nobody wins anything worth a pass.
#
# A mean hides who pays: no candidate is first in every column, and return, a loud
# task that equal weights serve, pays for the constant. And all runs learn from the same rows, so the
# intervals cover first weights and the order of batches only.

# %% [markdown] tags=["exit"]
# ## Take-aways
#
# - A negative cosine in a batch may be noise. Report it with the batch size, beside the same task's
#   own halves.
# - Here the gradients' sizes made the trouble, not their angles.
# - Most rules read the $T \times T$ Gramian and cost a backward pass a task.
# - Compare with a tuned constant and with separate networks, not with equal weights alone.

# %% tags=["quiz"]
quiz("6.exit")

# %% [markdown] tags=["instructor"]
# Collect the guesses for 6.p1 before anything else: few expect a coin. Ask what the figure would look
# like for a task whose two halves never conflict (click at large batches), and what a batch size of one
# would do. In 6.1 let the group draw two vectors of very different length at a right angle: the foot of
# the perpendicular lies near the short one. In 6.2 the usual slips are a changed partner and the mean.
#
# For 6.p2, many choose the newest rule. When the table is on the screen, ask which number in it would have
# made a good abstract, and which line a reviewer should ask for. The two constants by counts of rows
# come from notebook 03, and they are what makes this yardstick strong: take them out of the search, so
# that only one common weight is tuned, and let the room see who wins then, and at what rate.

# %% [markdown] tags=["sources"]
# ## Sources
#
# - Jean-Antoine Désidéri: *Multiple-gradient descent algorithm* (MGDA). 2012. Ozan Sener, Vladlen Koltun:
#   *Multi-Task Learning as Multi-Objective Optimization*. NeurIPS 2018.
# - Tianhe Yu and others: *Gradient Surgery for Multi-Task Learning* (PCGrad). NeurIPS 2020.
# - Bo Liu and others: *Conflict-Averse Gradient Descent* (CAGrad). NeurIPS 2021. The landscape.
# - Aviv Navon and others: *Multi-Task Learning as a Bargaining Game* (Nash-MTL). ICML 2022. The starts.
# - Derrick Xin and others: *Do Current Multi-Task Optimization Methods in Deep Learning Even Help?*
#   NeurIPS 2022. Vitaly Kurin and others: *In Defense of the Unitary Scalarization*. NeurIPS 2022.
# - Cathrin Elich and others: *Examining Common Paradigms in Multi-Task Learning*. 2024. The control.

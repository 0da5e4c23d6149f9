"""Complete Journey: the same products in few scenarios, and in many.

A row is a product in a week. The scenario is its department (seven), or its category where that has
thirty-five products or more; what is left of a department is one scenario more. Rows, tasks and
inputs are the same both times: a model knows department or category as the scenario alone. GAUC is
within the finer scenarios both times, so it can be compared over the two.

Tasks: the product is sold at a discount (given that it is sold), and it sells a spike.
"""

from functools import lru_cache, partial

import polars as pl

from mtlkit import Split, Task
from mtlkit.data import Encoder
from mtlkit.data.real.complete_journey import (
    PLANS,
    TEST_WEEK,
    VALIDATION_WEEK,
    complete_journey_frame,
)
from mtlkit.lessons.nb08.studies import _contest

USES = (
    "OneForAll", "OneEach", "ScenarioFeature", "ScenarioTowers", "STAR", "PEPNet", "MLoRA",
    "SARNet", "EmbeddingShift",
)  # fmt: skip
SIZES = {
    "share": (0.2, 0.5),  # of all products, in a seed
    "epochs": (1, 8),
    "batch_size": (512, 1_024),
    "search_seeds": (1, 1),
    "seeds": (2, 5),
    "rounds": (10, 200),
}

PRACTICES = {  # of ids there is only the brand, so the prior has no trials
    f"rate {rate:g}": {"learning_rate": rate, "row_prior": 0.1}
    for rate in (0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
}
TASKS = ("discounted", "spike")
VIEWS = ("department", "category")
PRODUCTS = 35  # a category with fewer goes to the rest of its department
ABSENT = {"department", "category", "scenario", "brand", "product", "week", "row", "group"}


def grouped(frame):
    """The frame with ``group``: a product's category, or "rest of" its department."""
    products = pl.col("product").n_unique().over("department", "category")
    rest = pl.format("rest of {}", "department")
    named = pl.format("{}: {}", "department", "category")
    return frame.with_columns(group=pl.when(products >= PRODUCTS).then(named).otherwise(rest))


@lru_cache(maxsize=2)
def whole(view):
    """The split of all products by week, with departments or categories as scenarios."""
    frame = grouped(complete_journey_frame("products")).with_row_index("row")
    labels = PLANS["products"].tasks
    dense = [c for c in frame.columns if c not in {*ABSENT, *(task.name for task in labels)}]
    train = frame.filter(pl.col("week") < VALIDATION_WEEK)
    encoder = Encoder(
        tasks=[Task(name) for name in TASKS],
        categorical=("brand",),
        dense=dense,
        log1p=PLANS["products"].log1p,
        scenario="department" if view == "department" else "group",
        keys=("product", "group"),
    ).fit(train)
    later = frame.filter(pl.col("week") >= VALIDATION_WEEK)
    early = pl.col("week") < TEST_WEEK
    periods = (train, later.filter(early), later.filter(~early))
    return Split(*(encoder.transform(part, row_id=part["row"]) for part in periods))


def study(size, store):
    """{"runs", "scores", "trials", "cost", "scenarios"}, each with the view in front."""
    found = {}
    for view in VIEWS:
        split = partial(whole, view)
        tables = _contest.contest(split, "product", PRACTICES, size, store, group="group")
        for name, table in tables.items():
            found.setdefault(name, []).append(table.select(pl.lit(view).alias("view"), pl.all()))
    return {name: pl.concat(tables, how="diagonal") for name, tables in found.items()}

"""Complete Journey: a year of a grocer's receipts, as two multi-scenario, multi-task tables.

``households``: will a household buy in a department next week, and given that it does, with a
coupon, for how much, how many items? Eight departments are the scenarios.
``products``: how many units does a product sell next week, is it sold at all, discounted, with a
coupon, in a spike? Displays and mailers of that week are known ahead.

The compact source tables and their data card are in ``datasets/``; the features are in
``complete_journey_features.py``. Groceries in stores, not a web shop.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from mtlkit.data.encode import Encoder
from mtlkit.data.real.complete_journey_features import DEMOGRAPHICS, household_rows, product_rows
from mtlkit.data.real.public import locate
from mtlkit.data.splits import Split
from mtlkit.schema import SchemaError, Task

HOUSEHOLD_SOURCES = ("purchases", "visits", "demographics", "campaigns", "campaign_coupons")
PRODUCT_SOURCES = ("catalogue", "product_weeks")
SOURCES = (*HOUSEHOLD_SOURCES, *PRODUCT_SOURCES)
VALIDATION_WEEK, TEST_WEEK = 38, 45  # train 10 .. 37, validation 38 .. 44, test 45 .. 52


@dataclass(frozen=True)
class _Plan:
    """How one model table is encoded."""

    sources: tuple[str, ...]
    tasks: tuple[Task, ...]
    categorical: tuple[str, ...]
    log1p: tuple[str, ...]
    keys: tuple[str, ...]


PLANS = {
    "households": _Plan(
        sources=HOUSEHOLD_SOURCES,
        tasks=(
            Task("buy"),
            Task("coupon", given="buy"),
            Task("spend", "regression", given="buy", unit="dollar", log1p=True),
            Task("items", "count", given="buy", unit="items"),
        ),
        categorical=("department", *DEMOGRAPHICS),
        log1p=(
            "spend_1",
            "spend_8",
            "spend_per_bought_week",
            "items_per_bought_week",
            "store_spend_1",
            "store_spend_8",
            "coupons_offered",
            "weeks_since_bought",
            "weeks_since_visit",
            "weeks_with_coupon_8",
            "weeks_with_coupon",
            "weeks_with_any_coupon",
            "visits_1",
            "visits_4",
            "visits_8",
        ),
        keys=("household", "week"),
    ),
    "products": _Plan(
        sources=PRODUCT_SOURCES,
        tasks=(
            Task("units", "count", unit="units"),
            Task("sold"),
            Task("discounted", given="sold"),
            Task("coupon", given="sold"),
            Task("spike"),
        ),
        categorical=("department", "category", "brand"),
        log1p=(
            "units_1",
            "units_2",
            "mean_units_4",
            "mean_units_8",
            "mean_units",
            "weeks_since_sold",
            "price",
        ),
        keys=("product", "week"),
    ),
}


def complete_journey_frame(name: str = "households", *, households: str = "known") -> pl.DataFrame:
    """Return one table as a polars frame, to look at.

    name: "households" or "products" for the rows of the model tables in natural units (a label that
    is not observed is null), or one of the source tables: "purchases", "visits", "demographics",
    "campaigns", "campaign_coupons", "catalogue", "product_weeks". households: "known" or "all", see
    ``load_complete_journey``.
    """
    if name in SOURCES:
        return pl.read_parquet(locate("complete_journey", f"{name}.parquet"))
    if name not in PLANS:
        raise ValueError(f"No table {name!r}; there are {', '.join((*PLANS, *SOURCES))}.")
    tables = {source: complete_journey_frame(source) for source in PLANS[name].sources}
    rows = product_rows(tables) if name == "products" else household_rows(tables, households)
    return rows.with_columns(department=pl.col("scenario"))


def load_complete_journey(
    table: str = "households", *, households: str = "known", tasks: tuple[str, ...] | None = None
) -> Split:
    """Return training (weeks 10 to 37), validation (38 to 44) and test tables (45 to 52).

    table: "households" (buy; coupon, spend and items given buy) or "products" (units, sold;
    discounted and coupon given sold; spike). households: "known" for the 801 households with
    demographics (275,544 rows), "all" for every household (820,280 rows), unknown demographics
    being id 0. tasks: keep only these, in this order. Ids, scales and the units of regression tasks
    are learned from the training weeks alone. Keys: household or product, and week.

    Raises ``DataMissingError`` or ``DataCorruptError`` for the files, ``ValueError`` for a wrong
    argument, ``SchemaError`` for an unknown task.
    """
    if table not in PLANS:
        raise ValueError(f"table must be one of {', '.join(PLANS)}, not {table!r}.")
    plan = PLANS[table]
    frame = complete_journey_frame(table, households=households).with_row_index("row")
    outside = {*plan.categorical, *plan.keys, "scenario", "row", *(t.name for t in plan.tasks)}
    train = frame.filter(pl.col("week") < VALIDATION_WEEK)
    encoder = Encoder(
        tasks=plan.tasks,
        categorical=plan.categorical,
        dense=[name for name in frame.columns if name not in outside],
        log1p=plan.log1p,
        scenario="scenario",
        keys=plan.keys,
    ).fit(train)
    later = frame.filter(pl.col("week") >= VALIDATION_WEEK)
    parts = (
        train,
        later.filter(pl.col("week") < TEST_WEEK),
        later.filter(pl.col("week") >= TEST_WEEK),
    )
    split = Split(*(encoder.transform(part, row_id=part["row"]) for part in parts))
    if tasks is None:
        return split
    if isinstance(tasks, str) or not tasks:
        raise SchemaError(f"tasks must be a tuple of task names, not {tasks!r}.")
    return Split(*(part.select_tasks(list(tasks)) for part in split))

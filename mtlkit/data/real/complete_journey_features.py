"""From weekly records of the Complete Journey to one raw row a household, department and week.

A row for week w says what was known when week w began and what then happened in it. Every input is
a function of weeks before w, or of what the shop plans itself (campaigns, displays, mailers);
``past_sum`` and ``weeks_since`` are the only ways in, and neither reads week w or later.
"""

from __future__ import annotations

import numpy as np
import polars as pl

DEPARTMENTS = (
    "COSMETICS",
    "DELI",
    "DRUG GM",
    "GROCERY",
    "MEAT",
    "MEAT-PCKGD",
    "PASTRY",
    "PRODUCE",
)
DEMOGRAPHICS = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_comp",
    "kids_count",
)
LAST = 53  # weeks are numbered 1 .. 53 in the source
FIRST_WEEK, LAST_WEEK = 10, 52  # rows; week 1 is one day long, week 53 ends with the year
FAR = 26  # "weeks since" for a thing that has not happened in half a year, or never
STORES = 110.0  # stores with promotion records in a typical week
SPIKE = 2.0  # a spike sells at least twice the mean of the eight weeks before, plus one unit


def past_sum(values: np.ndarray, weeks: int = LAST) -> np.ndarray:
    """Sum over the ``weeks`` weeks before each week: out[..., w] = sum of values[..., w-weeks : w].

    The last axis is the week number 0 .. 53; week w itself is not in the sum.
    """
    total = np.zeros((*values.shape[:-1], values.shape[-1] + 1))
    np.cumsum(values, axis=-1, out=total[..., 1:])
    week = np.arange(values.shape[-1])
    return total[..., week] - total[..., np.maximum(week - weeks, 0)]


def weeks_since(happened: np.ndarray) -> np.ndarray:
    """Weeks from the last True before each week, at most FAR; happened is bool (..., week)."""
    week = np.arange(happened.shape[-1])
    latest = np.maximum.accumulate(np.where(happened, week, -FAR), axis=-1)
    before = np.concatenate([np.full((*happened.shape[:-1], 1), -FAR), latest[..., :-1]], axis=-1)
    return np.minimum(week - before, FAR)


def to_grid(frame: pl.DataFrame, value: str, **axes: pl.Series) -> np.ndarray:
    """Spread a column over an array with one axis a key column and a last axis for the week."""
    codes = []
    for name, values in axes.items():
        positions = pl.Series(range(len(values)), dtype=pl.Int64)
        codes.append(frame[name].replace_strict(values, positions).to_numpy())
    grid = np.zeros((*(len(values) for values in axes.values()), LAST + 1))
    grid[(*codes, frame["week"].to_numpy())] = frame[value].to_numpy()
    return grid


def household_rows(tables: dict[str, pl.DataFrame], households: str = "known") -> pl.DataFrame:
    """Raw rows, one a household, department and week 10 .. 52; see datasets/README.md.

    households: "known" for the 801 with demographics, "all" for every household, each from the
    week after its first visit on.
    """
    if households not in ("known", "all"):
        raise ValueError(f'households must be "known" or "all", not {households!r}.')
    people = tables["demographics"].sort("household")
    if households == "known":
        people = people.filter(pl.col("age").is_not_null())
    names = people["household"]
    visits = tables["visits"].filter(pl.col("household").is_in(names.to_list()))
    bought_lines = tables["purchases"].filter(pl.col("household").is_in(names.to_list()))
    departments = pl.Series(DEPARTMENTS)

    def cells(column: str) -> np.ndarray:
        return to_grid(bought_lines, column, household=names, department=departments)

    def weekly(column: str) -> np.ndarray:
        return to_grid(visits, column, household=names)[:, None, :]  # (household, 1, week)

    spend, items = cells("spend_cents") / 100, cells("items")  # (household, department, week)
    bought: np.ndarray = items > 0
    coupon: np.ndarray = cells("coupon_cents") > 0
    saved = cells("discount_cents") / 100
    baskets, store_spend = weekly("baskets"), weekly("spend_cents") / 100
    week = np.arange(LAST + 1)
    weeks_bought = past_sum(bought)
    paid, cut = past_sum(spend, 8), past_sum(saved, 8)
    any_coupon = coupon.max(axis=1, keepdims=True)
    columns = {
        "bought_1": past_sum(bought, 1),
        "weeks_bought_4": past_sum(bought, 4),
        "weeks_bought_8": past_sum(bought, 8),
        "share_of_weeks_bought": weeks_bought / np.maximum(week - 1, 1),
        "weeks_since_bought": weeks_since(bought),
        "spend_1": past_sum(spend, 1),
        "spend_8": paid,
        "spend_per_bought_week": past_sum(spend) / np.maximum(weeks_bought, 1),
        "items_per_bought_week": past_sum(items) / np.maximum(weeks_bought, 1),
        "discount_share_8": cut / np.maximum(paid + cut, 0.01),
        "weeks_with_coupon_8": past_sum(coupon, 8),
        "weeks_with_coupon": past_sum(coupon),
        "visits_1": past_sum(baskets, 1),
        "visits_4": past_sum(baskets, 4),
        "visits_8": past_sum(baskets, 8),
        "weeks_since_visit": weeks_since(baskets > 0),
        "store_spend_1": past_sum(store_spend, 1),
        "store_spend_8": past_sum(store_spend, 8),
        "weeks_with_any_coupon_8": past_sum(any_coupon, 8),
        "weeks_with_any_coupon": past_sum(any_coupon),
        "department_share_1": past_sum(np.mean(bought, axis=0, keepdims=True), 1),
    }
    for kind in ("A", "B", "C"):
        chosen = tables["campaigns"].filter(pl.col("kind") == kind)
        running = campaigns_running(chosen.with_columns(times=pl.lit(1)), names)
        columns[f"campaigns_{kind}"] = running[:, None, :]
    columns["coupons_offered"] = coupons_offered(tables, names)
    labels = {"buy": bought, "coupon": coupon, "spend": spend, "items": items}
    kept = np.zeros(bought.shape, dtype=bool)  # (household, department, week)
    kept[..., FIRST_WEEK : LAST_WEEK + 1] = True
    if households == "all":
        kept &= past_sum(baskets) > 0
    frame = _flatten(columns | labels, kept, names, "household", "scenario", departments)
    return _labels_given(frame, "buy", ("coupon", "spend", "items")).join(
        people, on="household", how="left", maintain_order="left"
    )


def campaigns_running(campaigns: pl.DataFrame, households: pl.Series) -> np.ndarray:
    """Sum of ``times`` over a household's campaigns as a week begins, (household, week)."""
    campaigns = campaigns.filter(pl.col("household").is_in(households.to_list()))
    row = np.searchsorted(households.to_numpy(), campaigns["household"].to_numpy())
    times = campaigns["times"].to_numpy()
    change = np.zeros((len(households), LAST + 2))
    np.add.at(change, (row, campaigns["first_week"].to_numpy()), times)
    np.subtract.at(change, (row, campaigns["last_week"].to_numpy() + 1), times)
    return change.cumsum(axis=1)[:, : LAST + 1]


def coupons_offered(tables: dict[str, pl.DataFrame], households: pl.Series) -> np.ndarray:
    """Coupons that a household's campaigns offer, (household, department, week)."""
    offers = []
    for department in DEPARTMENTS:
        coupons = tables["campaign_coupons"].filter(pl.col("department") == department)
        sent = tables["campaigns"].join(coupons, on="campaign").rename({"coupons": "times"})
        offers.append(campaigns_running(sent, households))
    return np.stack(offers, axis=1)


def product_rows(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Raw rows, one a product and week 10 .. 52; display and mailer of the week are known ahead."""
    catalogue = tables["catalogue"].sort("product")
    names = catalogue["product"]

    def cells(column: str) -> np.ndarray:
        return to_grid(tables["product_weeks"], column, product=names)  # (product, week)

    units, lines, spend = cells("units"), cells("lines"), cells("spend_cents") / 100
    discounted, coupon = cells("discounted_lines"), cells("coupon_lines")
    sold: np.ndarray = units > 0
    mean_8 = past_sum(units, 8) / 8
    price = past_sum(spend, 8) / np.maximum(past_sum(units, 8), 1)
    columns = {
        "units_1": past_sum(units, 1),
        "units_2": past_sum(units, 2) - past_sum(units, 1),
        "mean_units_4": past_sum(units, 4) / 4,
        "mean_units_8": mean_8,
        "mean_units": past_sum(units) / np.maximum(np.arange(LAST + 1) - 1, 1),
        "weeks_sold_8": past_sum(sold, 8),
        "weeks_since_sold": weeks_since(sold),
        "price": price,
        "discounted_share_1": past_sum(discounted, 1) / np.maximum(past_sum(lines, 1), 1),
        "discounted_share_8": past_sum(discounted, 8) / np.maximum(past_sum(lines, 8), 1),
        "coupon_share_8": past_sum(coupon, 8) / np.maximum(past_sum(lines, 8), 1),
    }
    for kind in ("display", "display_end", "mailer", "mailer_cover"):
        share = cells(f"{kind}_stores") / STORES
        columns[f"{kind}_share"] = share
        columns[f"{kind}_share_1"] = past_sum(share, 1)
        columns[f"{kind}_share_8"] = past_sum(share, 8) / 8
    labels = {
        "units": units,
        "sold": sold,
        "discounted": 2 * discounted >= np.maximum(lines, 1),
        "coupon": coupon > 0,
        "spike": units >= SPIKE * mean_8 + 1,
    }
    kept = np.zeros(units.shape, dtype=bool)
    kept[:, FIRST_WEEK : LAST_WEEK + 1] = True
    frame = _flatten(columns | labels, kept, names, "product")
    frame = _labels_given(frame, "sold", ("discounted", "coupon"))
    frame = frame.join(catalogue, on="product", how="left", maintain_order="left")
    return frame.rename({"department": "scenario"})


def _flatten(
    columns: dict[str, np.ndarray],
    kept: np.ndarray,
    names: pl.Series,
    key: str,
    middle: str | None = None,
    middle_names: pl.Series | None = None,
) -> pl.DataFrame:
    """Grids to one row an entry of ``kept``, with the key columns in front."""
    index = np.nonzero(kept)
    frame = {key: names.gather(index[0])}
    if middle is not None and middle_names is not None:
        frame[middle] = middle_names.gather(index[1])
    frame["week"] = pl.Series(index[-1], dtype=pl.Int64)
    for name, grid in columns.items():
        values = np.broadcast_to(grid, kept.shape)[kept]
        small = np.int8 if grid.dtype == bool else np.float32
        frame[name] = pl.Series(values.astype(small))
    return pl.DataFrame(frame)


def _labels_given(frame: pl.DataFrame, parent: str, children: tuple[str, ...]) -> pl.DataFrame:
    """Null the labels that are observed only where ``parent`` is 1."""
    return frame.with_columns(pl.when(pl.col(parent) == 1).then(pl.col(name)) for name in children)

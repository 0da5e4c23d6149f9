"""Online Retail: a product's next week. The trap: a random cut shows training the test's weeks."""

import lzma

import polars as pl

import mtlkit
from mtlkit import MMoE, SingleTask, Task
from mtlkit.data.real.public import locate

raw = lzma.decompress(locate("online_retail", "online_retail_nodesc.csv.xz").read_bytes())
lines = pl.read_csv(raw, infer_schema_length=None)
day = pl.col("InvoiceDate").str.head(10).str.to_date("%Y-%m-%d")
week = ((day - pl.date(2010, 12, 1)).dt.total_days() // 7).alias("week")
units = pl.col("Quantity").clip(0).sum()  # below 0: a cancelled order
panel = lines.group_by("StockCode", week).agg(units=units, price=pl.col("UnitPrice").median())
panel = panel.filter(pl.len().over("StockCode") > 50).sort("StockCode", "week")
ahead = pl.col("units").shift(-1).over("StockCode")
rows = panel.with_columns(next=ahead, more=ahead > pl.col("units")).drop_nulls()
tasks = ["more", Task("next", "regression", log1p=True, unit="units")]  # log: one order has 80,995
roles = {"log1p": ["units", "price"], "categorical": ["StockCode"]}
print(mtlkit.prepare(rows, tasks, keys=["week"], **roles).audit())  # every week on both sides
data = mtlkit.prepare(rows, tasks, time="week", **roles)
print(data, data.audit(), sep="\n\n")
models = {"apart": lambda s: SingleTask(data.schema), "shared": lambda s: MMoE(data.schema)}
print(mtlkit.compare(models, data.split, seeds=range(2), fit_options={"epochs": 2}))

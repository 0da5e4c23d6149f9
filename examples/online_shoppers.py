"""Online Shoppers: purchase and exit rate. The trap: PageValues is computed after the sale."""

import polars as pl

import mtlkit
from mtlkit import MMoE, SingleTask, Task
from mtlkit.data.real.public import locate

path = locate("online_shoppers", "online_shoppers_intention.csv")
frame = pl.read_csv(path, infer_schema_length=None)
same = (frame.hash_rows() // 2).cast(pl.Int64)  # one number for equal sessions
frame = frame.with_columns(same=same)

tasks = [Task("Revenue"), Task("ExitRates", "regression")]
ids = ["OperatingSystems", "Browser", "Region", "TrafficType"]
roles = {"scenario": "VisitorType", "categorical": ids, "group": "same"}
trap = mtlkit.prepare(frame, tasks, drop=["BounceRates"], **roles)
print(trap.audit())  # PageValues alone: AUC .87, above all other columns together

data = mtlkit.prepare(frame, tasks, drop=["BounceRates", "PageValues"], **roles)
print(data, data.audit(), sep="\n\n")
models = {"apart": lambda s: SingleTask(data.schema), "shared": lambda s: MMoE(data.schema)}
print(mtlkit.compare(models, data.split, seeds=range(2), fit_options={"epochs": 2}))

"""SCMS deliveries: late, and by how much. The trap: lines of one shipment on both sides."""

import gzip

import polars as pl

import mtlkit
from mtlkit import MMoE, SingleTask, Task
from mtlkit.data.real.public import locate

raw = gzip.decompress(locate("scms_delivery", "SCMS_Delivery_History_Dataset.csv.gz").read_bytes())
frame = pl.read_csv(raw.replace(b"\r", b"\n"), infer_schema_length=0)  # its lines end in CR alone
due, done = (pl.col(n).str.to_date("%d-%b-%y") for n in
             ("Scheduled Delivery Date", "Delivered to Client Date"))  # fmt: skip
days = (done - due).dt.total_days().clip(-30, 60).alias("days")
inputs = ["Country", "Vendor", "Shipment Mode", "Product Group", "Brand", "Vendor INCO Term"]
amounts = pl.col("Line Item Quantity", "Line Item Value").cast(pl.Float64)
frame = frame.select("ASN/DN #", "Fulfill Via", *inputs, amounts, days, late=days > 0)

tasks = ["late", Task("days", "regression", unit="days")]
roles = {"scenario": "Fulfill Via", "log1p": ["Line Item Quantity", "Line Item Value"]}
print(mtlkit.prepare(frame, tasks, keys=["ASN/DN #"], **roles).audit())  # cut at random
data = mtlkit.prepare(frame, tasks, group="ASN/DN #", **roles)
print(data, data.audit(), sep="\n\n")
models = {"apart": lambda s: SingleTask(data.schema), "shared": lambda s: MMoE(data.schema)}
print(mtlkit.compare(models, data.split, seeds=range(2), fit_options={"epochs": 2}))

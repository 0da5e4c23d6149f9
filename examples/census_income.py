"""Census-Income: rich, never married. The trap: inputs that are a label in other words."""

import gzip

import polars as pl

import mtlkit
from mtlkit import MMoE, SingleTask
from mtlkit.data.real.public import locate

raw = gzip.decompress(locate("census_income_kdd", "census-income.test.gz").read_bytes())
frame = pl.read_csv(raw.replace(b", ", b","), has_header=False, infer_schema_length=None)
frame.columns = [f"c{i}" for i in range(42)]
rich, never = pl.col("c41") == "50000+.", pl.col("c7") == "Never married"
same = (frame.drop("c24").hash_rows() // 2).cast(pl.Int64)  # one number for equal rows
frame = frame.with_columns(rich=rich, never=never, same=same)[:8_000]

tasks, roles = ["rich", "never"], {"scenario": "c12", "group": "same"}  # c12 is sex
trap = mtlkit.prepare(frame, tasks, drop=["c24"], **roles)  # c24: how many people a row is for
print(trap.audit())  # c41, the income, and c7, the marital status, each tell their label

data = mtlkit.prepare(frame, tasks, drop=["c24", "c41", "c7"], **roles)
print(data, data.audit(), sep="\n\n")
models = {"apart": lambda s: SingleTask(data.schema), "shared": lambda s: MMoE(data.schema)}
print(mtlkit.compare(models, data.split, seeds=range(2), fit_options={"epochs": 2}))

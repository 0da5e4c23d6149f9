"""KuaiRand: click, long view, watch time. The trap: the pooled score only tells tabs apart."""

import gzip

import polars as pl

import mtlkit
from mtlkit import MMoE, SingleTask, Task
from mtlkit.data.real.public import locate

raw = gzip.decompress(
    locate("kuairand_pure", "log_standard_4_25_to_5_08_sample.csv.gz").read_bytes()
)
frame = pl.read_csv(raw, infer_schema_length=None).sort("time_ms")[::8]
frame = frame.with_columns(hour=(pl.col("hourmin") // 100).cast(pl.String))
later = ["is_follow", "is_comment", "is_forward", "is_hate", "is_profile_enter", "is_like"]
later += ["profile_stay_time", "comment_stay_time"]  # outcomes, never inputs

watch = Task("play_time_ms", "regression", log1p=True, unit="ms")
data = mtlkit.prepare(
    frame, ["is_click", Task("long_view", given="is_click"), watch], scenario="tab", time="date",
    categorical=["user_id", "video_id"], drop=["time_ms", "hourmin", "is_rand", *later],
)  # fmt: skip
print(data, data.audit(), sep="\n\n")  # by task: all rows together, beside inside the tabs
models = {"apart": lambda s: SingleTask(data.schema), "shared": lambda s: MMoE(data.schema)}
print(mtlkit.compare(models, data.split, seeds=range(2), fit_options={"epochs": 2}))

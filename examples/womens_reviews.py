"""Women's Reviews: recommended, helpful votes. The trap: the stars say what is recommended."""

import gzip

import polars as pl

import mtlkit
from mtlkit import MMoE, SingleTask, Task
from mtlkit.data.real.public import locate

raw = gzip.decompress(
    locate("womens_clothing_reviews", "womens_clothing_reviews.csv.gz").read_bytes()
)
frame = pl.read_csv(raw, infer_schema_length=None)[:8_000]
words = pl.concat_str(pl.col("Title", "Review Text").fill_null(""), separator=" ")
words = words.str.to_lowercase().str.extract_all("[a-z]+").alias("words")
frame = frame.select("Clothing ID", "Age", "Class Name", "Rating", words, place="Department Name",
                     good="Recommended IND", votes="Positive Feedback Count")  # fmt: skip

tasks = ["good", Task("votes", "count")]
roles = {"scenario": "place", "group": "Clothing ID", "min_count": 10}
print(mtlkit.prepare(frame, tasks, **roles).audit())  # Rating alone all but tells good

data = mtlkit.prepare(frame, tasks, drop=["Rating"], **roles)
print(data, data.audit(), sep="\n\n")
models = {"apart": lambda s: SingleTask(data.schema), "shared": lambda s: MMoE(data.schema)}
print(mtlkit.compare(models, data.split, seeds=range(2), fit_options={"epochs": 2}))

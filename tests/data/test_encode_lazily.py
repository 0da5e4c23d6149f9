"""A LazyFrame is learned from as a stream, and what is learned is the same."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from mtlkit import Encoder, ShardedTable, ShardWriter, Task
from mtlkit.schema import SchemaError
from tests.data.test_doors import ROLES, SAMPLES, encoder
from tests.data.test_shards import assert_equal_tables


def learned(make, frame):
    """What an encoder learns of a frame, or the sentence that refuses it."""
    try:
        return make().fit(frame).schema
    except SchemaError as refusal:
        return str(refusal)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("kind", [kind for kind in SAMPLES if kind != "objects"])
def test_every_type_in_every_role_is_learned_as_from_a_frame(kind, role):
    frame = pl.DataFrame({"a": [1, 2, 3, 4], "click": [0, 1, 0, 1], "x": SAMPLES[kind]})
    assert learned(lambda: encoder(role), frame.lazy()) == learned(lambda: encoder(role), frame)


def rows(count):
    random = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "user": random.integers(0, 300, count),
            "word": pl.Series(random.integers(0, 90, count)).cast(pl.String),
            "price": random.lognormal(size=count),
            "gaps": pl.Series([None if i % 7 == 0 else float(i) for i in range(count)]),
            "seen": [[f"w{j}" for j in range(i % 4)] for i in range(count)],
            "place": random.choice(["feed", "ads"], count),
            "click": random.integers(0, 2, count),
            "dwell": random.lognormal(size=count),
            "day": [date(2026, 1, 1 + i * 28 // count) for i in range(count)],
        }
    )


def make(**changes):
    tasks = [Task("click"), Task("dwell", "regression", log1p=True)]
    options = {
        "categorical": ["user", "word"], "dense": ["price", "gaps"], "log1p": ["price"],
        "sequences": {"seen": None}, "scenario": "place", "keys": ["day"], "min_count": 3,
    }  # fmt: skip
    return Encoder(tasks, **(options | changes))


def test_a_scan_of_files_is_learned_as_the_frame(tmp_path):
    frame = rows(5_000)
    for part in range(3):
        frame[part::3].write_parquet(tmp_path / f"{part}.parquet", row_group_size=400)
    whole = pl.concat([frame[part::3] for part in range(3)])
    one, other = make().fit(pl.scan_parquet(tmp_path / "*.parquet")), make().fit(whole)
    assert one.schema == other.schema and one.schema.encoding
    assert make().fit(whole.rechunk()).schema == other.schema  # however the rows came in pieces
    assert one.values("word") == other.values("word")
    assert_equal_tables(one.transform(whole), other.transform(whole))


def test_fit_never_collects_more_than_one_column(tmp_path, monkeypatch):
    rows(500).write_parquet(tmp_path / "rows.parquet")
    widths = []
    collect = pl.LazyFrame.collect

    def spy(self, **options):
        found = collect(self, **options)
        widths.append((found.width, found.height))
        return found

    monkeypatch.setattr(pl.LazyFrame, "collect", spy)
    make().fit(pl.scan_parquet(tmp_path / "rows.parquet"))
    distinct = [height for width, height in widths if width == 2]  # values and their counts
    assert distinct and max(distinct) < 500
    assert all(width == 1 for width, height in widths if height == 500)


def test_a_stream_of_encoded_rows_is_the_table(tmp_path):
    frame = rows(1_000)
    query = frame.lazy()
    fitted = make().fit(query)
    with ShardWriter(fitted.schema, tmp_path / "shards", rows_per_shard=300) as writer:
        for begin in range(0, 1_000, 130):
            part = query.slice(begin, 130).collect()
            numbers = np.arange(begin, begin + part.height)
            writer.add(fitted.transform(part, row_id=numbers))
    table = fitted.transform(frame, row_id=np.arange(1_000))
    assert_equal_tables(ShardedTable(tmp_path / "shards"), table)


def test_a_query_that_fails_is_refused_by_a_sentence(tmp_path):
    frame = rows(20)
    for query, words in (
        (frame.lazy().select(pl.col("nobody")), "The LazyFrame cannot be read: .*nobody"),
        (frame.lazy().drop("word"), "Column 'word' is missing; the frame has user, price"),
        (pl.scan_parquet(tmp_path / "nowhere.parquet"), "The LazyFrame cannot be read"),
        (frame.lazy().with_columns(pl.col("seen").list.get(0).cast(pl.Int64).alias("user")),
         "The LazyFrame cannot be read"),
    ):  # fmt: skip
        with pytest.raises(SchemaError, match=words):
            make().fit(query)

import numpy as np
import polars as pl
import pytest
import torch

from mtlkit.data import ShardedTable, Table, write_shards
from mtlkit.schema import Categorical, Dense, Schema, SchemaError, Sequence, Task

ROWS = 103


@pytest.fixture
def table() -> Table:
    generator = np.random.default_rng(0)
    schema = Schema(
        (Task("click"), Task("units", "censored_count")),
        (Categorical("user", 1000),),
        (Dense("pixel", width=3),),
        (Sequence("history", size=9),),
    )
    return Table.from_columns(
        schema,
        {
            "user": np.arange(ROWS),
            "pixel": generator.random((ROWS, 3), dtype=np.float32),
            "history": [list(range(i % 4)) for i in range(ROWS)],
            "click": pl.Series([None if i % 5 == 0 else i % 2 for i in range(ROWS)]),
            "units": generator.integers(0, 5, ROWS),
            "time": np.arange(ROWS),
        },
        censored={"units": np.arange(ROWS) % 7 == 0},
        truth={"click": generator.random(ROWS)},
        keys=["time"],
    )


def test_shards_in_order_equal_the_table_column_by_column(table, tmp_path):
    shards = ShardedTable(write_shards(table, tmp_path / "shards", rows_per_shard=20))
    assert len(shards) == ROWS and shards.schema == table.schema
    for ours, theirs in zip(shards.batches(16), table.batches(16), strict=True):
        for name in ("categorical", "dense", "labels", "observed", "scenario", "censored"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
        for a, b in zip(ours.sequences["history"], theirs.sequences["history"], strict=True):
            assert torch.equal(a, b)
    part = shards.load(1)
    assert torch.equal(part.truth["click"], table.truth["click"][20:40])
    assert part.keys["time"].tolist() == list(range(20, 40))


def test_a_shuffled_stream_covers_each_row_once_and_resumes_exactly(table, tmp_path):
    shards = ShardedTable(write_shards(table, tmp_path / "shards", rows_per_shard=20))

    def users(**options):
        batches = shards.batches(8, shuffle=True, seed=2, **options)
        return [b.categorical[:, 0].tolist() for b in batches]

    whole = users(epoch=1)
    order = [user for batch in whole for user in batch]
    assert sorted(order) == list(range(ROWS)) and order != list(range(ROWS))
    assert users(epoch=2) != whole
    for start in range(len(whole) + 1):
        assert users(epoch=1, start=start) == whole[start:]


def test_damage_is_refused_by_file_name(table, tmp_path):
    folder = write_shards(table, tmp_path / "shards", rows_per_shard=20)
    with pytest.raises(FileExistsError, match="shards"):
        write_shards(table, folder)
    (folder / "shard-00001.parquet").write_bytes(b"not parquet")
    with pytest.raises(SchemaError, match="shard-00001"):
        list(ShardedTable(folder).batches(8))
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(SchemaError, match=r"manifest.json is damaged"):
        ShardedTable(folder)
    with pytest.raises(SchemaError, match=r"nowhere.*no complete set"):
        ShardedTable(tmp_path / "nowhere")


def test_a_failed_write_leaves_nothing_behind(table, tmp_path, monkeypatch):
    calls = []

    def failing(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise OSError("disk full")

    monkeypatch.setattr(pl.DataFrame, "write_parquet", failing)
    with pytest.raises(OSError, match="disk full"):
        write_shards(table, tmp_path / "shards", rows_per_shard=20)
    assert list(tmp_path.iterdir()) == []

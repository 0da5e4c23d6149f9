"""The one door: what others call a table becomes a polars DataFrame, or a sentence."""

import numpy as np
import polars as pl
import pytest
import torch

from mtlkit import Encoder, Task
from mtlkit.data.frames import as_frame
from mtlkit.schema import SchemaError

FRAME = pl.DataFrame({"user": ["a", "b", None], "price": [1.5, None, 2.0], "click": [0, 1, 1]})


class Arrow:
    """Whatever offers Arrow's stream, such as a table of pyarrow."""

    def __arrow_c_stream__(self, requested=None):
        return FRAME.__arrow_c_stream__(requested)


def structured():
    rows = [("a", 1.5, 0), ("b", 2.5, 1)]
    return np.array(rows, dtype=[("user", "U1"), ("price", "f8"), ("click", "i8")])


@pytest.mark.parametrize(
    "data", [FRAME, FRAME.lazy(), FRAME.to_dict(), FRAME.to_dict(as_series=False), Arrow()]
)
def test_every_form_gives_the_same_rows(data):
    assert as_frame(data).equals(FRAME)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ndjson", "arrow"])
def test_files_are_read_by_their_ending(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    {"parquet": FRAME.write_parquet, "csv": FRAME.write_csv, "ndjson": FRAME.write_ndjson,
     "arrow": FRAME.write_ipc}[suffix](path)  # fmt: skip
    assert as_frame(path).equals(FRAME) and as_frame(str(path)).equals(FRAME)


def test_arrays_and_tensors_are_columns():
    assert as_frame(structured())["click"].to_list() == [0, 1]
    columns = {"a": np.arange(3), "b": torch.tensor([1.0, 2.0, 3.0]), "c": [1, 2, 3]}
    assert as_frame(columns).schema == {"a": pl.Int64, "b": pl.Float32, "c": pl.Int64}


def test_a_pandas_frame_comes_through_without_pyarrow(monkeypatch):
    pandas = pytest.importorskip("pandas")
    data = pandas.DataFrame(
        {"user": ["a", "b", None], "price": [1.5, np.nan, 2.0], "click": [0, 1, 1]}
    )
    assert as_frame(data).equals(FRAME)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (3, "A int is no table: give a polars DataFrame"),
        ([1, 2], "A list is no table"),
        (np.zeros((2, 2)), r"shape \(2, 2\) has no names"),
        ({1: [2]}, "Column 1: a column's name is a text"),
        ({"a": [1], "b": [1, 2]}, "Column 'b' has 2 rows, column 'a' has 1"),
        ({"a": [1, "x"]}, "Column 'a' could not be read"),
        ({"a": 3}, "Column 'a' could not be read"),
        ("rows.xlsx", "files of the kind '.xlsx' are not read"),
        ("missing.parquet", "missing.parquet is no file"),
    ],
)
def test_what_is_no_table_is_refused_by_a_sentence(data, words):
    with pytest.raises(SchemaError, match=words):
        as_frame(data)


def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PAR1 and then nonsense")
    with pytest.raises(SchemaError, match=r"rows\.parquet cannot be read as a table"):
        as_frame(path)


@pytest.mark.parametrize("form", [pl.DataFrame.lazy, pl.DataFrame.to_dict])
def test_an_encoder_takes_every_form(form):
    encoder = Encoder([Task("click")], categorical=["user"], dense=["price"])
    first, second = (
        encoder.fit(FRAME).transform(FRAME),
        encoder.fit(form(FRAME)).transform(form(FRAME)),
    )
    assert first.categorical.equal(second.categorical) and first.schema == second.schema

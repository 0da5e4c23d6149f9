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


def test_rows_as_dictionaries_are_a_table_and_what_one_lacks_is_a_gap():
    assert as_frame(FRAME.to_dicts()).equals(FRAME)
    rows = [{"a": 1}, {"b": "x"}, *[{"a": None, "b": None}] * 200, {"a": 2.5, "c": True}]
    read = as_frame(rows)
    assert read.schema == {"a": pl.Float64, "b": pl.String, "c": pl.Boolean}
    assert as_frame({"a": [1, None, 2.5]})["a"].to_list() == [1.0, None, 2.5]
    for odd in (
        [2**53 + 1, 2.5],
        [True, 2.5],
        [1, "x"],
    ):  # what a float does not hold, or no number
        with pytest.raises(SchemaError, match=r"'a' could not be read as one column: .*[^\n]\.$"):
            as_frame({"a": odd})
    assert read[[0, 1, -1]].rows() == [(1.0, None, None), (None, "x", None), (2.5, None, True)]


@pytest.mark.parametrize("suffix", ["csv", "ndjson"])
@pytest.mark.parametrize(("first", "then", "dtype"), [
    (None, 1.5, pl.Float64), (None, 7, pl.Int64), (3, 2.5, pl.Float64), (3, "A7", pl.String),
])  # fmt: skip
def test_the_type_of_a_column_is_that_of_all_rows_of_a_file(tmp_path, suffix, first, then, dtype):
    if suffix == "ndjson" and isinstance(then, str):
        pytest.skip("JSON tells numbers from text")
    values = [first] * 600 + [then] * 5
    if suffix == "csv":
        lines = ["a,b", *(f"{'' if v is None else v},1" for v in values)]
    else:
        lines = [f'{{"a": {"null" if v is None else v}, "b": 1}}' for v in values]
    path = tmp_path / f"rows.{suffix}"
    path.write_text("\n".join(lines), encoding="utf-8")
    read = as_frame(path)
    assert read.schema == {"a": dtype, "b": pl.Int64} and read["a"].null_count() == values.count(
        None
    )


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
        (
            [FRAME, FRAME],
            r"A list of tables is no table: .*pl.concat.*joined first: one.join\(other",
        ),
        ([FRAME.lazy()], r"A list of tables is no table"),
        (("a.parquet", "b.parquet"), r"A tuple of tables is no table: .*pl.scan_parquet"),
        ([{"a": 1}, 3], "A list is no table"),
        ([{1: 2}], "Column 1: a column's name is a text"),
        ([{"a": 1}, {"a": "x"}], "Column 'a' could not be read as one column"),
        ([], "A list is no table"),
        ({"a": FRAME}, "Column 'a' could not be read as one column: it is a table. .*one.join"),
        ({"a": "hello", "b": [1]}, r"one value. Give a list, \{'a': \['hello'\]\}"),
        ({"a": b"hello"}, "it is one value"),
        ({"a": None}, "it is one value"),
        ({"a": np.float64(3.5)}, "it is one value"),
        (".", r"\. is a folder: .*pl.scan_parquet"),
        ("day=*.parquet", "is no file, but may be several"),
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


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_a_csv_file_separated_otherwise_is_refused_with_its_mark(tmp_path, mark):
    FRAME.write_csv(tmp_path / "rows.csv", separator=mark)
    with pytest.raises(SchemaError, match=r"rows.csv has one column.*separator=") as caught:
        as_frame(tmp_path / "rows.csv")
    assert f"separator={mark!r}" in str(caught.value)
    (tmp_path / "one.csv").write_text("user\na\nb\n", encoding="utf-8")
    assert as_frame(tmp_path / "one.csv")["user"].to_list() == ["a", "b"]


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

"""Census-Income (KDD): people of a US survey of 1994 and 1995, in the task pairs of the MMoE paper.

``income``: does a person earn over 50,000 dollars? ``never_married``: was the person never married?
``college``: an Associate degree or above? Ma et al. (2018, KDD, section 5.1) pair income with
never_married, and college with never_married.

The inputs are the same for every pair: the 40 attributes of the file without education and marital
status, which the paper takes out in both pairs because they are tasks, so 38. The label of income
is no input either, and the instance weight, which says how many people a row stands for, is
dropped. Two things the paper keeps, and so does this loader: the year of the survey, and the
household columns, whose values say "never marr" of many people, so never_married is easy.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
import torch

from mtlkit.data.encode import Encoder
from mtlkit.data.real.public import DataCorruptError, DataMissingError, data_set, locate
from mtlkit.data.splits import Split, random_parts, require_rows
from mtlkit.schema import SchemaError, Task

NAME, HALVES = "census_income_kdd", {"train": "census-income.data", "test": "census-income.test"}
NUMBERS = (
    "age",
    "wage_per_hour",
    "capital_gains",
    "capital_losses",
    "dividends",
    "employer_persons",
    "weeks_worked",
)
LOG1P = ("wage_per_hour", "capital_gains", "capital_losses", "dividends")
COLUMNS = (  # in the order of the file
    "age",
    "class_of_worker",
    "industry_code",
    "occupation_code",
    "education",
    "wage_per_hour",
    "enrolled",
    "marital_status",
    "industry",
    "occupation",
    "race",
    "hispanic_origin",
    "sex",
    "union_member",
    "unemployment_reason",
    "full_or_part_time",
    "capital_gains",
    "capital_losses",
    "dividends",
    "tax_filer",
    "previous_region",
    "previous_state",
    "household_detail",
    "household_summary",
    "instance_weight",
    "migration_msa",
    "migration_region",
    "migration_within_region",
    "same_house_a_year",
    "migration_sunbelt",
    "employer_persons",
    "family_under_18",
    "father_born_in",
    "mother_born_in",
    "born_in",
    "citizenship",
    "own_business",
    "veterans_form",
    "veterans_benefits",
    "weeks_worked",
    "year",
    "income_class",
)
NO_INPUT = ("education", "marital_status", "instance_weight", "income_class")
CATEGORIES = tuple(name for name in COLUMNS if name not in (*NUMBERS, *NO_INPUT))
COLLEGE = (
    "Associates degree-occup /vocational",
    "Associates degree-academic program",
    "Bachelors degree(BA AB BS)",
    "Masters degree(MA MS MEng MEd MSW MBA)",
    "Prof school degree (MD DDS DVM LLB JD)",
    "Doctorate degree(PhD EdD)",
)
# What the columns behind the labels may hold; another spelling would be a wrong label.
KNOWN = {
    "income_class": ("- 50000.", "50000+."),
    "marital_status": (
        "Never married",
        "Married-civilian spouse present",
        "Married-spouse absent",
        "Married-A F spouse present",
        "Divorced",
        "Separated",
        "Widowed",
    ),
    "education": (
        *COLLEGE,
        "Children",
        "Less than 1st grade",
        "1st 2nd 3rd or 4th grade",
        "5th or 6th grade",
        "7th and 8th grade",
        "9th grade",
        "10th grade",
        "11th grade",
        "12th grade no diploma",
        "High school graduate",
        "Some college but no degree",
    ),
}
TASKS = ("income", "never_married", "college")


def census_income_frame(half: str = "test", folder: str | Path | None = None) -> pl.DataFrame:
    """Return one file as a polars frame, to look at: its 42 columns, the labels, line and person.

    half: "test" (99,762 rows) or "train" (199,523 rows, of ``folder`` alone). folder: see
    ``load_census_income``. ``line`` counts from 1; lines that are equal to the last column, so most
    likely one person twice, have the same ``person``. "?" and "Not in universe" stay as they are.

    Raises ``DataMissingError`` or ``DataCorruptError`` for the file, ``SchemaError`` naming file,
    line and column for a value that does not belong there, ``ValueError`` for a wrong argument.
    """
    if half not in HALVES:
        raise ValueError(f'half must be "test" or "train", not {half!r}.')
    if folder is None and half == "train":
        raise ValueError(
            "The train half has no known checksum, so it is read from a folder that you name: "
            f"folder=... with {HALVES[half]} or {HALVES[half]}.gz of {data_set(NAME).page}."
        )
    file = HALVES[half]
    path = locate(NAME, f"{file}.gz") if folder is None else _in_folder(Path(folder), file)
    return _frame(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _frame(path: Path, changed: int) -> pl.DataFrame:
    """The file at ``path``, kept for the next call as long as it has not ``changed``."""
    lines = _lines(path)
    frame = pl.DataFrame(
        lines.str.split(",").list.to_struct(fields=list(COLUMNS)).struct.unnest()
    ).with_columns(pl.all().str.strip_chars())
    frame = frame.with_columns(_numbers(frame[name], path) for name in NUMBERS)
    for name, known in KNOWN.items():
        unknown = ~frame[name].is_in(known)
        if unknown.any():
            raise _bad(path, frame[name], unknown, f"is none of {', '.join(known)}")
    return frame.with_columns(
        income=pl.col("income_class") == "50000+.",
        never_married=pl.col("marital_status") == "Never married",
        college=pl.col("education").is_in(COLLEGE),
        line=pl.int_range(1, len(lines) + 1),
        person=lines.rank("dense").cast(pl.Int64),
    )


def load_census_income(
    tasks: Sequence[str] = ("income", "never_married"),
    *,
    folder: str | Path | None = None,
    fractions: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
) -> Split:
    """Return training, validation and test tables of people, 38 input columns each.

    tasks: some of "income", "never_married", "college", in this order. Seven columns are dense
    (money as log(1 + x)), 31 categorical; ids and scales are learned from training rows alone.
    Keys: line and person of ``census_income_frame``.

    folder: None reads the test half alone (99,762 rows, downloaded if need be) and splits it at
    random by ``seed`` into ``fractions``. A folder that holds census-income.data and
    census-income.test, as they are or as .gz, gives the split of the paper: all of the first trains
    (199,523 rows), the second is halved at random by ``seed`` into validation and test, and
    ``fractions`` are not read. Nothing vouches for the bytes in a folder: no checksum is known of
    the train half. In both cases lines that are equal in all 42 columns stay in one part, but for
    those that the two files share.

    Raises what ``census_income_frame`` does, and ``SchemaError`` for an unknown task.
    """
    if isinstance(tasks, str) or not tasks or len(set(tasks)) != len(tasks):
        raise SchemaError(f"tasks must be a tuple of different task names, not {tasks!r}.")
    unknown = [name for name in tasks if name not in TASKS]
    if unknown:
        raise SchemaError(f"No task {unknown[0]!r}; there are {', '.join(TASKS)}.")
    frame = census_income_frame("test", folder)
    shares = fractions if folder is None else (0.0, 0.5, 0.5)
    part = random_parts(frame.height, shares, seed, frame["person"].to_numpy())
    if folder is not None:
        first = census_income_frame("train", folder)
        others = pl.col("person") + first["person"].max()
        frame = pl.concat([first, frame.with_columns(others)])
        part = np.concatenate([np.zeros(first.height, dtype=np.int64), part])
    require_rows(part)
    encoder = Encoder(
        tasks=[Task(name) for name in tasks],
        categorical=CATEGORIES,
        dense=NUMBERS,
        log1p=LOG1P,
        keys=("line", "person"),
    ).fit(frame.filter(part == 0))
    whole = encoder.transform(frame, row_id=np.arange(frame.height))
    return Split(*(whole.take(torch.from_numpy(part == number)) for number in range(3)))


def _in_folder(folder: Path, file: str) -> Path:
    for name in (f"{file}.gz", file):
        if (folder / name).is_file():
            return folder / name
    raise DataMissingError(
        f"{folder} holds neither {file}.gz nor {file}. Download the zip from "
        f"{data_set(NAME).page} and put both files there."
    )


def _lines(path: Path) -> pl.Series:
    """The lines of a file, once each has 42 columns."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataCorruptError(f"{path} cannot be read ({error}). Fetch it again.") from error
    lines = pl.Series("line", text.rstrip().split("\n"), dtype=pl.String)
    found = lines.str.count_matches(",", literal=True) + 1
    wrong = found != len(COLUMNS)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise SchemaError(
            f"{path}, line {row + 1}: {found[row]} columns instead of {len(COLUMNS)}. It must be "
            "the raw file: no header, values between commas."
        )
    return lines


def _numbers(series: pl.Series, path: Path) -> pl.Series:
    numbers = series.cast(pl.Float64, strict=False)
    bad = (numbers.is_null() | ~numbers.is_finite() | (numbers < 0)).fill_null(True)
    if bad.any():
        raise _bad(path, series, bad, "is no number of 0 or more")
    return numbers


def _bad(path: Path, series: pl.Series, bad: pl.Series, what: str) -> SchemaError:
    """The error that names the first bad value and its place."""
    row = int(bad.arg_max() or 0)
    return SchemaError(
        f"{path}, line {row + 1}, column {series.name!r} ({COLUMNS.index(series.name) + 1} of "
        f"{len(COLUMNS)}): {series[row]!r} {what}. It must be the raw file."
    )

"""Census-Income: labels and inputs from the raw file, splits of people, refusals with places."""

import gzip
import hashlib
import os
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mtlkit import load_census_income
from mtlkit.data.real import census_income
from mtlkit.data.real.census_income import (
    CATEGORIES,
    COLLEGE,
    COLUMNS,
    KNOWN,
    NUMBERS,
    TASKS,
    census_income_frame,
)
from mtlkit.data.real.public import DataCorruptError, DataMissingError, find
from mtlkit.data.real.registry import SETS, DataFile
from mtlkit.data.splits import check_disjoint
from mtlkit.schema import SchemaError

needs_file = pytest.mark.skipif(
    find("census_income_kdd", "census-income.test.gz") is None,
    reason="census-income.test.gz is in no folder of the search path (set MTLKIT_DATA)",
)
PLAIN = dict.fromkeys(COLUMNS, "Not in universe") | {
    "age": 40,
    "industry_code": 33,
    "occupation_code": 2,
    "education": "High school graduate",
    "wage_per_hour": 0,
    "marital_status": "Divorced",
    "capital_gains": 0,
    "capital_losses": 0,
    "dividends": 0,
    "instance_weight": 1032.38,
    "employer_persons": 4,
    "own_business": 0,
    "veterans_benefits": 2,
    "weeks_worked": 52,
    "year": 95,
    "income_class": "- 50000.",
}


def line(**changes):
    """A line of the raw file, as its owner writes it."""
    return ", ".join(str(value) for value in (PLAIN | changes).values())


def people(number, seed=0):
    """Lines of different people."""
    rng = np.random.default_rng(seed)
    return [
        line(
            age=rng.integers(0, 90),
            instance_weight=f"{1000 + i}.{seed}",
            education=rng.choice(KNOWN["education"]),
            marital_status=rng.choice(KNOWN["marital_status"]),
            income_class=rng.choice(KNOWN["income_class"]),
            capital_gains=rng.choice([0, 5_000]),
            sex=rng.choice(["Male", "Female"]),
        )
        for i in range(number)
    ]


def write(path, lines):
    path.parent.mkdir(exist_ok=True, parents=True)
    content = "".join(f"{text}\n" for text in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def half(tmp_path, monkeypatch):
    """Put these lines where the test half is looked for."""

    def put(lines):
        path = write(tmp_path / "census_income_kdd" / "census-income.test.gz", lines)
        content = path.read_bytes()
        file = DataFile(path.name, len(content), hashlib.sha256(content).hexdigest())
        entry = replace(SETS["census_income_kdd"], files=(file,))
        monkeypatch.setitem(SETS, "census_income_kdd", entry)
        monkeypatch.setenv("MTLKIT_DATA", str(tmp_path))
        return path

    return put


def test_labels_are_read_from_their_spelling(half):
    levels = KNOWN["education"]
    half([
        line(income_class="50000+.", marital_status="Never married"),
        line(),
        *(line(education=level) for level in levels),
    ])  # fmt: skip
    frame = census_income_frame()
    assert frame["income"].to_list() == [True] + [False] * 18
    assert frame["never_married"].to_list() == [True] + [False] * 18
    assert set(frame.filter("college")["education"]) == set(COLLEGE)
    assert "Some college but no degree" not in COLLEGE and len(levels) == 17
    assert frame["line"].to_list() == list(range(1, 20))


def test_values_come_without_blanks_and_numbers_as_numbers(half):
    half([line(age=7, dividends=2500, born_in="?", citizenship="Native")])
    row = census_income_frame().row(0, named=True)
    assert (row["age"], row["dividends"], row["born_in"]) == (7, 2500, "?")
    assert row["citizenship"] == "Native" and row["year"] == "95"


@pytest.mark.parametrize("tasks", [("income", "never_married"), ("college", "never_married")])
def test_no_label_and_no_weight_is_an_input(half, tasks):
    half(people(60))
    schema = load_census_income(tasks).train.schema
    inputs = [field.name for field in (*schema.categorical, *schema.dense)]
    left_out = {"education", "marital_status", "instance_weight", "income_class"}
    assert sorted(inputs) == sorted(set(COLUMNS) - left_out)
    assert len(inputs) == 38 and len(COLUMNS) == 42
    assert schema.task_names == tasks


def test_ids_and_scales_are_learned_from_training_rows(half):
    lines = people(200)
    half(lines)
    train, _, test = load_census_income(seed=3)
    ages = census_income_frame()["age"].to_numpy()
    known = ages[train.keys["line"].numpy() - 1]
    place = [field.name for field in train.schema.dense].index("age")
    for table in (train, test):
        own = ages[table.keys["line"].numpy() - 1]
        expected = (own - known.mean()) / known.std()
        np.testing.assert_allclose(table.dense[:, place].numpy(), expected, atol=1e-5)
    gains = census_income_frame()["capital_gains"].to_numpy()
    place = [field.name for field in train.schema.dense].index("capital_gains")
    known = np.log1p(gains[train.keys["line"].numpy() - 1])
    own = np.log1p(gains[test.keys["line"].numpy() - 1])
    expected = (own - known.mean()) / known.std()
    np.testing.assert_allclose(test.dense[:, place].numpy(), expected, atol=1e-5)


def test_a_value_that_only_test_rows_have_is_unknown(half):
    half(people(200))
    rare = int(load_census_income(seed=3).test.keys["line"][0]) - 1
    lines = people(200)
    lines[rare] = lines[rare].replace(", Not in universe", ", Elsewhere", 1)
    half(lines)
    train, _, test = load_census_income(seed=3)
    assert census_income_frame()["class_of_worker"][rare] == "Elsewhere"
    place = [field.name for field in train.schema.categorical].index("class_of_worker")
    assert int(test.categorical[0, place]) == 0
    assert (test.categorical[1:, place] == 1).all() and train.schema.categorical[place].size == 2


def test_one_person_twice_stays_in_one_part(half):
    lines = people(50)
    half(lines + lines)
    for seed in range(3):
        split = load_census_income(seed=seed)
        check_disjoint(*split, key="person")
        assert [len(table) for table in split] == [60, 20, 20]


def test_fractions_and_seed_draw_the_split(half):
    half(people(100))
    split = load_census_income(fractions=(0.5, 0.2, 0.3), seed=1)
    assert [len(table) for table in split] == [50, 20, 30]
    check_disjoint(*split)
    again, other = (load_census_income(fractions=(0.5, 0.2, 0.3), seed=seed) for seed in (1, 2))
    assert again.test.row_id.tolist() == split.test.row_id.tolist()
    assert other.test.row_id.tolist() != split.test.row_id.tolist()


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_folder_with_both_files_gives_the_split_of_the_paper(tmp_path, ending):
    first, second = people(80), people(40, seed=1)
    write(tmp_path / f"census-income.data{ending}", first)
    write(tmp_path / f"census-income.test{ending}", second)
    split = load_census_income(folder=tmp_path, seed=5)
    assert [len(table) for table in split] == [80, 20, 20]
    check_disjoint(*split)
    check_disjoint(*split, key="person")
    labels = [text.endswith("50000+.") for text in first]
    assert split.train.label("income").tolist() == labels
    held = sorted([*split.validation.keys["line"].tolist(), *split.test.keys["line"].tolist()])
    assert held == list(range(1, 41))
    assert census_income_frame("train", tmp_path)["income"].to_list() == labels


def test_a_folder_that_lacks_a_file_is_refused_with_the_page(tmp_path):
    write(tmp_path / "census-income.test", people(20))
    with pytest.raises(DataMissingError, match=r"neither census-income.data.gz nor .*\.uci\.edu/"):
        load_census_income(folder=tmp_path)
    with pytest.raises(ValueError, match=r"train half has no known checksum.*folder="):
        census_income_frame("train")
    with pytest.raises(ValueError, match=r"half must be \"test\" or \"train\", not 'all'"):
        census_income_frame("all")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"age": "old"}, r"line 3, column 'age' \(1 of 42\): 'old' is no number of 0 or more"),
        ({"weeks_worked": -1}, r"line 3, column 'weeks_worked' \(40 of 42\): '-1' is no number"),
        ({"dividends": "nan"}, r"line 3, column 'dividends' \(19 of 42\): 'nan' is no number"),
        ({"income_class": "50000"}, r"line 3, column 'income_class' .*: '50000' is none of - 50"),
        ({"education": "Bachelors"}, r"line 3, column 'education' .*'Bachelors' is none of"),
        ({"marital_status": ""}, r"line 3, column 'marital_status' .*'' is none of Never married"),
        ({"race": "Other, or none"}, r"line 3: 43 columns instead of 42"),
    ],
)
def test_a_wrong_value_is_refused_with_file_line_and_column(half, changes, told):
    path = half([line(), line(), line(**changes), line()])
    with pytest.raises(SchemaError, match=told) as error:
        load_census_income()
    assert str(path) in str(error.value)


def test_a_file_that_is_cut_off_or_empty_is_refused(tmp_path):
    path = write(tmp_path / "census-income.test.gz", people(50))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataCorruptError, match=r"census-income\.test\.gz cannot be read"):
        census_income_frame("test", tmp_path)
    write(path, [])
    with pytest.raises(SchemaError, match=r"line 1: 1 columns instead of 42"):
        census_income_frame("test", tmp_path)


def test_a_file_that_changed_is_read_again(tmp_path):
    path = write(tmp_path / "census-income.test", people(50))
    assert census_income_frame("test", tmp_path).height == 50
    write(path, people(40))
    os.utime(path, ns=(1, 1))
    assert census_income_frame("test", tmp_path).height == 40


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ("income", r"tuple of different task names, not 'income'"),
        ((), r"tuple of different task names"),
        (("income", "income"), r"tuple of different task names"),
        (("income", "rich"), r"No task 'rich'; there are income, never_married, college"),
    ],
)
def test_wrong_tasks_are_refused(half, tasks, told):
    half(people(20))
    with pytest.raises(SchemaError, match=told):
        load_census_income(tasks)


def test_wrong_fractions_are_refused(half):
    half(people(20))
    with pytest.raises(ValueError, match=r"fractions must be three numbers"):
        load_census_income(fractions=(0.5, 0.5, 0.5))
    with pytest.raises(SchemaError, match=r"The validation part of the split has no rows"):
        load_census_income(fractions=(0.5, 0.0, 0.5))


@needs_file
def test_the_real_file_has_the_rates_and_correlations_that_are_told():
    frame = census_income_frame()
    assert frame.height == 99_762 and frame["person"].n_unique() == 98_879
    labels = frame.select(pl.col(TASKS).cast(pl.Float64))
    rates = labels.mean().row(0)
    assert [round(100 * rate, 1) for rate in rates] == [6.2, 43.2, 19.5]
    # Ma et al. 2018 tell .1768 and .2373 of both halves together
    for task, ours, paper in (("income", 0.1787, 0.1768), ("college", 0.2376, 0.2373)):
        found = abs(np.corrcoef(labels[task], labels["never_married"])[0, 1])
        assert found == pytest.approx(ours, abs=5e-5) and found == pytest.approx(paper, abs=2e-3)
    assert set(frame["year"]) == {"94", "95"}


@needs_file
def test_the_real_file_splits_at_sixty_twenty_twenty():
    split = load_census_income(TASKS)
    assert [round(len(table) / 99_762, 3) for table in split] == [0.6, 0.2, 0.2]
    check_disjoint(*split, key="person")
    assert len(split.train.schema.categorical) == len(CATEGORIES) == 31
    assert len(split.train.schema.dense) == len(NUMBERS) == 7


def test_the_columns_are_those_of_the_file_in_its_order():
    assert COLUMNS[24] == "instance_weight" and COLUMNS[0] == "age"
    assert COLUMNS[-2:] == ("year", "income_class") and len(set(COLUMNS)) == 42
    assert set(census_income.LOG1P) < set(NUMBERS) < set(COLUMNS)

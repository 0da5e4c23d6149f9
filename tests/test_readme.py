"""What the README says holds: its code runs, its links lead somewhere, its numbers are right."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mtlkit
from mtlkit import Task
from mtlkit.balance import BALANCERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_readmes_code_trains_a_model_that_the_oracle_beats(monkeypatch):
    code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
    shown = []
    monkeypatch.setenv("TQDM_DISABLE", "1")
    exec(compile(code, "README.md", "exec"), {"print": shown.append, "mtlkit": mtlkit})
    trained, oracle = shown
    assert 0.65 < trained < oracle


def impressions(rows, seed):
    rng = np.random.default_rng(seed)
    click = rng.integers(0, 2, rows)
    return pl.DataFrame({
        "user": rng.integers(0, 30, rows), "item": rng.integers(0, 50, rows),
        "price": rng.lognormal(size=rows), "place": rng.choice(["search", "feed"], rows),
        "day": np.arange(rows) // 20, "click": click, "buy": click * rng.integers(0, 2, rows),
        "seconds": rng.exponential(9, rows), "refunded": rng.random(rows) < 0.1,
    })  # fmt: skip


def bring_your_own():
    return re.findall(r"```python\n(.*?)```", README, re.S)[1]


def test_the_lines_to_bring_ones_own_run_in_a_folder_with_two_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    impressions(600, 0).write_parquet("impressions.parquet")
    impressions(50, 1).drop("click", "buy", "seconds").write_parquet("tomorrow.parquet")
    shown: list = []
    names = {"print": shown.append}
    exec(compile(bring_your_own(), "README.md", "exec"), names)
    assert isinstance(shown[0], mtlkit.Audit) and isinstance(shown[1], mtlkit.Comparison)
    assert names["chances"].shape == (50,)


def test_the_lines_for_two_tables_and_for_shards_give_what_one_frame_gives(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole = impressions(600, 0).drop("place", "refunded")
    items = whole.group_by("item", maintain_order=True).agg(pl.len().alias("size"))
    (tmp_path / "log").mkdir()
    for number in range(3):
        whole[number * 200 : (number + 1) * 200].write_parquet(f"log/{number}.parquet")
    items.write_parquet("items.parquet")
    tasks = [Task("click"), Task("buy", given="click"), Task("seconds", "regression", log1p=True)]
    names: dict = {"mtlkit": mtlkit, "tasks": tasks}
    code = re.findall(r"```python\n(.*?)```", README, re.S)[2]
    exec(compile(code, "README.md", "exec"), names)
    assert "size" in names["data"].roles.dense and len(names["data"].frame) == 200
    options = {"time": "day", "categorical": ["user", "item"], "boundaries": (18, 24)}
    one = mtlkit.prepare(whole, tasks, **options)
    for ours, theirs in zip(one.split, names["split"]):
        other = theirs.in_memory()
        assert ours.schema.encoding == other.schema.encoding  # units are measured in float32 there
        assert ours.schema.task("seconds").scale == pytest.approx(
            other.schema.task("seconds").scale
        )
        assert ours.keys["day"].equal(other.keys["day"])
        for column in ("categorical", "dense", "labels", "observed"):
            assert getattr(ours, column).equal(getattr(other, column)), column
    model = mtlkit.SharedBottom(names["encoder"].schema, embedding_dim=4, hidden=(8,), tower=())
    split = names["split"]
    mtlkit.fit(model, split.train, split.validation, epochs=1, batch_size=64, progress=False)
    pl.concat([items, items[:1]]).write_parquet("items.parquet")
    with pytest.raises(pl.exceptions.ComputeError, match="m:1"):
        exec(compile(code, "README.md", "exec"), names)


def test_they_are_at_most_twenty_lines_of_code():
    lines = [line for line in bring_your_own().splitlines() if line.strip()]
    assert len(lines) <= 20


def test_all_that_the_readme_names_is_there_after_import_mtlkit_alone():
    names = set(re.findall(r"\bmtlkit(?:\.[A-Za-z_]\w*)+", README))
    assert {"mtlkit.balance.NashMTL", "mtlkit.prepare"} <= names
    names |= {f"mtlkit.{room}" for room in mtlkit._ROOMS}
    where = " ".join(re.findall(r"\n  ([\w/ .]+?)  +\w", README)).split()  # "What is where"
    rooms = {name.rstrip("/").removesuffix(".py") for name in where}
    assert {"train", "balance", "own", "metrics"} <= rooms
    names |= {f"mtlkit.{room}" for room in rooms - {"lessons", "src"}}
    program = "\n".join(["import mtlkit", *sorted(names), "mtlkit.balance.NashMTL()"])
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300, cwd=ROOT)


def test_every_relative_link_of_the_readme_leads_to_a_file():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_notebook_has_its_row():
    rows = re.findall(r"\]\(notebooks/(\w+)\.ipynb\) \|", README)
    assert rows == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_the_number_of_balancers_is_about_right():
    assert "about thirty:" in README and 25 <= len(BALANCERS) <= 35

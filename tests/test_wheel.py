"""A wheel, installed in a folder of its own without a checkout, is complete."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import polars as pl
import pytest

from mtlkit.course.learner.stored_tables import write_tables

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("mtlkit", "datasets", "pyproject.toml", "setup.py", "README.md")
LOADS = """
import sys
from pathlib import Path
import mtlkit
from mtlkit.data.places import datasets_folder
from mtlkit.data.real import complete_journey

home = Path(sys.argv[1]).resolve()
assert Path(mtlkit.__file__).resolve().is_relative_to(home), mtlkit.__file__
assert datasets_folder().is_relative_to(home), datasets_folder()
assert len(mtlkit.Market.presets()) == int(sys.argv[2]), mtlkit.Market.presets()
for name in mtlkit.Market.presets():
    mtlkit.Market(name)
for name in complete_journey.SOURCES:
    assert len(complete_journey.complete_journey_frame(name)) > 0
print(len(complete_journey.load_complete_journey("products").train))
"""
STUDY = "made_for_this_test"
READS = """
import sys
from mtlkit.course import study

print(study("00", sys.argv[1]).table("scores")["auc"].item())
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    for name in ("pip", "setuptools"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is missing")
    source = tmp_path_factory.mktemp("source")
    for name in (*SOURCES, *(path.name for path in ROOT.glob("LICENSE*"))):
        if (ROOT / name).is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(ROOT / name, source / name, ignore=left_out)
        else:
            shutil.copy(ROOT / name, source / name)
    evidence = source / "mtlkit" / "lessons" / "nb00" / "evidence" / "made_for_this_test.csv"
    evidence.parent.mkdir(exist_ok=True)  # a lesson's stored tables, whether any is there or not
    evidence.write_text("shop\n0\n", encoding="utf-8")
    studies = source / "mtlkit" / "lessons" / "nb00" / "studies"
    write_tables(studies / "tables" / STUDY, {"scores": pl.DataFrame({"auc": [0.75]})}, {})
    for name in ("__init__", STUDY):
        (studies / f"{name}.py").touch()
    target = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(target), str(source))
    (found,) = target.glob("mtlkit-*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--target", str(target), str(wheel))
    return target


def pip(command, *arguments):
    always = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", command, *always, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def run_elsewhere(installed, program, folder, *arguments):
    """Run Python where neither the checkout nor any other place with data can be seen."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONUTF8": "1"}
    environment.pop("MTLKIT_DATA", None)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        environment[name] = str(folder / "no cache")
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def test_the_wheel_holds_every_file_of_the_package_and_the_data_sets(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mtlkit").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    wanted |= {
        "mtlkit/" + path.relative_to(ROOT).as_posix()
        for path in (ROOT / "datasets").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    made = ("evidence/made_for_this_test.csv", f"studies/{STUDY}.py",
            f"studies/tables/{STUDY}/scores.csv", f"studies/tables/{STUDY}/key.json")  # fmt: skip
    wanted |= {f"mtlkit/lessons/nb00/{name}" for name in made}
    assert len(wanted) > 150
    assert wanted - inside == set()
    assert not [name for name in inside if name.startswith(("datasets/", "tests/"))]


def test_the_installed_wheel_loads_every_preset_and_the_tables(installed, tmp_path):
    presets = len(list((ROOT / "datasets" / "markets").glob("*.yaml")))
    done = run_elsewhere(installed, LOADS, tmp_path, str(installed), str(presets))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10_000


def test_the_installed_wheel_reads_a_stored_study(installed, tmp_path):
    done = run_elsewhere(installed, READS, tmp_path, STUDY)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0.75\n"


def test_the_installed_wheel_runs_the_lines_of_the_readme(installed, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.search(r"```python\n(.*?)```", readme, re.S).group(1)
    assert "60_000" in lines
    lines = lines.replace("60_000", "6_000")
    done = run_elsewhere(installed, lines, tmp_path)
    assert done.returncode == 0, done.stderr
    reached, possible = (float(line) for line in done.stdout.split())
    assert 0.5 < reached < possible < 1

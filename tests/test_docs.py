"""What the documents say holds: paths exist, links lead somewhere, the recipes' code works."""

import importlib
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ["CONTRIBUTING.md", "docs/decisions.md", "CHANGELOG.md", "docs/reference.md"]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
TO_BE_MADE = ("inverse.py", "two_bottoms.py", "toys.py")  # by who follows a recipe
SUFFIXES = ("py", "md", "json", "yaml", "toml", "txt", "css")


def paths(text):
    """File and folder paths in backticks: with a slash, up to a test's name."""
    found = re.findall(r"`([\w.-]+/[\w./-]*)(?:::\w+)?`", text)
    return [path for path in found if path.endswith(("/", *SUFFIXES))]


def exists(path):
    return any(ROOT.glob(path.replace("nbNN", "nb[0-9][0-9]").replace("NN_topic", "[0-9][0-9]_*")
                         .replace("NN", "[0-9][0-9]").rstrip("/")))  # fmt: skip


@cache
def resolves(name):
    """Whether a dotted name is a module of the package or a thing in one."""
    module, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return bool(module) and resolves(module) and hasattr(thing(module), attribute)
    return True


def thing(name):
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return getattr(thing(module), attribute)


def test_the_recipes_fit_six_kilobytes():
    assert len(TEXTS["CONTRIBUTING.md"].encode()) <= 6_000


@pytest.mark.parametrize("name", NAMES[:3])
def test_every_path_in_backticks_exists(name):
    found = [path for path in paths(TEXTS[name]) if not path.endswith(TO_BE_MADE)]
    assert len(found) > 10
    assert [path for path in found if not exists(path)] == []


def test_a_test_that_a_recipe_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXTS["CONTRIBUTING.md"])
    assert named
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), test


def test_a_path_that_is_not_there_is_seen():
    assert paths("`mtlkit/gone.py`, `a_word`, `tests/x.py::test_y`, 1/2") == [
        "mtlkit/gone.py", "tests/x.py",
    ]  # fmt: skip
    assert not exists("mtlkit/gone.py") and exists("mtlkit/lessons/nbNN/") and exists("mtlkit/")


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file(name):
    for link in re.findall(r"\]\(([^)#:]+)\)", TEXTS[name]):
        assert ((ROOT / name).parent / link).exists(), link


def test_no_text_names_a_module_that_has_moved():
    files = list((ROOT / "mtlkit").rglob("*.py"))
    files += [*(ROOT / "notebooks" / "src").glob("*.py"), *(ROOT / "slides").glob("*.md")]
    files += [*(ROOT / "datasets").glob("*"), *(ROOT / "notebooks" / "appendix").glob("*.md")]
    files += [ROOT / name for name in ("README.md", "notebooks/README.md", *NAMES[:2], NAMES[3])]
    elsewhere = {"mtlkit.datasets", "mtlkit.lessons.nb"}  # a wheel's folder; the start of a name
    wrong = []
    for path in files:
        if path.is_file() and path.suffix in (".py", ".md"):
            text = path.read_text(encoding="utf-8")
            names = set(re.findall(r"\bmtlkit(?:\.[A-Za-z_]\w*)+", text)) - elsewhere
            wrong += [(path.name, name) for name in sorted(names) if not resolves(name)]
    assert wrong == []


def test_the_version_is_one_everywhere_and_the_newest_of_the_changelog():
    import mtlkit

    version = mtlkit.__version__
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^## \[([\d.]+)\]", TEXTS["CHANGELOG.md"], re.M).group(1) == version


@pytest.fixture(scope="module")
def recipes():
    """The names that the recipes' code defines, run with what it says it imports."""
    code = (
        "from __future__ import annotations\n"
        "import polars as pl\n"
        "from torch import Tensor\n"
        "import torch\n"
        "from mtlkit import Encoder, Split, Task\n"
        "from mtlkit.balance import Balancer\n"
        "from mtlkit.data.real.public import locate\n"
        "from mtlkit.data.splits import random_parts\n"
        "from mtlkit.data.real.registry import DataFile, DataSet\n"
        "from mtlkit.layers import MLP, Towers, field_inputs\n"
        "from mtlkit.models import MultiTaskModel\n"
    )
    for block in re.findall(r"^ *```python\n(.*?)^ *```", TEXTS["CONTRIBUTING.md"], re.M | re.S):
        plain = re.sub(r"^   ", "", block, flags=re.M)
        code += f"toys = {plain}" if plain.startswith("DataSet(") else plain
    names = {}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    return names


def test_the_recipes_balancer_and_model_train_together(recipes):
    from mtlkit import fit
    from tests import tiny

    table = tiny.learnable(rows=400)
    model = recipes["TwoBottoms"](table.schema, hidden=(8,), tower=(4,))
    history = fit(
        model, table, epochs=8, batch_size=50, learning_rate=0.01, device="cpu", progress=False,
        balancer=recipes["InverseLoss"](),
    )  # fmt: skip
    assert history.rows[-1]["train"]["click"] < history.rows[0]["train"]["click"]
    assert abs(sum(history.rows[-1]["weights"].values()) - 2) < 1e-6


def test_the_recipes_data_set_is_found_and_loaded(recipes, tmp_path, monkeypatch):
    import hashlib
    from dataclasses import replace

    from mtlkit.data.real.registry import SETS

    content = b"user,click\n1,0\n2,1\n3,0\n4,1\n5,1\n6,0\n"
    toys = recipes["toys"]
    (file,) = toys.files
    assert file.size == len(content)
    file = replace(file, sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(SETS, "toys", replace(toys, files=(file,)))
    monkeypatch.setenv("MTLKIT_DATA", str(tmp_path))
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "toys.csv").write_bytes(content)
    assert sum(map(len, recipes["load_toys"]())) == 6


def test_the_recipes_sizes_are_pairs(recipes):
    assert all(len(pair) == 2 for pair in recipes["SIZES"].values())

"""Every package that mtlkit imports is declared in pyproject.toml, and run.py imports none."""

import ast
import re
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "mtlkit").rglob("*.py"))
TOOLING = ("course", "test")  # extras; only the course's own machine may import from them


def imported(path: Path) -> set[str]:
    """Top-level names of all imports in a file, also those inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names - set(sys.stdlib_module_names) - {"mtlkit"}


def normal(name: str) -> str:
    """A distribution's name as the index compares it: Scikit_Learn is scikit-learn."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def declared():
    """{"": run-time distributions, extra: its own}."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        tomllib = pytest.importorskip("tomli", reason="tomllib needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: {normal(re.match(r"[\w.-]+", line).group()) for line in lines} - {"mtlkit"}
        for extra, lines in groups.items()
    }


@cache
def homes() -> dict[str, set[str]]:
    """{name to import: distributions that bring it}.

    metadata.packages_distributions does this only from Python 3.11 on for all wheels.
    """
    found: dict[str, set[str]] = {}
    for distribution in metadata.distributions():
        names = (distribution.read_text("top_level.txt") or "").split()
        if not names:
            files = [file for file in distribution.files or () if file.suffix == ".py"]
            names = sorted({file.parts[0].removesuffix(".py") for file in files})
        for name in names:
            found.setdefault(name, set()).add(normal(distribution.metadata["Name"]))
    return found


def undeclared(path: Path, declared: dict[str, set[str]]) -> list[str]:
    """Sentences about imports of a file that no declared distribution answers for."""
    allowed = set(declared[""])
    if "course" in path.relative_to(ROOT / "mtlkit").parts:
        allowed = allowed.union(*(declared[extra] for extra in TOOLING))
    return [
        f"{path.relative_to(ROOT)} imports {name}, of {homes().get(name, 'nothing installed')}"
        for name in sorted(imported(path))
        if not homes().get(name, set()) & allowed
    ]


def test_every_import_belongs_to_a_declared_distribution(declared):
    assert len(FILES) > 100
    assert [line for path in FILES for line in undeclared(path, declared)] == []


def test_an_undeclared_import_is_found(declared):
    path = ROOT / "mtlkit" / "plot" / "style.py"
    fewer = {**declared, "": declared[""] - {"pillow"}}
    assert [line for line in undeclared(path, fewer) if "imports PIL" in line]


def test_run_py_imports_the_standard_library_alone():
    assert imported(ROOT / "run.py") == set()

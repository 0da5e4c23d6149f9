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
JUPYTER = {"jupyterlab", "ipykernel", "ipywidgets", "ipython", "jupyter-client", "notebook"}


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
    text = path.read_text(encoding="utf-8")
    for extra, distributions in declared.items():
        if extra == "course":  # the course's own machine
            may = "course" in path.relative_to(ROOT / "mtlkit").parts
        else:  # a file that says which extra to install; that of the tests is for none
            may = extra not in ("", "test") and f"[{extra}]" in text
        allowed |= distributions if may else set()
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


def test_an_extra_is_for_the_files_that_name_it_and_tests_are_for_none(declared, monkeypatch):
    places = {name: ROOT / "mtlkit" / name / "x.py" for name in ("course", "train")}
    monkeypatch.setitem(homes(), "captum", {"captum"})
    for imported_name, where, text, fine in (
        ("nbformat", "course", "", True), ("nbformat", "train", "[course]", False),
        ("captum", "train", '"mtlkit[explain]"', True), ("captum", "train", "", False),
        ("captum", "train", "[export]", False), ("pytest", "course", "[test]", False),
    ):  # fmt: skip
        content = f"def f():\n    import {imported_name}\n# {text}\n"
        monkeypatch.setattr(Path, "read_text", lambda self, encoding=None, c=content: c)
        assert (undeclared(places[where], declared) == []) is fine, (imported_name, where, text)


def test_the_package_without_the_course_brings_no_jupyter(declared):
    assert JUPYTER & declared[""] == set()
    assert {"jupyterlab", "ipykernel"} <= declared["course"]
    users: dict[str, list[Path]] = {}
    for path in FILES:
        for name in imported(path):
            users.setdefault(name, []).append(path)
    for name, paths in users.items():
        of_the_course = all("course" in path.relative_to(ROOT / "mtlkit").parts for path in paths)
        if of_the_course and name != "filelock":  # torch brings it anyway
            assert not homes().get(name, set()) & declared[""], f"{name} serves the course alone"


def test_the_extra_for_onnx_brings_what_is_asked_for_and_the_tested_environment_has_none(declared):
    from mtlkit.models.onnx_file import PACKAGES

    assert {*PACKAGES, "onnxruntime"} == declared["export"]
    assert "onnx" not in (ROOT / "requirements.txt").read_text(encoding="utf-8")


def test_torch_stands_first_among_the_exact_requirements():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert lines[0] == "torch==2.13.0"


def test_run_py_imports_the_standard_library_alone():
    assert imported(ROOT / "run.py") == set()

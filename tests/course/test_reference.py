"""docs/reference.md: complete, equal to what Python itself says of each name, and up to date."""

import ast
import importlib
import inspect
import re

import pytest

import mtlkit
from mtlkit.course.author import build, reference
from mtlkit.course.author.folders import HERE, Folders
from mtlkit.course.author.public_names import find, public_names

SMALL = {
    "small/__init__.py": '"""A small package."""\nfrom small.room.tools import twice\n',
    "small/room/__init__.py": (
        '"""Room. More."""\nfrom small.room.shapes import SIZES, Disc\n'
        '__all__ = ["SIZES", "Disc"]\n'
    ),
    "small/room/shapes.py": (
        "from dataclasses import dataclass, field\n"
        "@dataclass\nclass Shape:\n    name: str\n    tags: list = field(default_factory=list)\n"
        '@dataclass\nclass Disc(Shape):\n    """A disc, |x| < radius. Flat."""\n'
        "    radius: float = 1.0\n"
        "# Sizes that\n# are sold.\nSIZES = (1, 2)\n"
    ),
    "small/room/tools.py": (
        "from typing import overload\n"
        "@overload\ndef twice(x: int) -> int: ...\n"
        'def twice(\n    x: "int",\n    /,\n    *,\n    by: tuple[int, int] = (\n        1,\n'
        '        2,\n    ),\n) -> "int | None":\n'
        '    """Twice ``a|b``,\n    e.g. here. And more."""\n'
        "def unseen(): ...\n"
    ),
    "small/plain.py": '"""Plain."""\ndef shown(*rows, **more): ...\ndef _hidden(): ...\n',
}


@pytest.fixture
def small(tmp_path):
    for name, text in SMALL.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "small"


def test_public_is_what_all_names_or_what_has_no_underscore_or_is_taken(small):
    notebooks = small.parent / "notebooks"
    notebooks.mkdir()
    found = public_names(small, notebooks)
    assert found == {
        "small.plain": ["shown"],
        "small.room": ["Disc", "SIZES"],
        "small.room.tools": ["twice"],
    }
    (notebooks / "01.py").write_text("from small.room.tools import unseen\n", encoding="utf-8")
    assert public_names(small, notebooks)["small.room.tools"] == ["twice", "unseen"]


def test_a_row_holds_the_call_on_one_line_and_the_first_sentence(small):
    lines = reference.page(small, small.parent).splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert rows == [
        "| `shown(*rows, **more)` |  |",
        r"| `Disc(name, tags=..., radius=1.0)` | A disc, \|x\| \< radius. |",
        "| `SIZES` | Sizes that are sold. |",
        r'| `twice(x, /, *, by=(1, 2)) -> "int \| None"` | Twice ``a\|b``, e.g. here. |',
    ]
    headings = [line for line in lines if line.startswith("#")]
    assert headings == ["# Reference", "## small.plain", "## small.room", "### small.room.tools"]
    assert "Room." in lines and "From `small` itself: `twice`." in lines


def test_a_name_in_all_without_a_definition_is_an_error(small):
    path = small / "room" / "__init__.py"
    path.write_text(path.read_text(encoding="utf-8").replace('"Disc"]', '"Disk"]'))
    with pytest.raises(LookupError, match=r"small\.room has no 'Disk'"):
        reference.page(small, small.parent)


NAMES = [(module, name) for module, names in public_names().items() for name in names]


def test_every_call_has_the_arguments_that_python_itself_sees():
    compared = 0
    for module, name in NAMES:
        value = getattr(importlib.import_module(module), name)
        call = reference.signature(name, *find(module, name, reference.PACKAGE))
        if "(" not in call:
            continue
        function = ast.parse(f"def {call}: ...").body[0]
        expected = inspect.signature(value).parameters.values()
        given = function.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        plain = [p for p in expected if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        assert names == [p.name for p in plain], f"{module}.{name}"
        wanted = [p.name for p in plain if p.default is not p.empty]
        optional = [d for d in (*given.defaults, *given.kw_defaults) if d is not None]
        assert len(optional) == len(wanted), f"{module}.{name}"
        compared += 1
    assert compared > 150


def test_the_page_holds_every_name_of_mtlkit_and_says_something_of_each():
    text = reference.page()
    rows = re.findall(r"^\| `(\w+).*` \| (.*) \|$", text, re.M)
    assert [name for name, told in rows if not told.strip()] == []
    missing = {name for name in mtlkit.__all__ if name[0] != "_"} - {name for name, _ in rows}
    assert missing == set()


def test_the_page_in_docs_is_up_to_date():
    assert HERE.reference.read_text(encoding="utf-8") == reference.page()


def test_a_build_writes_the_page_and_its_check_finds_an_old_one(folders, tmp_path, capsys):
    page = tmp_path / "docs" / "reference.md"
    folders = Folders(folders.notebooks, folders.lessons, folders.slides, page)
    assert build.main([], folders) == 0 and b"\r" not in page.read_bytes()
    assert build.main(["--check"], folders) == 0
    page.write_text(page.read_text(encoding="utf-8").replace("MMoE(", "MMoF("), encoding="utf-8")
    capsys.readouterr()
    assert build.main(["--check"], folders) == 1
    assert "docs/reference.md: differs from what the sources give" in capsys.readouterr().err

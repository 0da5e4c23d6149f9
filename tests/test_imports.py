"""The rooms of the house: nothing in a lower one knows an upper one (see docs/decisions.md)."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import mtlkit

PACKAGE = Path(mtlkit.__file__).parent
FLOORS = [
    {"schema", "files"},
    {"data", "metrics"},
    {"layers", "losses"},
    {"shop"},
    {"models", "balance"},
    {"train"},
    {"comparison", "plot", "own"},
    {"report", "online"},
    {"bench", "course"},
    {"lessons", "__main__"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mtlkit."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "mtlkit":
            rooms.update(alias.name for alias in node.names if alias.name in FLOOR_OF)
        elif isinstance(node, ast.Import):
            rooms.update(a.name.split(".")[1] for a in node.names if a.name.startswith("mtlkit."))
    return rooms


def test_every_room_has_a_floor():
    rooms = {p.stem if p.is_file() else p.name for p in PACKAGE.iterdir()}
    rooms = {r for r in rooms if not r.startswith((".", "__")) and r != "py"} | {"__main__"}
    assert rooms <= set(FLOOR_OF), sorted(rooms - set(FLOOR_OF))


def test_no_room_imports_one_above_it():
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for other in imported_rooms(path):
            assert FLOOR_OF[other] <= FLOOR_OF[room], f"{path} imports mtlkit.{other}"


def test_no_name_that_is_loaded_when_first_used_is_also_a_file():
    # whoever imports that file first would get the module in place of the name
    lazy = [p for p in PACKAGE.rglob("__init__.py") if "_HOME" in p.read_text(encoding="utf-8")]
    assert len(lazy) >= 3
    for path in lazy:
        names = importlib.import_module(module_of(path))._HOME
        files = {p.stem for p in path.parent.glob("*.py")} | {p.name for p in path.parent.iterdir()}
        assert not files & set(names), path


def module_of(path: Path) -> str:
    parts = ("mtlkit", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_files(path: Path, known: dict[str, Path]) -> set[Path]:
    """Files of the package that a file imports, also inside functions and for type checkers.

    ``from package import name`` means the file that is called name, or else the package's own.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {known.get(name, known.get(node.module or "")) for name in names}
        elif isinstance(node, ast.Import):
            found |= {known.get(alias.name) for alias in node.names}
    return {other for other in found if other is not None} - {path}


def circles(package: Path = PACKAGE) -> list[set[str]]:
    """Groups of files that reach each other by imports; a package's own file counts as a file."""
    known = {module_of(path): path for path in sorted(package.rglob("*.py"))}
    known.pop("mtlkit", None)  # names there are loaded when first used
    edges = {path: imported_files(path, known) for path in known.values()}
    reached = {path: set(others) for path, others in edges.items()}
    changed = True
    while changed:
        changed = False
        for others in reached.values():
            more = set().union(*(reached[other] for other in others)) - others
            if more:
                others |= more
                changed = True
    groups = {
        frozenset(module_of(b) for b in others if path in reached[b])
        for path, others in reached.items()
        if path in others
    }
    return [set(group) for group in groups]


def test_no_two_files_import_each_other_by_whatever_way_round():
    assert circles() == []


def test_a_room_is_counted_whatever_the_way_it_is_imported(tmp_path, monkeypatch):
    path = PACKAGE / "metrics.py"
    text = "def f():\n    from mtlkit.data import batch\n    import mtlkit.schema\n"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding=None: text)
    known = {module_of(p): p for p in PACKAGE.rglob("*.py")}
    found = {module_of(p) for p in imported_files(path, known)}
    assert found == {"mtlkit.data.batch", "mtlkit.schema"}


def test_schema_does_not_load_torch():
    code = (
        "import sys; sys.modules['mtlkit'] = type(sys)('mtlkit');"
        f"sys.modules['mtlkit'].__path__ = [{str(PACKAGE)!r}];"
        "import mtlkit.schema; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_is_the_thing_itself_in_whatever_order_it_is_asked_for():
    code = (
        "import mtlkit, types\n"
        "for name in [*reversed(mtlkit.__all__), *mtlkit.__all__]:\n"
        "    assert not isinstance(getattr(mtlkit, name), types.ModuleType), name\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=PACKAGE.parent)

"""The rooms of the house: nothing in a lower one knows an upper one (see CONTRIBUTING.md)."""

import ast
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
    {"comparison", "plot"},
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

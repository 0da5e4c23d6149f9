"""The rooms of the course: learner, above it runner, above it author; lessons are found by number.

Every import counts, also one inside a function or under TYPE_CHECKING.
"""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mtlkit

PACKAGE = Path(mtlkit.__file__).parent
ROOMS = ["learner", "runner", "author"]  # a room may import those before it


def imports(text, known):
    """The modules, out of the known ones, that a text imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are written in full"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else str(node.module))
    return found & known


def name_of(path):
    return ".".join(("mtlkit", *path.relative_to(PACKAGE).with_suffix("").parts))


FILES = {
    name_of(path).removesuffix(".__init__"): path.read_text(encoding="utf-8")
    for room in ("course", "lessons")
    for path in (PACKAGE / room).rglob("*.py")
}
IMPORTS = {name: imports(text, set(FILES)) for name, text in FILES.items()}


def circle(graph):
    """One circle of imports, or None."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def room_of(name):
    return next((number for number, room in enumerate(ROOMS) if f".course.{room}" in name), None)


def test_a_hidden_import_counts():
    text = "def f():\n    from mtlkit.course.learner import cards\n    import mtlkit.course.doctor"
    known = {"mtlkit.course.learner.cards", "mtlkit.course.doctor"}
    assert imports(text, known) == known
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) is not None


def test_no_files_of_the_course_import_each_other():
    assert circle(IMPORTS) is None


@pytest.mark.parametrize("name", [name for name in FILES if room_of(name) is not None])
def test_no_room_of_the_course_imports_one_above_it(name):
    above = [other for other in IMPORTS[name] if (room_of(other) or 0) > room_of(name)]
    assert above == []


def strangers(imports):
    """(file, study) where a file imports a study, or the helper of a study from outside.

    The key of stored tables does not see such an import.
    """
    return [
        (name, other)
        for name, found in imports.items()
        for other in found
        if ".studies." in other and not other.startswith(f"{name.rpartition('.')[0]}._")
    ]


def test_studies_are_imported_by_nothing_and_their_helpers_by_studies_alone():
    assert strangers(IMPORTS) == []
    folder = "mtlkit.lessons.nb97.studies"
    made = {f"{folder}.a": {f"{folder}._tools"}, f"{folder}.b": {f"{folder}.a"},
            "mtlkit.lessons.nb97.contest": {f"{folder}._tools"}}  # fmt: skip
    assert strangers(made) == [(f"{folder}.b", f"{folder}.a"),
                               ("mtlkit.lessons.nb97.contest", f"{folder}._tools")]  # fmt: skip


def test_lessons_import_the_learners_kit_and_their_own_folder_and_nothing_imports_a_lesson():
    for name, found in IMPORTS.items():
        own = f"{name.rpartition('.')[0]}." if name.startswith("mtlkit.lessons.") else None
        others = [other for other in found if own is None or not other.startswith(own)]
        assert not [other for other in others if other.startswith("mtlkit.lessons.")], name
        if name.startswith("mtlkit.lessons"):
            assert all(other.startswith("mtlkit.course.learner") for other in others), name

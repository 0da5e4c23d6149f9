"""The public names of the package, found by reading its files and not by importing them.

Public is what stands in ``__all__``; in a module without one, each function and class without an
underscore; and what ``mtlkit`` or a notebook takes from a module.
"""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
NOTEBOOKS = PACKAGE.parent / "notebooks" / "src"
INTERNAL = ("lessons", "bench", "__main__")  # not for readers to import from

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@cache
def read(path: Path) -> tuple[str, ast.Module]:
    """The text of a file and its syntax tree."""
    text = path.read_text(encoding="utf-8")
    return text, ast.parse(text)


def file_of(module: str, package: Path) -> Path | None:
    """The file of a dotted module name, or None if the package has no such module."""
    inside = package.parent.joinpath(*module.split("."))
    for path in (inside / "__init__.py", inside.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements of a module, also those below an `if` (imports for type checkers)."""
    for node in tree.body:
        yield from node.body if isinstance(node, ast.If) else [node]


def _name(node: ast.stmt) -> str | None:
    """The name that a statement defines, or None."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return target.id if isinstance(target, ast.Name) else None


def _exports(tree: ast.Module) -> list[str] | None:
    """The names of `__all__` that stand in it as text, or None without one."""
    for node in _statements(tree):
        if _name(node) == "__all__" and isinstance(node, ast.Assign | ast.AnnAssign):
            texts = [part for part in ast.walk(node) if isinstance(part, ast.Constant)]
            return [str(text.value) for text in texts]
    return None


def find(module: str, name: str, package: Path) -> tuple[Path, Definition] | None:
    """Where a name is defined that a module defines or imports from the package."""
    path = file_of(module, package)
    if path is None:
        return None
    found = None
    for node in _statements(read(path)[1]):
        if _name(node) == name and isinstance(node, Definition):
            found = path, node  # the last one: after overloads comes the definition
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package.name):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    found = find(str(node.module), alias.name, package) or found
    return found


def imports_of(path: Path, package: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of every `from mtlkit... import name` of a file."""
    for node in ast.walk(read(path)[1]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package.name + "."):
            yield from ((str(node.module), alias.name) for alias in node.names)


def public_names(package: Path = PACKAGE, notebooks: Path = NOTEBOOKS) -> dict[str, list[str]]:
    """{dotted module: its public names}, modules and names in order."""
    named: dict[str, set[str]] = {}

    def collect(module: str, folder: Path) -> None:
        path = file_of(module, package)
        exports = None
        if path is not None:
            exports = _exports(read(path)[1])
            own = (_name(n) for n in read(path)[1].body if not isinstance(n, ast.Assign))
            names = {name for name in own if name and not name.startswith("_")}
            named[module] = names if exports is None else set(exports)
        for child in sorted(folder.iterdir()) if folder.is_dir() else []:
            below = f"{module}.{child.stem}"
            is_package = (child / "__init__.py").is_file()
            if child.stem.startswith("_") or (child.stem in INTERNAL and folder == package):
                continue
            if is_package and (exports is None or _exports(read(child / "__init__.py")[1])):
                collect(below, child)
            elif child.suffix == ".py" and (exports is None or folder == package):
                collect(below, child.with_suffix(""))

    collect(package.name, package)
    del named[package.name]  # its names are listed where they live
    listed = {find(module, name, package) for module in named for name in named[module]}
    for file in [package / "__init__.py", *sorted(notebooks.glob("*.py"))]:
        for module, name in imports_of(file, package):
            place = find(module, name, package)
            if place is not None and place not in listed and not name.startswith("_"):
                named.setdefault(module, set()).add(name)
    return {module: sorted(named[module]) for module in sorted(named) if named[module]}

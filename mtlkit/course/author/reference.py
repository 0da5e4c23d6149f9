"""docs/reference.md: every public name with its signature and first sentence, read by `ast`.

Nothing is imported, so torch is not needed, and the text is cut from the sources, so that every
Python writes the same file.
"""

import ast
import re
from pathlib import Path

from mtlkit.course.author.public_names import (
    NOTEBOOKS,
    PACKAGE,
    Definition,
    file_of,
    find,
    imports_of,
    public_names,
    read,
)

TITLE = """\
# Reference

Every public name: its call without types, and the first sentence of its docstring. `python3 run.py
build` makes this page from the sources; `build --check` fails if it is out of date.
"""


def _cut(node: ast.AST, path: Path) -> str:
    """The source of a node on one line."""
    text = " ".join((ast.get_source_segment(read(path)[0], node) or "").split())
    return re.sub(r",? ?([)\]}])", r"\1", re.sub(r"([(\[{]) ", r"\1", text))


def _arguments(function: ast.FunctionDef, path: Path, method: bool) -> str:
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    parts = [_argument(a.arg, d, path) for a, d in zip(plain, defaults, strict=True)]
    if given.posonlyargs:
        parts.insert(len(given.posonlyargs), "/")
    parts = parts[1:] if method else parts
    if given.vararg or given.kwonlyargs:
        parts.append("*" + (given.vararg.arg if given.vararg else ""))
    pairs = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    parts += [_argument(a.arg, default, path) for a, default in pairs]
    if given.kwarg:
        parts.append("**" + given.kwarg.arg)
    return ", ".join(parts)


def _argument(name: str, default: ast.expr | None, path: Path) -> str:
    return name if default is None else f"{name}={_cut(default, path)}"


def _fields(node: ast.ClassDef, path: Path) -> list[str]:
    """Fields of a dataclass or named tuple as arguments."""
    parts = []
    for field in node.body:
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        default = _cut(field.value, path) if field.value else None
        if "ClassVar" in _cut(field.annotation, path) or "init=False" in (default or ""):
            continue
        if default and default.startswith("field("):
            default = "..."
        parts.append(field.target.id if default is None else f"{field.target.id}={default}")
    return parts


def _construction(node: ast.ClassDef, path: Path, package: Path) -> list[str] | None:
    """What a class is called with: of its own `__init__`, its fields, or its parent's."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return [_arguments(part, path, method=True)]
    parents = [_cut(base, path).split("[")[0] for base in node.bases]
    inherited: list[str] | None = None
    module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
    for parent in parents:
        found = find(module.removesuffix(".__init__"), parent, package)
        if inherited is None and found is not None and isinstance(found[1], ast.ClassDef):
            inherited = _construction(found[1], found[0], package)
    if "NamedTuple" in parents or any("dataclass" in _cut(d, path) for d in node.decorator_list):
        return [*(inherited or []), *_fields(node, path)]
    return inherited


def signature(name: str, path: Path, node: Definition, package: Path = PACKAGE) -> str:
    """`name(argument, other=default) -> result` as it stands in the source, without types."""
    if isinstance(node, ast.FunctionDef):
        result = f" -> {_cut(node.returns, path)}" if node.returns else ""
        return f"{name}({_arguments(node, path, method=False)}){result}"
    if isinstance(node, ast.ClassDef):
        parts = _construction(node, path, package)
        return name if parts is None else f"{name}({', '.join(filter(None, parts))})"
    return name


def first_sentence(text: str | None) -> str:
    """The first sentence of a docstring, on one line, made safe for a table."""
    paragraph = " ".join((text or "").strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[^.\s]{2}[.!?])\s+(?=[A-Z`(])", paragraph, maxsplit=1)[0]
    outside = re.split(r"(`+[^`]*`+)", sentence)
    outside[::2] = [re.sub(r"([*<\\])", r"\\\1", part) for part in outside[::2]]
    return "".join(outside).replace("|", "\\|")


def _comment(path: Path, node: Definition) -> str:
    """The comment above a constant or at its end; a constant has no docstring."""
    source = read(path)[0].splitlines()
    lines: list[str] = []
    for line in reversed(source[: node.lineno - 1]):
        if not line.startswith("# "):
            break
        lines.insert(0, line[2:])
    return " ".join(lines) or source[(node.end_lineno or node.lineno) - 1].partition("  # ")[2]


def _heading(module: str, package: Path) -> list[str]:
    path = file_of(module, package)
    told = first_sentence(ast.get_docstring(read(path)[1])) if path else ""
    level = "#" * min(module.count(".") + 1, 3)
    return [f"{level} {module}\n", *([told + "\n"] if told else [])]


def page(package: Path = PACKAGE, notebooks: Path = NOTEBOOKS) -> str:
    """The whole text of docs/reference.md. Raises LookupError for a public name without source."""
    read.cache_clear()
    direct = sorted(n for _, n in imports_of(package / "__init__.py", package))
    parts = [TITLE, f"From `{package.name}` itself: {', '.join(f'`{n}`' for n in direct)}.\n"]
    rooms: set[str] = set()
    for module, names in public_names(package, notebooks).items():
        room = ".".join(module.split(".")[:2])
        for heading in [room, module] if room not in rooms else [module]:
            if heading not in rooms:
                parts += _heading(heading, package)
            rooms.add(heading)
        rows = ["| name | what it is |", "| --- | --- |"]
        for name in names:
            found = find(module, name, package)
            if found is None:
                raise LookupError(f"{module} has no {name!r}: mend its __all__")
            call = signature(name, *found, package).replace("|", "\\|")
            place, node = found
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                told = ast.get_docstring(node)
            else:
                told = _comment(place, node)
            rows.append(f"| `{call}` | {first_sentence(told)} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)
